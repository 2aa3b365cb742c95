"""Every migration can be taken back, step by step, and what people wrote survives it there and back; on both databases."""

from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from orchestrator.adapters import migrate
from orchestrator.adapters.tables import metadata
from orchestrator.errors import BadSetting
from tests.contract.test_store import cell, closed, open_turn, store, url
from tests.support.raw_sql import raw

__all__ = ["store", "url"]  # fixtures
KEPT = ("conversations", "turns", "events")


async def counts(store) -> dict[str, int]:
    async with raw(store) as connection:
        return {name: (await connection.execute(text(f"SELECT count(*) FROM {name}"))).scalar_one() for name in KEPT}


async def filled(store) -> dict[str, int]:
    await open_turn(store, "t")
    await store.append("c", [cell("t", 2), closed("t", 3)])
    await open_turn(store, "u", 4)
    return await counts(store)


async def revision(store) -> str | None:
    async with raw(store) as connection:
        return await connection.run_sync(migrate.current)


async def test_each_step_back_keeps_what_people_wrote_and_leads_forward_again(store):
    before = await filled(store)
    assert before == {"conversations": 1, "turns": 2, "events": 4}
    head = await revision(store)
    for number in range(int(head) - 1, 0, -1):
        async with raw(store) as connection:
            await connection.run_sync(migrate.downgrade, f"{number:04}")
        assert await revision(store) == f"{number:04}" and await counts(store) == before
        await store.migrate()
        assert await revision(store) == head and await counts(store) == before
        async with raw(store) as connection:
            await connection.run_sync(migrate.downgrade, f"{number:04}")
    await store.migrate()
    async with raw(store) as connection:
        assert (
            await connection.run_sync(
                lambda sync: compare_metadata(MigrationContext.configure(sync, opts={"compare_type": True}), metadata)
            )
            == []
        )
    assert len(await store.events("c")) == 4


async def test_all_the_way_back_nothing_is_left(store):
    await filled(store)
    async with raw(store) as connection:
        await connection.run_sync(migrate.downgrade, "base")
        tables = await connection.run_sync(lambda sync: set(sync.dialect.get_table_names(sync)))
    assert tables <= {"alembic_version"}


@pytest.mark.parametrize("wrong", ["0099", "", "head", "abc", "-1"])
async def test_a_revision_that_never_was_is_refused_and_nothing_changes(store, wrong):
    before, head = await filled(store), await revision(store)
    with pytest.raises(BadSetting, match="before it came 0001"):
        async with raw(store) as connection:
            await connection.run_sync(migrate.downgrade, wrong)
    assert await revision(store) == head and await counts(store) == before
