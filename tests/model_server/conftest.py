"""The real embedded model, served once for all tests that want it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from model_server.catalogue import DEFAULT
from model_server.child import LlamaChild
from model_server.fetch import fetch


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def llama() -> AsyncIterator[LlamaChild]:
    """Fetched when this machine does not have it yet, as `make run` does."""
    async with LlamaChild(DEFAULT, await fetch(DEFAULT)) as child:
        yield child
