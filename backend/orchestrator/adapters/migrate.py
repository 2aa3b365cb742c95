"""Brings a database up to this version's tables, under a lock, in one transaction."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

import orchestrator
from orchestrator.errors import BadSetting, StoreTooNew

# Beside the package both in the source tree and where it is installed.
SCRIPTS = Path(orchestrator.__file__).resolve().parent.parent / "migrations"

LOCK = 0x636F6465616374  # "codeact": the number of our advisory lock in PostgreSQL


def migrate(connection: Connection) -> None:
    """Run what is missing inside the connection's transaction, which the caller commits. Raises `StoreTooNew`."""
    lock(connection)
    config = _config(connection)
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


def downgrade(connection: Connection, revision: str) -> None:
    """Back to the tables of an earlier version, before that one is started. What only the later ones know is lost. Raises
    `BadSetting` when there is no such revision before the database's."""
    lock(connection)
    config = _config(connection)
    current = MigrationContext.configure(connection).get_current_revision()
    script = ScriptDirectory.from_config(config)
    older = [one.revision for one in script.walk_revisions(head=current or "base")][1:] if current else []
    if revision not in ("base", *older):
        known = ", ".join(reversed(older)) or "none"
        raise BadSetting(f"The database is at revision {current}; before it came {known}. Nothing was changed.")
    command.downgrade(config, revision)


def upgrade(connection: Connection, revision: str) -> None:
    """Forward to a revision, `head` for the newest; the caller has the lock. Raises `StoreTooNew` for one that is unknown
    here."""
    config = _config(connection)
    known = {one.revision for one in ScriptDirectory.from_config(config).walk_revisions()}
    if revision not in (*known, "head"):
        raise StoreTooNew(
            f"That is of a newer version of CodeAct (its tables are revision {revision}, this version knows up to"
            f" {head(connection)}). Update CodeAct first. Nothing was changed."
        )
    command.upgrade(config, revision)


def head(connection: Connection) -> str | None:
    """The newest revision that this version knows."""
    return ScriptDirectory.from_config(_config(connection)).get_current_head()


def current(connection: Connection) -> str | None:
    """The database's revision; None before the first migration."""
    return MigrationContext.configure(connection).get_current_revision()


def _config(connection: Connection) -> Config:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    return config


def lock(connection: Connection) -> None:
    """Two servers that start together migrate one after the other. Once more in the same transaction does nothing."""
    if connection.dialect.name != "sqlite":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
    elif not getattr(connection.connection.driver_connection, "in_transaction", False):
        connection.exec_driver_sql("BEGIN IMMEDIATE")
