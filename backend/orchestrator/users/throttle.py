"""How often one may try. Counted before the password is looked at, and in the store, so that replicas and tries that come
at once are one count; a right password gives the try back."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from orchestrator.accounts import Attempts
from orchestrator.errors import TooMany
from orchestrator.users.secret import digest


@dataclass(frozen=True, slots=True)
class Rule:
    """`most` tries in `window_s`, which begins with the first."""

    most: int
    window_s: float


HERE = Rule(5, 300)
"""One account from one address: somebody who has forgotten a password."""
ADDRESS = Rule(30, 900)
"""One address, all accounts: somebody who tries a list."""
ACCOUNT = Rule(100, 3600)
"""One account, all addresses: many machines that try one person. High, since it locks the person out as well."""
MAKING = Rule(20, 3600)
"""Failed registrations and resets from one address: somebody who guesses invitations."""
MADE = Rule(100, 3600)
"""All of them: somebody who makes accounts by the thousand, and not a school's class in its first lesson."""


VISITS = Rule(100, 600)
"""Sign-ins by way of a provider that were begun at one address."""


class Throttle:
    def __init__(self, attempts: Attempts, clock: Callable[[], float]) -> None:
        self._attempts = attempts
        self._clock = clock

    async def sign_in(self, email: str, address: str) -> None:
        """Count a try. Raises `TooMany`."""
        here, account, network = _keys(email, address)
        await self._count([(here, HERE), (account, ACCOUNT), (network, ADDRESS)])

    async def signed_in(self, email: str, address: str) -> None:
        here, account, network = _keys(email, address)
        await self._attempts.forgive([here], [account, network])

    async def making(self, address: str) -> None:
        """Count a try to get an account without having one. Raises `TooMany`."""
        network = network_of(address)
        await self._count([(f"making:{network}", MAKING), (f"made:{network}", MADE)])

    async def visiting(self, address: str) -> None:
        """Raises `TooMany`."""
        await self._count([(f"visits:{network_of(address)}", VISITS)])

    async def made(self, address: str) -> None:
        await self._attempts.forgive([], [f"making:{network_of(address)}"])

    async def _count(self, rules: Iterable[tuple[str, Rule]]) -> None:
        wait = await self._attempts.count([(key, rule.most, rule.window_s) for key, rule in rules], self._clock())
        if wait > 0:
            minutes = max(1, round(wait / 60))
            words = f"Too many tries. Wait {minutes} minute{'s' if minutes > 1 else ''}, then try again."
            raise TooMany(words, wait)


def _keys(email: str, address: str) -> tuple[str, str, str]:
    """Of the account, no more than its hash: what was typed into the wrong field is not kept."""
    account = digest(email.strip().lower())[:32]
    network = network_of(address)
    return f"here:{account}:{network}", f"account:{account}", f"address:{network}"


def network_of(address: str) -> str:
    """What one customer of a provider has: an IPv4 address, or the first 64 bits of an IPv6 one."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return str(ip) if ip.version == 4 else str(ipaddress.ip_network((ip, 64), strict=False).network_address)
