"""The one long-lived websocket to a kernel: cells go out, messages come in, and its health is watched.

One reader task takes every frame as it comes, so the gateway never has to buffer and nothing waits for whoever reads a
run. Messages of the running cell go to it; output of earlier cells' threads is kept, bounded, for the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import aiohttp

from executor import jupyter
from executor.asking import Asking
from executor.cell import Cell, Ending
from executor.gateway import Gateway
from executor.jupyter import Message
from executor.lifecycle import Step
from executor.outbox import Late, Outbox
from executor.outgoing import Outgoing
from executor.questions import Questions
from executor.sandbox.base import Sandbox, SandboxUnavailable

LATE_LIMIT = 64 * 1024  # bytes of threads' output kept between two cells
PAST = 1000  # cells whose threads are still listened to
PING_S = 1.0
SILENT_PINGS = 4  # pauses between pings without any sign of the gateway, after which it is given up
INTERRUPT_S = 1.0  # for the gateway to send a signal


class Heard(asyncio.Event):
    """Set when an answer has come; what it was."""

    message: Message | None = None


class Channel:
    """One kernel. `fresh`: its namespace is empty. `lost`: gone for good, this object is of no more use. `tell`, set by
    the owner, hears of DIED (the kernel's process ended and is being replaced) and of GONE, once."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.fresh = True
        self.lost = False
        self.tell: Callable[[Step], None] = lambda step: None
        self._gateway = Gateway(sandbox)
        self._out = Outgoing(self.give_up)
        self._reader: asyncio.Task[None] | None = None
        self._monitor: asyncio.TimerHandle | None = None
        self._cell: Cell | None = None
        self.asking = Asking(lambda kind, content: self._out.send(kind, content, "control"))
        self._waiting: dict[tuple[str, str], Heard] = {}  # (id of a request that is no cell, channel) → heard
        self._answering = False  # the kernel has answered since it was last started
        self._quiet = 0  # pauses that have passed without a sign; counted, for a clock would also count our own delays
        self._past: dict[str, None] = {}  # ids of the last cells, oldest first
        self._late = Late(LATE_LIMIT)

    # ---- life --------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect and wait until the kernel answers. Raises SandboxUnavailable."""
        await self.connect()
        await self.answering()

    async def connect(self) -> None:
        """Raises SandboxUnavailable."""
        ws = await self._gateway.connect(self._out.session_id)
        self._out.connect(ws)
        self._reader = asyncio.create_task(self._read(ws))

    async def close(self) -> None:
        if self._monitor is not None:
            self._monitor.cancel()
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait([self._reader])
        await self._gateway.close()
        self.give_up()

    @property
    def usable(self) -> bool:
        """Whether a cell can be handed over right now."""
        return self._answering and not self.lost

    async def answering(self) -> None:
        """Waits until the kernel answers on shell and is heard on iopub: asked again and again, because a subscription that
        is still being made loses messages. Returns at once when it is known to."""
        pause = 0.05
        while not self._answering:
            if self.lost:
                raise SandboxUnavailable("The sandbox ended while Python was starting.")
            reply, heard = self._ask()
            await _any_wait(pause, reply, heard)
            self._answering = reply.is_set() and heard.is_set()
            pause = min(pause * 2, 1.0)
        self._waiting.clear()
        if self.lost:
            raise SandboxUnavailable("The sandbox ended while Python was starting.")

    # ---- cells -------------------------------------------------------------------------------------------------------

    def execute(self, code: str, outbox: Outbox, questions: Questions | None = None) -> Cell:
        """Send one cell; the one before must have ended. It may ask for input where there are `questions` to be told."""
        id = self._out.new_id()
        cell = Cell(id, outbox, lambda: self._probe(cell), questions)
        self._cell, self.fresh = cell, False
        self._past[id] = None
        if len(self._past) > PAST:
            del self._past[next(iter(self._past))]
        self._late.hand_over(outbox)
        cell.ended.add_done_callback(lambda _: self._done(cell))
        if self.lost:
            cell.end(Ending.LOST)
            return cell
        if questions is not None:
            questions.begin(lambda request, content: self._out.send("input_reply", content, "stdin", request))
        self._out.send("execute_request", jupyter.execute_content(code, allow_stdin=questions is not None), id=id)
        self._quiet = 0
        self._watch()
        return cell

    async def quietly(self, code: str, timeout_s: float) -> dict[str, Any]:
        """Run code of our own while no cell runs: nothing of it is shown, counted or remembered. What the kernel replied.
        Raises SandboxUnavailable when it does not end in time."""
        id = self._out.new_id()
        done = self._waiting[id, "shell"] = Heard()
        content = jupyter.execute_content(code) | {"silent": True, "store_history": False}
        self._out.send("execute_request", content, id=id)
        latest = asyncio.get_running_loop().time() + timeout_s
        while not done.is_set():
            if self.lost or asyncio.get_running_loop().time() > latest:
                self._waiting.pop((id, "shell"), None)
                raise SandboxUnavailable("The sandbox's Python did not get ready.")
            await _any_wait(1.0, done)
        return done.message.content if done.message is not None else {}

    async def responds(self, timeout_s: float) -> bool:
        """Whether the kernel answers now. A kernel that runs a cell does not."""
        reply, _ = self._ask()
        await _any_wait(timeout_s, reply)
        return reply.is_set()

    async def interrupt(self) -> None:
        """SIGINT to the kernel. A gateway that does not answer is no error here: the ladder climbs on."""
        if await self._gateway.post("interrupt", INTERRUPT_S):
            # ipykernel's handler for code that awaits leaves the event loop asleep: any message wakes it.
            self._ask()

    async def restart(self, timeout_s: float) -> bool:
        """A new, empty kernel in the same sandbox; whether the gateway did it in time. It may not answer yet."""
        self._answering = False
        done = await self._gateway.post("restart", timeout_s)
        if done:
            self._died()  # the gateway tells too, perhaps before it answers
        return done

    # ---- what comes --------------------------------------------------------------------------------------------------

    async def _read(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        try:
            while True:
                frame = await ws.receive()
                self._quiet = 0
                if frame.type in (aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT):
                    message = jupyter.decode(frame.data)
                    if message is not None:
                        self._on_message(message)
                elif frame.type is aiohttp.WSMsgType.PING:
                    await ws.pong(frame.data)
                elif frame.type is not aiohttp.WSMsgType.PONG:
                    return
        except (aiohttp.ClientError, OSError):
            return
        finally:
            self.give_up()

    def _on_message(self, message: Message) -> None:
        cell = self._running
        if cell is not None and message.parent == cell.id:
            cell.feed(message)
        elif message.channel == "control":
            self.asking.heard(message)
        elif message.kind == "status" and message.channel == "iopub" and not message.parent:
            self._on_notice(message.content.get("execution_state"))
        elif (answered := self._waiting.pop((message.parent, message.channel), None)) is not None:
            answered.message = message
            answered.set()
        elif message.channel == "iopub" and message.parent in self._past:
            self._on_late(message)

    @property
    def _running(self) -> Cell | None:
        return self._cell if self._cell is not None and not self._cell.ended.done() else None

    def _on_notice(self, state: object) -> None:
        """The gateway speaks of the kernel's process."""
        if state == "dead":
            self._died()
            self.give_up()
        elif state in ("restarting", "autorestarting"):
            self._died()

    def _on_late(self, message: Message) -> None:
        event = jupyter.output(message, late=True)
        if event is None:
            return
        size = jupyter.size_of(event, message)
        if (cell := self._running) is not None:
            cell.outbox.offer(event, size)
        else:
            self._late.keep(event, size)

    # ---- what goes ---------------------------------------------------------------------------------------------------

    def _ask(self) -> tuple[asyncio.Event, asyncio.Event]:
        """Ask the kernel who it is; set when the reply comes on shell, and when anything of it is heard on iopub."""
        id = self._out.new_id()
        reply = self._waiting[id, "shell"] = Heard()
        heard = self._waiting[id, "iopub"] = Heard()
        self._out.send("kernel_info_request", {}, id=id)
        return reply, heard

    def _probe(self, cell: Cell) -> None:
        """Ask on shell: the answer comes only when the cell has ended."""
        reply, _ = self._ask()
        asking = asyncio.ensure_future(reply.wait())
        cell.ended.add_done_callback(lambda _: asking.cancel())
        asking.add_done_callback(lambda task: None if task.cancelled() else cell.end(Ending.REPLIED))

    # ---- the end -----------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """While a cell runs: ping, and give the gateway up when nothing at all comes back."""
        if self._cell is None:
            return
        if self._quiet >= SILENT_PINGS:
            self.give_up()
            return
        if self._quiet:
            self._out.ping()
        self._quiet += 1
        self._monitor = asyncio.get_running_loop().call_later(PING_S, self._watch)

    def _done(self, cell: Cell) -> None:
        if self._cell is cell:
            self._cell = None
        if self._monitor is not None:
            self._monitor.cancel()

    def _died(self) -> None:
        self.fresh, self._answering = True, False
        self.asking.forget()
        self.tell(Step.DIED)
        if self._cell is not None:
            self._cell.end(Ending.DIED)

    def give_up(self) -> None:
        """The sandbox is gone, or as good as gone: end what runs. Idempotent."""
        if self.lost:
            return
        self.lost = True
        self.asking.forget()
        self.tell(Step.GONE)
        if self._cell is not None:
            self._cell.end(Ending.LOST)


async def _any_wait(timeout_s: float, *events: asyncio.Event) -> None:
    """Until all events are set, at most `timeout_s`."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            for event in events:
                await event.wait()
