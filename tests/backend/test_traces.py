"""One trace per turn, from the message to the model and to the sandbox, as a real OTLP collector receives it."""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from executor import tracing
from tests.support.app import App, serving, settings_for
from tests.support.collector import Collector, Span
from tests.support.executor_service import Executor, end
from tests.support.model_server import ScriptedModel
from tests.support.scripts import Reply, puppet

pytestmark = pytest.mark.timeout(180)

CODE = "run import time\nsecret = 'xyzzy-code'\nprint('plugh-output')"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as one:
        yield one


@asynccontextmanager
async def team(tmp_path: Path, collector: Collector) -> AsyncGenerator[tuple[App, ScriptedModel], None]:
    """Orchestrator and executor, both of which trace. All spans are at the collector when it ends."""
    traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "CODEACT_SANDBOX_WARM": "0"}
    executor = await asyncio.to_thread(Executor, tmp_path / "executor", **traced)
    try:
        async with ScriptedModel(puppet("fenced")) as model:
            mine = {"kernel_url": executor.url, "executor_token": executor.token, "otlp_endpoint": collector.url}
            async with serving(settings_for(tmp_path / "data", model.base_url, **mine)) as app:
                yield app, model
    finally:
        await end(executor)


def tree(spans: list[Span]) -> dict[str, list[str]]:
    """Each span's name with its children's, in the order in which they began."""
    ordered = sorted(spans, key=lambda span: span.begin)
    return {span.name: [one.name for one in ordered if one.parent == span.id] for span in ordered}


@pytest.mark.sandbox
async def test_a_turn_is_one_trace_from_the_message_to_model_and_sandbox(tmp_path: Path, collector: Collector) -> None:
    async with team(tmp_path, collector) as (app, model):
        tab = await app.tab()
        await tab.ask(CODE)
        turn = tab.view.turns[0].turn
        headers = [exchange.request.headers["traceparent"] for exchange in model.exchanges]

    spans = collector.spans
    (root,) = collector.named("turn")
    assert {span.trace for span in spans} == {root.trace} and not root.parent
    assert root.facts == {
        "codeact.conversation": tab.conversation, "codeact.turn": turn, "codeact.door": "browser",
        "codeact.outcome": "answered",
    }  # fmt: skip
    assert tree(spans)["turn"] == ["model", "cell", "model"]
    assert tree(spans)["cell"] == ["execute"] and "run" in tree(spans)["execute"]
    (claim,), (start,), (execute,) = (collector.named(name) for name in ("claim", "start", "execute"))
    assert start.parent == claim.id and claim.facts["codeact.how"] == "cold"
    assert execute.service == claim.service == "codeact-executor" and root.service == "codeact-orchestrator"
    assert execute.facts["codeact.outcome"] == "ok" and execute.facts["codeact.conversation"] == tab.conversation
    assert all(root.begin <= span.begin <= span.end <= root.end for span in collector.named("model"))
    assert "first token" in collector.named("model")[0].events and "running" in collector.named("cell")[0].events

    named = [f"00-{span.trace}-{span.id}" for span in sorted(collector.named("model"), key=lambda span: span.begin)]
    assert [header.rpartition("-")[0] for header in headers] == named, "each request to the model names its own span"


@pytest.mark.sandbox
async def test_no_span_holds_what_anybody_wrote(tmp_path: Path, collector: Collector) -> None:
    async with team(tmp_path, collector) as (app, _):
        tab = await app.tab()
        await tab.ask(CODE)
        await tab.ask("run raise ValueError('frotz-error')")
        await tab.ask("my password is hunter2")
    told = b"".join(collector.raw)
    assert collector.paths == {"/v1/traces"} and len(collector.named("turn")) == 3
    for word in (b"xyzzy", b"plugh", b"frotz", b"hunter2", b"password", b"import time", b"Done."):
        assert word not in told, word
    assert {key for span in collector.spans for key in span.facts} <= {
        f"codeact.{name}"
        for name in (
            *("conversation", "turn", "door", "opened", "outcome", "cell", "sandbox", "step", "finish", "how", "fresh"),
            *("rung", "variables_kept", "tokens_prompt", "tokens_cached", "tokens_completion"),
        )
    }


async def test_what_did_not_become_a_turn_is_a_trace_that_says_so(tmp_path: Path, collector: Collector) -> None:
    async with ScriptedModel(lambda _: Reply("Hello")) as model:
        mine = {"otlp_endpoint": collector.url}
        async with serving(settings_for(tmp_path / "data", model.base_url, **mine)) as app:
            tab = await app.tab()
            await tab.ask("Hello")
            await tab.command(type="turn.continue", conversation=tab.conversation, turn="again")
            await tab.until_frame(lambda frame: frame["type"] == "refused")
    first, second = sorted(collector.named("turn"), key=lambda span: span.begin)
    assert first.facts["codeact.outcome"] == "answered" and not first.failed
    assert second.facts["codeact.opened"] is False and second.trace != first.trace


async def test_a_model_that_fails_fails_the_trace(tmp_path: Path, collector: Collector) -> None:
    async with ScriptedModel(lambda _: Reply("", status=400, body=b'{"error":{"message":"no"}}')) as model:
        async with serving(settings_for(tmp_path / "data", model.base_url, otlp_endpoint=collector.url)) as app:
            await (await app.tab()).ask("Hello")
    (root,), (asked,) = collector.named("turn"), collector.named("model")
    assert root.failed and root.facts["codeact.outcome"] == "model_failed" and asked.facts["codeact.finish"] == "failed"


async def test_a_turn_that_came_over_the_api_has_its_door(tmp_path: Path, collector: Collector) -> None:
    async with ScriptedModel(lambda _: Reply("Hello")) as model:
        async with serving(settings_for(tmp_path / "data", model.base_url, otlp_endpoint=collector.url)) as app:
            http = await app.browser()
            body = {"model": "scripted", "messages": [{"role": "user", "content": "Hi"}]}
            async with http.post(f"{app.url}/v1/chat/completions", json=body) as answer:
                assert answer.status == 200
    (root,) = collector.named("turn")
    assert root.facts["codeact.door"] == "api"


# ---- when it is off, and when the collector is not there -------------------------------------------------------------


async def test_without_a_collector_no_request_names_a_trace(tmp_path: Path) -> None:
    async with ScriptedModel(lambda _: Reply("Hello")) as model:
        async with serving(settings_for(tmp_path / "data", model.base_url)) as app:
            await (await app.tab()).ask("Hello")
        assert all("traceparent" not in exchange.request.headers for exchange in model.exchanges)
    assert tracing.root("turn") is tracing.NOTHING and tracing.heard("00-" + "1" * 32 + "-" + "1" * 16 + "-01").trace == ""


def test_without_a_collector_nothing_of_the_sdk_is_imported(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from orchestrator.main import create_app; "
        "from orchestrator.settings import Settings; create_app(Settings(data_dir=Path(sys.argv[1]))); "
        "heavy = ('opentelemetry.sdk', 'opentelemetry.exporter', 'prometheus_client'); "
        "print([name for name in sys.modules if name.startswith(heavy)])"
    )
    said = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


async def test_a_collector_that_is_away_costs_nobody_an_answer(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # takes connections and never answers
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        async with ScriptedModel(lambda _: Reply("Hello")) as model:
            async with serving(settings_for(tmp_path / "data", model.base_url, otlp_endpoint=url)) as app:
                view = await (await app.tab()).ask("Hello")
                assert view.turns[0].outcome == "answered"
                closing = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - closing < 30  # the last spans are waited for a few seconds


@pytest.mark.parametrize(
    "header", ["", "nonsense", "00-zz-zz-01", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "x" * 100_000, "00-\n-01"]
)
def test_a_header_that_names_no_span_is_nobodys(collector: Collector, header: str) -> None:
    done = tracing.set_up("test", "1", collector.url)
    try:
        assert tracing.heard(header) is tracing.NOTHING
        good = tracing.root("one").header
        assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[13]", good)
        assert tracing.heard(good).trace == good.split("-")[1]
    finally:
        done()
    assert tracing.root("one") is tracing.NOTHING
