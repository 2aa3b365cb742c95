"""What Prometheus reads of this server: numbers that move with what happens, for operators alone, without a word of ours or
theirs in the labels. And a dashboard that asks only for what there is."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from contextvars import Context
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from executor.counts import Counts as ExecutorCounts
from executor.metrics import Counted as ExecutorCounted
from orchestrator.errors import BadSetting
from orchestrator.observability.counts import SOON, Histogram, counts
from orchestrator.observability.metrics import Counted, renderer
from orchestrator.observability.turns import BROKEN_OFF, TurnObserver, arrived
from tests.support.app import App, serving, settings_for
from tests.support.model_server import ScriptedModel
from tests.support.scripts import Hold, Reply, puppet

DASHBOARD = Path(__file__).resolve().parents[2] / "deploy" / "grafana" / "codeact.json"

Samples = dict[tuple[str, ...], float]


def values(text: str) -> Samples:
    """Every sample by its name and labels."""
    families = text_string_to_metric_families(text)
    return {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


class Operator:
    """Reads the metrics as Prometheus does."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def read(self, **headers: str) -> Samples:
        async with aiohttp.ClientSession() as http, http.get(f"{self.url}/metrics", headers=headers) as answer:
            assert answer.status == 200 and answer.content_type == "text/plain", await answer.text()
            return values(await answer.text())

    async def until(self, name: tuple[str, ...], value: float) -> None:
        async with asyncio.timeout(20):
            while (await self.read()).get(name) != value:
                await asyncio.sleep(0.02)


@asynccontextmanager
async def observed(tmp_path: Path, script) -> AsyncGenerator[tuple[App, Operator], None]:
    port = free_port()
    async with ScriptedModel(script) as model:
        async with serving(settings_for(tmp_path / "data", model.base_url, metrics_port=port)) as app:
            yield app, Operator(f"http://127.0.0.1:{port}")


def moved(before: Samples, after: Samples, *name: str) -> float:
    return after.get(name, 0) - before.get(name, 0)


# ---- numbers that move -----------------------------------------------------------------------------------------------


@pytest.mark.sandbox
async def test_a_turn_with_a_cell_is_counted_in_all_its_parts(tmp_path: Path) -> None:
    async with observed(tmp_path, puppet("fenced")) as (app, operator):
        tab = await app.tab()
        before = await operator.read()
        await tab.ask("run 1/0")
        await operator.until(("codeact_open_turns",), before[("codeact_open_turns",)])
        after = await operator.read()
    assert moved(before, after, "codeact_messages_total", "browser") == 1
    assert moved(before, after, "codeact_turns_total", "answered") == 1
    assert moved(before, after, "codeact_model_requests_total", "code") == 1
    assert moved(before, after, "codeact_model_requests_total", "answer") == 1
    assert moved(before, after, "codeact_cells_total", "error") == 1
    assert moved(before, after, "codeact_first_token_seconds_count") == 1
    assert moved(before, after, "codeact_turn_seconds_count") == 1
    assert moved(before, after, "codeact_model_first_token_seconds_count") == 2
    assert moved(before, after, "codeact_cell_start_seconds_count") == 1
    prompt, written = (moved(before, after, "codeact_tokens_total", kind) for kind in ("prompt", "completion"))
    assert prompt > written > 0
    assert after["codeact_cells_waiting",] == before["codeact_cells_waiting",]
    assert after["codeact_model_waiting",] == before["codeact_model_waiting",]
    assert moved(before, after, "codeact_executor_cells_total", "error") == 1  # the executor is in here
    assert after["process_resident_memory_bytes",] > 0 and any(name[0] == "codeact_build_info" for name in after)


async def test_what_waits_for_the_model_can_be_seen(tmp_path: Path) -> None:
    hold = Hold(asyncio.Event())
    async with observed(tmp_path, lambda _: Reply([hold, "Hello"])) as (app, operator):
        tab = await app.tab()
        before = await operator.read()
        turn = await tab.say("Hello")
        await operator.until(("codeact_model_waiting",), before["codeact_model_waiting",] + 1)
        assert (await operator.read())["codeact_open_turns",] == before["codeact_open_turns",] + 1
        hold.event.set()
        await tab.closed(turn)
        await operator.until(("codeact_open_turns",), before["codeact_open_turns",])
        assert (await operator.read())["codeact_model_waiting",] == before["codeact_model_waiting",]


async def test_a_stopped_turn_leaves_no_gauge_behind(tmp_path: Path) -> None:
    async with observed(tmp_path, lambda _: Reply([Hold(asyncio.Event()), "never"])) as (app, operator):
        tab = await app.tab()
        before = await operator.read()
        turn = await tab.say("Hello")
        await operator.until(("codeact_model_waiting",), before["codeact_model_waiting",] + 1)
        await tab.stop(turn)
        await tab.closed(turn)
        await operator.until(("codeact_open_turns",), before["codeact_open_turns",])
        after = await operator.read()
    assert moved(before, after, "codeact_turns_total", "stopped") == 1
    assert after["codeact_model_waiting",] == before["codeact_model_waiting",]


async def test_a_model_that_fails_is_an_error_of_the_model(tmp_path: Path) -> None:
    async with observed(tmp_path, lambda _: Reply("", status=400, body=b"{}")) as (app, operator):
        tab = await app.tab()
        before = await operator.read()
        await tab.ask("Hello")
        after = await operator.read()
    assert moved(before, after, "codeact_errors_total", "model") == 1
    assert moved(before, after, "codeact_turns_total", "model_failed") == 1


async def test_websockets_are_counted_and_why_they_ended(tmp_path: Path) -> None:
    async with observed(tmp_path, lambda _: Reply("Hello")) as (app, operator):
        before = await operator.read()
        polite, rude, lost = [await app.tab() for _ in range(3)]
        await operator.until(("codeact_websockets",), before["codeact_websockets",] + 3)
        await polite.drop()
        for _ in range(20):
            await rude.socket.send_str("nonsense")
        transport = lost.socket.get_extra_info("socket")
        assert transport is not None
        lost.socket._response.connection.transport.abort()  # as a network that goes away
        async with aiohttp.ClientSession() as stranger:
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await stranger.ws_connect(f"{app.url}/ws", headers={"Origin": "http://evil.example"})
        await operator.until(("codeact_websockets",), before["codeact_websockets",])
        after = await operator.read()
    assert moved(before, after, "codeact_refusals_total", "malformed") == 20
    for reason, number in {"client": 1, "hung_up": 1, "lost": 1, "refused": 1}.items():
        assert moved(before, after, "codeact_websocket_closes_total", reason) == number, reason


async def test_requests_are_counted_by_method_and_class_of_status(tmp_path: Path) -> None:
    async with observed(tmp_path, lambda _: Reply("Hello")) as (app, operator):
        before = await operator.read()
        async with aiohttp.ClientSession() as http:
            for method, path in (
                ("GET", "/healthz"),
                ("GET", "/api/conversations"),
                ("PROPFIND", "/healthz"),
                ("GET", "/x" * 99),
            ):
                async with http.request(method, app.url + path):
                    pass
        after = await operator.read()
    assert moved(before, after, "codeact_http_requests_total", "GET", "2xx") >= 1
    assert moved(before, after, "codeact_http_requests_total", "GET", "4xx") >= 1
    assert moved(before, after, "codeact_http_requests_total", "other", "4xx") == 1


def test_a_turn_that_broke_off_is_counted_as_that_and_is_not_open_any_more() -> None:
    open_turns, broken = counts.open_turns, counts.turns[BROKEN_OFF]

    def drive() -> None:
        with arrived("api", "c", "t"):
            observer = TurnObserver("c", "t")
        observer.begin()
        assert counts.open_turns == open_turns + 1
        observer.end()

    Context().run(drive)  # as a task of its own does
    assert counts.open_turns == open_turns and counts.turns[BROKEN_OFF] == broken + 1


def test_a_histogram_counts_into_the_bucket_that_holds() -> None:
    histogram = Histogram(SOON)
    for seconds in (0.0, 0.005, 0.0051, 299.0, 1e9):
        histogram.add(seconds)
    assert histogram.count == 5 and histogram.buckets[0] == 2 and histogram.buckets[1] == 1 and histogram.buckets[-1] == 1


# ---- for operators alone ---------------------------------------------------------------------------------------------


async def test_metrics_are_on_no_port_that_people_come_to(tmp_path: Path) -> None:
    async with observed(tmp_path, lambda _: Reply("Hello")) as (app, operator):
        http = await app.browser()
        async with http.get(f"{app.url}/metrics") as answer:
            assert "codeact_turns" not in await answer.text()
        async with aiohttp.ClientSession() as prometheus:
            for path in ("/", "/api/conversations", "/ws"):
                async with prometheus.get(operator.url + path) as answer:
                    assert answer.status == 404
            async with prometheus.post(f"{operator.url}/metrics") as answer:
                assert answer.status == 405


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Host": "evil.example"},  # a page that had its name rebound to us
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "localhost@evil.example"},
        {"Host": ""},
    ],
)
async def test_a_page_in_a_browser_cannot_read_them(tmp_path: Path, headers: dict[str, str]) -> None:
    async with observed(tmp_path, lambda _: Reply("Hello")) as (_, operator):
        async with aiohttp.ClientSession() as http, http.get(f"{operator.url}/metrics", headers=headers) as answer:
            assert answer.status in (400, 403) and "codeact_" not in await answer.text()
        await operator.read(Host="localhost:9464")


async def test_a_port_that_is_taken_is_told_with_the_setting(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = settings_for(tmp_path / "data", "http://127.0.0.1:9/v1", metrics_port=port)
        from orchestrator.main import create_app

        app = create_app(settings)
        with pytest.raises(BadSetting, match="CODEACT_METRICS_PORT"):
            async with app.router.lifespan_context(app):
                pass


async def test_labels_are_words_of_ours(tmp_path: Path) -> None:
    async with observed(tmp_path, lambda _: Reply("Hello")) as (app, operator):
        tab = await app.tab()
        await tab.ask("hunter2")
        async with aiohttp.ClientSession() as http:
            async with http.get(f"{app.url}/files/hunter2?token=hunter2"):
                pass
        labels = " ".join(part for name in await operator.read() for part in name)
    assert "hunter2" not in labels and tab.conversation not in labels
    assert all(re.fullmatch(r"[\w.+-]+", word) for word in labels.split())


# ---- the dashboard ---------------------------------------------------------------------------------------------------


def exported() -> dict[str, set[str]]:
    """Every series there is, by name, with the names of its labels: of a server on which everything has happened once."""
    counts.messages["browser"] += 0
    for counter in (counts.turns, counts.model_requests, counts.tokens, counts.cells, counts.closes, counts.errors,
                    counts.refusals):  # fmt: skip
        counter["x"] += 0
    counts.requests["GET", "2xx"] += 0
    executor = ExecutorCounts()
    for counter in (executor.starts, executor.ends, executor.outcomes, executor.rungs, executor.refusals):
        counter["x"] += 1
    executor.egress.verdicts["x"] += 1
    executor.sandboxes["idle"] += 1
    text = renderer(Counted(counts), ExecutorCounted(executor))().decode()
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for one in family.samples:
            found.setdefault(one.name, set()).update(one.labels)
    return found


def test_the_dashboard_asks_only_for_what_is_exported() -> None:
    there = exported()
    panels = [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]
    asked = [target["expr"] for panel in panels for target in panel["targets"]]
    assert len(asked) > 30 and len({panel["id"] for panel in panels}) == len(panels)
    for expression in asked:
        names = re.findall(r"\b(?:codeact|process)_\w+", expression)
        assert names, expression
        for name in names:
            assert name in there, f"{name} is not exported"
            grouped = {label.strip() for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(",")}
            assert grouped <= there[name], f"{name} has no label {grouped - there[name]}"


def test_the_dashboard_shows_all_that_this_server_counts() -> None:
    shown = DASHBOARD.read_text()
    for name in exported():
        if name.startswith("codeact_") and not name.endswith(("_created", "_count", "_sum")):
            assert name in shown or name in UNSHOWN, name


UNSHOWN = {
    "codeact_executor_lease_takeovers_total",
    "codeact_executor_egress_sent_bytes_total",
    "codeact_executor_egress_received_bytes_total",
}
"""What only matters where something is wrong with it: it is there to be asked for."""
