"""The laws of the view, on generated conversations."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from executor.wire import FileChange, KernelState
from orchestrator.protocol import events as ev
from orchestrator.protocol.events import CellOutcome, CellPhase, StepFinish, TurnOutcome, Via
from orchestrator.protocol.fold import apply, apply_live, fold, live_of
from orchestrator.protocol.outputs import Put, RichOutput, TextOutput, Wipe, Write, apply_ops
from orchestrator.protocol.view import Cell, CellState, Prose, TurnState, View

TEXT = st.text(st.sampled_from("ab\n😀é"), max_size=6)
PIECES = st.lists(TEXT, max_size=4)
CUT_SHORT = [StepFinish.STOPPED, StepFinish.FAILED, StepFinish.LOST]


class Writer:
    """Writes one legal stream, counting what has to be counted."""

    def __init__(self, draw) -> None:
        self.draw = draw
        self.events: list = []
        self.seq = 0

    def tell(self, make, **fields) -> None:
        if "seq" in make.model_fields:
            self.seq += 1
            fields["seq"] = self.seq
        self.events.append(make(**fields))

    def turn(self, id: str) -> None:
        self.tell(ev.TurnOpened, turn=id, at=1.0, text=self.draw(TEXT), via=Via.BROWSER)
        self.stopping = False
        for step in range(self.draw(st.integers(0, 3))):
            self.kernel()
            if not self.step(id, step):
                break
        self.tell(ev.TurnClosed, turn=id, at=2.0, outcome=self.draw(st.sampled_from(TurnOutcome)), words="")

    def kernel(self) -> None:
        if self.draw(st.booleans()):
            state = self.draw(st.sampled_from(KernelState))
            self.tell(ev.KernelChanged, state=state, words="", memory_used=1, memory_limit=None)

    def stop(self, id: str) -> None:
        if not self.stopping and self.draw(st.integers(0, 5)) == 5:
            self.stopping = True
            self.tell(ev.TurnStopping, turn=id)

    def step(self, id: str, step: int) -> bool:
        """One message and its cell; False when the turn has to end with it."""
        self.tell(ev.StepOpened, turn=id, step=step)
        self.stop(id)
        prose = self.deltas(ev.TextDelta, turn=id, step=step)
        finish = self.draw(st.sampled_from(StepFinish))
        code = None
        if finish is StepFinish.CODE or (finish is not StepFinish.ANSWER and self.draw(st.booleans())):
            cell = f"{id}-{step}"
            self.tell(ev.CodeDelta, turn=id, step=step, cell=cell, offset=0, text="")
            text = self.deltas(ev.CodeDelta, turn=id, step=step, cell=cell)
            code = ev.WrittenCode(cell=cell, code=text, opening="<", closing=">")
        if finish is StepFinish.LOST and self.draw(st.booleans()):
            return False  # nothing of it was stored
        if finish is StepFinish.LOST:
            prose = prose[: self.draw(st.integers(0, len(prose)))]  # nor all of it
        self.tell(ev.StepClosed, turn=id, step=step, prose=prose, code=code, finish=finish, error="", usage=None)
        if finish is StepFinish.CODE:
            self.cell(id, step)
        return finish is not StepFinish.ANSWER and finish not in CUT_SHORT

    def deltas(self, make, **fields) -> str:
        whole = ""
        for text in self.draw(PIECES):
            self.tell(make, offset=len(whole), text=text, **fields)
            self.stop(fields["turn"])
            whole += text
        return whole

    def cell(self, id: str, step: int) -> None:
        cell = f"{id}-{step}"
        self.tell(ev.CellOpened, turn=id, cell=cell, step=step, at=1.5)
        outputs: list = []
        for n, change in enumerate(self.draw(st.lists(st.integers(0, 4), max_size=5))):
            phase = CellPhase.RUNNING if n else self.draw(st.sampled_from(CellPhase))
            self.tell(ev.CellProgress, turn=id, cell=cell, phase=phase, words="w" * change)
            ops = self.ops(outputs, change)
            self.tell(ev.CellOutput, turn=id, cell=cell, n=n, ops=ops)
            outputs = apply_ops(outputs, ops)
            self.stop(id)
        self.tell(
            ev.CellClosed, turn=id, cell=cell, at=1.8, outcome=self.draw(st.sampled_from(CellOutcome)), outputs=outputs,
            execution_count=1, duration_s=0.3, variables_kept=True, files_kept=True, fresh=False, words="w",
            files=[FileChange(path="a", change="new", size=1)],
        )  # fmt: skip

    def ops(self, outputs: list, change: int) -> list:
        text = self.draw(TEXT)
        put = Put(index=len(outputs), output=TextOutput(name="stdout", text=text, late=False))
        last = outputs[-1] if outputs else None
        if change == 0:
            return [Wipe(), Put(index=0, output=RichOutput(data={"text/plain": text}, metadata={}, display_id=None))]
        if change == 1 or not isinstance(last, TextOutput):
            return [put]
        at = self.draw(st.integers(0, len(last.text)))
        return [Write(index=len(outputs) - 1, at=at, text=text)]


@st.composite
def streams(draw) -> list:
    writer = Writer(draw)
    for number in range(draw(st.integers(0, 3))):
        writer.turn(f"t{number}")
    return writer.events


@settings(max_examples=400, deadline=None)
@given(streams(), st.data())
def test_joining_late_is_seeing_it_all(events, data):
    at = data.draw(st.integers(0, len(events)))
    before, after = events[:at], events[at:]
    seen = fold(before)
    durable = fold(event for event in before if hasattr(event, "seq"))
    lives = [live_of(seen, turn.turn) for turn in seen.turns]
    assert sum(live is not None for live in lives) <= 1
    view = durable
    for live in lives:
        view = view if live is None else apply_live(view, ev.Live.model_validate_json(live.model_dump_json()))
    view = view.model_copy(update={"kernel": seen.kernel})  # a page says this besides
    assert view == seen
    for event in after:
        view = apply(view, event)
    assert view == fold(events)


@settings(max_examples=300, deadline=None)
@given(streams(), st.data())
def test_hearing_a_stretch_again_changes_nothing(events, data):
    end = data.draw(st.integers(0, len(events)))
    start = data.draw(st.integers(0, end))
    view = fold([*events[:end], *events[start:end], *events[end:]])
    assert view.model_copy(update={"kernel": fold(events).kernel}) == fold(events)
    assert not view.gap


@settings(max_examples=200, deadline=None)
@given(streams(), st.data())
def test_an_old_live_adds_nothing_to_what_has_been_closed_since(events, data):
    at = data.draw(st.integers(0, len(events)))
    old = fold(events[:at])
    durable = fold(event for event in events if hasattr(event, "seq"))
    for turn in old.turns:
        if (live := live_of(old, turn.turn)) is not None:
            assert apply_live(durable, live) == durable


@settings(max_examples=300, deadline=None)
@given(streams(), streams(), st.randoms())
def test_any_events_in_any_order_leave_a_well_formed_view(events, others, random):
    mixed = [*events, *others, *events]
    random.shuffle(mixed)
    view = fold(mixed)
    assert View.model_validate_json(view.model_dump_json()) == view
    for turn in view.turns:
        assert (turn.state is TurnState.CLOSED) == (turn.outcome is not None)
        assert len({(item.kind, item.step) for item in turn.items}) == len(turn.items)
    for turn in view.turns:
        for item in turn.items:
            if isinstance(item, Cell):
                assert (item.state is CellState.CLOSED) == (item.outcome is not None)


@settings(max_examples=200, deadline=None)
@given(streams(), st.data())
def test_an_event_that_is_missing_shows_as_a_gap_or_not_at_all(events, data):
    if not events:
        return
    at = data.draw(st.integers(0, len(events) - 1))
    view = fold([*events[:at], *events[at + 1 :]])
    if isinstance(events[at], ev.TextDelta | ev.CodeDelta | ev.CellOutput):
        whole = fold(events)
        assert view.gap or view == whole.model_copy(update={"gap": view.gap})


def test_a_missing_durable_event_is_a_gap():
    opened = ev.TurnOpened(seq=1, turn="t", at=1.0, text="x", via=Via.BROWSER)
    closed = ev.TurnClosed(seq=3, turn="t", at=1.0, outcome=TurnOutcome.ANSWERED, words="")
    view = fold([opened, closed])
    assert view.gap and view.seq == 1 and view.turns[0].state is TurnState.WAITING


def test_what_no_durable_event_tells_is_gone_when_the_turn_is_closed():
    opened = ev.TurnOpened(seq=1, turn="t", at=1.0, text="x", via=Via.BROWSER)
    delta = ev.TextDelta(turn="t", step=0, offset=0, text="half")
    closed = ev.TurnClosed(seq=2, turn="t", at=1.0, outcome=TurnOutcome.LOST, words="")
    assert fold([opened, delta]).turns[0].items == [Prose(step=0, text="half", finish=None)]
    assert fold([opened, delta, closed]).turns[0].items == []


def test_offsets_count_code_points():
    opened = ev.TurnOpened(seq=1, turn="t", at=1.0, text="x", via=Via.BROWSER)
    one = ev.TextDelta(turn="t", step=0, offset=0, text="😀é")
    two = ev.TextDelta(turn="t", step=0, offset=2, text="b")
    again = ev.TextDelta(turn="t", step=0, offset=1, text="ébc")
    (item,) = fold([opened, one, two, again]).turns[0].items
    assert item.text == "😀ébc"
