"""Every error the orchestrator raises on purpose, as one tree:

    CodeActError                 words for people; `status` is what HTTP answers
    ├── Refusable                what was asked cannot be done as things are; nothing has changed
    │   ├── NotFound             no such conversation (or not yours, which is the same)
    │   ├── Unauthenticated      nobody knows who asks: sign in, or bring a token
    │   ├── Forbidden            known, and not allowed to
    │   ├── Taken                somebody or something is in its place already
    │   ├── TooMany              too often, or too much at once; `retry_after` says when again
    │   │   └── OverQuota        a limit of theirs is used up
    │   ├── TurnIsOpen           a turn of the conversation is still running
    │   ├── KernelUnavailable    whatever makes sandboxes cannot be reached, or cannot do it now
    │   ├── Draining             this server is about to end
    │   └── Invalid              the request itself is wrong; `param` names the field
    ├── KernelTaken              another server has claimed the kernel; nothing ran
    ├── Conflict                 another owner drives this turn: stop driving it
    ├── BackupRefused            a backup cannot be made or restored like this
    ├── BadSetting               a setting makes no sense; nothing was started
    └── StoreUnavailable         the database does not answer; trying again later may help
        └── StoreTooNew          a newer version of this program wrote the database: it is left alone

Adapters turn foreign exceptions into these at the edge; nothing above them knows a driver. `Refusable` errors are told as
`refused` frames on a websocket and as 4xx over HTTP; everything else is logged and told as our fault.
"""

from __future__ import annotations

import math
from typing import ClassVar

from orchestrator.protocol.frames import Refusal


class CodeActError(Exception):
    """`words` name the cause and the next step, for people."""

    status: ClassVar[int] = 500

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.words = words

    def headers(self) -> dict[str, str]:
        """What HTTP answers say beside the words."""
        return {}


class Refusable(CodeActError):
    """Not carried out; `reason` is what the protocol calls it."""

    status = 400
    reason: ClassVar[Refusal] = Refusal.FAILED


class NotFound(Refusable):
    status = 404
    reason = Refusal.UNKNOWN_CONVERSATION

    def __init__(self, words: str = "There is no such conversation. It may have been deleted.") -> None:
        super().__init__(words)


class Unauthenticated(Refusable):
    status = 401

    def __init__(self, words: str = "You are not signed in. Sign in, then try again.") -> None:
        super().__init__(words)


class Forbidden(Refusable):
    status = 403


class Taken(Refusable):
    status = 409


class TooMany(Refusable):
    """`retry_after`: seconds until it may be tried again."""

    status = 429

    def __init__(self, words: str, retry_after: float) -> None:
        super().__init__(words)
        self.retry_after = retry_after

    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(math.ceil(self.retry_after))}


class OverQuota(TooMany):
    """`what` is used up: `remaining` of `most` are left."""

    reason = Refusal.QUOTA

    def __init__(self, words: str, retry_after: float, what: str, most: int, remaining: int) -> None:
        super().__init__(words, retry_after)
        self.what = what
        self.most = most
        self.remaining = remaining

    def headers(self) -> dict[str, str]:
        return rate_headers(self.most, self.remaining, self.retry_after)


def rate_headers(most: int, remaining: int, seconds: float) -> dict[str, str]:
    """For a 429 answer: how much is allowed, how much of it is left, and after how many seconds there is more."""
    again = str(math.ceil(seconds))
    return {
        "Retry-After": again,
        "RateLimit-Limit": str(most),
        "RateLimit-Remaining": str(remaining),
        "RateLimit-Reset": again,
    }


class TurnIsOpen(Refusable):
    status = 409
    reason = Refusal.TURN_OPEN

    def __init__(
        self, words: str = "The conversation is still busy with the last message. Stop it, or wait until it has finished."
    ) -> None:
        super().__init__(words)


class KernelUnavailable(Refusable):
    status = 503


class Draining(Refusable):
    """This server is about to end; another one, or its next life, takes the message."""

    status = 503

    def __init__(self, words: str = "This server is being restarted. Send it again in a moment.") -> None:
        super().__init__(words)


class Invalid(Refusable):
    """The request itself is wrong; `param` names the field, or is None."""

    reason = Refusal.MALFORMED

    def __init__(self, words: str, param: str | None = None) -> None:
        super().__init__(words)
        self.param = param


class Conflict(CodeActError):
    """A seq is taken: another owner has written to this conversation."""

    status = 409


class KernelTaken(CodeActError):
    """Told by `Kernel.run` before anything ran. Whoever still owns the turn may claim the kernel again."""

    status = 409


class BadSetting(CodeActError):
    """Raised while starting; `words` name the setting."""


class BackupRefused(CodeActError):
    """A store is not saved, or a file not restored; nothing has changed."""

    status = 409


class StoreUnavailable(CodeActError):
    status = 503


class StoreTooNew(StoreUnavailable):
    """Refused at start: writing to it could destroy what the newer version keeps there."""
