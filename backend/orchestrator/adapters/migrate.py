"""Brings a database up to this version's tables, under a lock, in one transaction.

Runs in a thread with a connection of its own, because Alembic is synchronous and loading it takes a third of a second.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

import orchestrator
from orchestrator.errors import StoreTooNew

# Beside the package both in the source tree and where it is installed.
SCRIPTS = Path(orchestrator.__file__).resolve().parent.parent / "migrations"

LOCK = 0x636F6465616374  # "codeact": the number of our advisory lock in PostgreSQL


def upgrade(url: str) -> None:
    """Blocks until the tables are this version's. Raises `StoreTooNew`; driver errors pass through."""
    asyncio.run(_upgrade(url))


async def _upgrade(url: str) -> None:
    engine = create_async_engine(url, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(migrate)
            await connection.commit()
    finally:
        await engine.dispose()


def migrate(connection: Connection) -> None:
    """Run what is missing inside the connection's transaction, which the caller commits."""
    _lock(connection)
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    script = ScriptDirectory.from_config(config)
    known = {revision.revision for revision in script.walk_revisions()}
    current = set(MigrationContext.configure(connection).get_current_heads())
    if current - known:
        raise StoreTooNew(
            f"The database was written by a newer version of CodeAct (its tables are revision {', '.join(current)}, this"
            f" version knows up to {script.get_current_head()}). Update CodeAct, or point CODEACT_STORE_URL at another"
            " database. Nothing was changed."
        )
    if current != set(script.get_heads()):
        command.upgrade(config, "head")


def _lock(connection: Connection) -> None:
    """Two servers that start together migrate one after the other."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
