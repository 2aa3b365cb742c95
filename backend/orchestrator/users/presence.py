"""Who is connected by websocket to this server, so that one can hang up on them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from orchestrator.users.principal import Principal

HangUp = Callable[[], None]


class Presence:
    """`hang_up`s must not wait: they set going what ends the connection."""

    def __init__(self) -> None:
        self._here: dict[int, tuple[Principal, HangUp]] = {}
        self._next = 0

    @contextlib.contextmanager
    def connected(self, principal: Principal, hang_up: HangUp) -> Iterator[None]:
        """For as long as the block lasts."""
        number, self._next = self._next, self._next + 1
        self._here[number] = (principal, hang_up)
        try:
            yield
        finally:
            self._here.pop(number, None)

    def keys(self) -> dict[str, Principal]:
        """The sessions and tokens that connections were opened with, by id."""
        return {principal.session: principal for principal, _ in self._here.values()}

    def hang_up(self, on: Callable[[Principal], bool]) -> None:
        for principal, hang_up in list(self._here.values()):
            if on(principal):
                hang_up()

    def count(self) -> int:
        return len(self._here)
