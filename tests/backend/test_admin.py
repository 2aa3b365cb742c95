"""What administrators see of the running server and what they stop; nobody else does, and all of it is written down."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from orchestrator.settings import Settings
from tests.backend.conftest import Puppet
from tests.support.app import new_id
from tests.support.people import Person, Team, accounts_settings, team
from tests.support.scripts import Hold, Reply

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXECUTOR = {"kernel_url": "local://", "executor_token": ""}
GET = ("live", "usage", "quotas", "models", "settings", "audit")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def there(model: Puppet, tmp_path_factory) -> AsyncIterator[Team]:
    data: Path = tmp_path_factory.mktemp("data")
    more = {**EXECUTOR, "model_api_key": "s3cret-key", "quota_messages_per_day": 1000}
    async with team(accounts_settings(data, model.server.base_url, **more)) as running:
        await running.member("root@example.org")
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def root(there: Team) -> Person:
    return there._people[0]


@pytest_asyncio.fixture(loop_scope="module")
async def ann(there: Team) -> Person:
    return await there.member(f"{new_id()[:8]}@example.org")


async def send(person: Person, text: str) -> tuple[Any, str, str]:
    """A message in a new conversation, over a websocket: the socket, conversation, turn."""
    conversation, turn = new_id(), new_id()
    page = await person.ok("PUT", f"/api/conversations/{conversation}", {})
    assert page["id"] == conversation
    cursor = (await person.ok("GET", f"/api/conversations/{conversation}"))["cursor"]
    socket = await person.socket()
    await socket.send_json({"type": "subscribe", "conversation": conversation, "cursor": cursor})
    await socket.send_json({"type": "message.send", "conversation": conversation, "turn": turn, "text": text})
    return socket, conversation, turn


async def until(socket: Any, kind: str, **facts: Any) -> dict[str, Any]:
    """The next event or frame of that type, in which the facts hold."""
    while True:
        frame = await socket.receive_json(timeout=30)
        event: dict[str, Any] = frame["event"] if frame["type"] == "told" else frame
        if event["type"] == kind and all(event[name] == value for name, value in facts.items()):
            return event


async def audited(root: Person, action: str) -> list[dict[str, Any]]:
    page = await root.ok("GET", "/api/admin/audit")
    return [entry for entry in page["entries"] if entry["action"] == action]


async def test_nobody_but_an_administrator_gets_anything(there, ann):
    stranger = there.person("")
    token = await ann.token("chat")
    for path in GET:
        assert (await ann.ask("GET", f"/api/admin/{path}"))[0] == 403
        assert (await stranger.ask("GET", f"/api/admin/{path}"))[0] == 401
        assert (await stranger.ask("GET", f"/api/admin/{path}", headers={"Authorization": f"Bearer {token}"}))[0] == 403
    before = await there.accounts.audit.read(None, 500)
    for method, path, body in (
        ("PUT", "quotas", {"scope": "default", "name": "", "limits": []}),
        ("POST", "turns/c/t/stop", {}),
        ("DELETE", "sandboxes/c", None),
    ):
        assert (await ann.ask(method, f"/api/admin/{path}", body))[0] == 403
    assert await there.accounts.audit.read(None, 500) == before


async def test_an_administrators_token_administers_nothing(there, root):
    token = await root.token("chat", "read")
    program = there.person("")
    for path in GET:
        assert (await program.ask("GET", f"/api/admin/{path}", headers={"Authorization": f"Bearer {token}"}))[0] == 403


async def test_a_running_turn_is_seen_and_stopped_and_so_written_down(there, model, root, ann):
    hold = asyncio.Event()
    model.script = lambda _: Reply(["words ", Hold(hold)])
    socket, conversation, turn = await send(ann, "go")
    await until(socket, "text.delta")
    live = await root.ok("GET", "/api/admin/live")
    (line,) = [line for line in live["turns"] if line["turn"] == turn]
    assert line["conversation"] == conversation and line["user"] == await ann.id()
    assert line["user_name"] == ann.email.partition("@")[0] and abs(line["opened_at"] - time.time()) < 60
    await root.ok("POST", f"/api/admin/turns/{conversation}/{turn}/stop", {})
    assert (await until(socket, "turn.closed"))["outcome"] == "stopped"
    hold.set()
    model.reset()
    (entry,) = [entry for entry in await audited(root, "turn.stopped") if entry["subject"] == conversation]
    assert entry["actor"] == await root.id() and entry["actor_name"] == "root"
    assert entry["details"] == {"turn": turn, "user": await ann.id()}
    assert (await root.ask("POST", f"/api/admin/turns/{conversation}/{turn}/stop", {}))[0] == 404
    await socket.close()


@pytest.mark.parametrize("ids", ["none/none", "..%2f..%2f/x", "a" * 65 + "/x", "c%00/x"])
async def test_a_turn_or_sandbox_that_is_not_there_is_none(root, ids):
    before = len(await audited(root, "turn.stopped"))
    assert (await root.ask("POST", f"/api/admin/turns/{ids}/stop", {}))[0] in (404, 405, 422)
    assert (await root.ask("DELETE", f"/api/admin/sandboxes/{ids.partition('/')[0]}"))[0] in (404, 405, 422)
    assert len(await audited(root, "turn.stopped")) == before


async def test_a_sandbox_is_seen_and_ended_while_its_cell_runs_and_files_stay(there, root, ann):
    socket, conversation, turn = await send(ann, "run open('kept', 'w').write('x')\nimport time; time.sleep(60)")
    await until(socket, "cell.progress", phase="running")
    live = await root.ok("GET", "/api/admin/live")
    (line,) = [line for line in live["sandboxes"] if line["conversation"] == conversation]
    assert (line["user"], line["state"], line["idle_s"]) == (await ann.id(), "busy", 0) and line["memory_used"] > 0
    await root.ok("DELETE", f"/api/admin/sandboxes/{conversation}")
    closed = await until(socket, "cell.closed")
    assert closed["outcome"] == "interrupted" and "administrator" in closed["words"] and closed["files_kept"]
    await until(socket, "turn.closed")
    (entry,) = [entry for entry in await audited(root, "sandbox.ended") if entry["subject"] == conversation]
    assert entry["details"] == {"user": await ann.id()}
    await socket.send_json(
        {"type": "message.send", "conversation": conversation, "turn": new_id(), "text": "run print(open('kept').read())"}
    )
    assert (await until(socket, "cell.closed"))["outputs"][0]["text"] == "x\n"
    await socket.close()
    await there.app.app.state.parts.kernel.remove(conversation)


async def test_usage_over_time_by_user_and_by_day(root, ann):
    socket, _, _ = await send(ann, "say hello")
    await until(socket, "turn.closed")
    await socket.close()
    report = await root.ok("GET", "/api/admin/usage?days=7")
    (line,) = [line for line in report["users"] if line["user"] == await ann.id()]
    assert (line["messages"], line["user_name"]) == (1, ann.email.partition("@")[0]) and line["model_tokens"] > 0
    days = report["days"]
    assert report["counted"] and len(days) == 7 and days[-1]["day"] % 86400 == 0
    assert days[-1]["messages"] >= 1 and days[0]["messages"] == days[0]["users"] == 0
    assert [later["day"] - day["day"] for day, later in pairwise(days)] == [86400.0] * 6
    for wrong in ("0", "-1", "367", "1e3", "nan", str(2**70)):
        assert (await root.ask("GET", f"/api/admin/usage?days={wrong}"))[0] == 422


async def test_a_quota_holds_at_once_and_is_written_down(there, root, ann):
    quota = {"scope": "user", "name": await ann.id(), "limits": [{"what": "messages", "most": 0}]}
    answer = await root.ok("PUT", "/api/admin/quotas", quota)
    assert answer["settings"] == [{"what": "messages", "most": 1000}] and quota in answer["quotas"]
    assert await root.ok("GET", "/api/admin/quotas") == answer
    (mine,) = [line for line in (await ann.ok("GET", "/api/quota"))["limits"] if line["what"] == "messages"]
    assert (mine["limit"], mine["remaining"], mine["used"]) == (0, 0, 0)
    socket, _, _ = await send(ann, "say hello")
    assert (await until(socket, "refused"))["reason"] == "quota"
    await socket.close()
    assert (await audited(root, "quota.set"))[0]["details"] == {"messages": 0}
    await root.ok("PUT", "/api/admin/quotas", quota | {"limits": []})
    socket, _, _ = await send(ann, "say hello")
    assert (await until(socket, "turn.closed"))["outcome"] == "answered"
    await socket.close()


async def test_a_groups_quota_holds_for_whoever_comes_into_it(root, ann):
    quota = {"scope": "group", "name": "trial", "limits": [{"what": "messages", "most": 0}]}
    await root.ok("PUT", "/api/admin/quotas", quota)
    await root.ok("PATCH", f"/api/admin/users/{await ann.id()}", {"group": "trial"})
    socket, _, _ = await send(ann, "say hello")
    assert (await until(socket, "refused"))["reason"] == "quota"
    await root.ok("PATCH", f"/api/admin/users/{await ann.id()}", {"group": ""})
    await socket.close()
    socket, _, _ = await send(ann, "say hello")
    assert (await until(socket, "turn.closed"))["outcome"] == "answered"
    await socket.close()
    await root.ok("PUT", "/api/admin/quotas", quota | {"limits": []})


@pytest.mark.parametrize(
    "quota",
    [
        {"scope": "user", "name": "nobody-at-all", "limits": [{"what": "messages", "most": 1}]},
        {"scope": "user", "name": "x", "limits": [{"what": "messages", "most": -1}]},
        {"scope": "group", "name": "x", "limits": [{"what": "messages", "most": 2**70}]},
        {"scope": "group", "name": "x", "limits": [{"what": "messages", "most": 1}] * 2},
        {"scope": "default", "name": "", "limits": [{"what": "messages"}]},
        {"scope": "default", "name": "", "limits": {}, "extra": 1},
        [],
    ],
)
async def test_a_quota_that_makes_no_sense_changes_nothing(root, quota):
    before = await root.ok("GET", "/api/admin/quotas")
    status, answer, _ = await root.ask("PUT", "/api/admin/quotas", quota)
    assert status in (404, 422) and answer["detail"]
    assert await root.ok("GET", "/api/admin/quotas") == before


async def test_models_and_whether_they_answer(there, root):
    (model,) = (await root.ok("GET", "/api/admin/models"))["models"]
    assert (model["name"], model["ok"], model["profile"]) == ("scripted", True, "fenced")
    assert model["url"].startswith("http://127.0.0.1:")


async def test_settings_are_shown_and_no_secret_is(there, root):
    answer = await root.ok("GET", "/api/admin/settings")
    lines = {line["name"]: line for line in answer["settings"]}
    assert len(lines) == len(Settings.model_fields)
    assert lines["CODEACT_AUTH"] == {"name": "CODEACT_AUTH", "value": "accounts", "default": False, "secret": False}
    assert lines["CODEACT_PORT"]["default"]
    assert lines["CODEACT_MODEL_API_KEY"] == {
        "name": "CODEACT_MODEL_API_KEY", "value": "", "default": False, "secret": True,
    }  # fmt: skip
    assert "s3cret" not in json.dumps(answer)


async def test_the_audit_is_read_page_by_page_newest_first(there, root):
    for number in range(205):
        await there.accounts.audit.write(float(number), "gone", "test.line", str(number), {"n": number})
    seen: list[int] = []
    before = ""
    while True:
        page = await root.ok("GET", f"/api/admin/audit{before}")
        seen += [entry["id"] for entry in page["entries"]]
        if not page["more"]:
            break
        before = f"?before={seen[-1]}"
    assert len(seen) == len(set(seen)) >= 205 and seen == sorted(seen, reverse=True)
    entry = (await root.ok("GET", "/api/admin/audit"))["entries"][0]
    assert (entry["actor"], entry["actor_name"], entry["details"]) == ("gone", "", {"n": 204})
    for wrong in ("0", "-1", "x", str(2**63), "1.5"):
        assert (await root.ask("GET", f"/api/admin/audit?before={wrong}"))[0] == 422


async def test_looking_is_not_written_down(there, root):
    before = await there.accounts.audit.read(None, 5)
    for path in GET:
        await root.ok("GET", f"/api/admin/{path}")
    assert await there.accounts.audit.read(None, 5) == before


async def test_an_executor_that_is_away_is_told_in_words(model, tmp_path):
    async with team(accounts_settings(tmp_path, model.server.base_url)) as away:
        root = await away.member("root@example.org")
        live = await root.ok("GET", "/api/admin/live")
        assert live["turns"] == live["sandboxes"] == [] and "cannot be reached" in live["words"]
        status, answer, _ = await root.ask("DELETE", "/api/admin/sandboxes/c")
        assert status == 503 and "cannot be reached" in answer["detail"]
