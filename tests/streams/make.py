"""Writes the golden streams beside this file: `python -m tests.streams.make`. See README.md."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

from executor import wire
from orchestrator.agent.outputs import Collector
from orchestrator.protocol import events as ev
from orchestrator.protocol.base import Value
from orchestrator.protocol.events import CellOutcome, CellPhase, StepFinish, TurnOutcome
from orchestrator.protocol.fold import fold, live_of

HERE = Path(__file__).parent
STARTED = 1_750_000_000.0


class Story:
    """One conversation, told event by event, with every number that has to be counted."""

    def __init__(self) -> None:
        self.events: list[ev.Event] = []
        self._seq = 0
        self._turn = ""
        self._turns = 0
        self._step = 0
        self._cell = ""
        self._at = STARTED
        self._prose = ""
        self._code: str | None = None
        self._collector = Collector()
        self._n = 0

    # ---- turns

    def ask(self, text: str, via: ev.Via = ev.Via.BROWSER) -> None:
        self._turns += 1
        self._turn, self._step = f"turn-{self._turns}", 0
        self._tell(ev.TurnOpened(seq=self._next(), turn=self._turn, at=self._now(), text=text, via=via))

    def end(self, outcome: TurnOutcome, words: str = "") -> None:
        self._tell(ev.TurnClosed(seq=self._next(), turn=self._turn, at=self._now(), outcome=outcome, words=words))

    def stop(self) -> None:
        self._tell(ev.TurnStopping(turn=self._turn))

    def kernel(self, state: wire.KernelState, words: str = "", used: int | None = None) -> None:
        limit = None if used is None else 2 * 2**30
        self._tell(ev.KernelChanged(state=state, words=words, memory_used=used, memory_limit=limit))

    # ---- steps

    def write(self, *texts: str) -> None:
        """The model writes prose."""
        self._begin()
        for text in texts:
            self._tell(ev.TextDelta(turn=self._turn, step=self._step, offset=len(self._prose), text=text))
            self._prose += text

    def code(self, *texts: str) -> None:
        """The model writes code."""
        self._begin()
        self._cell = f"{self._turn}-{self._step}"
        for text in ("", *texts):
            known = self._code or ""
            delta = ev.CodeDelta(turn=self._turn, step=self._step, cell=self._cell, offset=len(known), text=text)
            self._tell(delta)
            self._code = known + text

    def close(self, finish: StepFinish, error: str = "", prose: str | None = None, closing: str = "\n```") -> None:
        """The step is over. `prose`: what was stored, where it is not all that was told."""
        code = None
        if self._code is not None:
            done = closing if finish is StepFinish.CODE else ""
            code = ev.WrittenCode(cell=self._cell, code=self._code, opening="```python\n", closing=done)
        usage = (
            ev.Usage(prompt_tokens=300, completion_tokens=20, cached_tokens=None) if finish is StepFinish.ANSWER else None
        )
        stored = self._prose if prose is None else prose
        self._tell(
            ev.StepClosed(
                seq=self._next(), turn=self._turn, step=self._step, prose=stored, code=code, finish=finish, error=error,
                usage=usage,
            )
        )  # fmt: skip
        self._step += 1
        self._prose, self._code = "", None

    # ---- cells

    def open(self, *phases: tuple[CellPhase, str]) -> None:
        """The code of the last step is handed over."""
        self._collector, self._n = Collector(text_limit=2_000), 0
        at = self._now()
        self._tell(ev.CellOpened(seq=self._next(), turn=self._turn, cell=self._cell, step=self._step - 1, at=at))
        for phase, words in phases or ((CellPhase.RUNNING, ""),):
            self._tell(ev.CellProgress(turn=self._turn, cell=self._cell, phase=phase, words=words))

    def out(self, *outputs: wire.Stream | wire.Display | wire.Clear | wire.Raised) -> None:
        """The kernel puts something out; all of it in one event."""
        ops = [op for output in outputs for op in self._collector.feed(output)]
        self._tell(ev.CellOutput(turn=self._turn, cell=self._cell, n=self._n, ops=ops))
        self._n += 1

    def done(
        self, outcome: CellOutcome = CellOutcome.OK, words: str = "", kept: bool = True, fresh: bool = False,
        files: Iterable[wire.FileChange] = (),
    ) -> None:  # fmt: skip
        if ops := self._collector.finish():
            self._tell(ev.CellOutput(turn=self._turn, cell=self._cell, n=self._n, ops=ops))
        self._tell(
            ev.CellClosed(
                seq=self._next(), turn=self._turn, cell=self._cell, at=self._now(), outcome=outcome,
                outputs=self._collector.outputs, execution_count=self._turns if kept else None, duration_s=0.25,
                variables_kept=kept, files_kept=True, fresh=fresh, words=words, files=list(files),
            )
        )  # fmt: skip

    # ---- numbers

    def _begin(self) -> None:
        if not self._prose and self._code is None:
            self.asked()

    def asked(self) -> None:
        self._tell(ev.StepOpened(turn=self._turn, step=self._step))

    def _tell(self, event: ev.Event) -> None:
        self.events.append(event)

    def _next(self) -> int:
        self._seq += 1
        return self._seq

    def _now(self) -> float:
        self._at += 0.5
        return self._at


def text(text: str, name: str = "stdout", late: bool = False) -> wire.Stream:
    return wire.Stream.model_validate({"name": name, "text": text, "late": late})


def show(data: dict[str, object], display_id: str | None = None, update: bool = False) -> wire.Display:
    return wire.Display(data=data, metadata={}, display_id=display_id, update=update)


def answer(story: Story, *texts: str) -> None:
    story.write(*texts)
    story.close(StepFinish.ANSWER)
    story.end(TurnOutcome.ANSWERED)


def plain_answer(s: Story) -> None:
    s.ask("What is CodeAct?")
    answer(s, "Acting ", "by writing ", "**code**.")
    s.ask("Thanks", ev.Via.API)
    answer(s, "You are welcome.")


def code_and_output(s: Story) -> None:
    s.kernel(wire.KernelState.STARTING, "starting the sandbox")
    s.ask("How many days are there from 2024-02-01 to 2024-03-01?")
    s.write("Let me ", "count.\n")
    s.code("from datetime", " import date\n", "print(date(2024, 3, 1)", " - date(2024, 2, 1))")
    s.close(StepFinish.CODE)
    s.open((CellPhase.QUEUED, ""), (CellPhase.STARTING, "starting Python"), (CellPhase.RUNNING, ""))
    s.kernel(wire.KernelState.BUSY, "", 60_000_000)
    s.out(text("29 days, 0:00:00\n"))
    s.done(files=[wire.FileChange(path="data/days.csv", change="new", size=120)])
    s.kernel(wire.KernelState.IDLE, "", 61_000_000)
    answer(s, "29 days: ", "2024 is a leap year.")


def error_then_fix(s: Story) -> None:
    s.ask("Mean of [1, 2, 6]?")
    s.code("statistics.mean([1, 2, 6])")
    s.close(StepFinish.CODE)
    s.open()
    s.out(
        text("a warning\n", "stderr"),
        wire.Raised(
            ename="NameError", evalue="name 'statistics' is not defined",
            traceback=["\x1b[31mNameError\x1b[39m  Traceback", "----> 1 statistics.mean", "NameError: name 'statistics' …"],
        ),
    )  # fmt: skip
    s.done(CellOutcome.ERROR)
    s.write("The import is missing.\n")
    s.code("import statistics\n", "statistics.mean([1, 2, 6])")
    s.close(StepFinish.CODE)
    s.open()
    s.out(show({"text/plain": "3"}))
    s.done()
    answer(s, "The mean is 3.")


def progress_bar(s: Story) -> None:
    s.ask("Count slowly")
    s.code("for i in tqdm(range(3)): pass")
    s.close(StepFinish.CODE)
    s.open()
    s.out(text("start\n"), text("  0%|   |", "stderr"))
    s.out(text("\r 33%|#  |", "stderr"))
    s.out(text("\r 66%|## |", "stderr"), text("\r100%|###|", "stderr"))
    s.out(text("\n", "stderr"))
    s.out(text("one\ntwo\n"), text("\x1b[2A\x1b[2KONE\n\n"), text("\x1b[32mgreen\x1b[0m\b\b\bN"))
    s.done()
    answer(s, "Done.")


def display_update(s: Story) -> None:
    s.ask("Show and change")
    s.code("h = display(1, display_id=True)")
    s.close(StepFinish.CODE)
    s.open()
    s.out(text("before\n"), show({"text/plain": "1", "text/html": "<b>1</b>"}, "d1"))
    s.out(text("after\n"))
    s.out(show({"text/plain": "2", "application/json": {"x": [1, None, "é"]}}, "d1", update=True))
    s.out(show({"image/png": "iVBORw0KGgo=", "text/plain": "<Figure>"}))
    s.done()
    answer(s, "Shown.")


def clear_output(s: Story) -> None:
    s.ask("Animate")
    s.code("animate()")
    s.close(StepFinish.CODE)
    s.open()
    s.out(text("frame 1\n"))
    s.out(wire.Clear(wait=True))
    s.out(text("frame 2\n"))
    s.out(wire.Clear(), show({"text/plain": "last"}))
    s.done()
    answer(s, "There.")


def stop_while_waiting(s: Story) -> None:
    s.ask("Hello?")
    s.asked()
    s.stop()
    s.end(TurnOutcome.STOPPED, "You stopped this.")


def stop_while_writing(s: Story) -> None:
    s.ask("Write a long essay and then code")
    s.write("It was a dark ", "and stormy ")
    s.code("while True:\n", "    pa")
    s.stop()
    s.close(StepFinish.STOPPED)
    s.end(TurnOutcome.STOPPED, "You stopped this.")
    s.ask("Shorter, please")
    answer(s, "Rain.")


def stop_while_running(s: Story) -> None:
    s.ask("Loop")
    s.code("while True: print(1)")
    s.close(StepFinish.CODE)
    s.open()
    s.out(text("1\n1\n"))
    s.stop()
    s.out(text("1\n"))
    s.done(CellOutcome.INTERRUPTED, "Stopped by you. Variables and files are kept.")
    s.end(TurnOutcome.STOPPED, "You stopped this.")


def cut_off(s: Story) -> None:
    s.ask("Make a table of a thousand numbers")
    s.write("Here:\n")
    s.code("table = [1, 2, 3, ", "4, 5,")
    s.close(StepFinish.CUT_OFF)
    s.code("table = list(range(1000))")
    s.close(StepFinish.CODE)
    s.open()
    s.done()
    answer(s, "It is in `table`.")


def fabricated(s: Story) -> None:
    s.ask("What does it print?")
    s.write("It prints:")
    s.close(StepFinish.FABRICATED)
    s.asked()
    s.close(StepFinish.FABRICATED)
    s.code("print(7)")
    s.close(StepFinish.CODE)
    s.open()
    s.out(text("7\n"))
    s.done()
    answer(s, "7.")


def kernel_died(s: Story) -> None:
    s.ask("Crash")
    s.code("import os\nos._exit(1)")
    s.close(StepFinish.CODE)
    s.open()
    s.out(text("bye"))
    s.kernel(wire.KernelState.RESTARTING, "Python has died and is started anew")
    s.done(CellOutcome.KERNEL_DIED, "Python died (exit code 1). Variables are gone; files are kept.", kept=False)
    s.kernel(wire.KernelState.NONE)
    s.code("1 + 1")
    s.close(StepFinish.CODE)
    s.open((CellPhase.STARTING, "starting Python"), (CellPhase.RUNNING, ""))
    s.out(show({"text/plain": "2"}))
    s.done(fresh=True)
    answer(s, "It is up again.")


def lost_while_running(s: Story) -> None:
    s.ask("Sleep")
    s.code("time.sleep(1000)")
    s.close(StepFinish.CODE)
    s.open()
    s.out(text("zzz"))
    s.done(CellOutcome.LOST, "The server went away while this cell was running.", kept=False)
    s.end(TurnOutcome.LOST, "The server went away while it worked on this.")


def lost_while_writing(s: Story) -> None:
    s.ask("Tell me a story")
    s.write("Once upon ", "a time ", "there was")
    s.close(StepFinish.LOST, prose="Once upon a time ")
    s.end(TurnOutcome.LOST, "The server went away while it worked on this.")
    s.ask("And another")
    s.write("Long ago")
    s.end(TurnOutcome.LOST, "The server went away while it worked on this.")


def continued(s: Story) -> None:
    s.ask("Work hard")
    for n in range(2):
        s.code(f"print({n})")
        s.close(StepFinish.CODE)
        s.open()
        s.out(text(f"{n}\n"))
        s.done()
    s.end(TurnOutcome.EXECUTION_LIMIT, "The turn has run 2 cells, the most it may without asking you.")
    s.ask("")
    answer(s, "Finished.")


def model_failed(s: Story) -> None:
    s.ask("Anybody there?")
    s.write("Well, ")
    s.close(StepFinish.FAILED, "The model server closed the connection.")
    s.end(TurnOutcome.MODEL_FAILED, "The model server closed the connection.")
    s.ask("Once more")
    s.asked()
    s.close(StepFinish.FAILED, "The model server does not answer.")
    s.end(TurnOutcome.MODEL_FAILED, "The model server does not answer.")


def limits(s: Story) -> None:
    s.ask("Print a lot")
    s.code("for i in range(2000): print(i)")
    s.close(StepFinish.CODE)
    s.open()
    for start in range(0, 2000, 500):
        s.out(text("".join(f"{i}\n" for i in range(start, start + 500))))
    s.out(wire.Stream(name="stderr", text="tail", gap=0), show({"text/plain": "x"}))
    s.done()
    answer(s, "That was a lot.")


def unicode(s: Story) -> None:
    s.ask("Émojis 😀 und Kombinationen é")
    s.write("😀", "👩‍👩‍👧", "é", " flag 🇩🇪", " 한국어", " \U0001d54f")
    s.code("x = '😀", "😀'\n", "print(x)  # é")
    s.close(StepFinish.CODE)
    s.open()
    s.out(text("😀"))
    s.out(text("é👩‍👩‍👧 10%"))
    s.out(text("\r😀 20%"))
    s.out(text(" 𝕏\n"))
    s.done()
    answer(s, "𝕏", "😀")


def heard_twice(s: Story) -> None:
    code_and_output(s)
    told = list(s.events)
    s.events[:] = [*told[:9], *told[4:9], *told[9:15], *told[:12], *told[12:], *told[3:]]


def missed(s: Story) -> None:
    s.ask("Will you hear it all?")
    s.write("one ", "two ", "three")
    del s.events[3]  # "two "


def missed_output(s: Story) -> None:
    code_and_output(s)
    at = next(index for index, event in enumerate(s.events) if isinstance(event, ev.CellOutput))
    del s.events[at]
    s.events.insert(at, ev.CellOutput(turn="turn-1", cell="turn-1-0", n=1, ops=[]))
    del s.events[at + 1 :]


def missed_fact(s: Story) -> None:
    code_and_output(s)
    del s.events[next(index for index, event in enumerate(s.events) if isinstance(event, ev.CellClosed))]


def out_of_place(s: Story) -> None:
    """Events of unknown or closed turns, steps and cells."""
    plain_answer(s)
    s.events += [
        ev.TextDelta(turn="turn-1", step=0, offset=0, text="late"),
        ev.TextDelta(turn="nobody", step=0, offset=0, text="unknown"),
        ev.CellOutput(turn="turn-1", cell="nothing", n=0, ops=[]),
        ev.TurnStopping(turn="turn-2"),
        ev.StepOpened(turn="turn-2", step=0),
    ]


STORIES: tuple[Callable[[Story], None], ...] = (
    plain_answer, code_and_output, error_then_fix, progress_bar, display_update, clear_output, stop_while_waiting,
    stop_while_writing, stop_while_running, cut_off, fabricated, kernel_died, lost_while_running, lost_while_writing,
    continued, model_failed, limits, unicode, heard_twice, missed, missed_output, missed_fact, out_of_place,
)  # fmt: skip

LEGAL = frozenset(story.__name__ for story in STORIES[:18])
"""Streams as a server tells them, at which a reader may join anywhere."""


def files() -> dict[str, str]:
    """What this folder's generated files hold, by name."""
    streams = {story.__name__: _told(story) for story in STORIES}
    made = {f"{name}.jsonl": _stream(events) for name, events in streams.items()}
    joins = [join for name, events in streams.items() if name in LEGAL for join in _joins(name, events)]
    made["joins.json"] = "[\n" + ",\n".join(json.dumps(join, ensure_ascii=False) for join in joins) + "\n]\n"
    return made


def _told(story: Callable[[Story], None]) -> list[ev.Event]:
    told = Story()
    story(told)
    return told.events


def _stream(events: list[ev.Event]) -> str:
    lines = [{"event": _json(event)} for event in events] + [{"view": _json(fold(events))}]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def _joins(name: str, events: list[ev.Event]) -> list[dict[str, object]]:
    """Every place in the stream, as one at which somebody joins."""
    joins: list[dict[str, object]] = []
    for after in range(1, len(events)):
        seen = fold(events[:after])
        live = next((live for turn in seen.turns if (live := live_of(seen, turn.turn))), None)
        joins.append(
            {"stream": name, "after": after, "live": None if live is None else _json(live), "kernel": _json(seen.kernel)}
        )
    return joins


def _json(value: Value) -> object:
    return json.loads(value.model_dump_json())


def main() -> None:
    for name, content in files().items():
        (HERE / name).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
