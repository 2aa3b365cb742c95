"""How Docker sandboxes begin, end, are found again, and what is left of them: on a real engine."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from executor.sandbox import record
from executor.sandbox.base import Limits, SandboxUnavailable, Spec
from executor.sandbox.docker import container as container_module
from executor.sandbox.docker import counters, leftover
from executor.sandbox.docker.backend import Docker
from executor.sandbox.docker.body import create_body
from executor.sandbox.docker.container import Container
from executor.sandbox.docker.engine import permitted
from executor.sandbox.docker.ground import Options
from executor.sandbox.docker.making import placed
from executor.sandbox.docker.paths import Paths
from executor.sandbox.gateway import answered
from tests.executor import seen
from tests.executor.kernel_client import connect, run
from tests.support.docker import containers
from tests.support.engine_proxy import EngineProxy, proxied

pytestmark = pytest.mark.sandbox
MIB = 1024**2


def left_on_engine(backend: Docker) -> list[str]:
    """Containers of this backend, whatever became of them."""
    from executor.sandbox.identity import runner_id

    return containers(f"codeact.sandbox.runner={runner_id(backend.run_dir)}")


async def until(true, seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.05)


# ---- what was made ---------------------------------------------------------------------------------------------------

DEFAULTS = {
    "MaskedPaths": "/proc/kcore",
    "ReadonlyPaths": "/proc/sys",
}  # lists that the engine fills in by itself, and a member each must have


def same(asked: object, made: object) -> bool:
    """The engine says null for what is empty, and adds what is zero."""
    if isinstance(asked, dict) and isinstance(made, dict):
        return without_empty(asked) == without_empty(made)
    return asked == made or (not asked and not made)


def without_empty(values: dict) -> dict:
    return {key: value for key, value in values.items() if value}


async def test_t33_the_engine_made_what_the_policy_says_and_nothing_more(docker: Docker, tmp_path: Path) -> None:
    sandbox = await docker.create(Spec("one", tmp_path / "ws", Limits()))
    plant = await docker.prepared()
    made = await plant.engine.inspect(sandbox.container)
    body = create_body(sandbox.spec, plant.kit, placed(plant, sandbox, 0))
    policy, host = body["HostConfig"], made["HostConfig"]
    differing = {key: (value, host.get(key)) for key, value in policy.items() if not same(value, host.get(key))}
    differing.pop("Mounts", None)
    for asked, found in zip(policy["Mounts"], host["Mounts"], strict=True):
        assert without_empty(asked) == without_empty(found)
    assert differing == {}
    extra = {key: value for key, value in host.items() if key not in policy and value and value not in ([0, 0], "default")}
    for key, member in DEFAULTS.items():
        assert member in extra.pop(key)
    assert extra == {}
    config = made["Config"]
    assert config["User"] == f"{sandbox.uid}:{sandbox.uid}" and config["Entrypoint"] == body["Entrypoint"]
    assert not config["Cmd"] and not config.get("Volumes") and not config.get("ExposedPorts") and not config["OpenStdin"]
    assert {where["Destination"] for where in made["Mounts"]} == {"/run/gw", "/workspace"}
    assert list(made["NetworkSettings"]["Networks"]) in ([], ["none"]) and not made["NetworkSettings"]["IPAddress"]
    assert made["Image"] == plant.kit.image
    assert sandbox.token not in json.dumps(made)


async def test_t3_a_whole_life_asks_for_nothing_else(sandbox_image: str, tmp_path: Path) -> None:
    async with proxied(tmp_path / "engine.sock") as proxy:
        backend = Docker(tmp_path / "run", Options(sandbox_image, proxy.path))
        sandbox = await backend.create(Spec("one", tmp_path / "ws", Limits()))
        sandbox.assign("talk", tmp_path / "ws")
        await run(sandbox, "open('x', 'w').write('x')")
        await sandbox.hold(0)
        await sandbox.hold(10 * MIB)
        sandbox.usage()
        assert (await backend.check()).ok
        await backend.close(keep=True)
        later = Docker(tmp_path / "run", Options(sandbox_image, proxy.path))
        [adopted] = await later.adopt()
        await leftover.strays(later, await later.prepared(), 0)
        await adopted.kill()
        await later.close()
    asked = [request.partition("?")[0].split(" ") for request in proxy.requests]
    assert len(asked) > 15
    assert all(permitted(method, path) for method, path in asked), asked
    assert not any(word in path for _, path in asked for word in ("archive", "exec", "attach", "build", "export", "copy"))


async def test_the_hosts_name_of_a_directory_is_what_the_engine_hears(sandbox_image: str, tmp_path: Path) -> None:
    """As when the executor itself runs in a container: what it calls /…/inside is /…/outside to the engine."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "inside").symlink_to(tmp_path / "outside")
    paths = Paths(tmp_path / "inside", tmp_path / "outside")
    backend = Docker(tmp_path / "inside" / "run", Options(sandbox_image), paths)
    try:
        sandbox = await backend.create(Spec("one", tmp_path / "inside" / "ws", Limits()))
        await run(sandbox, "open('x', 'w').write('x')")
        assert (tmp_path / "outside" / "ws" / "x").read_text() == "x"
        made = await (await backend.prepared()).engine.inspect(sandbox.container)
        assert all(mount["Source"].startswith(str(tmp_path / "outside")) for mount in made["Mounts"])
    finally:
        await backend.close()


async def test_limits_reach_the_kernel(docker: Docker, tmp_path: Path) -> None:
    limits = Limits(memory=400 * MIB, pids=90, cpus=0.5, tmp=20 * MIB, shm=10 * MIB, open_files=500, file_size=7 * MIB)
    sandbox = await docker.create(Spec("one", tmp_path / "ws", limits))
    assert sandbox.counters is not None
    paths = sandbox.counters.paths
    if sandbox.counters.version == 1:
        assert (paths["memory"] / "memory.limit_in_bytes").read_text().strip() == str(400 * MIB)
        assert (paths["memory"] / "memory.memsw.limit_in_bytes").read_text().strip() == str(400 * MIB)
        assert (paths["pids"] / "pids.max").read_text().strip() == "90"
    look = """
import os, resource
print([os.statvfs(p).f_blocks * os.statvfs(p).f_frsize for p in ('/tmp', '/dev/shm')])
print([resource.getrlimit(getattr(resource, "RLIMIT_" + name))[1] for name in ("CORE", "NOFILE", "FSIZE", "NPROC")])
"""
    assert (await run(sandbox, look)).stdout == f"[{20 * MIB}, {10 * MIB}]\n[0, 500, {7 * MIB}, 90]\n"


# ---- T28, T29, T35: the socket and the token -------------------------------------------------------------------------


async def test_t35_the_settings_are_gone_and_their_place_is_closed(docker: Docker, tmp_path: Path) -> None:
    sandbox = await docker.create(Spec("one", tmp_path / "ws", Limits()))
    assert sorted(path.name for path in sandbox.gateway.iterdir()) == ["gateway.sock"]
    status = sandbox.gateway.stat()
    assert (status.st_uid, status.st_mode & 0o777) == (os.geteuid(), 0o700)
    code = """
import os
gw = "/run/gw"
for attempt in (lambda: os.listdir(gw), lambda: os.unlink(gw + "/gateway.sock"), lambda: os.chmod(gw, 0o777),
                lambda: os.symlink("/x", gw + "/y"), lambda: os.rename(gw, "/run/other"), lambda: os.rmdir(gw)):
    try: attempt(); print("done")
    except OSError as error: print(type(error).__name__)
"""
    assert set((await run(sandbox, code)).stdout.split()) <= {"PermissionError", "OSError"}


async def test_t28_a_token_is_of_one_sandbox_and_one_generation(docker: Docker, tmp_path: Path) -> None:
    first = await docker.create(Spec("one", tmp_path / "ws", Limits(), generation=1))
    other = await docker.create(Spec("two", tmp_path / "other", Limits(), generation=1))
    old = first.token
    await first.kill()
    again = await docker.create(Spec("one", tmp_path / "ws", Limits(), generation=2))
    for token, sandbox in ((old, again), (other.token, again), (again.token, other)):
        with pytest.raises(ValueError, match="401"):
            await answered(sandbox.dial_path(), token)
    assert (await run(again, "print(1)")).stdout == (await run(other, "print(1)")).stdout == "1\n"


# ---- ends ------------------------------------------------------------------------------------------------------------


async def test_kill_leaves_nothing_but_the_workspace(docker: Docker, tmp_path: Path) -> None:
    sandbox = await docker.create(Spec("one", tmp_path / "ws", Limits()))
    await run(sandbox, "import subprocess; open('kept', 'w').write('x'); subprocess.Popen(['setsid', 'sleep', '98765'])")
    inside, [listed] = seen.processes(sandbox), left_on_engine(docker)
    assert len(inside) >= 4 and listed == sandbox.container
    await sandbox.kill()
    assert not any(Path(f"/proc/{pid}").exists() for pid in inside)
    assert left_on_engine(docker) == [] and seen.left_in(docker) == []
    assert (tmp_path / "ws" / "kept").read_text() == "x"
    assert not sandbox.alive() and await sandbox.wait() == "was killed"
    await sandbox.kill()
    with pytest.raises(SandboxUnavailable):
        sandbox.dial_path()


async def test_t16_a_container_removed_behind_our_back_is_noticed(docker: Docker, tmp_path: Path) -> None:
    sandbox = await docker.create(Spec("one", tmp_path / "ws", Limits()))
    await (await docker.prepared()).engine.remove(sandbox.container)
    async with asyncio.timeout(5):
        assert "ended by itself" in await sandbox.wait() or "removed" in await sandbox.wait()
    assert not sandbox.alive()
    await sandbox.kill()
    assert seen.left_in(docker) == []


async def test_t13_an_end_for_lack_of_memory_is_told_as_such(docker: Docker, tmp_path: Path) -> None:
    """/tmp and /dev/shm count as memory, and nothing that can be killed frees them."""
    sandbox = await docker.create(Spec("one", tmp_path / "ws", Limits(memory=300 * MIB, data=2000 * MIB, tmp=800 * MIB)))
    fill = "f = open('/tmp/x', 'wb', buffering=0)\nfor i in range(700): f.write(bytes(1024 * 1024))"
    async with connect(sandbox) as client:
        assert (await client.run(fill, 60)).error
    assert (sandbox.usage().oom_kills or 0) >= 1


async def test_t13_without_cgroups_in_sight_the_engine_tells(
    docker: Docker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counters, "visible", lambda pid, container: None)
    monkeypatch.setattr(container_module, "STATS_S", 0.2)
    sandbox = await docker.create(Spec("one", tmp_path / "ws", Limits(memory=300 * MIB, data=2000 * MIB)))
    await until(lambda: sandbox.usage().memory is not None)
    usage = sandbox.usage()
    assert 20 * MIB < (usage.memory or 0) < 300 * MIB and (usage.pids or 0) >= 3 and (usage.cpu_s or 0) > 0.1
    async with connect(sandbox) as client:
        assert (await client.run("x = bytearray(1000 * 1024 * 1024)", 30)).error == "restarting"
    await until(lambda: (sandbox.usage().oom_kills or 0) >= 1)


async def test_the_deadline_ends_it_without_us(docker: Docker, tmp_path: Path) -> None:
    sandbox = await docker.create(Spec("one", tmp_path / "ws", Limits(), lifetime_s=6))
    async with asyncio.timeout(30):
        assert "ended by itself" in await sandbox.wait()


# ---- an engine that is away ------------------------------------------------------------------------------------------


@pytest.fixture
async def proxy(tmp_path: Path, docker_engine: None) -> AsyncIterator[EngineProxy]:
    async with proxied(tmp_path / "engine.sock") as made:
        yield made


async def test_an_engine_that_restarts_loses_no_sandbox(sandbox_image: str, proxy: EngineProxy, tmp_path: Path) -> None:
    backend = Docker(tmp_path / "run", Options(sandbox_image, proxy.path))
    sandbox = await backend.create(Spec("one", tmp_path / "ws", Limits()))
    waiting = asyncio.create_task(sandbox.wait())
    await run(sandbox, "x = 1")
    await proxy.down()
    await asyncio.sleep(0.5)
    assert sandbox.alive() and not waiting.done()
    assert (await run(sandbox, "print(x)")).stdout == "1\n"
    with pytest.raises(SandboxUnavailable, match="does not answer"):
        await backend.create(Spec("two", tmp_path / "two", Limits()))
    assert seen.left_in(backend) == ["one", "two"] or seen.left_in(backend) == ["one"]
    await proxy.up()
    assert (await run(sandbox, "print(x)")).stdout == "1\n"
    await sandbox.kill()
    assert await waiting == "was killed"
    await until(lambda: seen.left_in(backend) == [])
    assert left_on_engine(backend) == []
    await backend.close()


async def test_an_end_asked_for_while_the_engine_is_away_comes_once_it_is_back(
    sandbox_image: str, proxy: EngineProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container_module, "KILL_S", 0.3)
    backend = Docker(tmp_path / "run", Options(sandbox_image, proxy.path))
    sandbox = await backend.create(Spec("one", tmp_path / "ws", Limits()))
    await proxy.down()
    await sandbox.kill()
    assert not sandbox.alive() and left_on_engine(backend) == [sandbox.container]
    await proxy.up()
    await until(lambda: left_on_engine(backend) == [] and seen.left_in(backend) == [])
    await backend.close()


# ---- T11, T39: the executor is killed and comes again ----------------------------------------------------------------

CHILD = """
import asyncio, os, signal, sys
from pathlib import Path
from executor.sandbox.base import Limits, Spec
from executor.sandbox.docker import dial, making
from executor.sandbox.docker.backend import Docker
from executor.sandbox.docker.container import Container
from executor.sandbox.docker.engine import Engine
from executor.sandbox.docker.ground import Options

run_dir, image, workspace, point = sys.argv[1:]

def die_at(owner, name, after):
    real = getattr(owner, name)
    def dying(*args, **kwargs):
        if not after: os.kill(os.getpid(), signal.SIGKILL)
        result = real(*args, **kwargs)
        async def later():
            value = await result
            os.kill(os.getpid(), signal.SIGKILL)
        if asyncio.iscoroutine(result): return later()
        os.kill(os.getpid(), signal.SIGKILL)
    setattr(owner, name, dying)

POINTS = {
    "before the record": (making.record, "begin", False),
    "after the record": (making.record, "begin", True),
    "before the container": (Engine, "create", False),
    "after the container": (Engine, "create", True),
    "after the start": (Engine, "start", True),
    "before the socket": (making, "answering", False),
    "after the first answer": (dial, "close_to_tenant", True),
    "while counted": (making, "count", True),
    "before its removal": (Engine, "remove", False),
    "after its removal": (Engine, "remove", True),
}

async def main():
    backend = Docker(Path(run_dir), Options(image))
    if point in POINTS: die_at(*POINTS[point])
    sandbox = await backend.create(Spec("orphan", Path(workspace), Limits()))
    if point == "assigned": sandbox.assign("talk", Path(workspace))
    if point.endswith("its removal"): await sandbox.kill()
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""
POINTS = [
    *("before the record", "after the record", "before the container", "after the container", "after the start"),
    *("before the socket", "after the first answer", "while counted", "warm", "before its removal", "after its removal"),
]


async def killed_at(point: str, run_dir: Path, image: str, workspace: Path) -> None:
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", CHILD, run_dir, image, workspace, point)
    assert await child.wait() == -9, point


@pytest.mark.parametrize("point", POINTS)
async def test_t11_killed_while_making_or_ending_one_leaves_nothing(sandbox_image: str, tmp_path: Path, point: str) -> None:
    await killed_at(point, tmp_path / "run", sandbox_image, tmp_path / "ws")
    backend = Docker(tmp_path / "run", Options(sandbox_image))
    try:
        assert await backend.adopt() == []
        assert left_on_engine(backend) == [] and seen.left_in(backend) == []
        sandbox = await backend.create(Spec("orphan", tmp_path / "ws", Limits()))
        assert (await run(sandbox, "print('again')")).stdout == "again\n"
    finally:
        await backend.close()
    assert left_on_engine(backend) == []


async def test_t11_t39_killed_with_a_conversation_it_finds_the_sandbox_again(sandbox_image: str, tmp_path: Path) -> None:
    await killed_at("assigned", tmp_path / "run", sandbox_image, tmp_path / "ws")
    backend = Docker(tmp_path / "run", Options(sandbox_image))
    [sandbox] = await backend.adopt()
    assert isinstance(sandbox, Container)
    assert (sandbox.conversation, sandbox.id, sandbox.spec.workspace) == ("talk", "orphan", tmp_path / "ws")
    assert (await run(sandbox, "print(1)")).stdout == "1\n"
    await backend.close()
    assert left_on_engine(backend) == [] and seen.left_in(backend) == []


async def lives(sandbox_image: str, tmp_path: Path, options: Options | None = None) -> tuple[Docker, list]:
    """An executor's life with one assigned sandbox `x = 5`, one warm, and the beginning of the next."""
    first = Docker(tmp_path / "run", Options(sandbox_image))
    kept, warm = await asyncio.gather(
        first.create(Spec("kept", tmp_path / "kept", Limits(), generation=7)),
        first.create(Spec("warm", tmp_path / "warm", Limits())),
    )
    kept.assign("talk", tmp_path / "kept")
    await run(kept, "x = 5")
    await first.close(keep=True)
    assert len(left_on_engine(first)) == 1 and not warm.alive()
    second = Docker(tmp_path / "run", options or Options(sandbox_image))
    return second, await second.adopt()


async def test_t39_a_restarted_executor_finds_variables_intact(sandbox_image: str, tmp_path: Path) -> None:
    second, found = await lives(sandbox_image, tmp_path)
    try:
        [sandbox] = found
        assert (sandbox.id, sandbox.conversation, sandbox.spec.generation) == ("kept", "talk", 7)
        assert (await run(sandbox, "print(x); open('later', 'w').write('x')")).stdout == "5\n"
        assert sandbox.alive() and (sandbox.usage().memory or 0) > 0 and second.running == {"kept": sandbox}
        with pytest.raises(RuntimeError):
            sandbox.assign("other", tmp_path)
        await until(lambda: sandbox.usage().workspace is not None)
    finally:
        await second.close()
    assert left_on_engine(second) == [] and seen.left_in(second) == []


@pytest.mark.parametrize("change", ["limits", "image", "deadline", "generation", "record", "key", "socket", "directory"])
async def test_t39_what_does_not_fit_any_more_is_removed(sandbox_image: str, tmp_path: Path, change: str) -> None:
    first = Docker(tmp_path / "run", Options(sandbox_image))
    kept = await first.create(Spec("kept", tmp_path / "kept", Limits()))
    kept.assign("talk", tmp_path / "kept")
    await first.close(keep=True)
    options = Options(sandbox_image, limits=Limits(pids=77)) if change == "limits" else Options(sandbox_image)
    file = tmp_path / "run" / "kept" / "sandbox.json"
    said = json.loads(file.read_text())
    changes = {"deadline": {"deadline": 1.0}, "generation": {"generation": 2}, "image": {"spec_hash": "other"}}
    changed = changes.get(change, {})
    file.write_text("{" if change == "record" else json.dumps({**said, **changed}))
    if change == "key":
        (tmp_path / "run" / "runner.key").unlink()
    if change == "socket":
        (tmp_path / "run" / "kept" / "gw" / "gateway.sock").unlink()
    if change == "directory":
        (tmp_path / "run" / "kept" / "gw").chmod(0o777)
    second = Docker(tmp_path / "run", options)
    try:
        assert await second.adopt() == []
        assert left_on_engine(second) == [] and seen.left_in(second) == []
    finally:
        await second.close()


async def test_t11_a_container_without_a_record_goes_after_a_grace(docker: Docker, tmp_path: Path) -> None:
    sandbox = await docker.create(Spec("one", tmp_path / "ws", Limits()))
    plant = await docker.prepared()
    del docker.running["one"]
    await leftover.strays(docker, plant, 60)
    assert left_on_engine(docker) == [sandbox.container]
    await leftover.strays(docker, plant, -1)
    assert left_on_engine(docker) == []
    docker.running["one"] = sandbox


async def test_t11_another_executors_containers_are_left_alone(docker: Docker, sandbox_image: str, tmp_path: Path) -> None:
    sandbox = await docker.create(Spec("one", tmp_path / "ws", Limits()))
    other = Docker(tmp_path / "other", Options(sandbox_image))
    assert await other.adopt() == []
    await leftover.strays(other, await other.prepared(), -1)
    await other.close()
    assert (await run(sandbox, "print(1)")).stdout == "1\n"


async def test_a_creation_that_is_given_up_leaves_nothing(docker: Docker, tmp_path: Path) -> None:
    await docker.prepared()
    for wait in (0.0, 0.01, 0.03, 0.06, 0.1, 0.2, 0.4):
        making = asyncio.create_task(docker.create(Spec("given-up", tmp_path / "ws", Limits())))
        await asyncio.sleep(wait)
        making.cancel()
        await asyncio.gather(making, return_exceptions=True)
        if not making.cancelled():
            await making.result().kill()
        assert left_on_engine(docker) == [] and seen.left_in(docker) == [] and docker.running == {}


async def test_two_executors_do_not_share_a_run_directory(docker: Docker, sandbox_image: str) -> None:
    await docker.adopt()
    second = Docker(docker.run_dir, Options(sandbox_image))
    with pytest.raises(SandboxUnavailable, match="Another executor"):
        await second.adopt()
    await second.close()


# ---- words -----------------------------------------------------------------------------------------------------------


async def test_what_is_missing_is_said_with_the_next_step(docker_engine: None, tmp_path: Path) -> None:
    for options, words in (
        (Options("codeact-sandbox:none-such"), "build-sandbox.sh"),
        (Options("x", tmp_path / "no.sock"), "systemctl start docker"),
        (Options("x", runtime="no-such-runtime"), "no runtime 'no-such-runtime'"),
    ):
        backend = Docker(tmp_path / "run", options)
        health = await backend.check()
        assert not health.ok and words in health.words
        with pytest.raises(SandboxUnavailable, match=words):
            await backend.create(Spec("one", tmp_path / "ws", Limits()))
        await backend.close()


async def test_t5_check_makes_one_and_names_what_isolates_it(docker: Docker) -> None:
    health = await docker.check()
    assert health.ok, health.words
    states = {feature.name: feature.state for feature in health.features}
    kernel = ("system call filter", "no new privileges", "no capabilities", "namespaces")
    for name in (*kernel, "read-only root", "no network"):
        assert states[name] == "on", name
    assert {"Docker engine", "runc", "kernel", "AppArmor", "live restore", "memory limit", "pids limit"} <= set(states)
    assert left_on_engine(docker) == [] and seen.left_in(docker) == []


async def test_t24_many_at_once_take_no_network(docker: Docker, tmp_path: Path) -> None:
    """Bridges and address pools run out at some thirty; without a network there is nothing to run out of."""
    specs = [Spec(f"s{number}", tmp_path / f"ws{number}", Limits()) for number in range(8)]
    sandboxes = await asyncio.gather(*(docker.create(spec) for spec in specs))
    assert len({sandbox.uid for sandbox in sandboxes}) == len({sandbox.token for sandbox in sandboxes}) == len(specs)
    plant = await docker.prepared()
    for sandbox in sandboxes:
        networks = (await plant.engine.inspect(sandbox.container))["NetworkSettings"]["Networks"]
        assert list(networks) in ([], ["none"]) and not any(network["IPAddress"] for network in networks.values())
    assert len(left_on_engine(docker)) == len(specs)
    await asyncio.gather(*(sandbox.kill() for sandbox in sandboxes))
    assert left_on_engine(docker) == [] and seen.left_in(docker) == [] and docker.running == {}


async def test_t42_many_lives_leak_nothing(docker: Docker, tmp_path: Path) -> None:
    async def life(number: int) -> None:
        sandbox = await docker.create(Spec(f"life-{number}", tmp_path / "ws", Limits()))
        await sandbox.kill()

    await life(0)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for number in range(1, 6):
        await life(number)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
    assert left_on_engine(docker) == [] and seen.left_in(docker) == [] and docker.running == {}
    assert record.read(docker.run_dir / "life-1") is None
