"""The tables that migrations make are the tables that queries expect, on both databases."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from orchestrator.adapters import store_sql
from orchestrator.adapters.tables import metadata
from orchestrator.errors import StoreTooNew, StoreUnavailable


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/store.db"
    return request.getfixturevalue("postgres").database()


@pytest.fixture
async def engine(url):
    """A connection beside the store's own."""
    engine = create_async_engine(url)
    yield engine
    await engine.dispose()


@pytest.fixture
async def store(url):
    store = store_sql.create(url)
    yield store
    await store.close()


async def test_migrations_make_exactly_the_tables_that_queries_expect(store, engine) -> None:
    await store.migrate()
    async with engine.connect() as connection:
        differences = await connection.run_sync(
            lambda sync: compare_metadata(MigrationContext.configure(sync, opts={"compare_type": True}), metadata)
        )
    assert differences == []


async def test_migrating_again_changes_nothing(store) -> None:
    await store.migrate()
    await store.create_conversation("local", "c", "kept", 1.0)
    await store.migrate()
    assert (await store.summary("local", "c")).title == "kept"


async def test_servers_that_start_together_migrate_one_after_the_other(url) -> None:
    stores = [store_sql.create(url) for _ in range(4)]
    await asyncio.gather(*(store.migrate() for store in stores))
    await stores[0].create_conversation("local", "c", "", 1.0)
    assert await stores[3].summary("local", "c")
    for store in stores:
        await store.close()


async def test_a_database_of_a_newer_version_is_refused_in_words_and_left_alone(store, engine) -> None:
    await store.migrate()
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreTooNew, match="newer version"):
        await store.migrate()
    async with engine.connect() as connection:
        assert (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar_one() == "9999"


async def test_a_migration_that_fails_leaves_nothing_half_done(store, engine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE events (mine integer)"))
    with pytest.raises(StoreUnavailable, match="events"):
        await store.migrate()
    async with engine.begin() as connection:
        await connection.execute(text("DROP TABLE events"))
    await store.migrate()
    assert await store.conversations("local", 1, None) == []


async def test_a_file_that_is_no_database_is_unavailable_in_words(tmp_path) -> None:
    (tmp_path / "store.db").write_bytes(b"this is not a database, whatever its name says" * 100)
    store = store_sql.create(f"sqlite+aiosqlite:///{tmp_path}/store.db")
    with pytest.raises(StoreUnavailable, match="not a database"):
        await store.migrate()
    await store.close()


async def test_every_query_uses_an_index(tmp_path) -> None:
    """A scan of a whole table costs every user the more, the longer the server has been in use."""
    from orchestrator.adapters import sql

    url = f"sqlite+aiosqlite:///{tmp_path}/store.db"
    store, engine = store_sql.create(url), create_async_engine(url)
    await store.migrate()
    statements = {name: value for name, value in vars(sql).items() if name.isupper() and not name.startswith("_")}
    async with engine.connect() as connection:
        for name, statement in statements.items():
            parameters = {key: 1 for key in statement.compile().params}
            plan = (await connection.execute(text(f"EXPLAIN QUERY PLAN {statement.text}"), parameters)).all()
            scans = [row.detail for row in plan if row.detail.startswith("SCAN") and "INDEX" not in row.detail]
            assert [scan for scan in scans if scan != "SCAN CONSTANT ROW"] == [], name
    await engine.dispose()
    await store.close()
