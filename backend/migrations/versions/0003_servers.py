"""Servers that share the database say here that they live."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("conversations", sa.Column("owner", sa.String(64), nullable=False, server_default=""))
    op.create_table(
        "servers",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("seen_at", sa.Double, nullable=False),
    )
    op.create_index("servers_by_seen", "servers", ["seen_at"])


def downgrade() -> None:
    op.drop_table("servers")
    op.drop_column("conversations", "owner")
