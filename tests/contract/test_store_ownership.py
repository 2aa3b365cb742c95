"""Whose a conversation is: what every Store promises to people, on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.adapters import store_sql


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/store.db"
    return str(request.getfixturevalue("postgres").database())


@pytest.fixture
async def store(url: str) -> AsyncIterator[store_sql.SqlStore]:
    store = store_sql.create(url)
    await store.migrate()
    await store.create_conversation("ann", "c", "Ann's", 1.0)
    yield store
    await store.close()


async def test_what_is_anothers_is_as_if_it_were_not_there(store: store_sql.SqlStore) -> None:
    assert await store.create_conversation("bob", "c", "Bob's", 2.0) is None
    assert await store.summary("bob", "c") is None
    assert await store.rename("bob", "c", "Bob's", 2.0) is None
    assert await store.page("bob", "c") is None and await store.page_json("bob", "c") is None
    assert await store.delete("bob", "c") is False
    summary = await store.summary("ann", "c")
    assert summary is not None and (summary.title, summary.updated_at) == ("Ann's", 1.0)
    assert await store.user_of("c") == "ann" and await store.user_of("nothing") is None


async def test_each_has_a_list_of_their_own(store: store_sql.SqlStore) -> None:
    for n in range(2, 6):
        await store.create_conversation("ann" if n % 2 else "bob", f"c{n}", "", float(n))
    assert [line.id for line in await store.conversations("ann", 10, None)] == ["c5", "c3", "c"]
    assert [line.id for line in await store.conversations("bob", 1, None)] == ["c4"]
    assert [line.id for line in await store.conversations("bob", 10, 4.0)] == ["c2"]
    assert await store.conversations("", 10, None) == [] and await store.conversations("local", 10, None) == []


async def test_of_many_users_who_make_the_same_id_at_once_one_has_it(store: store_sql.SqlStore) -> None:
    made = await asyncio.gather(*(store.create_conversation(f"u{n}", "same", str(n), 1.0) for n in range(8)))
    [mine] = [summary for summary in made if summary is not None]
    assert await store.user_of("same") == f"u{mine.title}"


async def test_what_was_deleted_may_be_anybodys_once_its_files_are_gone_too(store: store_sql.SqlStore) -> None:
    assert await store.delete("ann", "c") is True
    for user in ("ann", "bob"):
        assert await store.create_conversation(user, "c", "", 2.0) is None
    await store.removed("c")
    assert await store.create_conversation("bob", "c", "Bob's", 3.0) is not None
    assert await store.summary("ann", "c") is None
