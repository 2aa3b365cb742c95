"""Conversations, turns, events and files."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _conversation() -> sa.Column[str]:
    return sa.Column(
        "conversation_id", sa.String(64), sa.ForeignKey("conversations.id", ondelete="CASCADE"), nullable=False
    )


def upgrade() -> None:
    op.create_table(
        "conversations",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("updated_at", sa.Double, nullable=False),
        sa.Column("last_seq", sa.Integer, nullable=False),
    )
    op.create_index("conversations_by_update", "conversations", ["updated_at", "id"])
    op.create_table(
        "turns",
        _conversation(),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("cursor", sa.Text, nullable=False),
        sa.Column("live", sa.Text),
        sa.Column("opened_at", sa.Double, nullable=False),
        sa.Column("closed_at", sa.Double),
        sa.PrimaryKeyConstraint("conversation_id", "id", name="turns_pkey"),
    )
    still_open = sa.text("closed_at IS NULL")
    op.create_index(
        "turns_open", "turns", ["conversation_id"], unique=True, sqlite_where=still_open, postgresql_where=still_open
    )
    op.create_table(
        "events",
        _conversation(),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("turn_id", sa.String(64), nullable=False),
        sa.Column("type", sa.String(32), nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("at", sa.Double),
        sa.PrimaryKeyConstraint("conversation_id", "seq", name="events_pkey"),
    )
    op.create_table(
        "files",
        _conversation(),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("changed_at", sa.Double, nullable=False),
        sa.Column("turn_id", sa.String(64), nullable=False),
        sa.Column("cell_id", sa.String(64), nullable=False),
        sa.Column("deleted", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("conversation_id", "path", name="files_pkey"),
    )


def downgrade() -> None:
    for name in ("files", "events", "turns", "conversations"):
        op.drop_table(name)
