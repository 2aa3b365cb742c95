"""This server's leases on sandboxes of an executor: who may drive a conversation's kernel, told by a fence that only grows.

A lease is taken when a conversation is first used, and renewed while a cell runs. While none runs it may be lost to another
server at any moment, which costs nothing: this one is refused then, before anything has run, and has to claim it again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import aiohttp

log = logging.getLogger(__name__)

TTL_S = 10.0
"""So long after the last renewal a server that runs a cell is taken for dead; also what one is by its heart (`DEAD_S`)."""
KEPT_S = 3600.0
"""A fence is remembered for so long; longer than a turn's claim and its cell are apart."""
FENCED = "another server runs this conversation's code at the moment. Try again when that has ended, or stop it first."


class Fenced(Exception):
    """Another server drives this conversation's kernel."""


class Refused(Exception):
    """The executor does not grant a lease; the message is its reason, for people."""


UNREACHED = (aiohttp.ClientError, OSError, TimeoutError, Fenced, Refused)
"""What asking the executor raises."""


@dataclass(frozen=True, slots=True)
class _Lease:
    fence: int
    taken: float  # on the monotonic clock


class Leases:
    """`owner` names this process and is never used again."""

    def __init__(self, http: aiohttp.ClientSession, url: str, owner: str) -> None:
        self._http = http
        self._url = url
        self._owner = owner
        self._leases: dict[str, _Lease] = {}
        self._taking: dict[str, asyncio.Task[_Lease]] = {}
        self._lost: set[str] = set()
        self._unclaimed: dict[str, BaseException] = {}

    async def fence(self, conversation: str) -> int:
        """The fence to show. Raises Fenced, Refused, or what the connection raises."""
        lease = self._leases.get(conversation)
        if lease is not None and time.monotonic() < lease.taken + TTL_S / 2:
            return lease.fence
        taking = self._taking.get(conversation)
        if taking is None:
            taking = self._taking[conversation] = asyncio.create_task(self._take(conversation))
            taking.add_done_callback(lambda task: self._taken(conversation, task))
        return (await asyncio.shield(taking)).fence

    async def held(self, conversation: str) -> int:
        """The fence of the lease that was taken last, however old, unless it is known to be lost. Raises like `fence`
        where there was none."""
        lease = self._leases.get(conversation)
        return lease.fence if lease is not None else await self.fence(conversation)

    def lost(self, conversation: str) -> bool:
        """Whether another server has it, as far as is known."""
        return conversation in self._lost

    async def claim(self, conversation: str) -> None:
        """Take it, if it has not been just now. Why that failed is `unclaimed`'s to say."""
        try:
            await self.fence(conversation)
        except UNREACHED as error:
            self._unclaimed[conversation] = error

    def unclaimed(self, conversation: str) -> BaseException | None:
        """Why the last claim failed; told once."""
        return self._unclaimed.pop(conversation, None)

    @contextmanager
    def renewed(self, conversation: str, fence: int) -> Iterator[None]:
        """The lease does not run out during the block: whoever took over would stop the cell."""
        renewing = asyncio.create_task(self._renew(conversation, fence))
        try:
            yield
        finally:
            renewing.cancel()

    def forget(self, conversation: str) -> None:
        """The lease is not to be relied on any more."""
        self._leases.pop(conversation, None)
        self._lost.discard(conversation)

    def lose(self, conversation: str) -> None:
        """Another server has taken it: nothing is run before it is claimed again."""
        self._leases.pop(conversation, None)
        self._lost.add(conversation)

    async def give_back(self) -> None:
        """Others need not wait for the leases to run out."""
        held, self._leases = self._leases, {}
        deleting = [self._delete(conversation, lease.fence) for conversation, lease in held.items()]
        await asyncio.gather(*deleting, return_exceptions=True)

    # ---- the executor's side -----------------------------------------------------------------------------------------

    async def _take(self, conversation: str) -> _Lease:
        body = {"owner": self._owner, "ttl_s": TTL_S}
        async with self._http.put(f"{self._url}/v1/conversations/{conversation}/lease", json=body) as answer:
            if answer.status == 409:
                raise Fenced(FENCED)
            if not answer.ok:
                raise Refused(await words_of(answer))
            return _Lease(int((await answer.json())["fence"]), time.monotonic())

    def _taken(self, conversation: str, task: asyncio.Task[_Lease]) -> None:
        """Kept, beside those that are not old; a failure belongs to whoever waits."""
        del self._taking[conversation]
        if task.cancelled() or task.exception() is not None:
            return
        self._lost.discard(conversation)
        oldest = time.monotonic() - KEPT_S
        self._leases = {name: lease for name, lease in self._leases.items() if lease.taken > oldest}
        self._leases[conversation] = task.result()

    async def _renew(self, conversation: str, fence: int) -> None:
        """Never takes it anew: what another server has taken over stays that one's."""
        url = f"{self._url}/v1/conversations/{conversation}/lease"
        while True:
            await asyncio.sleep(TTL_S / 4)
            try:
                async with self._http.post(url, json={"fence": fence, "ttl_s": TTL_S}) as answer:
                    if answer.status == 409:
                        return self.lose(conversation)
                    if not answer.ok:
                        log.info("the lease of conversation %s was not renewed: %s", conversation, await words_of(answer))
            except (aiohttp.ClientError, OSError, TimeoutError) as error:  # the run itself will show it
                log.info("the lease of conversation %s was not renewed: %s", conversation, error)

    async def _delete(self, conversation: str, fence: int) -> None:
        url = f"{self._url}/v1/conversations/{conversation}/lease"
        async with self._http.delete(url, params={"fence": fence, "mode": "keep"}):
            pass


async def words_of(answer: aiohttp.ClientResponse) -> str:
    """What the executor says about a request that it refuses."""
    try:
        said = await answer.json()
        words = said.get("words") or said.get("detail")
    except (aiohttp.ClientError, ValueError, AttributeError):
        words = None
    return words if isinstance(words, str) else f"the executor answered {answer.status}."
