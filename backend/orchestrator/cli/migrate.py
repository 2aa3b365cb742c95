"""`codeact migrate`: brings the database up to this version and ends. A server that starts does the same; this is for those
who want it done, and seen to be done, before the first new server starts (deploy/kubernetes)."""

from __future__ import annotations

import asyncio
import sys

from orchestrator.adapters import store_sql
from orchestrator.errors import CodeActError
from orchestrator.settings import Settings
from orchestrator.wiring import store_url


def run(settings: Settings) -> int:
    """The exit status: 0 when the database is up to date, 1 when it cannot be (and it said why)."""
    try:
        asyncio.run(_migrate(store_url(settings)))
    except CodeActError as error:
        print(error, file=sys.stderr)
        return 1
    print("The database is up to date.")
    return 0


async def _migrate(url: str) -> None:
    store = store_sql.create(url)
    try:
        await store.migrate()
    finally:
        await store.close()
