"""The executor over HTTP: the same manager, a token in front, one event a line."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import asynccontextmanager

import aiohttp
import pytest
import uvicorn
from pydantic import TypeAdapter

from executor.api.app import create_app
from executor.service import _listener
from executor.wire import KernelEvent, Outcome
from tests.support.kernels import managing

pytestmark = pytest.mark.sandbox

TOKEN = "a service token"
EVENT = TypeAdapter(KernelEvent)


@asynccontextmanager
async def serving(data_dir):
    """A real server on a free port, and a client that holds the token."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with managing(data_dir) as manager:
            server = uvicorn.Server(uvicorn.Config(create_app(manager, TOKEN), log_level="warning"))
            serving = asyncio.create_task(server.serve([listener]))
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            async with aiohttp.ClientSession(url, headers={"Authorization": f"Bearer {TOKEN}"}) as http:
                yield http
            server.should_exit = True
            await serving


async def events(answer: aiohttp.ClientResponse) -> list:
    return [EVENT.validate_json(line) async for line in answer.content]


def cell(code: str, other: dict | None = None) -> dict:
    return {"conversation": "c", "cell": "x", "code": code, "timeout_s": 30} | (other or {})


async def test_a_run_is_one_event_a_line_and_state_follows(tmp_path):
    async with serving(tmp_path) as http:
        async with http.post("/v1/run", json=cell("x = 1\nprint('hé')")) as answer:
            assert answer.status == 200 and answer.content_type == "application/x-ndjson"
            told = await events(answer)
        assert [event.type for event in told][-3:] == ["started", "stream", "closed"]
        assert told[-2].text == "hé\n" and told[-1].outcome is Outcome.OK
        async with http.get("/v1/conversations/c") as answer:
            assert (await answer.json())["state"] == "idle"
        async with http.post("/v1/conversations/c/restart") as answer:
            assert answer.status == 204
        async with http.delete("/v1/conversations/c") as answer:
            assert answer.status == 204
        async with http.get("/readyz") as answer:
            assert answer.status == 200 and (await answer.json())["ok"]


async def test_interrupt_and_hanging_up_both_stop_the_cell(tmp_path):
    async with serving(tmp_path) as http:
        async with http.post("/v1/run", json=cell("print('go')\nwhile True: pass")) as answer:
            async for line in answer.content:
                event = json.loads(line)
                if event["type"] == "stream":
                    async with http.post("/v1/conversations/c/interrupt") as stopped:
                        assert stopped.status == 204
            assert event["type"] == "closed" and event["outcome"] == "interrupted"
        async with http.post("/v1/run", json=cell("print('go')\nwhile True: pass")) as answer:
            async for line in answer.content:
                if json.loads(line)["type"] == "stream":
                    break
            answer.close()
        async with asyncio.timeout(10):
            async with http.post("/v1/run", json=cell("print('next')")) as answer:
                assert (await events(answer))[-2].text == "next\n"


async def test_t1_t35_without_the_token_nothing_but_health_is_told(tmp_path):
    async with serving(tmp_path) as http:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}):
            async with aiohttp.ClientSession(http._base_url, headers=headers) as other:
                async with other.get("/healthz") as answer:
                    assert answer.status == 200
                for method, path in (
                    ("GET", "/readyz"),
                    ("POST", "/v1/run"),
                    ("GET", "/v1/conversations/c"),
                    ("DELETE", "/v1/conversations/c"),
                ):
                    async with other.request(method, path, json=cell("1")) as answer:
                        assert answer.status == 401, path


@pytest.mark.parametrize(
    "wrong", [{"conversation": "../x"}, {"cell": ""}, {"timeout_s": 0}, {"timeout_s": "NaN"}, {"code": 1}, {"more": 1}]
)
async def test_a_malformed_request_is_refused(tmp_path, wrong):
    async with serving(tmp_path) as http:
        async with http.post("/v1/run", json=cell("1", wrong)) as answer:
            assert answer.status == 422
        async with http.delete("/v1/conversations/a%2Fb") as answer:
            assert answer.status in (404, 422)


def test_an_answer_is_not_held_back_until_the_last_packet_is_confirmed():
    with _listener("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
