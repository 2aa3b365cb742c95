"""A server that is killed, or sleeps, in the middle of turns: another closes them within 15 s, and nothing runs twice."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import pytest

from orchestrator.protocol.events import CellOutcome, StepFinish, TurnOutcome
from tests.support.app import Tab
from tests.support.scripts import Hold, Reply, Request, Wait, puppet
from tests.support.team import Team, team

pytestmark = [pytest.mark.sandbox, pytest.mark.postgres, pytest.mark.timeout(240)]

PROMISE_S = 15.0
BEGINS = "import time\nprint('began', flush=True)\nopen('ran.txt', 'a').write('x')\n"


def script(request: Request) -> Reply | str:
    if request.text == "wait":
        return Reply([Hold(asyncio.Event())])
    if request.text == "write":
        return Reply([item for n in range(3000) for item in (f"word{n} ", Wait(0.02))])
    if request.text == "code":
        return Reply(["```python\n", *(f"x{n} = {n}\n" for n in range(50)), Hold(asyncio.Event())])
    if request.observes and "between" in request.text and "\n\nrun " not in request.text:
        return Reply([Hold(asyncio.Event())])
    return puppet("fenced")(request)


async def both(two: Team) -> tuple[Tab, Tab]:
    first = await two.servers[0].tab()
    return first, await two.servers[1].tab(first.conversation)


async def goes_on(tab: Tab, expected: str = "42\n") -> None:
    view = await tab.ask("run print(6 * 7)")
    assert view.turns[-1].items[0].outputs[0].text == expected and view.turns[-1].outcome is TurnOutcome.ANSWERED
    assert not any("nother server" in str(frame) for frame in tab.frames)


async def test_kill_9_in_every_phase(tmp_path: Path, postgres, redis) -> None:
    """One server, five conversations, a phase each. Their pages hang on the other server, which tells them the end."""
    async with team(tmp_path, postgres.database(), redis.url(), script) as two:
        phases = (
            "wait",
            "write",
            "code",
            f"run kept = 1\n{BEGINS}time.sleep(60)",
            f"run kept = 2\n{BEGINS}print('between')",
        )
        here, there = zip(*[await both(two) for _ in phases], strict=True)
        for tab in here[3:]:
            await tab.ask("run kept = 0")  # so that there is a sandbox
        turns = [await tab.say(words) for tab, words in zip(here, phases, strict=True)]
        await there[0].until(lambda event: event.type == "turn.opened")
        await there[1].until(lambda event: event.type == "text.delta" and "word50" in event.text)
        await there[2].until(lambda event: event.type == "code.delta" and "x49" in event.text)
        await there[3].until_type("cell.output")
        await there[4].until(lambda event: event.type == "cell.closed" and event.turn == turns[4])
        await asyncio.sleep(1.0)  # the checkpoint's promise

        killed = time.monotonic()
        await two.servers[0].kill()
        closed = await asyncio.gather(*(tab.closed(turn) for tab, turn in zip(there, turns, strict=True)))
        assert time.monotonic() - killed < PROMISE_S
        assert all(event.outcome is TurnOutcome.LOST and event.words for event in closed)

        waiting, writing, coding, running, between = (tab.view.turns[-1].items for tab in there)
        assert waiting == []
        assert writing[0].finish is StepFinish.LOST and "word50" in writing[0].text
        assert "x49 = 49" in coding[0].code and coding[0].state == "not_run"
        assert running[0].outcome is CellOutcome.LOST and running[0].outputs[0].text == "began\n"
        assert running[0].variables_kept and "not run again" in running[0].words
        assert between[0].outcome is CellOutcome.OK
        for tab in there:
            before = tab.view.turns
            await tab.load()
            assert tab.view.turns == before  # what was told is what is stored
            await goes_on(tab)
        for tab, kept in ((there[3], 1), (there[4], 2)):
            view = await tab.ask("run print(kept, open('ran.txt').read())")
            assert view.turns[-1].items[0].outputs[0].text == f"{kept} x\n", "run again, or its variables were lost"

        await two.servers[0].start()  # the dead one comes back as somebody else
        again = await two.servers[0].tab(there[3].conversation)
        await goes_on(again)


async def test_a_server_that_slept_for_20_s_stops_driving_and_harms_nobody(tmp_path: Path, postgres, redis) -> None:
    async with team(tmp_path, postgres.database(), redis.url(), script) as two:
        (run_here, run_there), (write_here, write_there) = await both(two), await both(two)
        running = await run_here.say(f"run kept = 1\n{BEGINS}time.sleep(60)\nopen('ran.txt', 'a').write('end')")
        writing = await write_here.say("write")
        await run_there.until_type("cell.output")
        await write_there.until(lambda event: event.type == "text.delta" and "word50" in event.text)

        slept = time.monotonic()
        two.servers[0].process.send_signal(signal.SIGSTOP)
        try:
            await asyncio.gather(run_there.closed(running), write_there.closed(writing))
            assert time.monotonic() - slept < PROMISE_S
            assert run_there.view.turns[-1].items[0].outcome is CellOutcome.LOST
            goes_on_there = await run_there.say("run import time; print('new', flush=True); time.sleep(12); print(kept)")
            await run_there.until_type("cell.output")
            await asyncio.sleep(max(0.0, 20 - (time.monotonic() - slept)))
        finally:
            two.servers[0].process.send_signal(signal.SIGCONT)

        assert (await run_there.closed(goes_on_there)).outcome is TurnOutcome.ANSWERED
        cell = run_there.view.turns[-1].items[0]
        assert cell.outcome is CellOutcome.OK and cell.outputs[0].text == "new\n1\n"
        await run_there.ask("run print(open('ran.txt').read())")
        assert run_there.view.turns[-1].items[0].outputs[0].text == "x\n"
        for tab in (run_there, write_there):
            page = await tab.load()
            seqs = [event.seq for event in page.events]
            assert seqs == list(range(1, len(seqs) + 1))
        woken = await two.servers[0].tab(write_there.conversation)  # it serves as before
        assert woken.view.turns[-1].outcome is TurnOutcome.LOST
        await goes_on(woken)
