"""A rolling restart: the server that is told to end finishes what it can, hands over the rest, and begins nothing new."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import aiohttp
import pytest

from orchestrator.protocol.events import CellOutcome, TurnOutcome
from tests.support.model_server import ScriptedModel
from tests.support.process import Served
from tests.support.scripts import puppet
from tests.support.team import team

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(120)]

GATE = "import time, os\nprint('begun', flush=True)\nwhile not os.path.exists('go'): time.sleep(0.05)\nprint('done')"


async def closed_by_server(tab) -> int:
    """The close code, once the server has hung up."""
    while True:
        message = await tab.socket.receive(timeout=30)
        if message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED):
            return tab.socket.close_code


@pytest.mark.postgres
async def test_running_turns_finish_or_are_handed_over_and_pages_go_elsewhere(tmp_path: Path, postgres, redis) -> None:
    async with team(tmp_path, postgres.database(), redis.url(), puppet("fenced"), CODEACT_DRAIN_S="6") as two:
        old, new = two.servers
        soon, endless, idle = await old.tab(), await old.tab(), await old.tab()
        soon_there, endless_there = await new.tab(soon.conversation), await new.tab(endless.conversation)
        first = await soon.say(f"run {GATE}")
        second = await endless.say(f"run kept = 7\n{GATE}")
        await soon_there.until_type("cell.output")
        await endless_there.until_type("cell.output")

        old.process.send_signal(signal.SIGTERM)
        assert [await closed_by_server(tab) for tab in (soon, endless, idle)] == [1001] * 3
        async with idle.http.get(f"{old.url}/readyz") as answer:
            assert answer.status == 503 and "about to end" in await answer.text()
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await idle.connect()
        assert refused.value.status == 503
        body = {"model": "scripted", "messages": [{"role": "user", "content": "hello"}]}
        async with idle.http.post(f"{old.url}/v1/chat/completions", json=body) as answer:
            assert answer.status == 503 and "being restarted" in await answer.text()

        moved = await new.tab(idle.conversation)  # where the page lands
        await moved.ask("hello")
        (two.executor.data_dir / "workspaces" / soon.conversation / "go").touch()
        assert (await soon_there.closed(first)).outcome is TurnOutcome.ANSWERED
        assert soon_there.view.turns[-1].items[0].outputs[0].text == "begun\ndone\n"

        handed_over = await endless_there.closed(second)
        assert handed_over.outcome is TurnOutcome.LOST and "stopped while it worked" in handed_over.words
        assert endless_there.view.turns[-1].items[0].outcome is CellOutcome.INTERRUPTED
        assert await old._ended() == 0
        await endless_there.ask("run print(kept)")
        assert endless_there.view.turns[-1].items[0].outputs[0].text == "7\n"


async def test_a_single_server_drains_too_and_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    async with ScriptedModel(puppet("fenced")) as model, Served(tmp_path, model.base_url, CODEACT_DRAIN_S="60") as served:
        tab = await served.tab()
        turn = await tab.say(f"run {GATE}")
        await tab.until_type("cell.output")
        served.process.send_signal(signal.SIGTERM)
        assert await closed_by_server(tab) == 1001
        (tmp_path / "workspaces" / tab.conversation / "go").touch()
        assert await served._ended() == 0
        await served.start()
        tab = await served.tab(tab.conversation)
        assert tab.view.turns[-1].turn == turn and tab.view.turns[-1].outcome is TurnOutcome.ANSWERED

        await tab.say("run import time; print('begun', flush=True); time.sleep(60)")
        await tab.until_type("cell.output")
        served.process.send_signal(signal.SIGTERM)
        assert await closed_by_server(tab) == 1001
        began = asyncio.get_running_loop().time()
        assert await served.interrupt() == 0
        assert asyncio.get_running_loop().time() - began < 30
        await served.start()
        tab = await served.tab(tab.conversation)
        assert tab.view.turns[-1].outcome is TurnOutcome.LOST and tab.view.turns[-1].words
