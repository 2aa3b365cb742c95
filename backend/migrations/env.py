"""Alembic runs this file for every command. The connection comes from `orchestrator.adapters.migrate`, which holds the lock
and commits: all migrations of one start are one transaction."""

from __future__ import annotations

from alembic import context

from orchestrator.adapters.tables import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True, compare_type=True
)
context.run_migrations()
