"""What administrators are told about the running server; `orchestrator.schema` makes TypeScript types of it. Times are Unix
seconds, sizes bytes. `user_name` is empty for accounts that are gone."""

from __future__ import annotations

from typing import Any

from executor.wire import KernelState
from orchestrator.protocol.base import Id, Value


class LiveTurn(Value):
    conversation: Id
    turn: Id
    user: str
    user_name: str
    opened_at: float


class LiveSandbox(Value):
    """`user` is empty where the conversation is gone and its sandbox has not followed yet. `idle_s`: how long no cell has
    run."""

    conversation: Id
    user: str
    user_name: str
    state: KernelState
    idle_s: float
    memory_used: int | None
    disk: int | None


class LiveNow(Value):
    """`words` say why sandboxes are not known, where they are not."""

    turns: list[LiveTurn]
    sandboxes: list[LiveSandbox]
    words: str


class UsageLine(Value):
    """What one user has used in the time that was asked for; `disk_bytes` is now."""

    user: str
    user_name: str
    messages: int
    model_tokens: int
    cpu_seconds: float
    disk_bytes: int


class UsageDay(Value):
    """All users together on one day (`day`: its first second, UTC)."""

    day: float
    users: int
    messages: int
    model_tokens: int
    cpu_seconds: float


class UsageReport(Value):
    """`users`: those who used most tokens first. `days`: oldest first, those without use included. `counted`: whether this
    server counts at all."""

    counted: bool
    users: list[UsageLine]
    days: list[UsageDay]


class ModelInfo(Value):
    """`words` name cause and next step when it is not well."""

    name: str
    url: str
    profile: str
    ok: bool
    words: str


class ModelList(Value):
    models: list[ModelInfo]


class SettingInfo(Value):
    """A variable of the server's environment. `secret`: there is a value, which is not shown."""

    name: str
    value: str
    default: bool
    secret: bool


class SettingList(Value):
    settings: list[SettingInfo]


class AuditEntry(Value):
    """`actor` and `subject` are ids; `actor_name` is empty for accounts that are gone."""

    id: int
    at: float
    actor: str
    actor_name: str
    action: str
    subject: str
    details: dict[str, Any]


class AuditPage(Value):
    """Newest first; `more`: there are older ones, before the last of these."""

    entries: list[AuditEntry]
    more: bool


MODELS: tuple[type[Value], ...] = (LiveNow, UsageReport, ModelList, SettingList, AuditPage)
