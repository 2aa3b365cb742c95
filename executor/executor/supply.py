"""A sandbox for a conversation that needs one: a warm one if there is one, else one made for it, when there is room."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from executor import handover, tracing, words
from executor.admission import Admission
from executor.ledger import Ledger
from executor.lifecycle import Life, Reason, State, Step
from executor.live import Live
from executor.maker import Announce, Maker, new_id
from executor.pool import Pool
from executor.sandbox.base import Backend, Profile, SandboxUnavailable
from executor.settings import MB, Settings

MEMORY_LEFT = 512 * MB  # what the host must have free, beside one sandbox's limit, for a warm one to be made


class Claimant(Protocol):
    """Who wants a sandbox: one conversation."""

    conversation: str
    workspace: Path
    tenant: str
    profile: Profile
    life: Life | None  # set while one is being made


class Supply:
    """`evict` as in Admission, for sandboxes of conversations."""

    def __init__(
        self,
        backend: Backend,
        settings: Settings,
        ledger: Ledger,
        workspaces: Path,
        evict: Callable[[str | None], bool],
        clock: Callable[[], float],
    ) -> None:
        self.backend = backend
        self.ledger = ledger
        self.refuses = ""  # why no sandbox is given out any more
        self.maker = Maker(backend, settings, ledger, clock)
        self._workspaces = workspaces
        self._evict = evict
        self.admission = Admission(settings, ledger, self._make_room)
        self.pool = Pool(self.maker, ledger, workspaces, settings.warm, settings.preimport, self._room_for_warm)
        ledger.changed = self._changed
        self.limits = settings.limits()

    async def obtain(self, claimant: Claimant, announce: Announce) -> Live:
        """A sandbox bound to the claimant, whose kernel answers. Its state is `booting` when it was made for it, `idle`
        when it was warm. Raises SandboxUnavailable."""
        began = time.monotonic()
        with tracing.within("claim") as span:
            live, how = await self._obtained(claimant, announce)
            span.tell(how=how, sandbox=live.life.id)
        self.ledger.counts.claims[how].add(time.monotonic() - began)
        return live

    async def _obtained(self, claimant: Claimant, announce: Announce) -> tuple[Live, str]:
        """With how it came: warm or cold."""
        if self.refuses:
            raise SandboxUnavailable(f"{self.refuses}.")
        wish = claimant.life = self.ledger.wish(new_id(), claimant.conversation, claimant.tenant)
        try:
            self.admission.check_quota(wish)
            live = await self._taken(claimant) if claimant.profile is self.maker.profile else None
            if live is not None:
                wish.kill(Reason.RELEASED)
                return live, "warm"
            return await self._made(claimant, wish, announce), "cold"
        finally:
            if wish.state is State.REQUESTED:
                wish.kill(Reason.RELEASED)

    # ---- warm --------------------------------------------------------------------------------------------------------

    async def _taken(self, claimant: Claimant) -> Live | None:
        live = await self.pool.take()
        if live is None:
            return None
        try:
            await asyncio.shield(
                bound := asyncio.ensure_future(asyncio.to_thread(self._bind_warm, live, claimant.conversation))
            )
        except BaseException as error:
            await asyncio.wait([bound])  # the thread cannot be stopped, and works on the conversation's files
            await asyncio.shield(self.pool.throw_away(live, Reason.RELEASED))
            if isinstance(error, OSError):
                raise SandboxUnavailable(words.no_workspace(str(error))) from error
            raise
        live.life.conversation, live.life.tenant = claimant.conversation, claimant.tenant
        live.life.step(Step.CLAIM)
        return live

    def _bind_warm(self, live: Live, conversation: str) -> None:
        workspace = handover.hand_over(self._workspaces, live.life.id, conversation)
        self.backend.give(workspace, live.sandbox)
        live.sandbox.assign(conversation, workspace)

    # ---- cold --------------------------------------------------------------------------------------------------------

    async def _made(self, claimant: Claimant, wish: Life, announce: Announce) -> Live:
        await self.admission.admit(wish)
        live = await self.maker.make(wish, claimant.workspace, claimant.profile, announce)
        live.sandbox.assign(claimant.conversation, claimant.workspace)
        self.ledger.counts.starts["cold"] += 1
        return live

    # ---- room --------------------------------------------------------------------------------------------------------

    def _make_room(self, tenant: str | None) -> bool:
        """A warm sandbox is missed by nobody; then the conversation that has been idle the longest."""
        return (tenant is None and self.pool.give_way()) or self._evict(tenant)

    def _room_for_warm(self) -> bool:
        return not self.refuses and self.admission.spare > 0 and memory_left() > self.limits.memory + MEMORY_LEFT

    def _changed(self) -> None:
        self.admission.pump()
        self.pool.wake()


def memory_left() -> int:
    """Bytes that programs may still take on this host."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0
