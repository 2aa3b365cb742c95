"""The Store on SQLAlchemy Core: SQLite (aiosqlite) and PostgreSQL (asyncpg) with the same statements.

Two ideas carry it. `conversations.last_seq` is moved on by every write, with the old value in the WHERE clause: that one
row is the fence between two owners and keeps seqs contiguous. And a page is read without a transaction: first the
conversation's row with its open turn (one statement, so one moment), then the events up to that row's `last_seq`, which
never change once written.

On SQLite every statement costs a hop to a thread and back, so writes are as few as they can be, and writers queue here, in
order, instead of polling the file's lock.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any, Literal

from pydantic import BaseModel, TypeAdapter
from pydantic_core import PydanticSerializationError
from sqlalchemy import CursorResult, Row
from sqlalchemy.engine import make_url
from sqlalchemy.event import listen
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from executor.wire import FileChange
from orchestrator.adapters import sql
from orchestrator.errors import CodeActError, Conflict, StoreUnavailable
from orchestrator.ports import OpenTurn, Page, PageJson, Part
from orchestrator.protocol.events import CellClosed, DurableEvent, Live, TurnClosed, TurnOpened
from orchestrator.protocol.frames import ConversationSummary

_EVENT: TypeAdapter[DurableEvent] = TypeAdapter(DurableEvent)

Opening = Literal["opened", "known", "busy", "unknown"]


def create(url: str) -> SqlStore:
    """A store for `sqlite+aiosqlite:///path` or `postgresql+asyncpg://…`. Connects when first used."""
    if make_url(url).get_backend_name() == "sqlite":
        engine = create_async_engine(url, pool_size=4, max_overflow=4)
        listen(engine.sync_engine, "connect", _prepare_sqlite)
        return SqlStore(engine, url, asyncio.Lock())
    engine = create_async_engine(url, pool_size=8, max_overflow=8, pool_pre_ping=True, pool_timeout=10)
    return SqlStore(engine, url, nullcontext())


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    """WAL: readers never wait for the writer. NORMAL: a power cut may cost the last commits, never the file; a killed
    process costs nothing."""
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "busy_timeout=5000", "temp_store=MEMORY"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


class SqlStore:
    """The Store port. `migrate()` first, once."""

    def __init__(self, engine: AsyncEngine, url: str, writer: AbstractAsyncContextManager[Any]) -> None:
        self.engine = engine
        self._url = url
        self._writer = writer

    async def migrate(self) -> None:
        """Bring the tables up to this version. Raises `StoreTooNew`, `StoreUnavailable`."""
        try:
            await asyncio.to_thread(_migrate, self._url)
        except CodeActError:
            raise
        except Exception as error:  # drivers raise their own kinds while connecting
            raise _unavailable(error) from error

    # ---- conversations -----------------------------------------------------------------------------------------------

    async def create_conversation(self, id: str, title: str, now: float) -> ConversationSummary:
        async with self._write() as connection:
            await connection.execute(sql.CREATE, {"id": id, "title": _storable(title), "now": now})
            row = (await connection.execute(sql.SUMMARY, {"id": id})).one()
        return _summary(row)

    async def conversations(self, limit: int, before: float | None) -> list[ConversationSummary]:
        async with self._read() as connection:
            if before is None:
                rows = await connection.execute(sql.LIST, {"limit": limit})
            else:
                rows = await connection.execute(sql.LIST_BEFORE, {"limit": limit, "before": before})
            return [_summary(row) for row in rows]

    async def summary(self, id: str) -> ConversationSummary | None:
        async with self._read() as connection:
            row = (await connection.execute(sql.SUMMARY, {"id": id})).one_or_none()
        return _summary(row) if row else None

    async def rename(self, id: str, title: str, now: float) -> ConversationSummary | None:
        async with self._write() as connection:
            await connection.execute(sql.RENAME, {"id": id, "title": _storable(title), "now": now})
            row = (await connection.execute(sql.SUMMARY, {"id": id})).one_or_none()
        return _summary(row) if row else None

    async def delete(self, id: str) -> bool:
        async with self._write() as connection:
            await connection.execute(sql.LOCK, {"id": id})  # a turn that is being opened is seen by the next statement
            return _changed(await connection.execute(sql.DELETE, {"id": id}))

    async def page(self, id: str) -> Page | None:
        page = await self.page_json(id)
        if page is None:
            return None
        events = [_EVENT.validate_json(event) for event in page.events]
        live = Live.model_validate_json(page.live) if page.live else None
        return Page(summary=page.summary, events=events, cursor=page.cursor, live=live)

    async def page_json(self, id: str) -> PageJson | None:
        async with self._read() as connection:
            row = (await connection.execute(sql.PAGE, {"id": id})).one_or_none()
            if row is None:
                return None
            events = (await connection.execute(sql.EVENTS, {"id": id, "last": row.last_seq})).scalars().all()
        if len(events) != row.last_seq:  # deleted between the two statements
            return None
        summary = ConversationSummary(
            id=row.id,
            title=row.title,
            created_at=row.created_at,
            updated_at=row.updated_at,
            running=row.turn is not None,
        )
        return PageJson(summary=summary, events=events, cursor=row.cursor, live=row.live)

    async def events(self, id: str) -> list[DurableEvent]:
        async with self._read() as connection:
            return await _events(connection, id)

    async def next_seq(self, conversation: str) -> int:
        async with self._read() as connection:
            last = (await connection.execute(sql.LAST_SEQ, {"id": conversation})).scalar_one_or_none()
        return (last or 0) + 1

    # ---- turns -------------------------------------------------------------------------------------------------------

    async def open_turn(
        self, conversation: str, event: DurableEvent, owner: str, cursor: str, title: str | None
    ) -> Opening:
        """Raises `Conflict` when another turn was opened and closed since the event's seq was taken."""
        assert isinstance(event, TurnOpened)
        try:
            async with self._write() as connection:
                moved = {"id": conversation, "seq": event.seq, "at": event.at, "title": _storable(title or "")}
                if not _changed(await connection.execute(sql.OPENED, moved)):
                    return await self._why_not_opened(connection, conversation, event)
                turn = {"conversation": conversation, "id": event.turn, "owner": owner, "cursor": cursor, "at": event.at}
                await connection.execute(sql.ADD_TURN, turn)
                await connection.execute(sql.ADD_EVENT, _event_row(conversation, event))
        except IntegrityError:
            async with self._read() as connection:
                return await self._why_not_opened(connection, conversation, event)
        return "opened"

    async def _why_not_opened(self, connection: AsyncConnection, conversation: str, event: TurnOpened) -> Opening:
        found = (
            (await connection.execute(sql.FIND_TURN, {"conversation": conversation, "turn": event.turn})).scalars().all()
        )
        if found:
            return "known" if event.turn in found else "busy"
        last = (await connection.execute(sql.LAST_SEQ, {"id": conversation})).scalar_one_or_none()
        if last is None:
            return "unknown"
        raise Conflict(f"event {event.seq} of conversation {conversation} cannot follow event {last}")

    async def append(self, conversation: str, events: Sequence[DurableEvent]) -> None:
        if not events:
            return
        if [event.seq for event in events] != list(range(events[0].seq, events[0].seq + len(events))):
            raise ValueError("events must be contiguous")
        closed = next((event for event in reversed(events) if isinstance(event, TurnClosed)), None)
        moved = {"id": conversation, "last": events[-1].seq, "before": events[0].seq - 1}
        async with self._write() as connection:
            statement, values = (sql.CLOSED, {**moved, "at": closed.at}) if closed else (sql.MOVED_ON, moved)
            if not _changed(await connection.execute(statement, values)):
                raise Conflict(f"event {events[0].seq} of conversation {conversation} is not the next: another owner wrote")
            await connection.execute(sql.ADD_EVENT, [_event_row(conversation, event) for event in events])
            if files := list(_file_rows(conversation, events)):
                await connection.execute(sql.PUT_FILE, files)
            if closed:
                await connection.execute(
                    sql.CLOSE_TURN, {"conversation": conversation, "turn": closed.turn, "at": closed.at}
                )

    async def checkpoint(self, conversation: str, turn: str, cursor: str, live: Live) -> None:
        values = {"conversation": conversation, "turn": turn, "cursor": cursor, "live": _json(live)}
        async with self._write() as connection:
            await connection.execute(sql.CHECKPOINT, values)

    async def left_open(self, owner: str) -> list[OpenTurn]:
        async with self._read() as connection:
            rows = (await connection.execute(sql.LEFT_OPEN, {"owner": owner})).all()
            return [
                OpenTurn(
                    conversation=row.conversation_id,
                    turn=row.id,
                    events=await _events(connection, row.conversation_id),
                    live=Live.model_validate_json(row.live) if row.live else None,
                )
                for row in rows
            ]

    # ---- the connection ----------------------------------------------------------------------------------------------

    async def check(self) -> Part:
        try:
            async with self._read() as connection:
                await connection.execute(sql.PING)
        except StoreUnavailable as error:
            return Part(name="store", ok=False, words=error.words)
        return Part(name="store", ok=True, words="")

    async def close(self) -> None:
        await self.engine.dispose()

    @asynccontextmanager
    async def _read(self) -> AsyncGenerator[AsyncConnection, None]:
        """Statements that only read; each sees its own moment."""
        connection = await self._connect()
        try:
            yield connection
        except SQLAlchemyError as error:
            raise _unavailable(error) from error
        finally:
            await connection.close()

    @asynccontextmanager
    async def _write(self) -> AsyncGenerator[AsyncConnection, None]:
        """One transaction: committed when the body ends, rolled back when it raises. `IntegrityError` passes through."""
        async with self._writer:
            connection = await self._connect()
            try:
                yield connection
                await connection.commit()
            except IntegrityError:
                raise
            except SQLAlchemyError as error:
                raise _unavailable(error) from error
            finally:
                await connection.close()

    async def _connect(self) -> AsyncConnection:
        try:
            return await self.engine.connect()
        except Exception as error:  # drivers raise their own kinds while connecting, and the pool its timeout
            raise _unavailable(error) from error


def _migrate(url: str) -> None:
    from orchestrator.adapters import migrate  # Alembic takes a while to load: not on the event loop

    migrate.upgrade(url)


async def _events(connection: AsyncConnection, conversation: str) -> list[DurableEvent]:
    payloads = (await connection.execute(sql.ALL_EVENTS, {"id": conversation})).scalars()
    return [_EVENT.validate_json(payload) for payload in payloads]


def _summary(row: Row[Any]) -> ConversationSummary:
    return ConversationSummary(
        id=row.id, title=row.title, created_at=row.created_at, updated_at=row.updated_at, running=bool(row.running)
    )


def _event_row(conversation: str, event: DurableEvent) -> dict[str, Any]:
    return {
        "conversation": conversation,
        "seq": event.seq,
        "turn": event.turn,
        "type": event.type,
        "payload": _json(event),
        "at": getattr(event, "at", None),  # a closed step carries no time
    }


def _file_rows(conversation: str, events: Iterable[DurableEvent]) -> Iterable[dict[str, Any]]:
    for event in events:
        if isinstance(event, CellClosed):
            for file in event.files:
                yield _file_row(conversation, event, file)


def _file_row(conversation: str, cell: CellClosed, file: FileChange) -> dict[str, Any]:
    return {
        "conversation": conversation,
        "path": _storable(file.path),
        "size": file.size,
        "at": cell.at,
        "turn": cell.turn,
        "cell": cell.cell,
        "deleted": file.change == "deleted",
    }


def _json(value: BaseModel) -> str:
    """JSON text. Half a surrogate pair, which a kernel can print but UTF-8 cannot carry, becomes U+FFFD."""
    try:
        return value.model_dump_json()
    except PydanticSerializationError:
        return type(value).model_validate(_scrubbed(value.model_dump())).model_dump_json()


def _scrubbed(value: Any) -> Any:
    """The same JSON-like value with every text in it made sound."""
    if isinstance(value, str):
        return _sound(value)
    if isinstance(value, dict):
        return {_scrubbed(key): _scrubbed(item) for key, item in value.items()}
    return [_scrubbed(item) for item in value] if isinstance(value, list) else value


def _sound(words: str) -> str:
    """Whole surrogate pairs become their character, halves U+FFFD."""
    return words.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _storable(words: str) -> str:
    """Text for a column of its own: PostgreSQL takes no NUL, and no database half a surrogate pair."""
    return _sound(words.replace("\0", "\ufffd"))


def _changed(result: CursorResult[Any]) -> bool:
    return result.rowcount > 0


def _unavailable(error: Exception) -> StoreUnavailable:
    cause = str(getattr(error, "orig", None) or error).strip().splitlines()
    return StoreUnavailable(
        f"The database does not answer ({cause[0] if cause else type(error).__name__})."
        " Check that it runs, that CODEACT_STORE_URL is right, and that its disk is not full."
    )
