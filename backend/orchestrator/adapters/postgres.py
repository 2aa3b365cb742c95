"""PostgreSQL, as `databases.Database` asks for it: asyncpg under SQLAlchemy."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, TextClause
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from orchestrator.adapters.databases import Change, Taken, Values, Work, unavailable

T = TypeVar("T")

CONNECT_S, COMMAND_S = 5.0, 60.0
"""After these the server counts as away: one that is unreachable says nothing at all."""

POOL = 8
"""Connections that are kept, and as many more while there is much to do."""


class Postgres:
    """A pool of asyncpg connections, tried before use, so that a restarted server is noticed here."""

    def __init__(self, url: str, pool: int = POOL, overflow: int = POOL) -> None:
        limits = {"timeout": CONNECT_S, "command_timeout": COMMAND_S}
        self._engine: AsyncEngine = create_async_engine(
            url,
            pool_size=pool,
            max_overflow=overflow,
            pool_pre_ping=True,
            pool_timeout=CONNECT_S,
            connect_args=limits,
            hide_parameters=True,
        )

    async def read(self, work: Work[T]) -> T:
        return await self._whole(work, commit=False)

    async def write(self, work: Work[T]) -> T:
        return await self._whole(work, commit=True)

    async def find(self, statement: TextClause, values: Values) -> Sequence[Sequence[Any]]:
        return await self.read(lambda connection: connection.execute(statement, values).all())

    async def change(self, changes: Sequence[Change], needed: int = 1) -> bool:
        try:
            await self._whole(lambda connection: _apply(connection, changes, needed), commit=True)
        except _Unchanged:
            return False
        return True

    async def close(self) -> None:
        await self._engine.dispose()

    async def _whole(self, work: Work[T], *, commit: bool) -> T:
        return await asyncio.shield(asyncio.ensure_future(self._run(work, commit)))

    async def _run(self, work: Work[T], commit: bool) -> T:
        try:
            connection = await self._engine.connect()
        except Exception as error:  # drivers raise their own kinds while connecting, and the pool its timeout
            raise unavailable(error) from error
        try:
            result = await connection.run_sync(work)
            if commit:
                await connection.commit()
            return result
        except IntegrityError as error:
            raise Taken(str(error)) from error
        except (SQLAlchemyError, OSError) as error:
            raise unavailable(error) from error
        finally:
            await connection.close()


class _Unchanged(Exception):
    """Rolls the transaction back."""


def _apply(connection: Connection, changes: Sequence[Change], needed: int) -> None:
    for position, (statement, values) in enumerate(changes):
        if connection.execute(statement, values).rowcount == 0 and position < needed:
            raise _Unchanged
