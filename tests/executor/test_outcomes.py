"""One word for how a cell ended, from the evidence: each of them, in real sandboxes where that matters."""

from __future__ import annotations

import pytest
import pytest_asyncio

from executor.cell import Ending
from executor.outcomes import died, forced, replied, taxonomy
from executor.pressure import Pressure
from executor.wire import Closed, Outcome, Rung
from tests.support.kernels import Chat, managing

EVERY = {
    *("ok", "output_truncated", "error", "stdin_denied", "interrupted", "aborted", "timeout_state_kept"),
    *("timeout_state_lost", "oom_state_kept", "oom_state_lost", "kernel_died", "sandbox_lost", "capacity"),
}


def closed(outcome: Outcome, kept: bool = True, **more) -> Closed:
    facts = {"execution_count": 1, "duration_s": 1.0, "files_kept": True, "words": ""}
    return Closed(outcome=outcome, variables_kept=kept, **(facts | more))


def test_every_closed_has_one_word_and_every_word_is_used():
    words = {
        taxonomy(closed(outcome, kept, ran=ran, dropped_bytes=dropped, raised=raised))
        for outcome in Outcome
        for kept in (True, False)
        for ran in (True, False)
        for dropped in (0, 1)
        for raised in ("", "ValueError", "StdinNotImplementedError")
    }
    assert words == EVERY


@pytest.mark.parametrize(
    "reply",
    [{}, {"status": "ok"}, {"status": 7}, {"status": "error"}, {"status": "error", "ename": ["x"]}, {"status": None}],
)
def test_a_forged_reply_is_some_outcome_and_raises_nothing(reply):
    outcome, raised = replied(reply)
    assert outcome in (Outcome.OK, Outcome.ERROR) and isinstance(raised, str)


def test_a_forged_name_is_cut():
    assert len(replied({"status": "error", "ename": "x" * 10**6})[1]) == 200


def test_memory_is_blamed_on_evidence_alone():
    calm = Pressure(kills=2, peak=100)
    assert not Pressure(2, 100).burst(calm, 1000) and not Pressure(None, None).burst(calm, 1000)
    assert Pressure(3, 100).burst(calm, 1000) and Pressure(2, 900).burst(calm, 1000)
    assert not Pressure(2, 900).burst(Pressure(2, 950), 1000)  # it had been there before
    assert died(Ending.DIED, burst=True) is Outcome.OUT_OF_MEMORY
    assert died(Ending.DIED, burst=False) is Outcome.KERNEL_DIED
    assert died(Ending.LOST, burst=False) is Outcome.SANDBOX_LOST


def test_variables_go_with_the_third_rung():
    assert [forced(rung) for rung in Rung] == [False, False, False, True, True]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def manager(by, tmp_path_factory):
    async with managing(tmp_path_factory.mktemp("data"), output_mb=0.1, **by) as manager:
        yield manager


KEPT, GONE = "variables are kept", "variables are gone"
CELLS = {
    "ok": ("1", 30, ""),
    "error": ("1/0", 30, ""),
    "stdin_denied": ("input()", 30, ""),
    "output_truncated": ("print('x' * 10**6)", 30, ""),
    "timeout_state_kept": ("while True: pass", 1, KEPT),
    "timeout_state_lost": (
        "import time\nwhile True:\n    try: time.sleep(1)\n    except KeyboardInterrupt: pass",
        1,
        GONE,
    ),
    "oom_state_kept": ("b = bytearray(3 * 1024**3)", 30, KEPT),
    "kernel_died": ("import os; os.abort()", 30, GONE),
    "sandbox_lost": ("import os; os.kill(os.getppid(), 9)", 30, GONE),
}


@pytest.mark.sandbox
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("word", CELLS)
async def test_real_cells_end_as_they_are_called_and_the_words_say_what_survived(manager, word):
    code, timeout_s, says = CELLS[word]
    chat, before = Chat(manager), manager.counts.outcomes[word]
    await chat.run("kept = 1\nopen('f', 'w').write('x')")
    ran = await chat.run(code, timeout_s)
    assert taxonomy(ran.closed) == word and says in ran.closed.words
    assert manager.counts.outcomes[word] == before + (2 if word == "ok" else 1)
    after = await chat.run("print('kept' in globals(), open('f').read())")
    assert after.text() == f"{ran.closed.variables_kept} x\n"
    assert after.fresh is not ran.closed.variables_kept
    await manager.remove(chat.id)
