"""Stop, in every phase of a turn: heard at once, ended within ten seconds, nothing lost, the next message works."""

from __future__ import annotations

import asyncio
import time

import pytest

from orchestrator.protocol.events import CellOutcome, StepFinish, TurnOutcome
from tests.support.app import Tab
from tests.support.scripts import Hold, Reply

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.sandbox]

HEARD_S = 1.0
ENDED_S = 12.0  # the ladder's ten, and some for a busy machine


async def stop_and_wait(tab: Tab, turn: str):
    """Stop the turn; how it closed."""
    begun = time.monotonic()
    await tab.stop(turn)
    await tab.until_type("turn.stopping")
    assert time.monotonic() - begun < HEARD_S
    closed = await tab.closed(turn)
    assert time.monotonic() - begun < ENDED_S
    assert closed.outcome is TurnOutcome.STOPPED
    return closed


async def works(tab: Tab) -> None:
    view = await tab.ask("run print('still', 'here')")
    cell = next(item for item in view.turns[-1].items if item.kind == "cell")
    assert cell.outputs[0].text == "still here\n" and view.turns[-1].outcome is TurnOutcome.ANSWERED


async def test_stop_while_waiting_for_the_model_aborts_the_request(tab: Tab, model) -> None:
    model.script = lambda _: Reply([Hold(asyncio.Event())])
    turn = await tab.say("think")
    await model.server.seen(model.server.asked + 1)
    await stop_and_wait(tab, turn)
    await model.server.quiet()
    assert model.server.exchanges[-1].aborted
    model.reset()
    await works(tab)


async def test_stop_while_the_model_writes_keeps_the_text(tab: Tab, model) -> None:
    model.script = lambda _: Reply(["Once upon", " a time", Hold(asyncio.Event())])
    turn = await tab.say("tell")
    await tab.until(lambda event: event.type == "text.delta" and event.text.endswith("time"))
    await stop_and_wait(tab, turn)
    (prose,) = tab.view.turns[-1].items
    assert prose.text == "Once upon a time" and prose.finish is StepFinish.STOPPED
    await model.server.quiet()
    model.reset()
    await works(tab)


async def test_stop_while_code_is_written_keeps_it_and_never_runs_it(tab: Tab, model) -> None:
    model.script = lambda _: Reply(["```python\n", "open('x', 'w')\n", Hold(asyncio.Event())])
    turn = await tab.say("code")
    await tab.until(lambda event: event.type == "code.delta" and "open" in event.text)
    await stop_and_wait(tab, turn)
    (cell,) = tab.view.turns[-1].items
    assert cell.code.startswith("open('x'") and cell.state == "not_run"
    model.reset()
    view = await tab.ask("run import os; print(os.path.exists('x'))")
    assert view.turns[-1].items[0].outputs[0].text == "False\n"


@pytest.mark.parametrize(
    ("code", "kept"),
    [
        ("import time\nprint('on')\ntime.sleep(60)", True),
        ("print('on')\nwhile True: pass", True),
        ("print('on')\nwhile True:\n    try:\n        while True: pass\n    except KeyboardInterrupt: pass", None),
        ("import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\nprint('on')\nwhile True: pass", False),
        ("import numpy as np\nprint('on', flush=True)\na = np.ones((6000, 6000))\nfor _ in range(99): a = a @ a", None),
    ],
    ids=["sleeping", "looping", "swallowing KeyboardInterrupt", "ignoring SIGINT", "busy in C"],
)
async def test_stop_while_code_runs_says_truly_what_survived(tab: Tab, code: str, kept: bool | None) -> None:
    await tab.ask("run precious = 1")
    turn = await tab.say(f"run {code}")
    await tab.until_type("cell.output")
    await stop_and_wait(tab, turn)
    cell = tab.view.turns[-1].items[0]
    assert cell.outcome is CellOutcome.INTERRUPTED and cell.outputs[0].text.startswith("on")
    if kept is not None:
        assert cell.variables_kept is kept
    assert cell.words if not cell.variables_kept else True
    view = await tab.ask("run print('precious' in globals())")
    assert view.turns[-1].items[0].outputs[0].text == f"{cell.variables_kept}\n"
    await works(tab)


async def test_stop_while_the_sandbox_starts(app, tab: Tab) -> None:
    turn = await tab.say("run print(1)")
    await tab.until_type("cell.opened")
    await stop_and_wait(tab, turn)
    await works(tab)


async def test_stop_from_a_second_tab_is_seen_in_the_first(app, tab: Tab) -> None:
    turn = await tab.say("run import time; time.sleep(60)")
    await tab.until_type("cell.opened")
    other = await app.tab(tab.conversation)
    await other.stop(turn)
    assert (await tab.closed(turn)).outcome is TurnOutcome.STOPPED
    await other.closed(turn)
    assert other.view.turns == tab.view.turns
    await other.drop()
    await works(tab)


async def test_stopping_what_is_over_changes_nothing(tab: Tab) -> None:
    view = await tab.ask("hello")
    await tab.stop(view.turns[0].turn)
    await tab.stop("never-was")
    await works(tab)


async def test_the_model_is_told_that_the_user_stopped_it(tab: Tab, model) -> None:
    turn = await tab.say("run import time\nprint('part', flush=True)\ntime.sleep(60)")
    await tab.until_type("cell.output")
    await stop_and_wait(tab, turn)
    await tab.ask("go on")
    told = model.server.exchanges[-1].request.messages[-1]["content"]
    assert "part" in told and "stopped" in told.lower() and told.endswith("go on")
