"""What can be asked about a conversation beside running cells: its variables, names for an editor, what its sandbox uses.

Nothing here starts a sandbox, waits for one, or keeps one from being removed when it is idle; every answer comes within its
deadline, and says so when it is none.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from executor import answers
from executor.channel import Channel
from executor.live import Live
from executor.manager import Manager
from executor.sandbox.base import Usage
from executor.slot import Slot
from executor.wire import KernelState
from executor.wire_services import Answer, Completions, Inspection, SandboxUse, Variables

VARIABLES_S = 2.0
EDITOR_S = 1.0
BEFORE, AFTER = 8000, 400  # characters of code around the cursor that the kernel is shown
EACH_S = 1.0
LISTENERS = 4  # of one sandbox's use
ALL_LISTENERS = 64


class TooManyListeners(Exception):
    """So many listen to the use of sandboxes already that one more is refused."""


class Services:
    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self._listeners: dict[str, int] = {}

    # ---- the kernel --------------------------------------------------------------------------------------------------

    async def variables(self, conversation: str) -> Variables:
        """All who ask at the same time get the same answer."""
        channel = self._channel(conversation)
        if isinstance(channel, Answer):
            return Variables(state=channel)
        found = await channel.asking.together("variables_request", {}, VARIABLES_S)
        return Variables(state=found) if isinstance(found, Answer) else answers.variables(found)

    async def complete(self, conversation: str, code: str, cursor: int) -> Completions:
        """Only the newest of several at the same time is answered; the others end at once, as replaced."""
        channel = self._channel(conversation)
        if isinstance(channel, Answer):
            return Completions(state=channel)
        window, at, shift = _around(code, cursor)
        content = {"code": window, "cursor_pos": at}
        found = await channel.asking.alone("complete_request", content, EDITOR_S)
        return Completions(state=found) if isinstance(found, Answer) else answers.completions(found, len(window), shift)

    async def inspect(self, conversation: str, code: str, cursor: int, detail: int) -> Inspection:
        """As `complete`."""
        channel = self._channel(conversation)
        if isinstance(channel, Answer):
            return Inspection(state=channel)
        window, at, _ = _around(code, cursor)
        content = {"code": window, "cursor_pos": at, "detail_level": detail}
        found = await channel.asking.alone("inspect_request", content, EDITOR_S)
        return Inspection(state=found) if isinstance(found, Answer) else answers.inspection(found)

    def _channel(self, conversation: str) -> Channel | Answer:
        slot = self._manager.slot_of(conversation)
        if slot is None or slot.forgettable:
            return Answer.NONE
        return slot.channel or Answer.STARTING

    # ---- the sandbox -------------------------------------------------------------------------------------------------

    async def use(self, conversation: str) -> AsyncGenerator[SandboxUse, None]:
        """What the sandbox that is there now uses, again and again until it ends; the last value says that it has, and is
        missing where this executor ends first. Raises TooManyListeners before the first value."""
        slot = self._manager.slot_of(conversation)
        live = slot.live if slot is not None else None
        if self._listeners.get(conversation, 0) >= LISTENERS or sum(self._listeners.values()) >= ALL_LISTENERS:
            raise TooManyListeners
        self._listeners[conversation] = self._listeners.get(conversation, 0) + 1
        try:
            if slot is not None and live is not None:
                async for now in self._watched(slot, live):
                    yield now
            if slot is None or slot.live is not live or not self._manager.draining:
                yield SandboxUse(state=KernelState.NONE)
        finally:
            self._listeners[conversation] -= 1
            if not self._listeners[conversation]:
                del self._listeners[conversation]

    async def _watched(self, slot: Slot, live: Live) -> AsyncGenerator[SandboxUse, None]:
        loop = asyncio.get_running_loop()
        before: tuple[float, float] | None = None
        while slot.live is live and live.sandbox.alive() and not self._manager.draining:
            now, usage = loop.time(), live.sandbox.usage()
            cpu = None
            if usage.cpu_s is not None:
                if before is not None and now > before[0]:
                    cpu = max(0.0, usage.cpu_s - before[1]) / (now - before[0])
                before = now, usage.cpu_s
            yield _use(slot, usage, cpu)
            await asyncio.sleep(EACH_S)


def _use(slot: Slot, usage: Usage, cpu: float | None) -> SandboxUse:
    limits = slot.limits
    return SandboxUse(
        state=slot.state,
        cpu=None if cpu is None else round(cpu, 3),
        cpu_limit=limits.cpus,
        memory=usage.memory,
        memory_limit=limits.memory,
        pids=usage.pids,
        pids_limit=limits.pids,
        disk=usage.workspace,
        disk_limit=limits.workspace,
    )


def _around(code: str, cursor: int) -> tuple[str, int, int]:
    """The code around the cursor, the cursor's place in it, and how many characters were left out before it."""
    cursor = min(cursor, len(code))
    shift = max(0, cursor - BEFORE)
    window = code[shift : cursor + AFTER].encode("utf-8", "replace").decode()
    return window, cursor - shift, shift
