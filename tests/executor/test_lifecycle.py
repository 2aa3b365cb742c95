"""The state table, walked."""

from __future__ import annotations

import pytest

from executor.lifecycle import TABLE, IllegalStep, Step, after
from executor.wire import KernelState as State


def test_a_day_in_the_life_of_a_sandbox():
    state = State.NONE
    for step, expected in [
        (Step.CLAIM, State.STARTING),
        (Step.READY, State.IDLE),
        (Step.RUN, State.BUSY),
        (Step.DONE, State.IDLE),
        (Step.RUN, State.BUSY),
        (Step.DIED, State.RESTARTING),
        (Step.DIED, State.RESTARTING),
        (Step.READY, State.IDLE),
        (Step.GONE, State.NONE),
    ]:
        state = after(state, step)
        assert state is expected


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("step", Step)
def test_what_the_table_does_not_name_is_illegal(state, step):
    if (state, step) in TABLE:
        assert after(state, step) in State
    else:
        with pytest.raises(IllegalStep):
            after(state, step)


def test_a_sandbox_can_go_in_every_state_and_no_state_is_a_trap():
    assert all(after(state, Step.GONE) is State.NONE for state in State)
    assert {state for state, _ in TABLE} == set(State)
