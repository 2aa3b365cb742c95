"""A running app per test module: real websockets, real sandboxes, a scripted model server."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest_asyncio

from tests.support.app import App, Tab, serving, settings_for
from tests.support.model_server import ScriptedModel
from tests.support.scripts import Hold, Reply, Request, action, puppet


class Puppet:
    """A model that does what it is told (`run CODE` runs it), or what a test puts in `script` for a while."""

    def __init__(self) -> None:
        self.script = puppet("fenced")
        self.server = ScriptedModel(self._answer)

    def _answer(self, request: Request) -> Reply:
        reply = self.script(request)
        return Reply(reply) if isinstance(reply, str) else reply

    def reset(self) -> None:
        self.script = puppet("fenced")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def model() -> AsyncGenerator[Puppet, None]:
    one = Puppet()
    async with one.server:
        yield one


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app(model: Puppet, tmp_path_factory) -> AsyncGenerator[App, None]:
    data: Path = tmp_path_factory.mktemp("data")
    async with serving(settings_for(data, model.server.base_url)) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def tab(app: App, model: Puppet) -> AsyncGenerator[Tab, None]:
    """A tab on a conversation of its own; the model is itself again afterwards."""
    one = await app.tab()
    yield one
    model.reset()
    await one.drop()
    await app.app.state.parts.kernel.remove(one.conversation)


__all__ = ["Hold", "Puppet", "Reply", "action"]
