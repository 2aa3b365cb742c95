"""The tables, as queries see them. `migrations/` makes them; a test compares the two on both databases.

Only types and SQL that SQLite and PostgreSQL share. Payloads are JSON *text*: what JSON allows and PostgreSQL's text does
not (NUL) is escaped in it, and a page is written by joining stored texts. A turn is open while `closed_at` is null; the
database itself refuses a second open turn of a conversation.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
)

metadata = MetaData()


def _conversation() -> Column[str]:
    return Column("conversation_id", String(64), ForeignKey("conversations.id", ondelete="CASCADE"), nullable=False)


conversations = Table(
    "conversations",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("title", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    Column("last_seq", Integer, nullable=False),  # of its newest event; moving it on is the fence between two owners
)
Index("conversations_by_update", conversations.c.updated_at, conversations.c.id)

turns = Table(
    "turns",
    metadata,
    _conversation(),
    Column("id", String(64), nullable=False),
    Column("owner", String(64), nullable=False),
    Column("cursor", Text, nullable=False),
    Column("live", Text),  # JSON of `Live`; null until the first checkpoint
    Column("opened_at", Double, nullable=False),
    Column("closed_at", Double),
    PrimaryKeyConstraint("conversation_id", "id", name="turns_pkey"),
)
_open = turns.c.closed_at.is_(None)
Index("turns_open", turns.c.conversation_id, unique=True, sqlite_where=_open, postgresql_where=_open)

events = Table(
    "events",
    metadata,
    _conversation(),
    Column("seq", Integer, nullable=False),
    Column("turn_id", String(64), nullable=False),
    Column("type", String(32), nullable=False),
    Column("payload", Text, nullable=False),
    Column("at", Double),  # null for events that carry no time
    PrimaryKeyConstraint("conversation_id", "seq", name="events_pkey"),
)

files = Table(
    "files",
    metadata,
    _conversation(),
    Column("path", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("changed_at", Double, nullable=False),
    Column("turn_id", String(64), nullable=False),
    Column("cell_id", String(64), nullable=False),
    Column("deleted", Boolean, nullable=False),
    PrimaryKeyConstraint("conversation_id", "path", name="files_pkey"),
)
