"""Two servers whose Redis is killed, hangs or is emptied in the middle of turns: nobody's work is lost, pages catch up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from orchestrator.protocol.events import CellOutcome, TurnClosed, TurnOutcome
from tests.support.app import WAIT_S, Tab
from tests.support.redis import RedisServer, server
from tests.support.scripts import Reply, Request, Wait, puppet
from tests.support.team import Team, team

pytestmark = [
    pytest.mark.sandbox, pytest.mark.postgres, pytest.mark.timeout(180), pytest.mark.asyncio(loop_scope="module")
]  # fmt: skip

WORDS = [f"word{n} " for n in range(500)]
TEXT = "".join(WORDS).strip()


def script(request: Request) -> Reply | str:
    if request.text == "write":
        return Reply([item for word in WORDS for item in (word, Wait(0.02))])
    return puppet("fenced")(request)


@dataclass
class World:
    team: Team
    redis: RedisServer


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory, postgres) -> AsyncGenerator[World, None]:
    with server() as redis:
        async with team(tmp_path_factory.mktemp("team"), postgres.database(), redis.url(0), script) as running:
            yield World(running, redis)


class Page(Tab):
    """A tab that starts over when it is told to, as the page does."""

    async def frame(self) -> dict[str, Any]:
        frame = await super().frame()
        if frame["type"] == "reset" and frame["conversation"] == self.conversation:
            await asyncio.sleep(0.5)  # the page is in no more of a hurry
            await self.load()
            await self.command(type="subscribe", conversation=self.conversation, cursor=self.cursor)
        return frame

    async def over(self, turn: str, timeout_s: float = WAIT_S) -> None:
        """Until the turn is shown as closed, however the page came to know."""

        def shown() -> bool:
            return any(seen.turn == turn and seen.outcome is not None for seen in self.view.turns)

        async with asyncio.timeout(timeout_s):
            while not shown():
                await self.frame()

    @property
    def delivered(self) -> list[bool]:
        return [frame["live"] for frame in self.frames if frame["type"] == "delivery"]


async def pages(world: World) -> list[Page]:
    """One conversation, open at each of the servers."""
    first = await page_at(world, 0)
    return [first, await page_at(world, 1, first.conversation)]


async def page_at(world: World, number: int, conversation: str | None = None) -> Page:
    tab = await world.team.servers[number].tab(conversation)
    page = Page(tab.http, tab.url, tab.conversation)
    page.__dict__.update(tab.__dict__)
    if tab.frames[-1]["type"] == "reset":
        await page.load()
        await page.command(type="subscribe", conversation=page.conversation, cursor=page.cursor)
    return page


async def all_is_well(world: World, here: Page, there: Page, turn: str) -> None:
    """Both pages show what a page shows that is loaded now; nobody was refused anything; the next message works."""
    assert not [frame for page in (here, there) for frame in page.frames if frame["type"] == "refused"]
    assert not (here.view.gap or there.view.gap)
    fresh = await world.team.servers[1].tab(here.conversation)
    shown = next(seen for seen in fresh.view.turns if seen.turn == turn)
    for page in (here, there):
        assert next(seen for seen in page.view.turns if seen.turn == turn) == shown
    again = await here.say("hello")
    await asyncio.gather(here.over(again), there.over(again))
    assert here.view.turns[-1].outcome is TurnOutcome.ANSWERED and here.view.turns == there.view.turns


async def killed(redis: RedisServer) -> None:
    redis.crash()
    await asyncio.sleep(1.0)
    await asyncio.to_thread(redis.start)


async def frozen(redis: RedisServer) -> None:
    redis.freeze()
    await asyncio.sleep(10.0)
    redis.thaw()


async def emptied(redis: RedisServer) -> None:
    redis.ask("FLUSHALL")


Fault = Callable[[RedisServer], Awaitable[None]]


@pytest.mark.parametrize("fault", [killed, frozen, emptied])
async def test_while_text_is_written(world: World, fault: Fault) -> None:
    here, there = await pages(world)
    turn = await here.say("write")
    await there.until(lambda event: event.type == "text.delta" and "word20 " in there.view.turns[-1].items[0].text)
    breaking = asyncio.create_task(fault(world.redis))
    await asyncio.gather(here.over(turn, 60), there.over(turn, 60))
    await breaking
    (prose,) = here.view.turns[-1].items
    assert prose.text.strip() == TEXT and here.view.turns[-1].outcome is TurnOutcome.ANSWERED
    if fault is not emptied:
        assert here.delivered == there.delivered == [False, True]
    await all_is_well(world, here, there, turn)


@pytest.mark.parametrize("fault", [killed, emptied])
async def test_while_code_runs_in_silence_it_can_still_be_stopped_from_either(world: World, fault: Fault) -> None:
    here, there = await pages(world)
    turn = await here.say("run import time; print('begun', flush=True); time.sleep(100)")
    await asyncio.gather(here.until_type("cell.output"), there.until_type("cell.output"))
    await asyncio.sleep(1.0)  # the checkpoint's promise
    await fault(world.redis)
    late = await page_at(world, 1, here.conversation)  # a page that is loaded now hears too
    await there.stop(turn)
    await asyncio.gather(here.over(turn), there.over(turn), late.over(turn))
    (cell, *_) = here.view.turns[-1].items
    assert cell.outcome is CellOutcome.INTERRUPTED and cell.outputs[0].text == "begun\n"
    await all_is_well(world, here, there, turn)


async def test_a_message_that_is_sent_while_redis_is_away_is_answered(world: World) -> None:
    here, there = await pages(world)
    world.redis.crash()
    turn = await here.say("run print(6 * 7)")
    async with asyncio.timeout(WAIT_S):  # readyz says what is wrong, the store what was answered
        while True:
            async with here.http.get(f"{here.url}/api/conversations/{here.conversation}") as answer:
                page = await answer.json()
            if page["events"] and page["events"][-1]["type"] == "turn.closed":
                break
            await asyncio.sleep(0.1)
    async with here.http.get(f"{here.url}/readyz") as answer:
        (bus,) = [part for part in (await answer.json())["parts"] if part["name"] == "bus"]
        assert answer.status == 503 and not bus["ok"] and "CODEACT_BUS_URL" in bus["words"]
    await asyncio.to_thread(world.redis.start)
    await asyncio.gather(here.over(turn), there.over(turn))
    assert here.view.turns[-1].items[0].outputs[0].text == "42\n"
    await all_is_well(world, here, there, turn)


async def test_a_page_that_is_opened_while_redis_is_away_is_told_so_and_goes_on_when_it_is_back(world: World) -> None:
    here, _ = await pages(world)
    await here.over(await here.say("hello"))
    world.redis.crash()
    late = Page(here.http, world.team.servers[0].url, here.conversation)
    page = await late.load()
    assert isinstance(page.events[-1], TurnClosed)
    connecting = asyncio.create_task(late.connect())
    await asyncio.sleep(0.5)
    assert late.delivered == [False] and not connecting.done()
    await asyncio.to_thread(world.redis.start)
    await asyncio.wait_for(connecting, WAIT_S)
    await late.over(await late.say("hello"))
    assert late.view.turns[-1].outcome is TurnOutcome.ANSWERED
