"""Pods as sandboxes, from their making to their end, and through the ends of executors and clusters."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from executor.doctor import examine
from executor.sandbox.base import Limits, Profile, SandboxUnavailable, Spec
from executor.sandbox.gateway import answered_at
from executor.sandbox.kubernetes import making, pod
from executor.sandbox.kubernetes.backend import Kubernetes
from executor.sandbox.kubernetes.body import PORT, digest_of
from executor.sandbox.kubernetes.cluster import ClusterError
from executor.sandbox.kubernetes.door import Door
from executor.sandbox.kubernetes.watching import follow
from executor.settings import ServiceSettings, Settings
from tests.executor import seen
from tests.executor.kernel_client import run
from tests.support import cluster as clusters
from tests.support.api_server import ApiServer
from tests.support.kernels import Chat, managing

pytestmark = pytest.mark.sandbox


@pytest.fixture
async def backend(cluster: ApiServer, tmp_path: Path) -> AsyncIterator[Kubernetes]:
    made = clusters.backend(cluster, tmp_path)
    yield made
    cluster.away, cluster.policies, cluster.waiting, cluster.unschedulable = False, True, None, ""
    await made.close()


def spec(tmp_path: Path, id: str = "one", limits: Limits | None = None) -> Spec:
    return Spec(id, tmp_path / "workspaces" / id, limits or Limits())


def names(cluster: ApiServer, backend: Kubernetes) -> list[str]:
    return [name for name in cluster.pods if any(name.endswith(f"-{id}") for id in (*backend.running, "one", "two"))]


async def test_a_sandbox_comes_and_goes_and_leaves_its_files_alone(cluster, backend, tmp_path):
    sandbox = await backend.create(spec(tmp_path))
    code = "import os, socket; open('kept', 'w').write('x'); print(os.getuid(), os.getcwd(), socket.gethostname())"
    result = await run(sandbox, code)
    assert result.stdout == "10001 /workspace sandbox\n", result
    assert sandbox.alive() and (tmp_path / "workspaces" / "one" / "kept").read_text() == "x"
    with pytest.raises(SandboxUnavailable, match="there already"):
        await backend.create(spec(tmp_path))
    await sandbox.kill()
    assert not sandbox.alive() and names(cluster, backend) == [] and seen.left_in(backend) == []
    assert (tmp_path / "workspaces" / "one" / "kept").exists()
    assert await sandbox.wait() == "was killed"
    with pytest.raises(SandboxUnavailable):
        sandbox.connector()


async def test_t4_t20_the_gateway_brings_its_own_filter_and_forgets_the_cluster(backend, tmp_path):
    sandbox = await backend.create(spec(tmp_path))
    code = """
import ctypes, errno, os, socket
libc = ctypes.CDLL(None, use_errno=True)
def failed(result): return errno.errorcode.get(ctypes.get_errno()) if result == -1 else "let in"
for family in (38, 40):
    try: socket.socket(family, socket.SOCK_STREAM if family == 40 else socket.SOCK_SEQPACKET); print(family, "let in")
    except OSError as error: print(family, errno.errorcode[error.errno])
print(failed(libc.unshare(0x10000000)), failed(libc.syscall(425, 1, 0)), failed(libc.ptrace(16, 1, 0, 0)))
print([name for name in os.environ if "KUBERNETES" in name or name == "HOSTNAME"])
try: open("/proc/1/environ").read()
except OSError as error: print(errno.errorcode[error.errno])
print("token" in open("/proc/1/cmdline").read())
"""
    result = await run(sandbox, code)
    lines = result.stdout.splitlines()
    assert lines[:2] == ["38 EAFNOSUPPORT", "40 EAFNOSUPPORT"], result
    assert lines[2] == "EPERM ENOSYS EPERM" and lines[3] == "[]" and lines[4] == "EACCES" and lines[5] == "False"
    assert sandbox.token not in json.dumps([sandbox.seen])


async def test_what_an_executor_left_is_taken_up_with_its_variables_and_all_else_removed(cluster, backend, tmp_path):
    kept, warm = await backend.create(spec(tmp_path)), await backend.create(spec(tmp_path, "two"))
    await run(kept, "x = 41")
    kept.assign("talk", kept.spec.workspace)
    for sandbox in (kept, warm):  # as if killed: nothing is said to the cluster
        await sandbox.leave()
    backend.running.clear()
    await backend.close()
    again = clusters.backend(cluster, tmp_path)
    try:
        [found] = await again.adopt()
        assert (found.id, found.conversation, found.token) == ("one", "talk", kept.token)
        assert (await run(found, "print(x + 1)")).stdout == "42\n"
        assert list(again.running) == ["one"] and seen.left_in(again) == ["one"]
        assert [name for name in cluster.pods if name.endswith("-two")] == []
    finally:
        await again.close()
    assert names(cluster, again) == []


async def test_a_pod_of_other_settings_or_without_a_record_is_not_taken_up(cluster, backend, tmp_path):
    one, two = await backend.create(spec(tmp_path)), await backend.create(spec(tmp_path, "two"))
    one.assign("talk", one.spec.workspace)
    two.assign("other", two.spec.workspace)
    (backend.run_dir / "two" / "sandbox.json").unlink()
    await backend.close(keep=True)
    again = clusters.backend(cluster, tmp_path, runtime_class="gvisor")
    assert await again.adopt() == [] and names(cluster, again) == [] and seen.left_in(again) == []
    await again.close()


async def test_t13_memory_that_runs_out_is_told(cluster, tmp_path):
    settings = {"backend": "kubernetes", "image": clusters.IMAGE, "kube_config": cluster.kubeconfig(), "memory_mb": 256}
    claim = clusters.claim(cluster, tmp_path / "workspaces")
    async with managing(tmp_path, kube_claim=claim, **settings) as manager:
        chat = Chat(manager)
        ran = await chat.run("x = bytearray(10**9)")
        assert str(ran.outcome) == "out_of_memory" and ran.closed.variables_kept
        if chat.sandbox.usage().memory is None:
            pytest.skip("no cgroup can be made here")
        shared = "import mmap\nm = mmap.mmap(-1, 10**9)\nfor i in range(0, 10**9, 4096): m[i] = 1"
        ran = await chat.run(shared)
        assert str(ran.outcome) == "out_of_memory" and not ran.closed.variables_kept
        assert (await chat.run("print(1)")).text() == "1\n"


async def test_a_node_may_pass_to_a_workspace_and_into_none(backend, tmp_path):
    warm = tmp_path / "workspaces" / ".warm"
    warm.mkdir(parents=True, mode=0o700)
    (tmp_path / "workspaces").chmod(0o700)
    sandbox = await backend.create(Spec("one", warm / "one"))
    modes = [path.stat().st_mode & 0o777 for path in (tmp_path / "workspaces", warm, warm / "one")]
    assert modes == [0o711, 0o711, 0o700]
    await sandbox.kill()


async def test_a_cluster_without_the_namespace_is_not_asked_without_pause(cluster, backend, monkeypatch):
    """It answers 404 to the list that a watch begins with."""
    plant = await backend.prepared()
    lists = []

    async def pods(selector: str) -> tuple[list, str]:
        lists.append(selector)
        raise ClusterError(404, "no such namespace")

    monkeypatch.setattr(plant.cluster, "pods", pods)
    watching = asyncio.create_task(follow(plant.cluster, "x", {}))
    await asyncio.wait({watching}, timeout=1.0)
    watching.cancel()
    assert 1 <= len(lists) < 5


async def test_an_eviction_is_told_in_the_clusters_words(cluster, backend, tmp_path):
    sandbox = await backend.create(spec(tmp_path))
    await asyncio.to_thread(cluster.evict, sandbox.name, "The node was low on resource: memory.")
    assert await asyncio.wait_for(sandbox.wait(), 20) == "was evicted from its node: The node was low on resource: memory."
    assert sandbox.usage().oom_kills == 1 and not sandbox.alive()
    await sandbox.kill()
    assert names(cluster, backend) == []


async def test_a_pod_that_somebody_else_deletes_has_ended(cluster, backend, tmp_path):
    sandbox = await backend.create(spec(tmp_path))
    other = clusters.backend(cluster, tmp_path / "other")
    plant = await other.prepared()
    await plant.cluster.delete(sandbox.name, 0)
    await asyncio.wait_for(sandbox.wait(), 20)
    assert not sandbox.alive()
    await sandbox.kill()
    await other.close()


async def test_a_watch_that_ends_or_has_forgotten_is_begun_again(cluster, backend, tmp_path):
    sandbox = await backend.create(spec(tmp_path))
    for forget in (False, True):
        await asyncio.to_thread(cluster.cut_watches, forget)
    await asyncio.to_thread(cluster.local(sandbox.name).kill)
    assert "ended by itself" in await asyncio.wait_for(sandbox.wait(), 20)
    await sandbox.kill()


async def test_a_cluster_that_is_away_ends_nothing_and_is_told_of_what_ended(cluster, backend, tmp_path):
    sandbox = await backend.create(spec(tmp_path))
    cluster.away = True
    await asyncio.to_thread(cluster.cut_watches)
    assert (await run(sandbox, "print(1)")).stdout == "1\n"
    with pytest.raises(SandboxUnavailable, match="API server does not answer"):
        await backend.create(spec(tmp_path, "two"))
    ending = asyncio.create_task(sandbox.kill())
    await asyncio.wait({ending}, timeout=0.5)
    assert not ending.done() and sandbox.name in cluster.pods
    cluster.away = False
    await ending
    await seen.until(lambda: names(cluster, backend) == [] and seen.left_in(backend) == [])


async def test_t10_where_no_policy_is_in_force_nothing_runs_and_the_words_say_so(cluster, tmp_path):
    door = "127.0.0.1:18101"
    backend = clusters.backend(cluster, tmp_path, door=door)
    try:
        sandbox = await backend.create(spec(tmp_path))
        assert backend.door is not None and backend.door.knocks == 0
        health = await backend.check()
        assert health.ok and {feature.name: feature.state for feature in health.features}["no network"] == "on"
        await sandbox.kill()
        cluster.policies = False
        with pytest.raises(SandboxUnavailable, match="no NetworkPolicy is in force"):
            await backend.create(spec(tmp_path, "two"))
        assert names(cluster, backend) == [] and seen.left_in(backend) == []
    finally:
        cluster.policies = True
        await backend.close()


async def test_what_will_never_start_is_told_at_once_and_removed(cluster, backend, tmp_path):
    cluster.waiting = {"waiting": {"reason": "CreateContainerConfigError", "message": "no such claim"}}
    with pytest.raises(SandboxUnavailable, match="CreateContainerConfigError: no such claim"):
        await backend.create(spec(tmp_path))
    assert names(cluster, backend) == [] and seen.left_in(backend) == []


async def test_what_does_not_start_is_told_by_what_it_waits_for(cluster, backend, tmp_path, monkeypatch):
    monkeypatch.setattr(making, "START_S", 1.0)
    cluster.unschedulable = "0/3 nodes are available: 3 Insufficient memory."
    with pytest.raises(SandboxUnavailable, match="no node takes it: 0/3 nodes are available: 3 Insufficient memory"):
        await backend.create(spec(tmp_path))
    assert names(cluster, backend) == []


async def test_a_creation_that_is_given_up_leaves_nothing(cluster, backend, tmp_path):
    cluster.unschedulable = "no room"
    making_one = asyncio.create_task(backend.create(spec(tmp_path)))
    await seen.until(lambda: names(cluster, backend) != [])
    making_one.cancel()
    await asyncio.gather(making_one, return_exceptions=True)
    assert names(cluster, backend) == [] and seen.left_in(backend) == [] and backend.running == {}


async def test_t28_a_token_opens_its_own_sandbox_only(backend, tmp_path):
    one, two = await backend.create(spec(tmp_path)), await backend.create(spec(tmp_path, "two"))
    assert await answered_at(one.address(), PORT, one.token)
    for token in (two.token, "", one.token[:-1], digest_of(one.token)):
        with pytest.raises(ValueError, match="401"):
            await answered_at(one.address(), PORT, token)


async def test_what_the_cluster_was_asked_for_is_what_was_written(cluster, backend, tmp_path):
    """The library's models in between neither add nor drop anything."""
    sandbox = await backend.create(spec(tmp_path))
    plant = await backend.prepared()
    sent, written = cluster.bodies[-1], making.body_of(plant, sandbox)
    for body in (sent, written):
        del body["metadata"]["labels"]["codeact.sandbox/created"], body["spec"]["activeDeadlineSeconds"]
        body["spec"]["containers"][0]["args"] = sorted(json.loads(body["spec"]["containers"][0]["args"][0]))
    assert sent == written
    allowed = {("GET", "/version/"), *((verb, "/api/v1/namespaces/codeact-sandboxes/pods") for verb in ("GET", "POST"))}
    assert {(verb, path) for verb, path in cluster.asked if not path.rpartition("/")[2].startswith("sandbox-")} <= allowed


@pytest.mark.parametrize("id", ["", "-x", "X", "a_b", "a/b", "a" * 40, "a\n", "../x"])
async def test_t2_an_id_that_is_none_makes_no_pod(cluster, backend, tmp_path, id):
    before = len(cluster.bodies)
    with pytest.raises(ValueError, match="not a sandbox id"):
        await backend.create(Spec(id, tmp_path / "workspaces" / "x"))
    assert len(cluster.bodies) == before


async def test_what_cannot_be_is_refused_with_what_to_do(cluster, tmp_path, monkeypatch):
    backend = clusters.backend(cluster, tmp_path)
    with pytest.raises(SandboxUnavailable, match="profile `net`"):
        await backend.create(Spec("one", tmp_path / "workspaces" / "one", profile=Profile.NET))
    with pytest.raises(SandboxUnavailable, match="could not be made"):
        await backend.create(Spec("one", tmp_path / "elsewhere"))
    await backend.close()
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    with pytest.raises(SandboxUnavailable, match="run as user 10001"):
        await clusters.backend(cluster, tmp_path).create(spec(tmp_path))


async def test_the_doctor_looks_beside_a_service_that_runs(cluster, tmp_path):
    """Its pod has a directory in the volume that the nodes have, and knocks at the door that the service holds open."""
    door = Door("127.0.0.1:18102")
    await door.open()
    claim = clusters.claim(cluster, tmp_path / "workspaces")
    chosen = {"image": clusters.IMAGE, "kube_config": cluster.kubeconfig(), "kube_claim": claim, "kube_door": door.at}
    settings = Settings(_env_file=None, backend="kubernetes", **chosen)
    health = await examine(ServiceSettings(_env_file=None, data_dir=tmp_path), settings)
    await door.close()
    assert health.ok and "no network" not in health.words, health.words
    left = [path.name for path in (tmp_path / "workspaces").rglob("*")]
    assert left == [".warm"] and door.knocks == 0


def test_a_pod_gives_its_node_the_time_that_a_gateway_needs_to_end():
    assert pod.GRACE_S <= 1 < pod.FORGET_S
