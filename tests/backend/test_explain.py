"""No statement reads a large table from end to end: PostgreSQL's own plans, with 100,000 turns in the store."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
from collections.abc import Iterator
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

import orchestrator.adapters
from orchestrator.adapters import store_sql
from orchestrator.adapters.tables import metadata

pytestmark = [pytest.mark.postgres, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

CONVERSATIONS, TURNS_EACH = 20_000, 5
LARGE = {"conversations", "turns", "events", "files", "sessions", "usage", "audit"}
MAY = {  # what counts over everybody, for an admin's page or once an hour, says so here
    "usage.DISKS": "the disk of all users",
}
TEXTS = {  # of parameters by their names; others are something that there is not
    "id": "c500", "conversation": "c500", "turn": "c500-t3", "user": "u7", "user_id": "u7", "ids": "c500",
}  # fmt: skip

PARAMETER = re.compile(r"(?<!:):(\w+)")

FILL = (
    "INSERT INTO users (id, email, name, role, group_name, disabled, created_at)"
    " SELECT 'u' || n, 'u' || n || '@example.org', 'U', 'user', '', false, n FROM generate_series(1, 1000) n",
    f"INSERT INTO conversations (id, user_id, title, created_at, updated_at, last_seq)"
    f" SELECT 'c' || n, 'u' || 1 + n % 100, 'Title', n, n, {TURNS_EACH} FROM generate_series(1, {CONVERSATIONS}) n",
    f"INSERT INTO turns (conversation_id, id, owner, cursor, opened_at, closed_at)"
    f" SELECT 'c' || c, 'c' || c || '-t' || t, 'o', '0-0', t,"
    f" CASE WHEN c % 2000 = 0 AND t = {TURNS_EACH} THEN null ELSE t END"
    f" FROM generate_series(1, {CONVERSATIONS}) c, generate_series(1, {TURNS_EACH}) t",
    f"INSERT INTO events (conversation_id, seq, turn_id, type, payload, at)"
    f" SELECT 'c' || c, s, 'c' || c || '-t' || s, 'turn.opened', '{{}}', s"
    f" FROM generate_series(1, {CONVERSATIONS}) c, generate_series(1, {TURNS_EACH}) s",
    f"INSERT INTO files (conversation_id, path, size, changed_at, turn_id, cell_id, deleted)"
    f" SELECT 'c' || c, 'f' || n, 1, 1, 't', 'x', false"
    f" FROM generate_series(1, {CONVERSATIONS}) c, generate_series(1, 3) n",
    "INSERT INTO sessions (id, hash, user_id, how, agent, address, created_at, seen_at, expires_at)"
    " SELECT 's' || n, 'h' || n, 'u' || n, '', '', '', n, n, n FROM generate_series(1, 1000) n",
    "INSERT INTO usage (day, user_id, messages, model_tokens, cpu_ms)"
    " SELECT d, 'u' || n, 1, 1, 1 FROM generate_series(1, 100) d, generate_series(1, 100) n",
    "INSERT INTO audit (at, actor, action, subject, details)"
    " SELECT n, 'u', 'a', 's', '{}' FROM generate_series(1, 10000) n",
)  # fmt: skip


def statements() -> Iterator[tuple[str, TextClause]]:
    """All that the adapters have as constants."""
    for found in pkgutil.walk_packages(orchestrator.adapters.__path__, "orchestrator.adapters."):
        module = importlib.import_module(found.name)
        for name, value in vars(module).items():
            if isinstance(value, TextClause) and name.isupper() and not name.startswith("_"):
                yield f"{found.name.rpartition('.')[2]}.{name}", value


STATEMENTS = dict(statements())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def full(postgres):
    """A connection to a store in which a large team has worked for long."""
    store = store_sql.create(postgres.database())
    await store.migrate()
    engine = create_async_engine(store.url)
    async with engine.connect() as connection:
        for statement in FILL:
            await connection.execute(text(statement))
        await connection.commit()
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text("VACUUM ANALYZE"))
        await connection.execute(text("SET plan_cache_mode = force_custom_plan"))
        yield connection
    await engine.dispose()
    await store.close()


def literal(name: str, kind: str) -> str:
    """A value of PostgreSQL's type, as SQL."""
    if kind in ("text", "character varying"):
        return f"'{TEXTS.get(name, 'x')}'"
    return "false" if kind == "boolean" else "1"


def seq_scans(plan: dict[str, Any]) -> Iterator[str]:
    if plan["Node Type"] == "Seq Scan":
        yield plan["Relation Name"]
    for part in plan.get("Plans", ()):
        yield from seq_scans(part)


async def explained(connection: AsyncConnection, statement: TextClause) -> dict[str, Any]:
    """The plan for values as they are in use; a list of them is one that has a single value. PostgreSQL itself says of
    which types they have to be."""
    names = list(dict.fromkeys(PARAMETER.findall(statement.text)))
    sql = PARAMETER.sub(lambda found: f"${names.index(found[1]) + 1}", re.sub(r" IN :(\w+)", r" IN (:\1)", statement.text))
    await connection.exec_driver_sql(f"PREPARE it AS {sql}")
    kinds = "SELECT parameter_types::text[] FROM pg_prepared_statements WHERE name = 'it'"
    types = (await connection.exec_driver_sql(kinds)).scalar_one()
    values = ", ".join(literal(name, kind) for name, kind in zip(names, types, strict=True))
    rows = await connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) EXECUTE it{f'({values})' if names else ''}")
    plan = rows.scalar_one()
    await connection.exec_driver_sql("DEALLOCATE it")
    return (plan if isinstance(plan, list) else json.loads(plan))[0]["Plan"]


@pytest.mark.parametrize("name", STATEMENTS)
async def test_a_statement_reads_no_large_table_from_end_to_end(full, name: str) -> None:
    plan = await explained(full, STATEMENTS[name])
    scanned = LARGE & set(seq_scans(plan))
    assert not scanned or name in MAY, json.dumps(plan, indent=1)


async def test_the_test_would_notice(full) -> None:
    plan = await explained(full, text("SELECT id FROM turns WHERE opened_at = :at"))
    assert set(seq_scans(plan)) == {"turns"}


async def test_deleting_finds_what_hangs_on_a_row_by_an_index() -> None:
    """A foreign key without one makes every deletion read the whole table that refers."""
    for table in metadata.tables.values():
        indexed = [next(iter(index.columns.keys())) for index in table.indexes] + [table.primary_key.columns.keys()[0]]
        indexed += [column.name for column in table.c if column.unique]
        for key in table.foreign_keys:
            assert key.parent.name in indexed, f"{table.name}.{key.parent.name}"
