"""Deleted conversations whose sandbox and files are still to be removed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table("removals", sa.Column("conversation_id", sa.String(64), primary_key=True))


def downgrade() -> None:
    op.drop_table("removals")
