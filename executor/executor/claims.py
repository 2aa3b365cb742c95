"""Claims: a lease on a conversation's kernel, and the sandbox that goes with it. Asking twice changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from executor import words
from executor.leases import Fenced, Lease, Leases
from executor.lifecycle import Reason
from executor.live import Live
from executor.sandbox.base import Limits, Profile, SandboxUnavailable
from executor.slot import Slot
from executor.wire_claims import Allowance, Claim, ClaimRequest

if TYPE_CHECKING:
    from executor.manager import Manager

DEFAULT_TTL_S = 60.0
NOBODY = "unnamed"  # the owner of whoever does not say who it is


class NoSandbox(Exception):
    """The claim wanted a sandbox that exists, and there is none."""


class Draining(SandboxUnavailable):
    """The executor is on its way out."""


class Claims:
    def __init__(self, manager: Manager, leases: Leases, wall: Callable[[], float], idle_s: float) -> None:
        self._manager = manager
        self.leases = leases
        self._wall = wall
        self._idle_s = idle_s

    async def claim(self, conversation: str, request: ClaimRequest) -> tuple[Claim, bool]:
        """The claim, and whether a sandbox came into use by it. Raises Fenced, NoSandbox, StoreUnavailable, and
        SandboxUnavailable with its kinds (Draining, Full, OverQuota)."""
        self.check_open()
        slot = self._manager.slot(conversation)
        await self._manager.known(slot)
        if request.want == "existing" and slot.life is None:
            raise NoSandbox("This conversation has no sandbox.")
        profile = Profile(request.profile or self._manager.profile)
        lease = await self.acquire(conversation, request.owner, request.ttl_s, request.tenant, profile, from_idle=True)
        before = slot.live
        await self._fit(slot, request, profile)
        if not slot.draining:
            await slot.awake()
        live = slot.live
        if live is None:
            raise SandboxUnavailable("The sandbox was removed while it was being started.")
        return self._told(slot, live, lease), live is not before

    async def acquire(
        self, conversation: str, owner: str, ttl_s: float = DEFAULT_TTL_S, tenant: str = "", profile: str = "standard",
        from_idle: bool = False,
    ) -> Lease:  # fmt: skip
        """The lease alone. An owner from whom it is taken over is stopped; `from_idle`: one that runs nothing need not have
        let its lease run out. Raises Fenced, StoreUnavailable, Draining."""
        await self._manager.leases_known()
        before = self.leases.of(conversation)
        try:
            idle = from_idle and not self._manager.runs_any(conversation)
            lease = await self.leases.acquire(conversation, owner, ttl_s, tenant, profile, idle)
        except Fenced:
            self._manager.counts.refusals["fenced"] += 1
            raise
        if before is None or before.fence != lease.fence:
            taken_over = before is not None and bool(before.owner)
            self._manager.counts.takeovers += taken_over
            facts = {"conversation": conversation, "owner": owner, "tenant": tenant, "fence": lease.fence}
            self._manager.audit.note("takeover" if taken_over else "claim", facts)
            self._manager.stop_older(conversation, lease.fence)
        return lease

    async def right(self, conversation: str, fence: int | None, owner: str) -> int:
        """The fence by which a request over the network may drive a kernel: the one it shows, when that is the lease's;
        without one, that of a lease in its owner's name, taken where nobody else has it. Raises Fenced,
        StoreUnavailable."""
        await self._manager.leases_known()
        if fence is not None:
            self.leases.check(conversation, fence)
            return fence
        held = self.leases.of(conversation)
        if held is not None and held.owner == owner and held.expires_at > self._wall() + DEFAULT_TTL_S / 2:
            return held.fence
        return (await self.acquire(conversation, owner)).fence

    async def release(self, conversation: str, fence: int, destroy: bool) -> None:
        """Gives the lease back; with `destroy`, the sandbox goes too (files stay). Raises Fenced, StoreUnavailable."""
        await self.leases.release(conversation, fence)
        self._manager.audit.note("release", {"conversation": conversation, "fence": fence, "destroy": destroy})
        if destroy:
            await self._manager.end(self._manager.slot(conversation), words.RELEASED, Reason.RELEASED)

    def check_open(self) -> None:
        """Raises Draining."""
        if self._manager.draining:
            self._manager.counts.refusals["draining"] += 1
            raise Draining(words.DRAINING)

    async def _fit(self, slot: Slot, request: ClaimRequest, profile: Profile) -> None:
        """A sandbox that is not what is wanted goes."""
        slot.tenant = request.tenant
        drifted, slot.profile = slot.profile is not profile, profile
        if slot.life is not None and (drifted or request.want == "fresh"):
            await self._manager.end(slot, words.RESET, Reason.SPEC_DRIFT if drifted else Reason.RELEASED)

    def _told(self, slot: Slot, live: Live, lease: Lease) -> Claim:
        ahead = self._wall() - self._manager.clock()  # from our clock to the wall's, as of now
        return Claim(
            sandbox_id=live.sandbox.id,
            generation=slot.history.generation,
            fence=lease.fence,
            state=slot.state,
            lease_expires_at=lease.expires_at,
            idle_deadline=slot.used + self._idle_s + ahead,
            hard_deadline=live.deadline + ahead,
            limits=_allowance(slot.limits),
            fresh=live.channel.fresh,
            previous=slot.history.previous,
            note=slot.note,
        )


def _allowance(limits: Limits) -> Allowance:
    return Allowance(memory=limits.memory, pids=limits.pids, cpus=limits.cpus, workspace=limits.workspace, tmp=limits.tmp)
