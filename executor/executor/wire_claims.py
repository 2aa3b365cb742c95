"""What is said about leases, claims, and the ends of sandboxes: the executor's contract beside running cells."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from executor.wire import Fence, KernelState, Rung, Wire

Owner = Annotated[str, Field(pattern="^[A-Za-z0-9_.:@/-]{1,128}$")]
Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]


class Previous(Wire):
    """Why the last kernel that held a conversation's variables is no more (a `lifecycle.Reason`, or out_of_memory,
    kernel_died, restarted, did_not_stop), and when, in seconds since the epoch."""

    reason: str
    at: float


class ClaimRequest(Wire):
    """A lease on a conversation's kernel, and a sandbox to go with it. `owner` names one process of the caller's, for as
    long as that lives. `want`: `existing` never makes a sandbox, `fresh` always does, files kept. `profile`: what code
    may reach; None: what the operator has set."""

    owner: Owner
    ttl_s: Seconds = 60.0
    tenant: Annotated[str, Field(pattern="^[A-Za-z0-9_.@-]{0,64}$")] = ""
    profile: Literal["standard", "net"] | None = None
    want: Literal["any", "existing", "fresh"] = "any"


class LeaseRequest(Wire):
    """A lease alone; the sandbox comes with the first cell."""

    owner: Owner
    ttl_s: Seconds = 60.0


class RenewRequest(Wire):
    fence: Fence
    ttl_s: Seconds = 60.0


class LeaseGrant(Wire):
    """`fence` goes with every request that drives the kernel. Times in seconds since the epoch."""

    fence: int
    lease_expires_at: float


class Allowance(Wire):
    """What a sandbox may use. Sizes in bytes."""

    memory: int
    pids: int
    cpus: float
    workspace: int
    tmp: int


class Claim(Wire):
    """`generation` counts the kernels that the conversation has had: another number than before, and variables are gone.
    `fresh`: no cell has run in this one yet. `previous`: what became of the last one that held variables; `note`: of a
    cell that ran while the executor was restarted. Times in seconds since the epoch; `idle_deadline` moves on with every
    cell."""

    sandbox_id: str
    generation: int
    fence: int
    state: KernelState
    lease_expires_at: float
    idle_deadline: float
    hard_deadline: float
    limits: Allowance
    fresh: bool
    previous: Previous | None
    note: str


class Interrupted(Wire):
    """What it took to stop the cell; `none` when none ran, or it had just ended by itself."""

    rung: Rung
    variables_kept: bool


class AuditEntry(Wire):
    """Something that was done to a sandbox or a lease. `id` only grows."""

    id: int
    at: float
    action: str
    conversation: str
    sandbox: str
    facts: dict[str, Any]
