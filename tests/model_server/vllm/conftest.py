"""The real vLLM on this CPU with a tiny model of random weights. These tests want .venv-vllm (2.5 GB), so only
`make test-vllm` collects them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.model_server.vllm.server import Server, serving, until_ready, write

collect_ignore_glob = [] if os.environ.get("CODEACT_TEST_VLLM") else ["test_*.py"]


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> Path:
    """Where tiny models are written."""
    return tmp_path_factory.mktemp("models")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def vllm(models: Path) -> AsyncIterator[Server]:
    """One server for all tests that only ask it: a Mistral, as CodeActAgent is, with our chat template."""
    async with serving(str(await write(models, "tiny-codeact", "mistral"))) as server:
        server.states = await until_ready(server)
        yield server
