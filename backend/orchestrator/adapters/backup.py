"""The whole store as one file, and back, on either database.

The file is a zip: `store.jsonl` holds a line that says what it is, then per table a line with its name and columns and
a line per row, then a line that counts them, so that half a file is never taken for a whole one. Text, numbers and
booleans as JSON has them; so a store may move from SQLite to PostgreSQL and back. It also says the revision of the
tables: an older file is restored into the tables of its time, which are then brought up to date as those of an older
server would be.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import IO, Any

from sqlalchemy import Connection, MetaData, Table, insert, inspect, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from orchestrator.adapters import migrate
from orchestrator.adapters.databases import unavailable
from orchestrator.adapters.servers import alive
from orchestrator.adapters.tables import metadata
from orchestrator.errors import BackupRefused

FORMAT, VERSION = "codeact-backup", 1
LEFT_OUT = {"servers", "attempts", "oidc_flows"}
"""What only concerns servers and sign-ins of the moment."""
AT_ONCE = 500  # rows in one statement

Line = dict[str, Any] | list[Any]


@dataclass(frozen=True, slots=True)
class Header:
    """The first line. `revision`: of the tables."""

    revision: str
    made_at: float

    def line(self) -> Line:
        return {"format": FORMAT, "version": VERSION, "revision": self.revision, "made_at": self.made_at}


async def save(url: str, made_at: float, out: IO[bytes]) -> dict[str, int]:
    """Write what the store at `url` holds, as of one moment; how many rows of each table. Raises BackupRefused,
    StoreUnavailable."""
    async with _connected(url) as connection:
        await _one_moment(connection)
        revision = await connection.run_sync(_revision)
        if revision is None:
            raise BackupRefused("There is nothing to save: the database is empty. Is CODEACT_STORE_URL right?")
        head = await connection.run_sync(migrate.head)
        if revision != head:
            raise BackupRefused(
                f"The database's tables are revision {revision}, this program's {head}. Save it with the program that wrote"
                " it, or bring it up to date first: codeact migrate."
            )
        _put(out, Header(revision, made_at).line())
        counts = {table.name: await _save_table(connection, table, out) for table in _tables()}
        _put(out, {"end": counts})
        return counts


async def restore(url: str, lines: IO[bytes], replace: bool) -> dict[str, int]:
    """Read it back, all or nothing; how many rows of each table. Raises BackupRefused for a file that is no whole backup,
    for a store that holds anything unless it is to be replaced, and while servers use it; StoreUnavailable."""
    parsed = _parsed(lines)
    header = _header(next(parsed, None))
    async with _connected(url) as connection, connection.begin():
        counts: dict[str, int] = await connection.run_sync(_restore, header, parsed, replace)
        return counts


# ---- saving ------------------------------------------------------------------------------------------------------------


def _tables() -> list[Table]:
    return [table for table in metadata.sorted_tables if table.name not in LEFT_OUT]


async def _one_moment(connection: AsyncConnection) -> None:
    """From now on all reads see the store as it is at the first of them."""
    if connection.dialect.name == "postgresql":
        await connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
    else:
        await connection.exec_driver_sql("BEGIN")


async def _save_table(connection: AsyncConnection, table: Table, out: IO[bytes]) -> int:
    _put(out, {"table": table.name, "columns": [column.name for column in table.c]})
    count = 0
    async for row in await connection.stream(select(table).order_by(*table.primary_key.columns)):
        _put(out, list(row))
        count += 1
    return count


def _put(out: IO[bytes], line: Line) -> None:
    out.write(json.dumps(line, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode() + b"\n")


# ---- restoring ---------------------------------------------------------------------------------------------------------


def _restore(connection: Connection, header: Header, lines: Iterator[Line], replace: bool) -> dict[str, int]:
    migrate.lock(connection)
    _check_free(connection, replace)
    if _revision(connection) is not None:
        migrate.downgrade(connection, "base")
    migrate.upgrade(connection, header.revision)
    counts = _fill(connection, lines)
    _count_on(connection)
    migrate.upgrade(connection, "head")
    return counts


def _check_free(connection: Connection, replace: bool) -> None:
    names = set(inspect(connection).get_table_names())
    if "servers" in names and (living := alive(connection)):
        raise BackupRefused(
            f"{living} server{'s use' if living > 1 else ' uses'} this database. Stop them, wait ten seconds, try again."
        )
    held = [
        name
        for name in ("conversations", "users")
        if name in names and connection.execute(select(1).select_from(text(name)).limit(1)).first()
    ]
    if held and not replace:
        raise BackupRefused(
            f"The database holds {' and '.join(held)} already, which would be lost. Restore into an empty one, or say"
            " --replace. Nothing was changed."
        )


def _fill(connection: Connection, lines: Iterator[Line]) -> dict[str, int]:
    counts: dict[str, int] = {}
    target: tuple[Table, list[str]] | None = None
    waiting: list[dict[str, Any]] = []

    def flush() -> None:
        if target is not None and waiting:
            connection.execute(insert(target[0]), waiting)
            counts[target[0].name] += len(waiting)
            waiting.clear()

    for line in lines:
        match line:
            case list() if target is not None and len(line) == len(target[1]):
                waiting.append(dict(zip(target[1], line, strict=True)))
                if len(waiting) >= AT_ONCE:
                    flush()
            case {"table": str(name), "columns": list(columns)}:
                flush()
                target = (_known_table(connection, name, columns), columns)
                counts[name] = 0
            case {"end": dict(told)}:
                flush()
                if told != counts or next(lines, None) is not None:
                    raise _broken("its counts are not those of its rows")
                return counts
            case _:
                raise _broken("a line is not what it should be")
    raise _broken("its end is missing")


def _known_table(connection: Connection, name: str, columns: list[str]) -> Table:
    """As the database has it at the file's revision."""
    if name not in inspect(connection).get_table_names() or name == "alembic_version":
        raise _broken(f"it has a table {name!r} that its revision does not")
    table = Table(name, MetaData(), autoload_with=connection)
    if set(columns) != set(table.c.keys()):
        raise _broken(f"the columns of its table {name!r} are not those of its revision")
    return table


def _count_on(connection: Connection) -> None:
    """PostgreSQL numbers new rows from where the old ones end."""
    if connection.dialect.name != "postgresql":
        return
    for name in inspect(connection).get_table_names():
        table = Table(name, MetaData(), autoload_with=connection)
        for column in table.primary_key.columns:
            if "nextval" in str(column.server_default.arg if column.server_default is not None else ""):  # type: ignore[attr-defined]
                sequence = text("SELECT pg_get_serial_sequence(:table, :column)")
                found = connection.execute(sequence, {"table": name, "column": column.name}).scalar_one()
                newest = connection.execute(select(column).order_by(column.desc()).limit(1)).scalar_one_or_none()
                if found is not None and newest is not None:
                    connection.execute(text("SELECT setval(:sequence, :newest)"), {"sequence": found, "newest": newest})


def _parsed(lines: IO[bytes]) -> Iterator[Line]:
    for line in lines:
        try:
            yield json.loads(line)
        except ValueError as error:
            raise _broken("a line is no JSON") from error


def _header(line: Line | None) -> Header:
    match line:
        case {"format": "codeact-backup", "version": 1, "revision": str(revision), "made_at": float() | int() as made_at}:
            return Header(revision, float(made_at))
        case {"format": "codeact-backup", "version": int(version)} if version > VERSION:
            raise BackupRefused("A newer version of CodeAct wrote this file. Update CodeAct, then restore it.")
        case _:
            raise _broken("it does not begin as one")


def _broken(why: str) -> BackupRefused:
    return BackupRefused(f"This is no whole backup of CodeAct: {why}. Nothing was changed.")


# ---- both --------------------------------------------------------------------------------------------------------------


def _revision(connection: Connection) -> str | None:
    return migrate.current(connection)


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[AsyncConnection]:
    engine = create_async_engine(url, hide_parameters=True)
    try:
        async with engine.connect() as connection:
            yield connection
    except (SQLAlchemyError, OSError) as error:
        raise unavailable(error) from error
    finally:
        await engine.dispose()
