"""Real sandboxes for tests: a manager, and what its runs put out, gathered."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from executor.local import make_manager
from executor.manager import Manager
from executor.settings import Settings
from executor.wire import Closed, Display, KernelEvent, Outcome, Raised, Started, Stream


@dataclass
class Ran:
    """One cell's events. `took`: seconds from asking to the Closed."""

    events: list[KernelEvent] = field(default_factory=list)
    took: float = 0.0

    @property
    def closed(self) -> Closed:
        (closed,) = [event for event in self.events if isinstance(event, Closed)]
        assert self.events[-1] is closed
        return closed

    @property
    def outcome(self) -> Outcome:
        return self.closed.outcome

    @property
    def started(self) -> Started:
        (started,) = [event for event in self.events if isinstance(event, Started)]
        return started

    @property
    def fresh(self) -> bool:
        return self.started.fresh

    @property
    def began(self) -> bool:
        return any(isinstance(event, Started) for event in self.events)

    def text(self, name: str = "stdout", late: bool | None = None) -> str:
        streams = [event for event in self.events if isinstance(event, Stream) and event.name == name]
        return "".join(event.text for event in streams if late is None or event.late is late)

    @property
    def displays(self) -> list[Display]:
        return [event for event in self.events if isinstance(event, Display)]

    @property
    def raised(self) -> Raised:
        (raised,) = [event for event in self.events if isinstance(event, Raised)]
        return raised


async def gather(events: AsyncGenerator[KernelEvent, None], on: Any = None) -> Ran:
    """Read a run to its end; `on(event)` is awaited for each event."""
    ran, began = Ran(), time.monotonic()
    async with aclosing(events):
        async for event in events:
            ran.events.append(event)
            if on is not None:
                await on(event)
    ran.took = time.monotonic() - began
    return ran


class Chat:
    """One conversation of a manager."""

    count = 0

    def __init__(self, manager: Manager, id: str = "") -> None:
        Chat.count += 1
        self.manager = manager
        self.id = id or f"chat-{Chat.count}"

    async def run(self, code: str, timeout_s: float = 60.0, on: Any = None) -> Ran:
        return await gather(self.manager.run(self.id, "cell", code, timeout_s), on)

    @property
    def workspace(self) -> Path:
        return self.manager._workspaces / self.id

    @property
    def sandbox(self) -> Any:
        live = self.manager._slots[self.id]._live
        assert live is not None
        return live.sandbox


@asynccontextmanager
async def managing(data_dir: Path, **settings: Any) -> AsyncGenerator[Manager, None]:
    """No sandbox is made ahead unless `warm` says so."""
    manager = make_manager(data_dir, Settings(_env_file=None, **{"warm": 0, **settings}))
    try:
        yield manager
    finally:
        await manager.close()
