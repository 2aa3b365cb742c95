"""The one long-lived websocket to a sandbox's kernel gateway, and the few REST calls beside it.

One reader task takes every frame as it comes, so the gateway never has to buffer and nothing waits for whoever reads a
run. Messages of the running cell go to it; output of earlier cells' threads is kept, bounded, for the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable
from typing import Any

import aiohttp

from executor import jupyter
from executor.cell import Cell, Ending
from executor.jupyter import Message
from executor.lifecycle import Step
from executor.outbox import Outbox
from executor.sandbox.base import Sandbox, SandboxUnavailable

MAX_FRAME = 64 * 1024**2
LATE_LIMIT = 64 * 1024  # bytes of threads' output kept between two cells
PAST = 1000  # cells whose threads are still listened to
SILENCE_S = 4.0  # without any sign of the gateway while a cell runs, pings included
PING_S = 1.0


class Channel:
    """One kernel. `fresh`: its namespace is empty. `lost`: gone for good, this object is of no more use. `tell`, set by
    the owner, hears of DIED (the kernel's process ended and is being replaced) and of GONE, once."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.fresh = True
        self.lost = False
        self.tell: Callable[[Step], None] = lambda step: None
        self._session_id = secrets.token_hex(8)
        self._http = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(path=sandbox.dial_path()),
            headers={"Authorization": f"token {sandbox.token}"},
            timeout=aiohttp.ClientTimeout(total=None),
        )
        self._kernel_id = ""
        self._ws: aiohttp.ClientWebSocketResponse | None = None
        self._reader: asyncio.Task[None] | None = None
        self._monitor: asyncio.TimerHandle | None = None
        self._cell: Cell | None = None
        self._waiting: dict[str, asyncio.Event] = {}  # requests other than cells: id → a reply or any message came
        self._count = 0
        self._answering = False  # the kernel has answered since it was last started
        self._seen = 0.0
        self._past: dict[str, None] = {}  # ids of the last cells, oldest first
        self._late: list[tuple[jupyter.Output, int]] = []
        self._late_size = 0
        self._late_dropped = 0

    # ---- life --------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect and wait until the kernel answers. Raises SandboxUnavailable."""
        try:
            self._kernel_id = await self._find_kernel()
            self._ws = await self._http.ws_connect(
                f"http://sandbox/api/kernels/{self._kernel_id}/channels?session_id={self._session_id}",
                protocols=[jupyter.V1],
                max_msg_size=MAX_FRAME,
                autoping=False,
            )
        except (aiohttp.ClientError, OSError, ValueError, KeyError, TypeError) as error:
            raise SandboxUnavailable(f"The sandbox's kernel gateway cannot be reached: {error}") from error
        if self._ws.protocol != jupyter.V1:
            raise SandboxUnavailable(f"The sandbox's kernel gateway does not speak {jupyter.V1}.")
        self._reader = asyncio.create_task(self._read(self._ws))
        await self.answering()

    async def close(self) -> None:
        if self._monitor is not None:
            self._monitor.cancel()
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait([self._reader])
        if self._ws is not None and not self._ws.closed:
            # No closing handshake: the gateway may be stopped, and is about to be killed anyway.
            with contextlib.suppress(OSError, aiohttp.ClientError):
                self._ws._response.close()
        await self._http.close()
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

    def execute(self, code: str, outbox: Outbox) -> Cell:
        """Send one cell; the one before must have ended."""
        id = self._new_id()
        cell = Cell(id, outbox, lambda: self._probe(cell))
        self._cell, self.fresh = cell, False
        self._past[id] = None
        if len(self._past) > PAST:
            del self._past[next(iter(self._past))]
        self._hand_over_late(outbox)
        cell.ended.add_done_callback(lambda _: self._done(cell))
        if self.lost:
            cell.end(Ending.LOST)
            return cell
        self._send(jupyter.request("execute_request", jupyter.execute_content(code), id, self._session_id))
        self._seen = time.monotonic()
        self._watch()
        return cell

    async def interrupt(self) -> None:
        """SIGINT to the kernel. A gateway that does not answer is no error here: the ladder climbs on."""
        if await self._post("interrupt", 1.0):
            # ipykernel's handler for code that awaits leaves the event loop asleep: any message wakes it.
            self._ask()

    async def restart(self, timeout_s: float) -> bool:
        """A new, empty kernel in the same sandbox; whether the gateway did it in time. It may not answer yet."""
        self._answering = False
        done = await self._post("restart", timeout_s)
        if done:
            self._died()  # the gateway tells too, perhaps before it answers
        return done

    # ---- what comes --------------------------------------------------------------------------------------------------

    async def _read(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        try:
            while True:
                frame = await ws.receive()
                self._seen = time.monotonic()
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
        elif message.kind == "status" and message.channel == "iopub" and not message.parent:
            self._on_notice(message.content.get("execution_state"))
        elif message.parent in self._waiting or f"{message.parent}:{message.channel}" in self._waiting:
            self._on_answer(message)
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

    def _on_answer(self, message: Message) -> None:
        event = self._waiting.get(f"{message.parent}:{message.channel}")
        if event is not None:
            event.set()

    def _on_late(self, message: Message) -> None:
        event = jupyter.output(message, late=True)
        if event is None:
            return
        size = jupyter.size_of(event, message)
        if (cell := self._running) is not None:
            cell.outbox.offer(event, size)
        elif self._late_size + size + 256 > LATE_LIMIT:
            self._late_dropped += size
        else:
            self._late.append((event, size))
            self._late_size += size + 256

    def _hand_over_late(self, outbox: Outbox) -> None:
        for event, size in self._late:
            outbox.offer(event, size)
        outbox.dropped += self._late_dropped
        self._late, self._late_size, self._late_dropped = [], 0, 0

    # ---- what goes ---------------------------------------------------------------------------------------------------

    def _send(self, frame: bytes) -> None:
        if self._ws is None or self._ws.closed:
            self.give_up()
            return
        _start(self._ws.send_bytes(frame))

    def _ask(self) -> tuple[asyncio.Event, asyncio.Event]:
        """Ask the kernel who it is; set when the reply comes on shell, and when anything of it is heard on iopub."""
        id = self._new_id()
        reply = self._waiting[f"{id}:shell"] = asyncio.Event()
        heard = self._waiting[f"{id}:iopub"] = asyncio.Event()
        self._send(jupyter.request("kernel_info_request", {}, id, self._session_id))
        return reply, heard

    def _probe(self, cell: Cell) -> None:
        """Ask on shell: the answer comes only when the cell has ended."""
        reply, _ = self._ask()
        asking = asyncio.ensure_future(reply.wait())
        cell.ended.add_done_callback(lambda _: asking.cancel())
        asking.add_done_callback(lambda task: None if task.cancelled() else cell.end(Ending.REPLIED))

    def _new_id(self) -> str:
        self._count += 1
        return f"{self._session_id}-{secrets.token_hex(6)}-{self._count}"

    async def _find_kernel(self) -> str:
        async with self._http.get("http://sandbox/api/kernels") as answer:
            answer.raise_for_status()
            return str((await answer.json())[0]["id"])

    async def _post(self, verb: str, timeout_s: float) -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                url = f"http://sandbox/api/kernels/{self._kernel_id}/{verb}"
                async with self._http.post(url) as answer:
                    return answer.ok
        except (aiohttp.ClientError, OSError, TimeoutError, RuntimeError):  # RuntimeError: closed meanwhile
            return False

    # ---- the end -----------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """While a cell runs: ping, and give the gateway up when nothing at all comes back."""
        if self._cell is None or self._ws is None:
            return
        silent = time.monotonic() - self._seen
        if silent > SILENCE_S:
            self.give_up()
            return
        if silent > PING_S / 2 and not self._ws.closed:
            _start(self._ws.ping())
        self._monitor = asyncio.get_running_loop().call_later(PING_S, self._watch)

    def _done(self, cell: Cell) -> None:
        if self._cell is cell:
            self._cell = None
        if self._monitor is not None:
            self._monitor.cancel()

    def _died(self) -> None:
        self.fresh, self._answering = True, False
        self.tell(Step.DIED)
        if self._cell is not None:
            self._cell.end(Ending.DIED)

    def give_up(self) -> None:
        """The sandbox is gone, or as good as gone: end what runs. Idempotent."""
        if self.lost:
            return
        self.lost = True
        self.tell(Step.GONE)
        if self._cell is not None:
            self._cell.end(Ending.LOST)


async def _any_wait(timeout_s: float, *events: asyncio.Event) -> None:
    """Until all events are set, at most `timeout_s`."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            for event in events:
                await event.wait()


_sending: set[asyncio.Task[None]] = set()


def _start(work: Any) -> None:
    """Run a send to its end without waiting for it; a broken connection shows in the reader."""
    task = asyncio.ensure_future(_quietly(work))
    _sending.add(task)
    task.add_done_callback(_sending.discard)


async def _quietly(work: Any) -> None:
    with contextlib.suppress(OSError, aiohttp.ClientError):
        await work
