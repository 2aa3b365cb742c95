"""`kill -9` of the server in any phase: at most a second of streamed text is lost, and the conversation goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from orchestrator.protocol.events import CellOutcome, StepFinish, TurnOutcome
from tests.support.model_server import ScriptedModel
from tests.support.process import Served
from tests.support.scripts import Hold, Reply, Wait, puppet

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(180)]

WORDS = [f"word{number} " for number in range(400)]


def script(request):
    if request.text == "wait":
        return Reply([Hold(asyncio.Event())])
    if request.text == "write":
        return Reply([item for word in WORDS for item in (word, Wait(0.02))])
    if request.text == "code":
        return Reply(["```python\n", *(f"x{n} = {n}\n" for n in range(50)), Hold(asyncio.Event())])
    return puppet("fenced")(request)


async def crash(served: Served, tab) -> None:
    """Kill the server, start another, and load the page."""
    conversation = tab.conversation
    await served.kill()
    await served.start()
    again = await served.tab(conversation)
    tab.__dict__.update(again.__dict__)
    assert tab.view.turns[-1].outcome is TurnOutcome.LOST and tab.view.turns[-1].words


async def goes_on(tab) -> None:
    view = await tab.ask("run print(6 * 7)")
    assert view.turns[-1].items[0].outputs[0].text == "42\n"
    assert view.turns[-1].outcome is TurnOutcome.ANSWERED


async def test_killed_in_every_phase_it_closes_the_turn_honestly_and_goes_on(tmp_path: Path) -> None:
    async with ScriptedModel(script) as model, Served(tmp_path, model.base_url) as served:
        tab = await served.tab()

        await tab.say("wait")
        await tab.until_type("turn.opened")  # from here on the message is stored
        await crash(served, tab)
        assert tab.view.turns[-1].items == []
        await goes_on(tab)

        await tab.say("write")
        seen = await _drain(tab)
        await crash(served, tab)
        (prose,) = tab.view.turns[-1].items
        assert prose.finish is StepFinish.LOST and "".join(WORDS).startswith(prose.text)
        assert len(seen) - len(prose.text) <= 50 * len(WORDS[-1]), "more than a second of text was lost"
        await goes_on(tab)

        await tab.say("code")
        await tab.until(lambda event: event.type == "code.delta" and "x49" in event.text)
        await asyncio.sleep(1.0)  # the checkpoint's promise
        await crash(served, tab)
        (cell,) = tab.view.turns[-1].items
        assert "x49 = 49" in cell.code and cell.state == "not_run"
        await goes_on(tab)

        await tab.say("run import time\nprint('began', flush=True)\nopen('ran.txt', 'a').write('x')\ntime.sleep(60)")
        await tab.until_type("cell.output")
        await asyncio.sleep(1.0)
        await crash(served, tab)
        cell = tab.view.turns[-1].items[0]
        assert cell.outcome is CellOutcome.LOST and cell.outputs[0].text == "began\n" and not cell.variables_kept
        view = await tab.ask("run print(open('ran.txt').read())")
        assert view.turns[-1].items[0].outputs[0].text == "x\n", "the cell was run again, or its file was lost"
        told = model.exchanges[-2].request.messages[-1]["content"]
        assert "not run again" in told


async def _drain(tab) -> str:
    """Read what has been told so far of the turn that is being written; its prose."""
    await tab.until(lambda event: event.type == "text.delta" and event.offset > 500)
    return tab.view.turns[-1].items[0].text


async def test_ctrl_c_in_the_middle_of_a_turn_closes_it_and_leaves_nothing(tmp_path: Path) -> None:
    async with ScriptedModel(script) as model, Served(tmp_path, model.base_url) as served:
        tab = await served.tab()
        await tab.say("run import time\nprint('on', flush=True)\ntime.sleep(60)")
        await tab.until_type("cell.output")
        marks = _processes_under(served.process.pid)
        assert len(marks) > 1, "the sandbox should be running"
        await served.interrupt()
        assert [pid for pid in marks if Path(f"/proc/{pid}").exists()] == []
        await served.start()
        tab = await served.tab(tab.conversation)
        assert tab.view.turns[-1].outcome is TurnOutcome.LOST
        await goes_on(tab)


def _processes_under(root: int) -> list[int]:
    """The process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, queue = [], [root]
    while queue:
        pid = queue.pop()
        found.append(pid)
        queue += children.get(pid, [])
    return found
