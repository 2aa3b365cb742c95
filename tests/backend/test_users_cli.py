"""The terminal and OpenAI clients at a server with accounts: by token, and by nothing else."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import openai
import pytest

from tests.support.model_server import ScriptedModel
from tests.support.people import Person, Team, accounts_settings, team
from tests.support.scripts import Hold, Reply


@pytest.fixture
async def held() -> asyncio.Event:
    return asyncio.Event()


@pytest.fixture
async def here(tmp_path: Path, held: asyncio.Event) -> AsyncIterator[Team]:
    script = lambda request: Reply(["I ", Hold(held), "am done."]) if "wait" in request.text else Reply("Hello you.")  # noqa: E731
    async with ScriptedModel(script) as model, team(accounts_settings(tmp_path, model.base_url)) as one:
        yield one


@pytest.fixture
async def ann(here: Team) -> Person:
    return await here.member("ann@example.org")


async def start(here: Team, data: Path, *arguments: str, **more: str) -> asyncio.subprocess.Process:
    own = {name: value for name, value in os.environ.items() if not name.startswith("CODEACT_")}
    environment = own | {"CODEACT_DATA_DIR": str(data), "CODEACT_PORT": here.url.rsplit(":", 1)[1]} | more
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "orchestrator.cli", "chat", *arguments, env=environment, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=data,
    )  # fmt: skip


async def ended(process: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_the_terminal_asks_with_a_token(here: Team, ann: Person, tmp_path: Path) -> None:
    token = await ann.token("chat")
    status, out, _ = await ended(await start(here, tmp_path, "Hello?", CODEACT_TOKEN=token))
    assert status == 0 and "Hello you." in out
    [line] = (await ann.ok("GET", "/api/conversations"))["conversations"]
    assert line["title"] == "Hello?"


async def test_without_a_token_the_terminal_is_told_how_to_get_one(here: Team, ann: Person, tmp_path: Path) -> None:
    for more in ({}, {"CODEACT_TOKEN": "cat_" + "x" * 43}, {"CODEACT_TOKEN": "wrong"}):
        status, _, err = await ended(await start(here, tmp_path, "Hello?", **more))
        assert status == 1 and "CODEACT_TOKEN" in err


async def test_a_token_that_only_reads_is_told_so(here: Team, ann: Person, tmp_path: Path) -> None:
    status, _, err = await ended(await start(here, tmp_path, "Hello?", CODEACT_TOKEN=await ann.token("read")))
    assert status == 1 and "may only read" in err


async def test_a_token_that_is_removed_ends_what_it_was_used_for(
    here: Team, ann: Person, tmp_path: Path, held: asyncio.Event
) -> None:
    process = await start(here, tmp_path, "Please wait", CODEACT_TOKEN=await ann.token("chat"))
    assert process.stdout is not None
    async with asyncio.timeout(60):
        await process.stdout.readexactly(1)
    [line] = (await ann.ok("GET", "/api/auth/tokens"))["tokens"]
    assert line["used_at"] is not None
    await ann.ok("DELETE", f"/api/auth/tokens/{line['id']}")
    status, _, err = await ended(process)
    held.set()
    assert status == 1 and "CODEACT_TOKEN" in err


async def test_an_openai_client_asks_with_a_token_as_its_key(here: Team, ann: Person) -> None:
    client = openai.AsyncOpenAI(base_url=f"{here.url}/v1", api_key=await ann.token("chat"), max_retries=0)
    async with client:
        answer = await client.chat.completions.create(model="codeact", messages=[{"role": "user", "content": "hi"}])
        assert answer.choices[0].message.content == "Hello you."
    async with openai.AsyncOpenAI(base_url=f"{here.url}/v1", api_key="wrong", max_retries=0) as stranger:
        with pytest.raises(openai.AuthenticationError, match="token"):
            await stranger.models.list()
    async with openai.AsyncOpenAI(base_url=f"{here.url}/v1", api_key=await ann.token("read"), max_retries=0) as reader:
        assert [model.id for model in (await reader.models.list()).data] == ["scripted"]
        with pytest.raises(openai.PermissionDeniedError):
            await reader.chat.completions.create(model="codeact", messages=[{"role": "user", "content": "hi"}])


async def test_a_token_that_has_expired_is_none(here: Team, ann: Person) -> None:
    made = await ann.ok("POST", "/api/auth/tokens", {"label": "a day", "scopes": ["read"], "days": 1})
    headers = {"Authorization": f"Bearer {made['token']}"}
    stranger = here.person("x")
    assert (await stranger.ask("GET", "/v1/models", headers=headers))[0] == 200
    here.people.sessions._clock = lambda: made["line"]["expires_at"] + 1
    here.people.sessions.forget_all()
    assert (await stranger.ask("GET", "/v1/models", headers=headers))[0] == 401


async def test_only_so_many_tokens_even_when_asked_for_at_once(here: Team, ann: Person) -> None:
    from orchestrator.users.own import MOST_TOKENS

    wanted = {"label": "one of many", "scopes": ["read"]}
    answers = await asyncio.gather(*(ann.ask("POST", "/api/auth/tokens", wanted) for _ in range(MOST_TOKENS + 5)))
    assert sorted(status for status, _, _ in answers) == [200] * MOST_TOKENS + [409] * 5
