"""The whole app over an executor that runs by itself: what its death, return and absence look like from the page."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from orchestrator.protocol.events import CellOutcome, TurnOutcome
from tests.support.app import App, Tab, serving, settings_for
from tests.support.executor_service import Executor, end
from tests.support.model_server import ScriptedModel
from tests.support.scripts import puppet

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(180)]


@asynccontextmanager
async def team(tmp_path: Path, **settings: str) -> AsyncGenerator[tuple[App, Executor], None]:
    executor = await asyncio.to_thread(Executor, tmp_path / "executor", **{"CODEACT_SANDBOX_WARM": "0"} | settings)
    try:
        async with ScriptedModel(puppet("fenced")) as model:
            mine = {"kernel_url": executor.url, "executor_token": executor.token}
            async with serving(settings_for(tmp_path / "data", model.base_url, **mine)) as app:
                yield app, executor
    finally:
        await end(executor)


def cell(tab: Tab):
    return tab.view.turns[-1].items[0]


async def begin(tab: Tab, code: str) -> str:
    """Say it, and wait for the first thing that it prints."""
    turn = await tab.say(f"run {code}")
    await tab.until_type("cell.output")
    return turn


async def test_t39_an_executor_that_is_killed_mid_cell_costs_the_cell_and_nothing_else(tmp_path: Path) -> None:
    async with team(tmp_path) as (app, executor):
        tab = await app.tab()
        await tab.ask("run x = 42; print('kept')")
        turn = await begin(tab, "import time; print('begun', flush=True); time.sleep(100)")
        await asyncio.to_thread(executor.stop, signal.SIGKILL)
        await tab.closed(turn)
        assert cell(tab).outcome is CellOutcome.SANDBOX_LOST
        assert "connection to the executor broke" in cell(tab).words and "Files are kept" in cell(tab).words
        assert cell(tab).outputs[0].text == "begun\n"

        await tab.ask("run print(x)")  # nobody is there
        assert cell(tab).outcome is CellOutcome.UNAVAILABLE
        assert "cannot be reached" in cell(tab).words and executor.token not in str(tab.frames)

        await asyncio.to_thread(executor.start)
        await tab.ask("run print(x)")
        assert cell(tab).outputs[0].text == "42\n" and not cell(tab).lost  # the sandbox itself never died


async def test_stop_reaches_a_cell_over_there(tmp_path: Path) -> None:
    async with team(tmp_path) as (app, _):
        tab = await app.tab()
        turn = await begin(tab, "y = 1; import time; print('begun', flush=True); time.sleep(100)")
        await tab.stop(turn)
        closed = await tab.closed(turn)
        assert closed.outcome is TurnOutcome.STOPPED and cell(tab).outcome is CellOutcome.INTERRUPTED
        await tab.ask("run print(y)")
        assert cell(tab).outputs[0].text == "1\n"


async def test_stop_ends_the_turn_when_the_executor_hangs(tmp_path: Path) -> None:
    async with team(tmp_path) as (app, executor):
        tab = await app.tab()
        turn = await begin(tab, "import time; print('begun', flush=True); time.sleep(100)")
        executor.process.send_signal(signal.SIGSTOP)
        try:
            await tab.stop(turn)
            closed = await tab.closed(turn)
            assert closed.outcome is TurnOutcome.STOPPED and "hung up" in cell(tab).words
        finally:
            executor.process.send_signal(signal.SIGCONT)
        await tab.ask("run print('again')")  # hanging up has stopped the old cell there
        assert cell(tab).outputs[0].text == "again\n"


async def test_an_executor_that_is_away_is_said_in_words_everywhere(tmp_path: Path) -> None:
    async with team(tmp_path) as (app, executor):
        tab = await app.tab()
        await asyncio.to_thread(executor.stop)
        await tab.command(type="kernel.restart", conversation=tab.conversation)
        refused = await tab.until_frame(lambda frame: frame["type"] == "refused")
        assert "could not be restarted" in refused["words"] and "Is it running" in refused["words"]
        async with tab.http.get(f"{app.url}/readyz") as answer:
            assert answer.status == 503 and "cannot be reached" in await answer.text()
        await tab.load()  # history can be read all the same
        async with tab.http.delete(f"{app.url}/api/conversations/{tab.conversation}") as answer:
            assert answer.status == 204


async def test_what_is_deleted_while_the_executor_is_away_goes_when_it_is_back(tmp_path: Path) -> None:
    async with team(tmp_path) as (app, executor):
        tab = await app.tab()
        await tab.ask("run open('secret', 'w').write('x')")
        files = executor.data_dir / "workspaces" / tab.conversation
        assert (files / "secret").exists()
        await asyncio.to_thread(executor.stop)
        async with tab.http.delete(f"{app.url}/api/conversations/{tab.conversation}") as answer:
            assert answer.status == 204
        async with tab.http.put(f"{app.url}/api/conversations/{tab.conversation}", json={}) as answer:
            assert answer.status == 404
        assert (files / "secret").exists()
        await asyncio.to_thread(executor.start)
        await app.app.state.removals.catch_up()
        assert not files.exists()


async def test_the_wrong_token_is_named(tmp_path: Path) -> None:
    async with team(tmp_path) as (app, executor), ScriptedModel(puppet("fenced")) as model:
        wrong = settings_for(tmp_path / "b", model.base_url, kernel_url=executor.url, executor_token="wrong")
        async with serving(wrong) as other:
            tab = await other.tab()
            await tab.ask("run print(1)")
            assert cell(tab).outcome is CellOutcome.UNAVAILABLE and "token" in cell(tab).words
