"""The Store on SQLAlchemy Core: SQLite and PostgreSQL with the same statements.

Two ideas carry it. `conversations.last_seq` is moved on by every write, with the old value in the WHERE clause: that one
row is the fence between two owners and keeps seqs contiguous. And a page is read without a transaction: first the
conversation's row with its open turn (one statement, so one moment), then the events up to that row's `last_seq`, which
never change once written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from pydantic import BaseModel, TypeAdapter
from pydantic_core import PydanticSerializationError
from sqlalchemy import Connection, CursorResult
from sqlalchemy.engine import make_url

from executor.wire import FileChange
from orchestrator.adapters import counting, servers, sql
from orchestrator.adapters.databases import Change, Database, Taken
from orchestrator.adapters.postgres import POOL, Postgres
from orchestrator.adapters.sqlite import Sqlite
from orchestrator.errors import Conflict, StoreUnavailable
from orchestrator.ports import Checkpoint, LeftOpen, OpenTurn, Page, PageJson, Part, Spent
from orchestrator.protocol.events import CellClosed, DurableEvent, Live, TurnClosed, TurnOpened
from orchestrator.protocol.frames import ConversationSummary

_EVENT: TypeAdapter[DurableEvent] = TypeAdapter(DurableEvent)

Opening = Literal["opened", "known", "busy", "unknown", "over"]


def create(url: str, pool: int = POOL, overflow: int = POOL, *, counts: bool = False) -> SqlStore:
    """A store for `sqlite+aiosqlite:///path` or `postgresql+asyncpg://…`. Connects when first used; to PostgreSQL with
    `pool` connections that are kept, and `overflow` more at busy times. `counts`: what people use is counted with the
    facts."""
    sqlite = make_url(url).get_backend_name() == "sqlite"
    return SqlStore(Sqlite(url) if sqlite else Postgres(url, pool, overflow), url, counts=counts)


class SqlStore:
    """The Store port. `migrate()` first, once. `database` is for what is kept beside conversations."""

    def __init__(self, database: Database, url: str, *, counts: bool = False) -> None:
        self.database = self._database = database
        self.url = url
        self._counts = counts

    async def migrate(self) -> None:
        """Bring the tables up to this version. Raises `StoreTooNew`, `StoreUnavailable`."""
        await self._database.write(_migrate)

    async def downgrade(self, revision: str) -> None:
        """Back to the tables of an earlier version. Raises `BadSetting`, `StoreUnavailable`."""
        from orchestrator.adapters import migrate  # Alembic takes a while to load

        await self._database.write(lambda connection: migrate.downgrade(connection, revision))

    # ---- conversations -----------------------------------------------------------------------------------------------

    async def create_conversation(self, user: str, id: str, title: str, now: float) -> ConversationSummary | None:
        def work(connection: Connection) -> ConversationSummary | None:
            if connection.execute(sql.IS_REMOVAL, {"id": id}).first():
                return None
            connection.execute(sql.CREATE, {"id": id, "user": user, "title": _storable(title), "now": now})
            return _find_summary(connection, user, id)

        return await self._database.write(work)

    async def conversations(self, user: str, limit: int, before: float | None) -> list[ConversationSummary]:
        def work(connection: Connection) -> list[ConversationSummary]:
            if before is None:
                rows = connection.execute(sql.LIST, {"user": user, "limit": limit})
            else:
                rows = connection.execute(sql.LIST_BEFORE, {"user": user, "limit": limit, "before": before})
            return [_summary(row) for row in rows]

        return await self._database.read(work)

    async def summary(self, user: str, id: str) -> ConversationSummary | None:
        rows = await self._database.find(sql.SUMMARY, {"id": id, "user": user})
        return _summary(rows[0]) if rows else None

    async def rename(self, user: str, id: str, title: str, now: float) -> ConversationSummary | None:
        def work(connection: Connection) -> ConversationSummary | None:
            connection.execute(sql.RENAME, {"id": id, "user": user, "title": _storable(title), "now": now})
            return _find_summary(connection, user, id)

        return await self._database.write(work)

    async def delete(self, user: str, id: str) -> bool:
        def work(connection: Connection) -> bool:
            connection.execute(sql.LOCK, {"id": id})  # a turn that is being opened is seen by the next statement
            deleted = _changed(connection.execute(sql.DELETE, {"id": id, "user": user}))
            if deleted:
                connection.execute(sql.TO_REMOVE, {"id": id})
            return deleted

        return await self._database.write(work)

    async def removals(self, limit: int) -> list[str]:
        rows = await self._database.read(
            lambda connection: connection.execute(sql.REMOVALS, {"limit": limit}).scalars().all()
        )
        return list(rows)

    async def removed(self, id: str) -> None:
        await self._database.write(lambda connection: connection.execute(sql.REMOVED, {"id": id}).close())

    async def page(self, user: str, id: str) -> Page | None:
        page = await self.page_json(user, id)
        if page is None:
            return None
        events = [_EVENT.validate_json(event) for event in page.events]
        live = Live.model_validate_json(page.live) if page.live else None
        return Page(summary=page.summary, events=events, cursor=page.cursor, live=live)

    async def page_json(self, user: str, id: str) -> PageJson | None:
        return await self._database.read(lambda connection: _page(connection, user, id))

    async def user_of(self, id: str) -> str | None:
        rows = await self._database.find(sql.USER_OF, {"id": id})
        return str(rows[0][0]) if rows else None

    async def events(self, id: str) -> list[DurableEvent]:
        return await self._database.read(lambda connection: _events(connection, id))

    # ---- turns -------------------------------------------------------------------------------------------------------

    async def open_turn(
        self, conversation: str, event: DurableEvent, owner: str, cursor: str, title: str | None, most: int | None = None
    ) -> Opening:
        """Raises `Conflict` when another turn was opened and closed since the event's seq was taken."""
        assert isinstance(event, TurnOpened)
        moved = {"id": conversation, "seq": event.seq, "at": event.at, "title": _storable(title or ""), "owner": owner}
        turn = {"conversation": conversation, "id": event.turn, "owner": owner, "cursor": cursor, "at": event.at}
        changes: list[Change] = [(sql.OPENED, moved)]
        if self._counts:
            changes.append(counting.message(conversation, event.at, most))
        needed = len(changes)
        changes += [(sql.ADD_TURN, turn), (sql.ADD_EVENT, _event_row(conversation, event))]
        try:
            if await self._database.change(changes, needed):
                return "opened"
        except Taken:
            pass
        return await self._database.read(lambda connection: _why_not_opened(connection, conversation, event, most))

    async def append(
        self, conversation: str, events: Sequence[DurableEvent], owner: str = "", spent: Spent | None = None
    ) -> None:
        if not events:
            return
        if [event.seq for event in events] != list(range(events[0].seq, events[0].seq + len(events))):
            raise ValueError("events must be contiguous")
        closed = next((event for event in reversed(events) if isinstance(event, TurnClosed)), None)
        moved = {"id": conversation, "last": events[-1].seq, "before": events[0].seq - 1, "owner": owner}
        rows = [_event_row(conversation, event) for event in events]
        files = list(_file_rows(conversation, events))

        changes: list[Change] = [
            (sql.CLOSED, {**moved, "at": closed.at}) if closed else (sql.MOVED_ON, moved),
            (sql.ADD_EVENT, rows),
        ]
        if files:
            changes.append((sql.PUT_FILE, files))
        if closed:
            changes.append((sql.CLOSE_TURN, {"conversation": conversation, "turn": closed.turn, "at": closed.at}))
        if spent and self._counts:
            changes += counting.cost(conversation, spent)
        if not await self._database.change(changes):
            raise Conflict(f"event {events[0].seq} of conversation {conversation} is not the next: another owner wrote")

    async def checkpoint(self, points: Sequence[Checkpoint]) -> None:
        rows = [
            {"conversation": point.conversation, "turn": point.turn, "cursor": point.cursor, "live": _json(point.live)}
            for point in points
        ]
        if rows:
            await self._database.change([(sql.CHECKPOINT, rows)])

    # ---- servers -----------------------------------------------------------------------------------------------------

    async def left_open(self, owner: str) -> list[LeftOpen]:
        return await self._database.read(lambda connection: servers.left_open(connection, owner))

    async def take_over(self, left: LeftOpen, owner: str) -> OpenTurn | None:
        def work(connection: Connection) -> OpenTurn | None:
            if not servers.take_over(connection, left, owner):
                return None
            live = connection.execute(sql.LIVE, {"conversation": left.conversation, "turn": left.turn}).scalar_one()
            events = _events(connection, left.conversation)
            return OpenTurn(left.conversation, left.turn, events, Live.model_validate_json(live) if live else None)

        return await self._database.write(work)

    async def owns(self, conversation: str, turn: str, owner: str) -> bool:
        return bool(await self._database.find(sql.OWNED, {"conversation": conversation, "turn": turn, "owner": owner}))

    async def beat(self, owner: str) -> float:
        return await self._database.write(lambda connection: servers.beat(connection, owner))

    async def leave(self, owner: str) -> None:
        await self._database.write(lambda connection: servers.leave(connection, owner))

    # ---- life --------------------------------------------------------------------------------------------------------

    async def check(self) -> Part:
        try:
            await self._database.read(lambda connection: connection.execute(sql.PING).close())
        except StoreUnavailable as error:
            return Part(name="store", ok=False, words=error.words)
        return Part(name="store", ok=True, words="")

    async def close(self) -> None:
        await self._database.close()


def _find_summary(connection: Connection, user: str, id: str) -> ConversationSummary | None:
    row = connection.execute(sql.SUMMARY, {"id": id, "user": user}).one_or_none()
    return _summary(row) if row else None


def _last_seq(connection: Connection, conversation: str) -> int | None:
    last: int | None = connection.execute(sql.LAST_SEQ, {"id": conversation}).scalar_one_or_none()
    return last


def _page(connection: Connection, user: str, id: str) -> PageJson | None:
    row = connection.execute(sql.PAGE, {"id": id, "user": user}).one_or_none()
    if row is None:
        return None
    events = connection.execute(sql.EVENTS, {"id": id, "last": row.last_seq}).scalars().all()
    if len(events) != row.last_seq:  # deleted between the two statements
        return None
    summary = ConversationSummary(
        id=row.id, title=row.title, created_at=row.created_at, updated_at=row.updated_at, running=row.turn is not None
    )
    return PageJson(summary=summary, events=events, cursor=row.cursor, live=row.live)


def _why_not_opened(connection: Connection, conversation: str, event: TurnOpened, most: int | None) -> Opening:
    found = connection.execute(sql.FIND_TURN, {"conversation": conversation, "turn": event.turn}).scalars().all()
    if found:
        return "known" if event.turn in found else "busy"
    last = _last_seq(connection, conversation)
    if last is None:
        return "unknown"
    if most is not None and counting.messages(connection, conversation, event.at) >= most:
        return "over"
    raise Conflict(f"event {event.seq} of conversation {conversation} cannot follow event {last}")


def _migrate(connection: Connection) -> None:
    from orchestrator.adapters import migrate  # Alembic takes a while to load

    migrate.migrate(connection)


def _events(connection: Connection, conversation: str) -> list[DurableEvent]:
    payloads = connection.execute(sql.ALL_EVENTS, {"id": conversation}).scalars()
    return [_EVENT.validate_json(payload) for payload in payloads]


def _summary(row: Sequence[Any]) -> ConversationSummary:
    id, title, created_at, updated_at, running = row
    return ConversationSummary(id=id, title=title, created_at=created_at, updated_at=updated_at, running=bool(running))


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
