"""The stack is started once for all tests here, which takes minutes: they run when they are named (`make test-stack`)."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.app import new_id
from tests.support.stack import Stack, unavailable
from tests.support.stack_scene import Guest

HERE = Path(__file__).parent


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    named = any(
        HERE in (place := Path(str(argument).partition("::")[0]).resolve()).parents or place == HERE
        for argument in config.args
    )
    return None if named else True


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    if why := unavailable():
        pytest.skip(why)
    running = Stack(tmp_path_factory.mktemp("stack"), f"codeact-test-{os.getpid()}")
    try:
        running.start()
        print(f"\nbuilt in {running.build_s:.0f} s, ready {running.ready_s:.0f} s after `up`")
        yield running
    finally:
        running.down()


@pytest_asyncio.fixture
async def guest(stack: Stack) -> AsyncIterator[Guest]:
    await stack.answers()
    person = Guest(stack.url, f"{new_id()}@example.org")
    await person.register()
    yield person
    await person.http.close()
