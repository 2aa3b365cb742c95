"""A look into a store's tables from beside it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from orchestrator.adapters.store_sql import SqlStore


@asynccontextmanager
async def raw(store: SqlStore) -> AsyncGenerator[AsyncConnection, None]:
    """A connection of its own, in one transaction."""
    engine = create_async_engine(store.url)
    try:
        async with engine.begin() as connection:
            yield connection
    finally:
        await engine.dispose()
