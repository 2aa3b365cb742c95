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
    Column("user_id", String(64), nullable=False, server_default="local"),  # whose it is; see users/principal.py
    Column("title", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    Column("last_seq", Integer, nullable=False),  # of its newest event; moving it on is the fence between two owners
    Column("owner", String(64), nullable=False, server_default=""),  # of its open turn: who may move it on; '' else
    Column("disk", BigInteger, nullable=False, server_default="0"),  # bytes of its files, as the last cell told
)
Index("conversations_of_user", conversations.c.user_id, conversations.c.updated_at, conversations.c.id)

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


# ---- people ------------------------------------------------------------------------------------------------------------


def _user(unique: bool | None = None) -> Column[str]:
    return Column("user_id", String(64), ForeignKey("users.id", ondelete="CASCADE"), nullable=False, unique=unique)


users = Table(
    "users",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("email", String(254), nullable=False, unique=True),  # as `users/schemas.py` normalises it
    Column("name", Text, nullable=False),
    Column("role", String(16), nullable=False),
    Column("group_name", String(64), nullable=False),
    Column("password", Text),  # an argon2id hash; null for people who only come from a provider
    Column("disabled", Boolean, nullable=False),
    Column("founder", Integer, unique=True),  # 1 for the first of all and null for the others: there is only one first
    Column("created_at", Double, nullable=False),
    Column("seen_at", Double),  # when they last signed in
)

identities = Table(
    "identities",  # who somebody is at an OpenID provider
    metadata,
    Column("provider", String(64), nullable=False),
    Column("subject", String(255), nullable=False),
    _user(),
    Column("created_at", Double, nullable=False),
    PrimaryKeyConstraint("provider", "subject", name="identities_pkey"),
)
Index("identities_of_user", identities.c.user_id)

sessions = Table(
    "sessions",  # of everything secret here and below only the SHA-256 is kept
    metadata,
    Column("id", String(64), primary_key=True),
    Column("hash", String(64), nullable=False, unique=True),
    _user(),
    Column("how", String(64), nullable=False),
    Column("agent", Text, nullable=False),
    Column("address", String(64), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("seen_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
)
Index("sessions_of_user", sessions.c.user_id)
Index("sessions_by_expiry", sessions.c.expires_at)

api_tokens = Table(
    "api_tokens",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("hash", String(64), nullable=False, unique=True),
    _user(),
    Column("label", Text, nullable=False),
    Column("begins", String(16), nullable=False),  # its first characters, to be told from others
    Column("scopes", String(64), nullable=False),  # words with a blank between
    Column("created_at", Double, nullable=False),
    Column("used_at", Double),
    Column("expires_at", Double),
)
Index("api_tokens_of_user", api_tokens.c.user_id)

invites = Table(
    "invites",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("hash", String(64), nullable=False, unique=True),
    Column("email", String(254), nullable=False),  # empty: for anybody who has the link
    Column("role", String(16), nullable=False),
    Column("group_name", String(64), nullable=False),
    Column("made_by", String(64), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("used_by", String(64)),
    Column("used_at", Double),
)

resets = Table(
    "resets",  # of passwords; one a user, the newest
    metadata,
    Column("hash", String(64), primary_key=True),
    _user(unique=True),
    Column("expires_at", Double, nullable=False),
)

attempts = Table(
    "attempts",  # to sign in, per key, in a window of time
    metadata,
    Column("key", String(128), primary_key=True),
    Column("count", Integer, nullable=False),
    Column("since", Double, nullable=False),
    Column("until", Double, nullable=False),
)
Index("attempts_by_end", attempts.c.until)

oidc_flows = Table(
    "oidc_flows",  # somebody is at a provider now and comes back with this `state`, once
    metadata,
    Column("state", String(64), primary_key=True),
    Column("browser", String(64), nullable=False),
    Column("provider", String(64), nullable=False),
    Column("nonce", String(64), nullable=False),
    Column("verifier", String(128), nullable=False),
    Column("return_to", Text, nullable=False),
    Column("invite", Text, nullable=False),
    Column("links", String(64), nullable=False),  # the user whose account it is to open from now on; empty: sign in
    Column("expires_at", Double, nullable=False),
)
Index("oidc_flows_by_expiry", oidc_flows.c.expires_at)

audit = Table(
    "audit",  # append-only: nothing here is ever changed
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("at", Double, nullable=False),
    Column("actor", String(64), nullable=False),
    Column("action", String(64), nullable=False),
    Column("subject", Text, nullable=False),
    Column("details", Text, nullable=False),  # JSON
)

servers = Table(
    "servers",  # one row a life of a server that shares this database with others; none where one has it to itself
    metadata,
    Column("id", String(64), primary_key=True),
    Column("seen_at", Double, nullable=False),  # by the database's clock, in Unix seconds
)
Index("servers_by_seen", servers.c.seen_at)

usage = Table(
    "usage",  # what a user has used on a day (UTC, as the number of days since 1970-01-01); conversations come and go
    metadata,
    Column("day", Integer, nullable=False),
    Column("user_id", String(64), nullable=False),
    Column("messages", BigInteger, nullable=False),
    Column("model_tokens", BigInteger, nullable=False),
    Column("cpu_ms", BigInteger, nullable=False),
    PrimaryKeyConstraint("day", "user_id", name="usage_pkey"),
)

quotas = Table(
    "quotas",
    metadata,
    Column("scope", String(16), nullable=False),  # default, group, user
    Column("name", String(64), nullable=False),  # of the group, or the user's id; empty for default
    Column("what", String(32), nullable=False),
    Column("most", BigInteger),  # null: as much as one likes
    PrimaryKeyConstraint("scope", "name", "what", name="quotas_pkey"),
)

removals = Table(
    "removals",  # deleted conversations whose sandbox and files are still to be removed; nobody gets such an id again
    metadata,
    Column("conversation_id", String(64), primary_key=True),
)
