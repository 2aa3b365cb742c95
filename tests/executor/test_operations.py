"""What operators see: metrics that parse and move, a doctor that tells the truth, logs without code."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

import pytest
from prometheus_client.parser import text_string_to_metric_families

from executor import doctor
from executor.logs import JsonLines
from executor.wire import Feature, Health
from tests.executor.test_server import cell, events, serving
from tests.support.executor_service import ROOT

pytestmark = pytest.mark.sandbox


def values(text: str) -> dict[tuple[str, ...], float]:
    """Every sample by its name and labels."""
    families = text_string_to_metric_families(text)
    return {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}


async def scraped(http) -> dict[tuple[str, ...], float]:
    async with http.get("/metrics") as answer:
        assert answer.status == 200 and answer.content_type == "text/plain"
        return values(await answer.text())


async def test_metrics_count_starts_cells_and_ends(tmp_path):
    async with serving(tmp_path) as http:
        before = await scraped(http)
        for code in ("print('hi')", "1/0"):
            async with http.post("/v1/run", json=cell(code)) as answer:
                await events(answer)
        during = await scraped(http)
        async with http.delete("/v1/conversations/c") as answer:
            assert answer.status == 204
        after = await scraped(http)

    def grown(name: str, *labels: str) -> float:
        return after[f"codeact_executor_{name}", *labels] - before.get((f"codeact_executor_{name}", *labels), 0)

    assert grown("starts_total", "cold") == 1
    assert grown("cells_total", "ok") == grown("cells_total", "error") == 1
    assert grown("ends_total", "released") == 1
    assert grown("claim_seconds_count", "cold") == 1
    assert grown("output_bytes_total") >= 3
    assert during["codeact_executor_sandboxes", "leased_idle"] == 1
    assert after["codeact_executor_sandboxes", "leased_idle"] == 0


async def test_t35_metrics_want_the_token_and_name_no_conversation(tmp_path):
    async with serving(tmp_path) as http:
        async with http.post("/v1/run", json=cell("1", {"conversation": "a-secret-name"})) as answer:
            await events(answer)
        async with http.get("/metrics") as answer:
            assert "a-secret-name" not in await answer.text()
        async with http.get("/metrics", headers={"Authorization": "Bearer wrong"}) as answer:
            assert answer.status == 401


def test_logs_are_one_json_object_a_line_whatever_is_logged():
    record = logging.makeLogRecord({"msg": "line\nbreak %s", "args": ("\x1b[31m",), "levelname": "INFO", "name": "x"})
    record.conversation = "c1"
    line = JsonLines().format(record)
    assert "\n" not in line
    said = json.loads(line)
    assert said["message"] == "line\nbreak \x1b[31m" and said["conversation"] == "c1" and said["level"] == "info"


def test_a_log_line_of_an_error_holds_the_traceback():
    try:
        raise ValueError("why")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, __file__, 1, "failed", None, sys.exc_info())
    assert "ValueError: why" in json.loads(JsonLines().format(record))["exception"]


def test_the_doctor_names_each_feature_and_its_state():
    features = [
        Feature(name="memory limit", state="unavailable", detail="no cgroups"),
        Feature(name="network", state="off"),
    ]
    lines = doctor.table(Health(ok=True, words="Sandboxes can be made.", features=features)).splitlines()
    assert lines == ["memory limit  unavailable  no cgroups", "network       OFF", "", "Sandboxes can be made."]


def test_t5_the_doctor_makes_a_real_sandbox_and_says_how_it_is_isolated(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-m", "executor", "doctor", "--json"],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT / "executor")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    health = Health.model_validate_json(ran.stdout)
    assert ran.returncode == 0 and health.ok, ran.stderr
    assert {"namespaces", "system call filter", "no network"} <= {feature.name for feature in health.features}


def test_the_service_does_not_start_without_a_secret(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-m", "executor", "serve"],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT / "executor"), "CODEACT_EXECUTOR_TOKEN": "short"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 1 and "CODEACT_EXECUTOR_TOKEN" in ran.stderr and "openssl" in ran.stderr
    assert "Traceback" not in ran.stderr
