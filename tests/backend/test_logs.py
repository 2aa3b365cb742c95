"""Logs: one JSON object a line with the ids of what it is about, and nothing that anybody wrote or must keep secret."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest
from pydantic import BaseModel
from sqlalchemy import create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from executor import logs
from executor.logs import Discreet, JsonLines
from tests.backend.test_metrics import free_port
from tests.support.collector import Collector
from tests.support.executor_service import Executor, end
from tests.support.model_server import ScriptedModel
from tests.support.process import Served
from tests.support.scripts import Reply, Request, puppet

KEY = "sk-quux-api-key-0123456789"
PASSWORD = "correct-horse-hunter2"
CODE_WORD, OUTPUT_WORD, ERROR_WORD, QUERY_WORD, FILE_WORD = "xyzzy", "plugh", "frotz", "grue", "lantern"
WRONG = "wrong-battery-staple-9"
WRITTEN = (PASSWORD, CODE_WORD, OUTPUT_WORD, ERROR_WORD, QUERY_WORD, FILE_WORD)

TURN = f"""run secret_{CODE_WORD} = 1
open('{FILE_WORD}.txt', 'w').write('x')
print('{OUTPUT_WORD}')
raise ValueError('{ERROR_WORD}')"""


def script(request: Request) -> Reply:
    if "fail" in request.text:
        return Reply("", status=401, body=json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}"}}).encode())
    return puppet("fenced")(request)


async def provoke(served: Served, url: str) -> str:
    """A turn, and everything else that might make a server talk; the conversation."""
    tab = await served.tab()
    await tab.ask(TURN)
    await tab.ask(f"my password is {PASSWORD}")
    await tab.ask(f"fail {PASSWORD}")
    await tab.socket.send_str(json.dumps({"type": "message.send", "text": PASSWORD}))
    await tab.socket.send_str(PASSWORD)
    query = {"token": QUERY_WORD, "password": PASSWORD}
    async with aiohttp.ClientSession(cookies={"other": QUERY_WORD}) as stranger:
        for path in ("/healthz", "/api/conversations", f"/files/{FILE_WORD}", "/v1/models"):
            async with stranger.get(url + path, params=query, headers={"Authorization": f"Bearer {QUERY_WORD}"}):
                pass
    async with tab.http.patch(f"{url}/api/conversations/{tab.conversation}", json={"title": [PASSWORD]}) as answer:
        assert answer.status >= 400
    async with tab.http.post(f"{url}/v1/chat/completions", json={"model": PASSWORD, "messages": PASSWORD}) as answer:
        assert answer.status >= 400
    return tab.conversation


@pytest.mark.sandbox
@pytest.mark.timeout(180)
async def test_a_whole_turn_leaves_no_secret_in_logs_metrics_or_traces(tmp_path: Path) -> None:
    port, data = free_port(), tmp_path / "data"
    data.mkdir()
    (ui := tmp_path / "ui").mkdir()
    (ui / "index.html").write_text("<!doctype html>")
    with Collector() as collector:
        traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        loud = {"CODEACT_EXECUTOR_LOG_LEVEL": "debug", "CODEACT_SANDBOX_WARM": "0"}
        executor = await asyncio.to_thread(Executor, tmp_path / "executor", **loud, **traced)
        try:
            async with ScriptedModel(script, api_key=KEY) as model:
                settings = {
                    "CODEACT_LOG_FORMAT": "json",
                    "CODEACT_LOG_LEVEL": "debug",
                    "CODEACT_METRICS_PORT": str(port),
                    "CODEACT_KERNEL_URL": executor.url,
                    "CODEACT_EXECUTOR_TOKEN": executor.token,
                    "CODEACT_MODEL_API_KEY": KEY,
                    "CODEACT_UI_DIR": str(ui),
                    "CODEACT_MODEL_PROFILE": "fenced",
                }
                async with Served(data, model.base_url, **settings, **traced) as served:
                    conversation = await provoke(served, served.url)
                    session = (data / "session.token").read_text().strip()
                    async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}/metrics") as answer:
                        metrics = await answer.text()
        finally:
            await end(executor)

    secrets = (KEY, executor.token, session, *WRITTEN)
    said = {"orchestrator": served.output, "executor": "\n".join(map(json.dumps, executor.lines)), "metrics": metrics}
    said["traces"] = b"".join(collector.raw).decode("latin-1")
    for where, words in said.items():
        assert len(words) > 500, f"{where} has said nothing: {words}"
        for secret in secrets:
            assert secret not in words, f"{secret} is told by {where}"

    lines = [json.loads(line) for line in served.output.splitlines()]
    assert all({"time", "level", "logger", "message"} <= set(line) for line in lines)
    asked = [line for line in lines if line["logger"] == "codeact.access"]
    page = next(line for line in asked if line["route"] == "/api/conversations/{id}" and line["status"] == 200)
    assert page["conversation"] == conversation and page["method"] and page["client"] == "127.0.0.1"
    assert {line["route"] for line in asked} >= {"/healthz", "/ws"}
    assert any(line["message"] == "websocket" and line["reason"] == "lost" for line in asked)
    about = [line for line in executor.lines if line.get("conversation") == conversation and line.get("trace")]
    assert {line["trace"] for line in about} <= {span.trace for span in collector.spans} and about


async def test_accounts_leave_no_secret_in_the_log_either(tmp_path: Path) -> None:
    data, ui = tmp_path / "data", tmp_path / "ui"
    for place in (data, ui):
        place.mkdir()
    (ui / "index.html").write_text("<!doctype html>")
    settings = {
        "CODEACT_LOG_FORMAT": "json",
        "CODEACT_LOG_LEVEL": "debug",
        "CODEACT_UI_DIR": str(ui),
        "CODEACT_AUTH": "accounts",
        "CODEACT_REGISTRATION": "open",
    }
    async with ScriptedModel(puppet("fenced")) as model, Served(data, model.base_url, **settings) as served:
        api = f"{served.url}/api"
        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(cookie_jar=jar, headers={"Origin": served.url}) as http:
            who = {"email": "ann@example.org", "name": "Ann", "password": PASSWORD}
            async with http.post(f"{api}/auth/register", json=who) as answer:
                assert answer.status == 200, await answer.text()
                session = next(iter(answer.cookies.values())).value
            async with http.post(f"{api}/auth/tokens", json={"label": "mine", "scopes": ["chat"], "days": 1}) as answer:
                assert answer.ok, await answer.text()
                token = next(value for value in (await answer.json()).values() if str(value).startswith("cat_"))
            async with http.get(f"{served.url}/v1/models", headers={"Authorization": f"Bearer {token}"}) as answer:
                assert answer.ok
            for wrong in (WRONG, {"not": WRONG}):
                async with http.post(f"{api}/auth/login", json={"email": who["email"], "password": wrong}) as answer:
                    assert answer.status >= 400
            async with http.post(f"{api}/auth/reset", json={"token": WRONG, "password": PASSWORD}) as answer:
                assert answer.status >= 400
    assert any(json.loads(line).get("route") == "/api/auth/login" for line in served.output.splitlines())
    for secret in (PASSWORD, WRONG, session, token, "ann@example.org"):
        assert secret not in served.output, f"{secret} is told"


def test_a_line_says_what_the_work_is_about_and_who_is_next_to_it_does_not() -> None:
    async def work() -> tuple[dict[str, str], dict[str, str]]:
        logs.about(conversation="c1")
        logs.about(turn="t1")
        with logs.unrelated():
            inside = line()
        return line(), inside

    async def both() -> tuple[dict[str, str], dict[str, str]]:
        found = await asyncio.create_task(work())
        assert "conversation" not in line()
        return found

    def line() -> dict[str, str]:
        return json.loads(JsonLines().format(logging.makeLogRecord({"msg": "hello"})))

    told, unrelated = asyncio.run(both())
    assert told["conversation"] == "c1" and told["turn"] == "t1"
    assert "conversation" not in unrelated and "turn" not in unrelated


class Form(BaseModel):
    number: int


def pydantic_error() -> None:
    Form.model_validate({"number": PASSWORD})


def database_error() -> None:
    with create_engine("sqlite://").connect() as connection:
        connection.execute(text("insert into nothing values (:secret)"), {"secret": PASSWORD})


def error_with_details() -> None:
    raise sqlite3.IntegrityError(f"a row violates a check\nDETAIL: Failing row contains ({PASSWORD}).")


def caused() -> None:
    try:
        database_error()
    except SQLAlchemyError as error:
        raise RuntimeError("the turn failed") from error


@pytest.mark.parametrize("wrong", [pydantic_error, database_error, error_with_details, caused])
@pytest.mark.parametrize("formatter", [JsonLines(), Discreet("%(message)s")])
def test_an_exception_is_told_without_what_was_in_its_hands(wrong, formatter: logging.Formatter) -> None:
    try:
        wrong()
    except Exception as error:
        info = (type(error), error, error.__traceback__)
        said = formatter.format(logging.makeLogRecord({"msg": "it failed", "exc_info": info}))
        assert type(error).__name__ in said and wrong.__name__ in said, "where it happened is told"
        assert PASSWORD not in said
    else:
        pytest.fail("nothing was wrong")


def test_what_led_to_an_exception_is_told_first_and_an_end_is_found() -> None:
    one, other = ValueError("one"), KeyError("other")
    one.__cause__, other.__cause__ = other, one
    said = Discreet().formatException((ValueError, one, None))
    assert said.index("other") < said.index("one")


def test_a_message_that_forges_lines_stays_one_line() -> None:
    record = logging.makeLogRecord({"msg": "refused %s", "args": ('x\n{"level":"info","message":"forged"}\x1b[2J',)})
    said = JsonLines().format(record)
    assert len(said.splitlines()) == 1 and "\x1b" not in said and json.loads(said)["message"].startswith("refused x\n{")


def test_set_up_leaves_alone_what_somebody_else_has_decided(tmp_path: Path) -> None:
    script = (
        "import logging, sys; from executor import logs; logging.basicConfig(format='mine %(message)s'); "
        "logs.set_up('info', 'text', force=False); logging.warning('hello')"
    )
    said = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert said.stderr == "mine hello\n"
