"""Why a request does not go through: the status and the words it is answered with, and a short name for the log."""

from __future__ import annotations

from enum import StrEnum

ASK = "ask the operator to add {what} to {setting}"
SHOWN = 8  # hosts of a long list that are named


class Verdict(StrEnum):
    ALLOWED = "allowed"
    REFUSED = "refused"  # by the rules
    FAILED = "failed"  # the rules allow it; the host could not be reached, or the request broke off


class Refusal(Exception):
    """The request ends here. `words` are for whoever runs the code; they hold printable ASCII only."""

    def __init__(self, reason: str, words: str, status: int = 403, verdict: Verdict = Verdict.REFUSED) -> None:
        super().__init__(words)
        self.reason = reason
        self.words = words.encode("ascii", "replace").decode()
        self.status = status
        self.verdict = verdict


def malformed(words: str, status: int = 400) -> Refusal:
    return Refusal("malformed", words, status)


def not_listed(host: str, hosts: list[str]) -> Refusal:
    ask = ASK.format(what="it", setting="CODEACT_SANDBOX_EGRESS_ALLOW")
    return Refusal("not_listed", f"{may_reach(hosts)} {host} is not among them: {ask}.")


def may_reach(hosts: list[str]) -> str:
    if not hosts:
        return "This sandbox may reach no host at all."
    more = f" and {len(hosts) - SHOWN} more" if len(hosts) > SHOWN else ""
    return f"This sandbox may reach {', '.join(hosts[:SHOWN])}{more}."


def other_port(host: str, port: int) -> Refusal:
    ask = ASK.format(what=f"{host}:{port}", setting="CODEACT_SANDBOX_EGRESS_ALLOW")
    return Refusal("port", f"This sandbox may reach {host}, but not like this (port {port}): use https, or {ask}.")


def private(host: str) -> Refusal:
    ask = ASK.format(what=host, setting="CODEACT_SANDBOX_EGRESS_PRIVATE")
    return Refusal("private", f"{host} leads to a private address. If that is meant, {ask}.")


def never(host: str) -> Refusal:
    return Refusal("address", f"{host} leads to an address that no sandbox may reach.")


def no_tls(host: str) -> Refusal:
    return Refusal("no_tls", f"What goes to {host} on the port of https has to be https.")


def other_name(host: str) -> Refusal:
    return Refusal("other_name", f"The tunnel to {host} was used to ask for another host.")


def unreachable(host: str, cause: str) -> Refusal:
    return Refusal("unreachable", f"{host} may be reached, but {cause}.", 502, Verdict.FAILED)


def used_up(size: int) -> Refusal:
    return Refusal("budget", f"This sandbox has moved the {size // 1024**2} MB it may. A new sandbox can move more.")
