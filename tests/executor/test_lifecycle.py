"""The life of a sandbox, walked: by hand, and by hypothesis."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from executor.lifecycle import ALIVE, HOLDS_ROOM, OVER, SEEN, TABLE, IllegalStep, Life, Reason, State, Step, after
from executor.wire import KernelState


def nobody(life: Life, before: State) -> None:
    pass


def walk(*steps: Step) -> Life:
    life = Life("one", nobody)
    for step in steps:
        life.step(step)
    return life


def test_a_cold_sandbox_from_the_wish_to_its_end():
    told: list[tuple[State, State]] = []
    life = Life("one", lambda life, before: told.append((before, life.state)))
    for step, expected in [
        (Step.GRANT, State.CREATING),
        (Step.MADE, State.BOOTING),
        (Step.READY, State.IDLE),
        (Step.RUN, State.BUSY),
        (Step.DONE, State.IDLE),
        (Step.RUN, State.BUSY),
        (Step.DIED, State.RESTARTING),
        (Step.DIED, State.RESTARTING),
        (Step.READY, State.IDLE),
        (Step.KILL, State.KILLING),
        (Step.END, State.GONE),
    ]:
        life.step(step, Reason.IDLE if step is Step.KILL else None)
        assert life.state is expected
    assert life.reason is Reason.IDLE and not life.warm
    assert told[0] == (State.REQUESTED, State.CREATING) and told[-1] == (State.KILLING, State.GONE)
    assert all(before is not state for before, state in told)


def test_warm_is_left_exactly_once():
    into = {before for (before, step), state in TABLE.items() if state is State.WARM}
    assert into == {State.BOOTING}
    leaving = {step for before, step in TABLE if before is State.WARM}
    assert leaving == {Step.CLAIM, Step.KILL, Step.GONE}
    reachable, pending = set(), [TABLE[State.WARM, step] for step in leaving]
    while pending:
        state = pending.pop()
        if state not in reachable:
            reachable.add(state)
            pending += [next_state for (before, _), next_state in TABLE.items() if before is state]
    assert State.WARM not in reachable


def test_the_first_reason_stays():
    life = walk(Step.GRANT, Step.MADE, Step.READY)
    life.kill(Reason.MAX_LIFETIME)
    life.kill(Reason.RELEASED)
    life.step(Step.END)
    life.kill(Reason.IDLE)
    assert (life.state, life.reason) == (State.GONE, Reason.MAX_LIFETIME)


def test_a_wish_that_is_given_up_leaves_nothing():
    life = walk()
    life.kill(Reason.RELEASED)
    assert life.state is State.GONE


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("step", Step)
def test_what_the_table_does_not_name_is_illegal_and_changes_nothing(state, step):
    life = Life("one", nobody)
    life.state = state
    if (state, step) in TABLE:
        life.step(step)
        assert life.state is after(state, step)
    else:
        with pytest.raises(IllegalStep):
            life.step(step)
        assert life.state is state


def test_every_state_is_seen_as_something_and_only_the_end_has_no_way_on():
    assert set(SEEN) == set(State)
    assert {state for state in State if not any(before is state for before, _ in TABLE)} == {State.GONE}
    assert {state for state in State if SEEN[state] is not KernelState.NONE} == {State.REQUESTED, *ALIVE} - {State.WARM}


class Walk(RuleBasedStateMachine):
    """Any steps in any order, legal or not."""

    def __init__(self) -> None:
        super().__init__()
        self.states: list[State] = [State.REQUESTED]
        self.life = Life("one", self._heard)

    def _heard(self, life: Life, before: State) -> None:
        assert before is self.states[-1]
        self.states.append(life.state)

    @rule(step=st.sampled_from(Step), reason=st.sampled_from(Reason))
    def step(self, step, reason):
        if (self.life.state, step) in TABLE:
            self.life.step(step, reason if step is Step.KILL else None)

    @precondition(lambda self: self.life.state is not State.GONE)
    @rule(reason=st.sampled_from(Reason))
    def kill(self, reason):
        self.life.kill(reason)
        assert self.life.state in (State.KILLING, State.GONE)

    @invariant()
    def what_must_hold(self):
        assert self.states[-1] is self.life.state
        assert self.states.count(State.WARM) <= 1 and self.states.count(State.KILLING) <= 1
        if self.life.state in (State.KILLING, State.GONE):
            assert self.life.reason is not None or self.states == [State.REQUESTED, State.GONE]
        if State.KILLING in self.states:
            assert set(self.states[self.states.index(State.KILLING) :]) <= {State.KILLING, State.GONE}
        assert not set(HOLDS_ROOM) & set(OVER)


TestWalk = Walk.TestCase
