"""Every statement of the SQL store: only what SQLite and PostgreSQL both understand, each on an index.

Text, not constructs: SQLAlchemy compiles each once, and a statement on the hot path costs what the database costs.
"""

from __future__ import annotations

from sqlalchemy import text

# ---- conversations ----

_SUMMARIES = """SELECT c.id, c.title, c.created_at, c.updated_at,
    EXISTS (SELECT 1 FROM turns t WHERE t.conversation_id = c.id AND t.closed_at IS NULL) AS running
    FROM conversations c"""

CREATE = text(
    "INSERT INTO conversations (id, user_id, title, created_at, updated_at, last_seq)"
    " VALUES (:id, :user, :title, :now, :now, 0) ON CONFLICT (id) DO NOTHING"
)
_NEWEST = " ORDER BY c.updated_at DESC, c.id DESC LIMIT :limit"
LIST = text(_SUMMARIES + " WHERE c.user_id = :user" + _NEWEST)
LIST_BEFORE = text(_SUMMARIES + " WHERE c.user_id = :user AND c.updated_at < :before" + _NEWEST)
SUMMARY = text(_SUMMARIES + " WHERE c.id = :id AND c.user_id = :user")
RENAME = text("UPDATE conversations SET title = :title, updated_at = :now WHERE id = :id AND user_id = :user")
LOCK = text("UPDATE conversations SET last_seq = last_seq WHERE id = :id")
DELETE = text(
    "DELETE FROM conversations WHERE id = :id AND user_id = :user"
    " AND NOT EXISTS (SELECT 1 FROM turns WHERE conversation_id = :id AND closed_at IS NULL)"
)
TO_REMOVE = text("INSERT INTO removals (conversation_id) VALUES (:id) ON CONFLICT (conversation_id) DO NOTHING")
REMOVALS = text("SELECT conversation_id FROM removals ORDER BY conversation_id LIMIT :limit")
IS_REMOVAL = text("SELECT 1 FROM removals WHERE conversation_id = :id")
REMOVED = text("DELETE FROM removals WHERE conversation_id = :id")
PAGE = text(
    "SELECT c.id, c.title, c.created_at, c.updated_at, c.last_seq, t.id AS turn, t.cursor, t.live FROM conversations c"
    " LEFT JOIN turns t ON t.conversation_id = c.id AND t.closed_at IS NULL"
    " WHERE c.id = :id AND c.user_id = :user"
)
EVENTS = text("SELECT payload FROM events WHERE conversation_id = :id AND seq <= :last ORDER BY seq")
ALL_EVENTS = text("SELECT payload FROM events WHERE conversation_id = :id ORDER BY seq")
USER_OF = text("SELECT user_id FROM conversations WHERE id = :id")
LAST_SEQ = text("SELECT last_seq FROM conversations WHERE id = :id")

# ---- turns ----

OPENED = text(
    "UPDATE conversations SET last_seq = :seq, updated_at = :at, owner = :owner,"
    " title = CASE WHEN title = '' THEN :title ELSE title END"
    " WHERE id = :id AND last_seq = :seq - 1"
)
MOVED_ON = text(
    "UPDATE conversations SET last_seq = :last WHERE id = :id AND last_seq = :before AND (:owner = '' OR owner = :owner)"
)
CLOSED = text(
    "UPDATE conversations SET last_seq = :last, updated_at = :at, owner = '' WHERE id = :id AND last_seq = :before"
    " AND (:owner = '' OR owner = :owner)"
)
ADD_TURN = text(
    "INSERT INTO turns (conversation_id, id, owner, cursor, opened_at) VALUES (:conversation, :id, :owner, :cursor, :at)"
)
ADD_EVENT = text(
    "INSERT INTO events (conversation_id, seq, turn_id, type, payload, at)"
    " VALUES (:conversation, :seq, :turn, :type, :payload, :at)"
)
CLOSE_TURN = text("UPDATE turns SET closed_at = :at, live = NULL WHERE conversation_id = :conversation AND id = :turn")
CHECKPOINT = text(
    "UPDATE turns SET cursor = :cursor, live = :live"
    " WHERE conversation_id = :conversation AND id = :turn AND closed_at IS NULL"
)
FIND_TURN = text("SELECT id FROM turns WHERE conversation_id = :conversation AND (id = :turn OR closed_at IS NULL)")
LIVE = text("SELECT live FROM turns WHERE conversation_id = :conversation AND id = :turn")
OWNED = text(
    "SELECT 1 FROM turns WHERE conversation_id = :conversation AND closed_at IS NULL AND id = :turn AND owner = :owner"
)
PUT_FILE = text(
    "INSERT INTO files (conversation_id, path, size, changed_at, turn_id, cell_id, deleted)"
    " VALUES (:conversation, :path, :size, :at, :turn, :cell, :deleted)"
    " ON CONFLICT (conversation_id, path) DO UPDATE SET size = excluded.size, changed_at = excluded.changed_at,"
    " turn_id = excluded.turn_id, cell_id = excluded.cell_id, deleted = excluded.deleted"
)
PING = text("SELECT 1")

# ---- servers ----

SEEN = text("SELECT seen_at FROM servers WHERE id = :id")
BEAT = text(
    "INSERT INTO servers (id, seen_at) VALUES (:id, :now) ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at"
)
LEAVE = text("DELETE FROM servers WHERE id = :id")
COUNT_ALIVE = text("SELECT count(*) FROM servers WHERE seen_at > :alive")
FORGET_SERVERS = text("DELETE FROM servers WHERE seen_at < :before")
HAND_OVER = text("UPDATE conversations SET owner = :owner WHERE id = :conversation")
_OWNER_IS_DEAD = "NOT EXISTS (SELECT 1 FROM servers s WHERE s.id = turns.owner AND s.seen_at > :alive)"
LEFT_OPEN = text(
    f"SELECT conversation_id, id, owner FROM turns WHERE closed_at IS NULL AND owner <> :owner AND {_OWNER_IS_DEAD}"  # noqa: S608
)
TAKE_OVER = text(
    "UPDATE turns SET owner = :owner WHERE conversation_id = :conversation AND closed_at IS NULL AND id = :turn"  # noqa: S608
    f" AND owner = :was AND {_OWNER_IS_DEAD}"
)
