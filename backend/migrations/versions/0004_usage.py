"""What people use of the server, per day, and how much they may."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("conversations", sa.Column("disk", sa.BigInteger, nullable=False, server_default="0"))
    op.create_table(
        "usage",
        sa.Column("day", sa.Integer, nullable=False),
        sa.Column("user_id", sa.String(64), nullable=False),
        sa.Column("messages", sa.BigInteger, nullable=False),
        sa.Column("model_tokens", sa.BigInteger, nullable=False),
        sa.Column("cpu_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("day", "user_id", name="usage_pkey"),
    )
    op.create_table(
        "quotas",
        sa.Column("scope", sa.String(16), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("what", sa.String(32), nullable=False),
        sa.Column("most", sa.BigInteger),
        sa.PrimaryKeyConstraint("scope", "name", "what", name="quotas_pkey"),
    )


def downgrade() -> None:
    for name in ("quotas", "usage"):
        op.drop_table(name)
    op.drop_column("conversations", "disk")  # in place: a copy's DROP TABLE would take all turns along
