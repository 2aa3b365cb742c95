"""PostgreSQL is away for a while: running turns go on, are stored when it is back, and no server takes another for dead."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from orchestrator.ports import DEAD_S
from orchestrator.protocol.events import CellOutcome, TurnOutcome
from tests.support.postgres import cluster
from tests.support.scripts import Reply, Request, Wait, puppet
from tests.support.team import team

pytestmark = [pytest.mark.sandbox, pytest.mark.postgres, pytest.mark.timeout(180)]

AWAY_S = DEAD_S + 3
GATE = "import time, os\nprint('begun', flush=True)\nwhile not os.path.exists('go'): time.sleep(0.05)\nprint('done')"


def script(request: Request) -> Reply | str:
    if request.text == "write":
        return Reply([item for n in range(900) for item in (f"word{n} ", Wait(0.02))])
    return puppet("fenced")(request)


async def test_running_turns_outlive_the_database_being_away(tmp_path: Path, redis) -> None:
    with cluster() as postgres:
        async with team(tmp_path, postgres.database(), redis.url(), script) as two:
            running, writing, idle = [await two.servers[0].tab() for _ in range(3)]
            watching = await two.servers[1].tab(running.conversation)
            first = await running.say(f"run kept = 3\n{GATE}")
            second = await writing.say("write")
            await watching.until_type("cell.output")
            await writing.until(lambda event: event.type == "text.delta" and "word20" in event.text)

            postgres.stop()
            await idle.say("hello")
            refused = await idle.until_frame(lambda frame: frame["type"] == "refused")
            assert "database does not answer" in refused["words"] and "mark" not in refused["words"]
            async with idle.http.get(f"{two.servers[0].url}/api/conversations/{idle.conversation}") as answer:
                assert answer.status == 503 and "database" in (await answer.json())["detail"]
            async with idle.http.get(f"{two.servers[0].url}/readyz") as answer:
                assert answer.status == 503
            (two.executor.data_dir / "workspaces" / running.conversation / "go").touch()  # the cell ends meanwhile
            await asyncio.sleep(AWAY_S)
            postgres.start()

            assert (await watching.closed(first)).outcome is TurnOutcome.ANSWERED
            cell = watching.view.turns[-1].items[0]
            assert cell.outcome is CellOutcome.OK and cell.outputs[0].text == "begun\ndone\n"
            assert (await writing.closed(second)).outcome is TurnOutcome.ANSWERED
            assert "word899" in writing.view.turns[-1].items[0].text
            for tab in (running, writing, idle):
                before = [turn for turn in tab.view.turns if turn.closed_at]
                page = await tab.load()
                seqs = [event.seq for event in page.events]
                assert seqs == list(range(1, len(seqs) + 1)) and not page.summary.running
                assert tab.view.turns[: len(before)] == before
            view = await idle.ask("run print('again')")
            assert view.turns[-1].outcome is TurnOutcome.ANSWERED and len(view.turns) == 1
            await watching.ask("run print(kept)")
            assert watching.view.turns[-1].items[0].outputs[0].text == "3\n"
