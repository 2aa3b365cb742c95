"""`codeact migrate`: brings the database up to this version and ends. A server that starts does the same; this is for those
who want it done, and seen to be done, before the first new server starts (deploy/kubernetes)."""

from __future__ import annotations

import asyncio
import sys

from orchestrator.adapters import store_sql
from orchestrator.errors import CodeActError
from orchestrator.settings import Settings
from orchestrator.wiring import store_url


def run(settings: Settings, back: str | None = None) -> int:
    """The exit status: 0 when the database is up to date, or `back` at that revision; 1 when it cannot be (and it said
    why)."""
    try:
        if not settings.store_url:
            settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        asyncio.run(_migrate(store_url(settings), back))
    except CodeActError as error:
        print(error, file=sys.stderr)
        return 1
    print("The database is up to date." if back is None else f"The database is at revision {back}.")
    return 0


async def _migrate(url: str, back: str | None) -> None:
    store = store_sql.create(url)
    try:
        await (store.migrate() if back is None else store.downgrade(back))
    finally:
        await store.close()
