"""Two servers that share a store, a bus and an executor: it makes no difference which of them a page is connected to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest
import pytest_asyncio

from orchestrator.protocol.events import CellOutcome, TurnOutcome
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
    """Both start at once, on an empty database."""
    async with team(tmp_path_factory.mktemp("team"), postgres.database(), redis.url(), script) as running:
        yield running


async def tabs(two: Team) -> list[Tab]:
    """One conversation, open at each of the servers."""
    first = await two.servers[0].tab()
    return [first, *[await server.tab(first.conversation) for server in two.servers[1:]]]


def ended(turn: str) -> Callable[[dict[str, Any]], bool]:
    """A frame that says that the turn was refused, or is over."""

    def wanted(frame: dict[str, Any]) -> bool:
        event = frame.get("event", {})
        return (frame["type"] == "refused" and frame["turn"] == turn) or (
            event.get("type") == "turn.closed" and event["turn"] == turn
        )

    return wanted


def printed(tab: Tab) -> str:
    return "".join(output.text for output in tab.view.turns[-1].items[0].outputs)


async def test_a_conversation_moves_between_servers_and_keeps_its_variables(two: Team) -> None:
    here, there = await tabs(two)
    await here.ask("run x = [0]; print(x)")
    for n in range(1, 7):
        tab = (there, here)[n % 2]
        turn = await tab.say(f"run x.append({n}); print(x)")
        await asyncio.gather(here.closed(turn), there.closed(turn))
        assert printed(tab) == f"{list(range(n + 1))}\n" and here.view.turns == there.view.turns
        assert not any("nother server" in str(frame) for frame in tab.frames)


async def test_text_is_seen_at_the_other_server_while_it_is_written_and_stopped_from_there(two: Team) -> None:
    here, there = await tabs(two)
    turn = await here.say("write")
    await there.until(lambda event: event.type == "text.delta" and "word9" in event.text)
    await there.stop(turn)
    closed = await here.closed(turn)
    assert closed.outcome is TurnOutcome.STOPPED
    await there.closed(turn)
    assert here.view.turns == there.view.turns


async def test_a_running_cell_is_stopped_from_the_other_server_and_can_be_gone_on_from_there(two: Team) -> None:
    here, there = await tabs(two)
    turn = await here.say("run y = 5; import time; print('begun', flush=True); time.sleep(100)")
    await there.until_type("cell.output")
    await there.stop(turn)
    assert (await there.closed(turn)).outcome is TurnOutcome.STOPPED
    assert there.view.turns[-1].items[0].outcome is CellOutcome.INTERRUPTED
    going_on = new_id()
    await there.command(type="turn.continue", conversation=there.conversation, turn=going_on)
    await there.closed(going_on)
    await there.ask("run print(y)")
    assert printed(there) == "5\n"
    # what the first server remembers is old by now: the second has answered since
    await here.command(type="turn.continue", conversation=here.conversation, turn=new_id())
    refused = await here.until_frame(lambda frame: frame["type"] == "refused")
    assert refused["reason"] == "nothing_to_continue"


async def test_what_must_wait_for_the_turn_is_refused_at_the_other_server(two: Team) -> None:
    here, there = await tabs(two)
    turn = await here.say("run import time; print('begun', flush=True); time.sleep(100)")
    await there.until_type("cell.output")
    await there.say("hello")
    assert (await there.until_frame(lambda frame: frame["type"] == "refused"))["reason"] == "turn_open"
    await there.command(type="turn.continue", conversation=there.conversation, turn=new_id())
    assert (await there.until_frame(lambda frame: frame["type"] == "refused"))["reason"] == "turn_open"
    await there.command(type="kernel.restart", conversation=there.conversation)
    assert (await there.until_frame(lambda frame: frame["type"] == "refused"))["reason"] == "busy"
    async with there.http.delete(f"{there.url}/api/conversations/{there.conversation}") as answer:
        assert answer.status == 409
    await here.stop(turn)
    await asyncio.gather(here.closed(turn), there.closed(turn))
    await there.command(type="kernel.restart", conversation=there.conversation)
    await there.until_type("kernel.changed")
    assert (await here.ask("run print('x')")).turns[-1].outcome is TurnOutcome.ANSWERED


async def test_of_two_messages_at_once_one_is_answered_and_the_other_refused(two: Team) -> None:
    here, there = await tabs(two)
    for _ in range(5):
        mine, theirs = await asyncio.gather(here.say("one"), there.say("two"))

        ends = await asyncio.gather(here.until_frame(ended(mine)), there.until_frame(ended(theirs)))
        kinds = sorted(frame["type"] for frame in ends)
        assert kinds in (["refused", "told"], ["told", "told"])  # both, when one was over before the other came
        assert all(frame["reason"] == "turn_open" for frame in ends if frame["type"] == "refused")
        page = await here.load()
        seqs = [event.seq for event in page.events]
        assert seqs == list(range(1, len(seqs) + 1)) and not page.summary.running


async def test_the_same_message_sent_to_both_is_stored_once(two: Team) -> None:
    """A page that was moved in mid-sentence sends its message again."""
    here, there = await tabs(two)
    turn = new_id()
    await asyncio.gather(here.say("hello", turn), there.say("hello", turn))
    await asyncio.gather(here.closed(turn), there.closed(turn))
    assert [one.turn for one in here.view.turns] == [turn] and here.view.turns[0].outcome is TurnOutcome.ANSWERED


async def test_a_deleted_conversation_is_gone_at_both(two: Team) -> None:
    here, there = await tabs(two)
    await asyncio.gather(here.ask("hello"), there.until_type("turn.closed"))
    async with here.http.delete(f"{here.url}/api/conversations/{here.conversation}") as answer:
        assert answer.status == 204
    await there.until_frame(lambda frame: frame["type"] == "conversation.removed")
    await there.say("hello?")
    assert (await there.until_frame(lambda frame: frame["type"] == "refused"))["reason"] == "unknown_conversation"
