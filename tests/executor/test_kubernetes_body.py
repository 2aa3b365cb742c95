"""T2, T33: the pod that a cluster is asked for is the golden one, to the last key; what its status says."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from executor.sandbox.base import Limits, Profile, Spec, Usage
from executor.sandbox.kubernetes import facts
from executor.sandbox.kubernetes.body import Kit, Placed, digest_of, pod_body, spec_hash
from executor.sandbox.kubernetes.cluster import permitted
from executor.sandbox.kubernetes.counting import counted

GOLDEN = Path(__file__).with_name("kubernetes_pod.json")
IMAGE = Path(__file__).resolve().parents[2] / "executor" / "image"
KIT = Kit(
    "codeact-sandboxes", "registry.example/sandbox@sha256:0", "codeact-workspaces", "codeact-sandbox", "", "", False, "r1"
)
AT = Placed("sandbox-r1-one", "talk", digest_of("secret"), "10.0.0.1:8101", 1_000_000.2, 1_028_800.0)
SPEC = Spec("one", Path("/data/workspaces/talk"), Limits())


def test_t2_t33_the_pod_is_the_golden_one():
    assert pod_body(SPEC, KIT, AT) == json.loads(GOLDEN.read_text())


def test_t2_nothing_but_id_place_and_the_operators_settings_gets_into_a_pod():
    body = json.dumps(pod_body(replace(SPEC, id="two"), KIT, replace(AT, name="sandbox-r1-two", files="other")))
    golden = json.dumps(json.loads(GOLDEN.read_text()))
    assert body == golden.replace('"one"', '"two"').replace("r1-one", "r1-two").replace('"talk"', '"other"')


def test_t35_no_secret_is_in_a_pod():
    body = json.dumps(pod_body(SPEC, KIT, AT))
    assert "secret" not in body and hashlib.sha256(b"token secret").hexdigest() in body


def test_the_operators_choices_are_there_and_change_the_spec_s_hash():
    chosen = replace(KIT, runtime_class="gvisor", nodes="codeact.sandboxes=true", users=True)
    spec = pod_body(SPEC, chosen, AT)["spec"]
    assert spec["runtimeClassName"] == "gvisor" and spec["hostUsers"] is False
    assert spec["nodeSelector"] == {"codeact.sandboxes": "true"}
    assert {"key": "codeact.sandboxes", "operator": "Equal", "value": "true", "effect": "NoSchedule"} in spec["tolerations"]
    assert json.loads(spec["containers"][0]["args"][0])["pids"] == 256
    kits = [
        KIT,
        *(replace(KIT, **{name: value}) for name, value in (("runtime_class", "g"), ("nodes", "a=b"), ("image", "i"))),
    ]
    hashes = {spec_hash(Limits(), Profile.STANDARD, kit) for kit in [*kits, chosen]}
    assert len(hashes) == 5 and spec_hash(Limits(memory=2**28), Profile.STANDARD, KIT) not in hashes
    elsewhere = replace(AT, door="10.9.9.9:8101", files="x", name="y")  # of another life, and no other setting
    label = pod_body(SPEC, KIT, elsewhere)["metadata"]["labels"]["codeact.sandbox/spec-hash"]
    assert label == spec_hash(Limits(), Profile.STANDARD, KIT)


@pytest.mark.parametrize(
    ("method", "path", "may"),
    [
        ("POST", "/api/v1/namespaces/boxes/pods", True),
        ("GET", "/api/v1/namespaces/boxes/pods/one", True),
        ("DELETE", "/api/v1/namespaces/boxes/pods/one", True),
        ("DELETE", "/api/v1/namespaces/boxes/pods", False),
        ("POST", "/api/v1/namespaces/boxes/pods/one/exec", False),
        ("GET", "/api/v1/namespaces/boxes/pods/one/log", False),
        ("GET", "/api/v1/namespaces/boxes/pods/../secrets", False),
        ("GET", "/api/v1/namespaces/boxes/secrets", False),
        ("GET", "/api/v1/namespaces/other/pods", False),
        ("POST", "/api/v1/namespaces/boxes/pods/one/ephemeralcontainers", False),
        ("GET", "/api/v1/pods", False),
    ],
)
def test_t3_nothing_but_pods_of_its_namespace_is_asked_for(method, path, may):
    assert permitted(method, path, "boxes") is may


def status(phase: str, state: dict | None = None, **more: object) -> dict:
    containers = [{"name": "sandbox", "state": state}] if state is not None else []
    return {"status": {"phase": phase, "containerStatuses": containers, **more}}


@pytest.mark.parametrize(
    ("pod", "how", "memory"),
    [
        (status("Running", {"running": {}}), None, False),
        (status("Pending"), None, False),
        ({}, None, False),
        ({"status": "no object"}, None, False),
        (status("Running", {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}), "out of memory", True),
        (status("Failed", {"terminated": {"exitCode": 137, "reason": "Error"}}), "with status 137", False),
        (status("Failed", {"terminated": {"exitCode": 1, "message": "one\ntwo"}}), "with status 1: two", False),
        (status("Failed", {"terminated": {"exitCode": 77}}), "no NetworkPolicy is in force", False),
        (status("Failed", reason="Evicted", message="The node was low on resource: memory."), "evicted", True),
        (status("Failed", reason="Evicted", message="The node had condition: [DiskPressure]."), "DiskPressure", False),
        (status("Failed", reason="DeadlineExceeded"), "lifetime", False),
        (status("Failed", reason="NodeLost"), "NodeLost", False),
        (status("Succeeded", {"terminated": {"exitCode": 0}}), "with status 0", False),
    ],
)
def test_how_a_pod_ended(pod, how, memory):
    end = facts.ended(pod)
    assert (end is None) if how is None else (end is not None and how in end.how and end.out_of_memory is memory)


def test_what_keeps_a_pod_from_starting_is_told_in_the_clusters_words():
    bad = {"waiting": {"reason": "CreateContainerConfigError", "message": "secret not found"}}
    pulling = {"waiting": {"reason": "ImagePullBackOff", "message": "no such host"}}
    assert facts.stuck(status("Pending", bad)) == "CreateContainerConfigError: secret not found"
    assert facts.stuck(status("Pending", pulling)) == "" and "no such host" in facts.waits_for(status("Pending", pulling))
    unmet = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/3 nodes: 3 Insufficient memory.",
    }
    assert "Insufficient memory" in facts.waits_for(status("Pending", conditions=[unmet]))
    assert "volume" in facts.waits_for(status("Pending"))


@pytest.mark.parametrize("address", ["", "10.1.2.3/8", "evil.example", "10.1.2.3:80", None, 7])
def test_an_address_that_is_none_is_none(address):
    assert facts.address({"status": {"podIP": address}}) == ""


def test_versions():
    assert facts.version("v1.31.2+k3s1") == (1, 31) and facts.version("v1.9.0") == (1, 9) and facts.version("?") is None


@pytest.mark.parametrize(
    "answer",
    [None, [], "x", {}, {"oom_kills": "many", "peak": None}, {"oom_kills": True}, {"oom_kills": float("nan"), "peak": -1}],
)
def test_t19_what_a_gateway_says_of_its_use_is_checked(answer):
    before = Usage(memory=5, pids=6, oom_kills=2, peak=9, cpu_s=1.5)
    after = counted(before, answer)
    assert (after.oom_kills, after.peak, after.cpu_s) == (2, 9, 1.5)


def test_what_may_only_grow_does_so():
    before = Usage(None, None, oom_kills=2, peak=9, cpu_s=1.5)
    after = counted(before, {"memory": 1, "pids": 2, "oom_kills": 0, "peak": 10, "cpu_s": 1.0})
    assert after == Usage(1, 2, 2, peak=10, cpu_s=1.5)


# ---- the door ----------------------------------------------------------------------------------------------------------


async def knocking(door: str, patience: float) -> int:
    """The exit status of a gateway's own look at the door, which it takes before it answers anybody."""
    code = f"import asyncio, pod; pod.TRY_S, pod.POLICIES_S = 0.3, {patience}; asyncio.run(pod.closed({door!r}))"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, cwd=IMAGE, stderr=asyncio.subprocess.DEVNULL)
    return await process.wait()


async def test_t10_a_sandbox_whose_network_is_open_ends_itself():
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    assert await knocking(f"127.0.0.1:{port}", 0.5) == facts.OPEN
    server.close()
    await server.wait_closed()
    assert await knocking(f"127.0.0.1:{port}", 0.5) == 0


async def test_t10_a_policy_that_comes_late_is_waited_for():
    knocks = asyncio.Queue[None]()
    server = await asyncio.start_server(lambda _, writer: (knocks.put_nowait(None), writer.close()), "127.0.0.1", 0)
    waiting = asyncio.create_task(knocking(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", 60))
    for _ in range(2):
        await knocks.get()
    server.close()
    await server.wait_closed()
    assert await waiting == 0
