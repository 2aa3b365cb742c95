"""What every Store promises: SQLite and PostgreSQL, one suite."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from executor.wire import FileChange
from orchestrator.adapters import store_sql
from orchestrator.errors import Conflict, StoreUnavailable
from orchestrator.ports import Checkpoint, LeftOpen
from orchestrator.protocol.events import (
    CellClosed,
    CellOpened,
    CellOutcome,
    Live,
    StepClosed,
    StepFinish,
    TurnClosed,
    TurnOpened,
    TurnOutcome,
    Usage,
    Via,
    WrittenCode,
)
from orchestrator.protocol.outputs import RichOutput, TextOutput
from tests.support.raw_sql import raw


def opened(turn: str, seq: int = 1, words: str = "hello", at: float = 10.0) -> TurnOpened:
    return TurnOpened(seq=seq, turn=turn, at=at, text=words, via=Via.BROWSER)


def step(turn: str, seq: int, prose: str = "thinking") -> StepClosed:
    code = WrittenCode(cell="cell", code="1", opening="```python\n", closing="```")
    usage = Usage(prompt_tokens=3, completion_tokens=2, cached_tokens=None)
    return StepClosed(seq=seq, turn=turn, step=0, prose=prose, code=code, finish=StepFinish.CODE, error="", usage=usage)


def cell(turn: str, seq: int, outputs=(), files=(), at: float = 11.0) -> CellClosed:
    return CellClosed(
        seq=seq, turn=turn, cell="cell", at=at, outcome=CellOutcome.OK, outputs=list(outputs), execution_count=1,
        duration_s=0.5, variables_kept=True, files_kept=True, fresh=False, words="", files=list(files),
    )  # fmt: skip


def closed(turn: str, seq: int, at: float = 20.0) -> TurnClosed:
    return TurnClosed(seq=seq, turn=turn, at=at, outcome=TurnOutcome.ANSWERED, words="")


def live(turn: str, prose: str = "so far") -> Live:
    return Live(turn=turn, step=0, prose=prose, code=None, cell=None, phase=None, outputs=[], n=0, stopping=False)


async def open_turn(store, turn: str, seq: int = 1, conversation: str = "c", owner: str = "me", **event):
    return await store.open_turn(conversation, opened(turn, seq, **event), owner, "x-0", None)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/store.db"
    return request.getfixturevalue("postgres").database()


@pytest.fixture
async def store(url: str):
    store = store_sql.create(url)
    await store.migrate()
    await store.create_conversation("local", "c", "", 1.0)
    yield store
    await store.close()


# ---- conversations -------------------------------------------------------------------------------------------------


async def next_seq(store, conversation: str) -> int:
    return len(await store.events(conversation)) + 1


async def test_creating_a_conversation_twice_gives_the_first_back(store):
    first = await store.create_conversation("local", "d", "Numbers", 5.0)
    assert (first.id, first.title, first.created_at, first.updated_at, first.running) == ("d", "Numbers", 5.0, 5.0, False)
    assert await store.create_conversation("local", "d", "Other", 6.0) == first


async def test_two_tabs_create_the_same_conversation_at_once(store):
    made = await asyncio.gather(*(store.create_conversation("local", "d", f"title {n}", float(n)) for n in range(8)))
    assert len(set(made)) == 1


async def test_the_list_is_newest_first_and_goes_on_before_the_last_line(store):
    for n in range(2, 8):
        await store.create_conversation("local", f"c{n}", "", float(n))
    first = await store.conversations("local", 3, None)
    rest = await store.conversations("local", 10, first[-1].updated_at)
    assert [summary.id for summary in first] == ["c7", "c6", "c5"]
    assert [summary.id for summary in rest] == ["c4", "c3", "c2", "c"]


async def test_a_conversation_is_renamed_and_moves_up(store):
    renamed = await store.rename("local", "c", "New", 9.0)
    assert (renamed.title, renamed.updated_at) == ("New", 9.0)
    assert await store.summary("local", "c") == renamed


async def test_what_does_not_exist_is_none(store):
    assert await store.summary("local", "nobody") is None
    assert await store.rename("local", "nobody", "x", 1.0) is None
    assert await store.page("local", "nobody") is None
    assert await store.page_json("local", "nobody") is None
    assert await store.delete("local", "nobody") is False
    assert await store.events("nobody") == []
    assert await next_seq(store, "nobody") == 1


async def test_deleting_takes_everything_of_the_conversation_along(store):
    await open_turn(store, "t")
    await store.append("c", [cell("t", 2, files=[FileChange(path="a", change="new", size=1)]), closed("t", 3)])
    assert await store.delete("local", "c") is True
    async with raw(store) as connection:
        for table in ("conversations", "turns", "events", "files"):
            assert (await connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one() == 0
    assert await store.page("local", "c") is None


async def test_a_deleted_id_comes_back_for_nobody_until_its_files_are_gone(store):
    """Whoever got it would get the files of the one before."""
    await open_turn(store, "t")
    await store.append("c", [closed("t", 2)])
    assert await store.removals(10) == []
    assert await store.delete("local", "c") and await store.removals(10) == ["c"]
    for user in ("local", "another"):
        assert await store.create_conversation(user, "c", "", 9.0) is None
    assert await store.delete("local", "c") is False
    await store.removed("c")
    assert await store.removals(10) == []
    assert (await store.create_conversation("another", "c", "", 9.0)).id == "c"


async def test_a_conversation_with_an_open_turn_is_not_deleted(store):
    await open_turn(store, "t")
    assert await store.delete("local", "c") is False and await store.removals(10) == []
    assert (await store.summary("local", "c")).running


# ---- turns ---------------------------------------------------------------------------------------------------------


async def test_an_opened_turn_is_on_the_page_with_its_cursor(store):
    event = opened("t", words="how many?")
    assert await store.open_turn("c", event, "me", "x-7", "how many?") == "opened"
    page = await store.page("local", "c")
    assert (page.events, page.cursor, page.live) == ([event], "x-7", None)
    assert (page.summary.title, page.summary.updated_at, page.summary.running) == ("how many?", event.at, True)


async def test_a_title_never_replaces_one_that_is_there(store):
    await store.rename("local", "c", "Mine", 2.0)
    await store.open_turn("c", opened("t"), "me", "x-0", "Theirs")
    assert (await store.summary("local", "c")).title == "Mine"


async def test_the_same_turn_again_is_known_whether_open_or_closed(store):
    await open_turn(store, "t")
    assert await open_turn(store, "t") == "known"
    assert await open_turn(store, "t", seq=2) == "known"
    await store.append("c", [closed("t", 2)])
    assert await open_turn(store, "t", seq=3) == "known"
    assert await next_seq(store, "c") == 3


async def test_a_second_turn_is_busy_until_the_first_has_closed(store):
    await open_turn(store, "t")
    assert await open_turn(store, "u") == "busy"
    assert await open_turn(store, "u", seq=2) == "busy"
    await store.append("c", [closed("t", 2)])
    assert await open_turn(store, "u", seq=3) == "opened"


async def test_turn_ids_are_per_conversation(store):
    await store.create_conversation("local", "d", "", 1.0)
    assert await open_turn(store, "t", conversation="c") == "opened"
    assert await open_turn(store, "t", conversation="d") == "opened"


async def test_a_turn_of_no_conversation_is_unknown(store):
    assert await open_turn(store, "t", conversation="nobody") == "unknown"


async def test_a_turn_whose_seq_is_not_the_next_is_a_conflict(store):
    await open_turn(store, "t")
    await store.append("c", [closed("t", 2)])
    for seq in (1, 2, 4):
        with pytest.raises(Conflict):
            await open_turn(store, "u", seq=seq)


async def test_of_many_turns_opened_at_once_exactly_one_opens(store):
    results = await asyncio.gather(*(open_turn(store, f"t{n}") for n in range(12)))
    assert sorted(results) == ["busy"] * 11 + ["opened"]
    assert len(await store.events("c")) == 1


async def test_the_same_turn_sent_at_once_by_two_connections_opens_once(store):
    results = await asyncio.gather(*(open_turn(store, "t") for _ in range(12)))
    assert sorted(results) == ["known"] * 11 + ["opened"]


async def test_many_conversations_open_and_close_at_once(store):
    async def turn(n: int) -> None:
        await store.create_conversation("local", f"c{n}", "", float(n))
        assert await open_turn(store, "t", conversation=f"c{n}") == "opened"
        await store.checkpoint([Checkpoint(f"c{n}", "t", "x-1", live("t"))])
        await store.append(f"c{n}", [step("t", 2), closed("t", 3)])

    await asyncio.gather(*(turn(n) for n in range(30)))
    assert all(not summary.running for summary in await store.conversations("local", 100, None))


# ---- facts ---------------------------------------------------------------------------------------------------------


async def test_facts_come_back_as_they_were_stored(store):
    facts = [
        opened("t"),
        step("t", 2),
        CellOpened(seq=3, turn="t", cell="cell", step=0, at=11.0),
        cell("t", 4, [TextOutput(name="stdout", text="1\n", late=False)]),
        closed("t", 5),
    ]
    await store.open_turn("c", facts[0], "me", "x-0", None)
    await store.append("c", facts[1:3])
    await store.append("c", facts[3:])
    assert await store.events("c") == facts
    page = await store.page("local", "c")
    assert (page.events, page.cursor, page.live) == (facts, None, None)
    assert (page.summary.running, page.summary.updated_at) == (False, 20.0)


async def test_a_taken_seq_is_a_conflict_and_stores_nothing(store):
    await open_turn(store, "t")
    await store.append("c", [step("t", 2)])
    for events in ([step("t", 2, "other")], [step("t", 2, "other"), closed("t", 3)], [step("t", 4)]):
        with pytest.raises(Conflict):
            await store.append("c", events)
    assert await store.events("c") == [opened("t"), step("t", 2)]
    assert (await store.summary("local", "c")).running


async def test_of_two_owners_who_write_at_once_one_is_told_to_stop(store):
    await open_turn(store, "t")
    results = await asyncio.gather(
        *(store.append("c", [step("t", 2, f"owner {n}")]) for n in range(6)), return_exceptions=True
    )
    assert sum(isinstance(result, Conflict) for result in results) == 5
    assert await next_seq(store, "c") == 3


async def test_appending_to_a_deleted_conversation_is_a_conflict(store):
    with pytest.raises(Conflict):
        await store.append("nobody", [step("t", 1)])


async def test_appending_nothing_does_nothing(store):
    await store.append("c", [])
    assert await next_seq(store, "c") == 1


async def test_pages_read_while_a_turn_writes_are_whole(store):
    """A page's events are 1…n without a gap, and a closed turn is never shown as running, or the other way round."""
    await open_turn(store, "t0")
    done = asyncio.Event()

    async def write() -> None:
        for n in range(1, 40):
            await store.append("c", [closed(f"t{n - 1}", 2 * n)])
            await open_turn(store, f"t{n}", seq=2 * n + 1)
        done.set()

    async def read() -> None:
        while not done.is_set():
            page = await store.page("local", "c")
            assert [event.seq for event in page.events] == list(range(1, len(page.events) + 1))
            assert page.summary.running == isinstance(page.events[-1], TurnOpened) == (page.cursor is not None)

    await asyncio.gather(write(), read(), read())


async def test_a_write_that_is_cancelled_happens_whole_or_not_at_all_and_hurts_nobody(store):
    await open_turn(store, "t")
    for n in range(60):
        seq = await next_seq(store, "c")
        writing = asyncio.ensure_future(store.append("c", [step("t", seq), step("t", seq + 1)]))
        for _ in range(n):
            await asyncio.sleep(0)
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        assert len(await store.events("c")) % 2 == 1
    async with asyncio.timeout(4):  # less than SQLite would wait for a lock that was left behind
        with suppress(Conflict):  # the last one may still have been on its way
            await store.append("c", [closed("t", await next_seq(store, "c"))])
        while (await store.summary("local", "c")).running:
            await store.append("c", [closed("t", await next_seq(store, "c"))])
    page = await store.page("local", "c")
    assert [event.seq for event in page.events] == list(range(1, len(page.events) + 1))


# ---- checkpoints and recovery --------------------------------------------------------------------------------------


async def test_a_checkpoint_replaces_the_one_before(store):
    await open_turn(store, "t")
    await store.checkpoint([Checkpoint("c", "t", "x-1", live("t", "a"))])
    await store.checkpoint([Checkpoint("c", "t", "x-2", live("t", "ab"))])
    page = await store.page("local", "c")
    assert (page.cursor, page.live) == ("x-2", live("t", "ab"))


async def test_a_late_checkpoint_of_a_closed_turn_is_not_shown(store):
    await open_turn(store, "t")
    await store.append("c", [closed("t", 2)])
    await store.checkpoint([Checkpoint("c", "t", "x-9", live("t"))])
    page = await store.page("local", "c")
    assert (page.cursor, page.live) == (None, None)


async def test_turns_that_another_owner_left_open_are_found(store):
    await store.create_conversation("local", "d", "", 1.0)
    await store.create_conversation("local", "e", "", 1.0)
    await open_turn(store, "t", owner="earlier")
    await store.append("c", [step("t", 2)])
    await store.checkpoint([Checkpoint("c", "t", "x-1", live("t"))])
    await open_turn(store, "u", conversation="d", owner="me")
    await open_turn(store, "v", conversation="e", owner="earlier")
    await store.append("e", [closed("v", 2)])
    [left] = await store.left_open("me")
    assert (left.conversation, left.turn, left.owner) == ("c", "t", "earlier")
    taken = await store.take_over(left, "me")
    assert (taken.conversation, taken.turn, taken.live) == ("c", "t", live("t"))
    assert taken.events == [opened("t"), step("t", 2)]


async def test_facts_survive_the_store_being_opened_again(store, url):
    await open_turn(store, "t")
    await store.close()
    again = store_sql.create(url)
    await again.migrate()
    assert await again.events("c") == [opened("t")]
    await again.close()


# ---- files ---------------------------------------------------------------------------------------------------------


async def test_files_are_kept_as_the_last_cell_left_them(store):
    await open_turn(store, "t")
    new = [FileChange(path="a.csv", change="new", size=5_000_000_000), FileChange(path="b.png", change="new", size=2)]
    await store.append("c", [cell("t", 2, files=new, at=11.0)])
    later = [FileChange(path="a.csv", change="changed", size=7), FileChange(path="b.png", change="deleted", size=0)]
    await store.append("c", [cell("t", 3, files=later, at=12.0)])
    async with raw(store) as connection:
        rows = await connection.execute(text("SELECT path, size, changed_at, deleted FROM files ORDER BY path"))
        assert [tuple(row) for row in rows] == [("a.csv", 7, 12.0, False), ("b.png", 0, 12.0, True)]


# ---- awkward contents ------------------------------------------------------------------------------------------------

NASTY = "NUL \0, half a pair \ud800, emoji 😀, line ends \r\n\u2028, quotes \"'\\, bell \a, last \U0010ffff"


async def test_any_text_is_stored_and_only_half_surrogates_are_changed(store):
    await open_turn(store, "t")
    rich = RichOutput(data={"text/plain": NASTY, NASTY: [NASTY]}, metadata={}, display_id=None)
    await store.append("c", [cell("t", 2, [TextOutput(name="stdout", text=NASTY, late=False), rich])])
    sound = NASTY.replace("\ud800", "\ufffd")
    [_, fact] = await store.events("c")
    assert fact.outputs[0].text == sound
    assert fact.outputs[1].data == {"text/plain": sound, sound: [sound]}


async def test_a_title_may_hold_anything(store):
    renamed = await store.rename("local", "c", NASTY, 2.0)
    assert renamed.title == NASTY.replace("\0", "\ufffd").replace("\ud800", "\ufffd")
    assert await store.summary("local", "c") == renamed


async def test_a_large_output_is_stored_whole(store):
    await open_turn(store, "t")
    await store.append("c", [cell("t", 2, [TextOutput(name="stdout", text="ab" * 5_000_000, late=False)])])
    [_, fact] = await store.events("c")
    assert len(fact.outputs[0].text) == 10_000_000


@given(words=st.text(max_size=200))
def test_every_text_that_python_can_hold_becomes_json(words):
    event = step("t", 2, words)
    stored = StepClosed.model_validate_json(store_sql._json(event))
    assert stored.prose == words.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


# ---- a database that does not answer ---------------------------------------------------------------------------------


async def test_the_store_says_that_it_is_ready(store):
    part = await store.check()
    assert (part.name, part.ok, part.words) == ("store", True, "")


@pytest.mark.parametrize(
    "url", ["sqlite+aiosqlite:////nowhere/at/all.db", "postgresql+asyncpg://postgres@/test?host=/nowhere"]
)
async def test_a_database_that_cannot_be_reached_is_unavailable_in_every_method(url):
    store = store_sql.create(url)
    calls = [
        store.migrate(), store.create_conversation("local", "c", "", 1.0), store.conversations("local", 1, None),
        store.summary("local", "c"), store.rename("local", "c", "x", 1.0), store.delete("local", "c"),
        store.page("local", "c"), store.page_json("local", "c"), store.user_of("c"), store.events("c"),
        open_turn(store, "t"), store.append("c", [step("t", 1)]),
        store.checkpoint([Checkpoint("c", "t", "x-1", live("t"))]), store.left_open("me"),
        store.take_over(LeftOpen("c", "t", "a"), "me"), store.owns("c", "t", "me"), store.beat("me"), store.leave("me"),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(StoreUnavailable, match="CODEACT_STORE_URL"):
            await call
    assert not (await store.check()).ok
    await store.close()


@pytest.mark.postgres
async def test_the_store_works_again_when_postgresql_comes_back(postgres):
    store = store_sql.create(postgres.database())
    await store.migrate()
    await store.create_conversation("local", "c", "", 1.0)
    postgres.stop()
    try:
        with pytest.raises(StoreUnavailable):
            await open_turn(store, "t")
        assert not (await store.check()).ok
    finally:
        postgres.start()
    assert await open_turn(store, "t") == "opened"
    await store.close()
