"""Making sandboxes, warm and cold alike: one template, and no more at a time than the machine can start."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from executor import logs, tracing, words
from executor.ledger import Ledger
from executor.lifecycle import Life, Reason, State, Step
from executor.live import Live
from executor.sandbox.base import Backend, Profile, SandboxUnavailable, Spec
from executor.settings import Settings

START_S = 60.0
AT_ONCE = 2 * (os.cpu_count() or 1)  # starts beside each other: more only make each take longer

Announce = Callable[[str], None]


def quietly(phase: str) -> None:
    """Nobody is told."""


def new_id() -> str:
    return secrets.token_hex(6)


class Maker:
    def __init__(self, backend: Backend, settings: Settings, ledger: Ledger, clock: Callable[[], float]) -> None:
        self.backend = backend
        self._clock = clock
        self._settings = settings
        self.profile = settings.profile  # of those that nobody asked anything else of
        self._ledger = ledger
        self._starts = asyncio.Semaphore(AT_ONCE)

    def spec(self, id: str, workspace: Path, profile: Profile) -> Spec:
        """What every sandbox of this executor is to be; only its name and its files are its own."""
        return Spec(id, workspace, self._settings.limits(), profile, self._settings.hard_lifetime_s)

    async def make(self, life: Life, workspace: Path, profile: Profile, announce: Announce = quietly) -> Live:
        """A sandbox whose kernel answers, for a life that was granted. Raises SandboxUnavailable, and ends the life."""
        try:
            with tracing.within("start", sandbox=life.id), logs.unrelated():
                async with self._starts, asyncio.timeout(START_S):
                    return await self._make(life, workspace, profile, announce)
        except TimeoutError:
            raise SandboxUnavailable(words.starting_too_long(START_S)) from None
        finally:
            if life.state is State.CREATING:  # the backend left nothing behind
                life.kill(Reason.CREATE_TIMEOUT)
                life.step(Step.END)

    async def _make(self, life: Life, workspace: Path, profile: Profile, announce: Announce) -> Live:
        sandbox = await self.backend.create(self.spec(life.id, workspace, profile))
        live = self._ledger.lives[life.id] = Live(sandbox, life, self._clock)
        try:
            life.step(Step.MADE)
            announce("starting Python")
            await live.channel.open()
        except BaseException:
            await live.end(Reason.CREATE_TIMEOUT)
            raise
        return live
