"""Two servers that share a store: one quota for both, and an administrator stops what runs on either."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
import pytest_asyncio

from orchestrator.protocol.events import TurnOutcome
from tests.support.app import Tab, new_id
from tests.support.scripts import Reply, Request, Wait, puppet
from tests.support.team import Team, team

pytestmark = [
    pytest.mark.sandbox, pytest.mark.postgres, pytest.mark.timeout(180), pytest.mark.asyncio(loop_scope="module")
]  # fmt: skip


def script(request: Request) -> Reply | str:
    if request.text == "write":
        return Reply([item for n in range(2000) for item in (f"word{n} ", Wait(0.02))])
    return puppet("fenced")(request)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def two(tmp_path_factory, postgres, redis) -> AsyncGenerator[Team, None]:
    place, limit = tmp_path_factory.mktemp("team"), {"CODEACT_QUOTA_MESSAGES_PER_DAY": "1000"}
    async with team(place, postgres.database(), redis.url(), script, **limit) as running:
        yield running


async def allow(two: Team, most: int) -> None:
    """As many messages a day, for the one user that there is. Heard of at once by the first server, soon by the other."""
    quota = {"scope": "user", "name": "local", "limits": [{"what": "messages", "most": most}]}
    tab = await two.servers[0].tab()
    async with tab.http.put(f"{two.servers[0].url}/api/admin/quotas", json=quota) as answer:
        assert answer.status == 200, await answer.text()
    await tab.drop()
    async with asyncio.timeout(60):
        while await limit(two, 1) != most:
            await asyncio.sleep(0.2)


async def limit(two: Team, server: int) -> int:
    tab = await two.servers[server].tab()
    async with tab.http.get(f"{two.servers[server].url}/api/quota") as answer:
        (line,) = [line for line in (await answer.json())["limits"] if line["what"] == "messages"]
    await tab.drop()
    return int(line["limit"])


async def outcome(tab: Tab, turn: str) -> str:
    frame = await tab.until_frame(
        lambda frame: (
            (frame["type"] == "refused" and frame["turn"] == turn)
            or (frame["type"] == "told" and frame["event"]["type"] == "turn.closed" and frame["event"]["turn"] == turn)
        )
    )
    return str(frame.get("reason") or frame["event"]["outcome"])


async def test_one_message_is_left_for_both_servers_and_one_gets_it(two: Team) -> None:
    tabs = [await server.tab() for server in two.servers]
    await allow(two, 1)
    turns = [await tab.say("say hello") for tab in tabs]
    ends = await asyncio.gather(*(outcome(tab, turn) for tab, turn in zip(tabs, turns, strict=True)))
    assert sorted(ends) == ["answered", "quota"]


async def test_a_message_that_the_other_server_took_is_not_refused_when_it_is_sent_again(two: Team) -> None:
    here = await two.servers[0].tab()
    there = await two.servers[1].tab(here.conversation)
    await allow(two, 2)
    turn = new_id()
    await here.say("say hello", turn)
    assert await outcome(here, turn) == "answered"
    await there.say("say hello", turn)
    await there.command(type="ping")
    frame = await there.until_frame(lambda frame: frame["type"] in ("refused", "pong"))
    assert frame["type"] == "pong"
    assert await outcome(there, await there.say("say hello")) == "quota"


async def test_an_administrator_stops_a_turn_from_whichever_server(two: Team) -> None:
    await allow(two, 1000)
    tab = await two.servers[0].tab()
    turn = await tab.say("write")
    await tab.until_type("text.delta")
    other = await two.servers[1].tab()
    url = f"{two.servers[1].url}/api/admin"
    async with other.http.get(f"{url}/live") as answer:
        assert turn in [line["turn"] for line in (await answer.json())["turns"]]
    async with other.http.post(f"{url}/turns/{tab.conversation}/{turn}/stop", json={}) as answer:
        assert answer.status == 204, await answer.text()
    assert (await tab.closed(turn)).outcome is TurnOutcome.STOPPED
