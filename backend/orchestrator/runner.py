"""Drives one turn: does what `pending` asks of the world, records what `decide` says of it. The only place that waits.

    while effect := pending(turn):
        perform it; for each signal: turn, events = advance(turn, signal); record(events)

Stop is one mechanism for the user, the time limit and shutdown: the model request is aborted by closing its stream, a
running cell is interrupted and read to its end, because only the executor knows whether variables survived.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, assert_never

from executor import wire
from orchestrator.agent import turn as t
from orchestrator.agent.actions import CodeClosed, CodeOpened, CodeText, Decoder, Fabricated, Piece, Prose
from orchestrator.agent.outputs import Collector, merge
from orchestrator.agent.profiles import Profile
from orchestrator.agent.prompt import Transcript
from orchestrator.errors import KernelTaken, KernelUnavailable
from orchestrator.journal import Journal
from orchestrator.observability.turns import TurnObserver
from orchestrator.ports import Checkpoint, Failed, Finished, Kernel, Model, ModelRequest, ModelSignal, Spent, Text, ToolCall
from orchestrator.protocol import events as ev
from orchestrator.protocol.events import CellPhase
from orchestrator.protocol.outputs import OutputOp

log = logging.getLogger(__name__)

OUTPUT_WINDOW_S = 0.025
"""Outputs of a cell are told at most this often: below what an eye can tell, and 40 frames a second at most."""
CHARS_PER_TOKEN = 4
"""For servers that do not count: an estimate, used for the turn's token limit only."""

PATIENCE_S = 0.5
"""What need not stand in the first word's way waits no longer than this for it."""
VARIED = 0.7
"""Temperature once a model repeats itself: greedy decoding never leaves such a loop by itself."""

NOT_RUN = "The turn was stopped before this code ran."
CLAIMS = 3
"""So often a kernel that another server has claimed meanwhile is claimed again for one cell."""
TAKEN = "The code did not run: other servers kept claiming this conversation's sandbox. Run it again."


@dataclass(frozen=True, slots=True)
class World:
    """What a runner needs around it. `clock` gives Unix seconds."""

    model: Model
    kernel: Kernel
    clock: Callable[[], float]
    temperature: float


class Runner:
    """One open turn. `drive` runs it to its end; `stop` may be called at any time, from any task."""

    def __init__(self, conversation: str, turn: t.Turn, profile: Profile, transcript: Transcript, journal: Journal,
                 world: World, begun: Callable[[], None]) -> None:  # fmt: skip
        """`begun` is called when the first word of the turn has come: what need not stand in its way."""
        self.conversation = conversation
        self.turn = turn
        self._profile = profile
        self._transcript = transcript
        self._journal = journal
        self._world = world
        self._asking: asyncio.Timeout | None = None  # the scope that a stop cuts short while the model is asked
        self._running = False  # a cell is with the kernel
        self._collector = Collector()
        self._ops: list[OutputOp] = []
        self._flush: asyncio.TimerHandle | None = None
        self._flushed_at = 0.0
        self._unsaved = False
        self._begun = begun
        self._said = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._claiming: Awaitable[None] | None = None
        self._observer = TurnObserver(conversation, turn.id)

    async def drive(self) -> None:
        """Until the turn is closed. Raises what the store raises; everything else ends in the turn's events."""
        loop = asyncio.get_running_loop()
        limit = loop.call_later(self.turn.limits.seconds, lambda: self._spawn(self.stop("time")))
        patience = loop.call_later(PATIENCE_S, self._first_word)
        self._observer.begin()
        try:
            while effect := t.pending(self.turn):
                with self._observer.doing(effect):
                    if isinstance(effect, t.AskModel):
                        await self._ask(effect)
                    else:
                        await self._run(effect)
            await self._journal.settled()
        finally:
            self._observer.end()
            limit.cancel()
            patience.cancel()
            self._cancel_flush()
            for task in list(self._tasks):
                task.cancel()

    async def stop(self, why: t.Why) -> None:
        """Heard at once; the turn closes when what it was doing has ended. A closed or stopping turn stays as it is."""
        if self.turn.stopping or isinstance(self.turn.phase, t.Closed):
            return
        await self._signal(t.StopHeard(why))
        if self._asking is not None:
            self._asking.reschedule(asyncio.get_running_loop().time())
        if self._running:
            await self._world.kernel.interrupt(self.conversation)

    async def _signal(self, signal: t.Signal) -> None:
        self.turn, events = t.advance(self.turn, signal, self._world.clock())
        if events:
            self._unsaved = True
            self._observer.saw(events)
            await self._journal.record(events)

    # ---- the model -----------------------------------------------------------------------------------------------

    async def _ask(self, effect: t.AskModel) -> None:
        if self.turn.stopping:
            return await self._signal(t.ModelStopped(0))
        self._collector = Collector()
        decoder, unread = self._profile.decoder(), self._transcript.unread()
        try:
            async with asyncio.timeout(None) as self._asking:
                end = await self._listen(effect, decoder)
        except TimeoutError:  # only a stop reschedules the scope; adapters turn their own timeouts into Failed
            await self._pieces(decoder.flush(None))
            end = t.ModelStopped(self._estimate())
        finally:
            self._asking = None
        self._journal.spend(Spent(self._world.clock(), tokens=self._tokens(end, unread)))
        if self._claiming is not None:  # before the cell is stored, see Kernel.claim
            claiming, self._claiming = self._claiming, None
            await claiming
        await self._signal(end)
        return None

    async def _listen(self, effect: t.AskModel, decoder: Decoder) -> t.Signal:
        """Read the model's message to its end, or to the end of its code action; how it ended."""
        asked = asyncio.create_task(self._signal(t.Asked()))  # told after the request has gone out
        try:
            async with aclosing(self._world.model.stream(self._request(effect))) as signals:
                return await self._hear(signals, asked, decoder)
        finally:
            await asked

    async def _hear(self, signals: AsyncIterable[ModelSignal], asked: Awaitable[None], decoder: Decoder) -> t.Signal:
        async for signal in signals:
            await asked
            self._first_word()
            match signal:
                case Text() | ToolCall():
                    await self._pieces(decoder.feed(signal))
                    if decoder.done:
                        return self._ended(decoder, cut=False, usage=None)
                case Finished(reason=reason, usage=usage):
                    await asyncio.sleep(0)  # the last words leave before anything is made of their end
                    await self._pieces(decoder.flush(reason))
                    return self._ended(decoder, cut=reason == "length", usage=usage)
                case Failed(words=words):
                    await self._pieces(decoder.flush(None))
                    return t.ModelFailed(words)
        return t.ModelFailed("The model server's answer broke off without an end. Continue to ask it again.")

    def _request(self, effect: t.AskModel) -> ModelRequest:
        return ModelRequest(
            messages=self._transcript.messages(),
            stop=self._profile.stop,
            max_tokens=max(1, effect.max_tokens),
            temperature=max(self._world.temperature, VARIED) if effect.vary else self._world.temperature,
            tools=self._profile.tools,
        )

    def _first_word(self) -> None:
        if not self._said:
            self._said = True
            self._begun()

    def _ended(self, decoder: Decoder, *, cut: bool, usage: ev.Usage | None) -> t.ModelEnded:
        counted = usage.completion_tokens if usage is not None else None
        tokens = self._estimate() if counted is None else counted
        return t.ModelEnded(cut=cut, usage=usage, tokens=tokens, error=decoder.error)

    def _tokens(self, end: t.Signal, unread: int) -> int:
        """What a request has cost: what the model wrote, and read for the first time; as its server counted, or else by
        size. A server that fails before the first word is not paid."""
        match end:
            case t.ModelEnded(usage=usage, tokens=written):
                if usage is not None and usage.prompt_tokens is not None and usage.cached_tokens is not None:
                    unread = max(0, usage.prompt_tokens - usage.cached_tokens)
                return written + unread
            case t.ModelStopped(tokens=written):
                return written + unread
            case _:
                written = self._estimate()
                return written + unread if written else 0

    def _estimate(self) -> int:
        phase = self.turn.phase
        chars = len(phase.prose) + len(phase.code) if isinstance(phase, t.Asking) else 0
        return -(-chars // CHARS_PER_TOKEN)

    async def _pieces(self, pieces: Sequence[Piece]) -> None:
        for piece in pieces:
            match piece:
                case Prose(text=text):
                    await self._signal(t.Wrote(text))
                case CodeOpened(opening=opening):
                    self._claiming = self._world.kernel.claim(self.conversation)
                    await self._signal(t.OpenedCode(opening))
                case CodeText(text=text):
                    await self._signal(t.WroteCode(text))
                case CodeClosed(closing=closing):
                    await self._signal(t.ClosedCode(closing))
                case Fabricated():
                    await self._signal(t.WroteObservation())

    # ---- the kernel ----------------------------------------------------------------------------------------------

    async def _run(self, effect: t.RunCode) -> None:
        self._collector, self._ops = Collector(), []
        closed = _not_run()
        await self._journal.settled()  # the code is stored before it runs
        if not self.turn.stopping:
            closed = await self._watch(effect)
        self._cancel_flush()
        cpu_ms = round((closed.cpu_s or 0.0) * 1000)
        self._journal.spend(Spent(self._world.clock(), cpu_ms=cpu_ms, disk=closed.disk))
        self._ops += self._collector.finish(closed.dropped_bytes)
        await self._tell_outputs()
        await self._signal(t.CellEnded(closed, tuple(self._collector.outputs)))
        self._spawn(self._tell_kernel())

    async def _watch(self, effect: t.RunCode) -> wire.Closed:
        """Hand the code over and follow it to its end; again when another server has claimed the kernel, nothing has run,
        and the turn is ours all the same. Raises Conflict when it is not."""
        for _ in range(CLAIMS):
            try:
                return await self._hand_over(effect)
            except KernelTaken:
                if claiming := self._world.kernel.claim(self.conversation):
                    await claiming
                await self._journal.check_ours()
        return _unrun(TAKEN)

    async def _hand_over(self, effect: t.RunCode) -> wire.Closed:
        run = self._world.kernel.run(self.conversation, effect.cell, effect.code, effect.timeout_s)
        self._running = True
        try:
            async with aclosing(run) as events:
                async for event in events:
                    if isinstance(event, wire.Closed):
                        return event
                    await self._cell_event(event)
        finally:
            self._running = False
        return _broken_off()

    async def _cell_event(self, event: wire.KernelEvent) -> None:
        match event:
            case wire.Starting(phase=words):
                await self._signal(t.CellMoved(CellPhase.STARTING, words=words))
            case wire.Started(fresh=fresh, lost=lost):
                await self._signal(t.CellMoved(CellPhase.RUNNING, fresh=fresh, lost=lost))
            case wire.Stream() | wire.Display() | wire.Clear() | wire.Raised():
                self._ops += self._collector.feed(event)
                await self._tell_outputs_soon()
            case wire.Asked() | wire.Closed():
                """No question comes, because none is allowed (`allow_stdin`); the end is `_watch`'s."""
            case _:
                assert_never(event)

    async def _tell_outputs_soon(self) -> None:
        """At once when the last time is long enough ago, else when it will be."""
        if self._flush is not None or not self._ops:
            return
        loop = asyncio.get_running_loop()
        due = self._flushed_at + OUTPUT_WINDOW_S
        if loop.time() >= due:
            await self._tell_outputs()
        else:
            self._flush = loop.call_at(due, lambda: self._spawn(self._tell_outputs()))

    async def _tell_outputs(self) -> None:
        self._cancel_flush()
        self._flushed_at = asyncio.get_running_loop().time()
        ops, self._ops = merge(self._ops), []
        if ops:
            await self._signal(t.CellPrinted(tuple(ops)))

    def _cancel_flush(self) -> None:
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None

    async def _tell_kernel(self) -> None:
        try:
            status = await self._world.kernel.status(self.conversation)
        except KernelUnavailable as error:  # the cell has said what there is to say
            log.warning("the kernel's state of conversation %s is not known: %s", self.conversation, error)
            return
        changed = ev.KernelChanged(
            state=status.state, words="", memory_used=status.memory_used, memory_limit=status.memory_limit
        )
        await self._journal.record([changed])

    # ---- what a killed server would lose -----------------------------------------------------------------------------

    async def checkpoint(self) -> Checkpoint | None:
        """How far the turn has got, when that has changed since the last one."""
        if not self._unsaved:
            return None
        self._unsaved = False
        await self._tell_outputs()  # so that outputs, `n` and cursor agree
        await self._journal.settled()
        live = self.live()
        return Checkpoint(self.conversation, self.turn.id, self._journal.cursor, live) if live else None

    def live(self) -> ev.Live | None:
        """What a reader who joins now must know beyond the durable events."""
        stopping = self.turn.stopping is not None
        match self.turn.phase:
            case t.Asking(step=step, prose=prose, opening=opening, code=code):
                wrote = opening is not None
                return ev.Live(
                    turn=self.turn.id, step=step, prose=prose, code=code if wrote else None,
                    cell=t.cell_id(self.turn.id, step) if wrote else None, phase=None, outputs=[], n=0,
                    stopping=stopping,
                )  # fmt: skip
            case t.Running(step=step, cell=cell, phase=phase, words=words, n=n):
                return ev.Live(
                    turn=self.turn.id, step=step, prose="", code=None, cell=cell, phase=phase, words=words,
                    outputs=list(self._collector.outputs), n=n, stopping=stopping,
                )  # fmt: skip
            case _:
                return None

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _not_run() -> wire.Closed:
    return wire.Closed(
        outcome=wire.Outcome.INTERRUPTED, execution_count=None, duration_s=0.0, variables_kept=True, files_kept=True,
        words=NOT_RUN,
    )  # fmt: skip


def _unrun(words: str) -> wire.Closed:
    return wire.Closed(
        outcome=wire.Outcome.UNAVAILABLE, execution_count=None, duration_s=0.0, variables_kept=True, files_kept=True,
        words=words, ran=False,
    )  # fmt: skip


def _broken_off() -> wire.Closed:
    return wire.Closed(
        outcome=wire.Outcome.SANDBOX_LOST, execution_count=None, duration_s=0.0, variables_kept=False, files_kept=True,
        words="The connection to the sandbox was lost while the cell ran. Its variables are gone; files are kept.",
    )  # fmt: skip
