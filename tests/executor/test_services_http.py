"""The services over HTTP, and what a sandbox uses, line by line."""

from __future__ import annotations

import asyncio
import json

import pytest

from executor import services as timing
from executor.services import Services
from executor.wire_services import SandboxUse
from tests.executor.test_server import TOKEN, cell, events, serving
from tests.support.kernels import Chat

pytestmark = pytest.mark.sandbox


HERE = "/v1/conversations/c"
ROUTES = [
    ("GET", "/variables", None),
    ("POST", "/complete", {"code": "pri", "cursor": 3}),
    ("POST", "/inspect", {"code": "print", "cursor": 2, "detail": 1}),
    ("POST", "/cells/x/input", {"ask": "a", "text": "t"}),
    ("GET", "/usage", None),
]


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """A busy machine is no failure."""
    monkeypatch.setattr(timing, "EDITOR_S", 20.0)
    monkeypatch.setattr(timing, "VARIABLES_S", 20.0)


async def run(http, code: str) -> list:
    async with http.post("/v1/run", json=cell(code)) as answer:
        return await events(answer)


async def ask(http, method: str, path: str, body=None):
    async with http.request(method, HERE + path, json=body) as answer:
        return answer.status, [json.loads(line) for line in (await answer.read()).splitlines()]


async def test_every_service_answers_over_http(tmp_path):
    async with serving(tmp_path) as http:
        await run(http, "value = [1]\ndef twice(n, by=2):\n    'Doubled.'\n    return n * by")
        status, [answer] = await ask(http, "GET", "/variables")
        assert (
            status == 200 and answer["state"] == "ok" and [one["name"] for one in answer["variables"]] == ["value", "twice"]
        )
        status, [answer] = await ask(http, "POST", "/complete", {"code": "x = val", "cursor": 7})
        assert status == 200 and answer == {"state": "ok", "matches": ["value"], "start": 4, "end": 7}
        status, [answer] = await ask(http, "POST", "/inspect", {"code": "twice(", "cursor": 6, "detail": 1})
        assert (answer["signature"], answer["doc"]) == ("(n, by=2)", "Doubled.") and "return n * by" in answer["source"]


async def test_without_a_sandbox_every_service_says_so_and_starts_none(tmp_path):
    async with serving(tmp_path) as http:
        told = [await ask(http, *route) for route in ROUTES]
        assert [status for status, _ in told] == [200, 200, 200, 404, 200]
        assert [answer["state"] for status, [answer] in told if status == 200] == ["none"] * 4
        async with http.get(HERE) as answer:
            assert (await answer.json())["state"] == "none"
        assert not (tmp_path / "workspaces" / "c").exists()


@pytest.mark.parametrize("method, path, body", ROUTES)
async def test_no_service_without_the_token(tmp_path, method, path, body):
    async with serving(tmp_path) as http, type(http)(http._base_url) as stranger:
        status, [answer] = await ask(stranger, method, path, body)
        assert status == 401 and TOKEN not in str(answer)


WRONG = [
    ("/complete", {}),
    ("/complete", {"code": 1, "cursor": 0}),
    ("/complete", {"code": "", "cursor": -1}),
    ("/complete", {"code": "", "cursor": 1.5}),
    ("/complete", {"code": "", "cursor": 0, "more": 1}),
    ("/complete", {"code": "x" * (1024**2 + 1), "cursor": 0}),
    ("/inspect", {"code": "", "cursor": 0, "detail": 2}),
    ("/cells/x/input", {"ask": "a", "text": "t" * 70_000}),
    ("/cells/x/input", {"ask": 3, "text": "t"}),
    ("/cells/x%2Fy/input", {"ask": "a", "text": "t"}),
]


async def test_malformed_requests_are_refused(tmp_path):
    async with serving(tmp_path) as http:
        for path, body in WRONG:
            status, _ = await ask(http, "POST", path, body)
            assert status in (404, 422), (path, str(body)[:80])
        for id in ("a%2Fb", "..%2Fx", "x" * 65):
            async with http.get(f"/v1/conversations/{id}/variables") as answer:
                assert answer.status in (404, 422)


async def test_t26_a_question_is_answered_over_http(tmp_path):
    async with serving(tmp_path) as http:
        asked = cell("print(input('Who? '))", {"allow_stdin": True})
        async with http.post("/v1/run", json=asked) as answer:
            told = []
            async for line in answer.content:
                told.append(json.loads(line))
                if told[-1]["type"] == "asked":
                    assert (await ask(http, "POST", "/cells/y/input", {"ask": told[-1]["id"], "text": "Eve"}))[0] == 404
                    reply = {"ask": told[-1]["id"], "text": "Ada"}
                    assert (await ask(http, "POST", "/cells/x/input?fence=0", reply))[0] == 409
                    assert (await ask(http, "POST", "/cells/x/input", reply))[0] == 204
                    assert (await ask(http, "POST", "/cells/x/input", reply))[0] == 404
        assert [event["text"] for event in told if event["type"] == "stream"] == ["Ada\n"]


# ---- what a sandbox uses ---------------------------------------------------------------------------------------------


async def test_the_use_of_a_sandbox_comes_line_by_line_until_it_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "EACH_S", 0.3)
    async with serving(tmp_path) as http:
        await run(http, "data = b'x' * 50_000_000")
        lines: list[SandboxUse] = []
        async with http.get(f"{HERE}/usage") as answer:
            assert answer.status == 200 and answer.content_type == "application/x-ndjson"
            async for line in answer.content:
                lines.append(SandboxUse.model_validate_json(line))
                if len(lines) == 3:
                    computing = asyncio.create_task(
                        run(http, "import time\nend = time.time() + 2\nwhile time.time() < end: 0")
                    )
                if len(lines) == 8:
                    await computing
                    async with http.delete(HERE) as removed:
                        assert removed.status == 204
        assert [one.state for one in lines[:2]] == ["idle"] * 2 and lines[-1] == SandboxUse(state="none")
        assert "busy" in {one.state for one in lines}
        first = lines[0]
        assert first.cpu is None and first.cpu_limit == 1.0 and first.pids_limit == 256 and first.disk_limit > 0
        if first.memory is not None:
            assert 50_000_000 < first.memory < first.memory_limit and 2 < first.pids < 256
        shares = [one.cpu for one in lines[1:-1]]
        assert None in shares or (min(shares) < max(shares) and max(shares) > 0.2 and min(shares) >= 0)


async def test_each_backend_tells_what_a_sandbox_uses(manager, monkeypatch):
    monkeypatch.setattr(timing, "EACH_S", 0.2)
    chat = Chat(manager)
    await chat.run("1")
    running = asyncio.create_task(chat.run("import time\nend = time.time() + 3\nwhile time.time() < end: 0"))
    told = []
    async for one in Services(manager).use(chat.id):
        told.append(one)
        if running.done() and one.state != "none":
            await manager.remove(chat.id)
    assert told[-1].state == "none" and told[0].memory_limit > 0 and told[0].cpu_limit == 1.0
    for counted, most in ((told[0].memory, told[0].memory_limit), (told[0].pids, told[0].pids_limit)):
        assert counted is None or 1 < counted < most
    shares = [one.cpu for one in told if one.cpu is not None]
    assert not shares or max(shares) > 0.3


async def test_listeners_are_bounded_and_leave_room_when_they_hang_up(tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "LISTENERS", 2)
    async with serving(tmp_path) as http:
        await run(http, "1")
        first, second = await http.get(f"{HERE}/usage"), await http.get(f"{HERE}/usage")
        for answer in (first, second):
            await answer.content.readline()
        assert (await ask(http, "GET", "/usage"))[0] == 429
        first.close()
        async with asyncio.timeout(10):
            while True:
                async with http.get(f"{HERE}/usage") as third:
                    if third.status == 200:
                        break
                await asyncio.sleep(0.1)
        second.close()


async def test_listening_keeps_no_sandbox_from_being_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "EACH_S", 0.1)
    async with serving(tmp_path) as http:
        await run(http, "x = 1")
        async with http.get(f"{HERE}/usage") as answer:
            await answer.content.readline()
            await run(http, "import os, signal; os.kill(os.getppid(), signal.SIGKILL)")
            async with asyncio.timeout(20):
                rest = [json.loads(line) async for line in answer.content]
        assert rest[-1]["state"] == "none"
        assert [event.type for event in await run(http, "1")][-1] == "closed"


async def test_a_listener_is_let_go_when_the_executor_drains(tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "EACH_S", 0.1)
    async with serving(tmp_path) as http:
        await run(http, "x = 1")
        async with http.get(f"{HERE}/usage") as answer:
            await answer.content.readline()
            async with http.post("/v1/admin/drain") as drained:
                assert drained.status == 204
            async with asyncio.timeout(10):
                rest = [json.loads(line)["state"] async for line in answer.content]
        assert "none" not in rest
