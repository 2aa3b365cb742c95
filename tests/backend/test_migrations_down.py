"""Every migration can be taken back, and what people have said stays."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

from orchestrator.adapters import store_sql
from orchestrator.adapters.migrate import SCRIPTS
from orchestrator.adapters.tables import metadata
from orchestrator.protocol.events import TurnOpened, Via


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/store.db"
    return str(request.getfixturevalue("postgres").database())


def to(revision: str):
    def work(connection: Connection) -> None:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
        change = command.upgrade if revision == "head" else command.downgrade
        change(config, revision)

    return work


async def test_down_to_the_first_and_up_again_keeps_every_conversation(url: str) -> None:
    store = store_sql.create(url)
    await store.migrate()
    await store.create_conversation("ann", "c", "Ann's", 1.0)
    said = TurnOpened(seq=1, turn="t", at=2.0, text="hello", via=Via.BROWSER)
    assert await store.open_turn("c", said, "me", "x-0", None) == "opened"
    await store.close()
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(to("0001"))
    async with engine.connect() as connection:
        kept = (await connection.execute(text("SELECT id, title, last_seq FROM conversations"))).one()
        assert tuple(kept) == ("c", "Ann's", 1)
        assert (await connection.execute(text("SELECT count(*) FROM events"))).scalar_one() == 1
    async with engine.begin() as connection:
        await connection.run_sync(to("head"))
    async with engine.connect() as connection:
        differences = await connection.run_sync(
            lambda sync: compare_metadata(MigrationContext.configure(sync, opts={"compare_type": True}), metadata)
        )
    await engine.dispose()
    assert differences == []
    store = store_sql.create(url)
    assert await store.user_of("c") == "local", "nobody's in particular"
    assert await store.events("c") == [said]
    await store.close()
