"""How Docker sandboxes begin and end, and what is left of them: on a real engine."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from executor.sandbox import record
from executor.sandbox.base import Limits, SandboxUnavailable, Spec
from executor.sandbox.docker import container as container_module
from executor.sandbox.docker import counters
from executor.sandbox.docker.backend import Docker
from executor.sandbox.docker.ground import Options
from tests.executor import seen
from tests.executor.kernel_client import connect, run
from tests.support.engine_proxy import EngineProxy, proxied

pytestmark = pytest.mark.sandbox
MIB = 1024**2


async def test_kill_leaves_nothing_but_the_workspace(docker: Docker, tmp_path: Path) -> None:
    sandbox = await docker.create(Spec("one", tmp_path / "ws", Limits()))
    await run(sandbox, "import subprocess; open('kept', 'w').write('x'); subprocess.Popen(['setsid', 'sleep', '98765'])")
    inside, [listed] = seen.processes(sandbox), seen.on_engine(docker)
    assert len(inside) >= 4 and listed == sandbox.container
    await sandbox.kill()
    assert not any(Path(f"/proc/{pid}").exists() for pid in inside)
    assert seen.on_engine(docker) == [] and seen.left_in(docker) == []
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
    await seen.until(lambda: sandbox.usage().memory is not None)
    usage = sandbox.usage()
    assert 20 * MIB < (usage.memory or 0) < 300 * MIB and (usage.pids or 0) >= 3 and (usage.cpu_s or 0) > 0.1
    async with connect(sandbox) as client:
        assert (await client.run("x = bytearray(1000 * 1024 * 1024)", 30)).error == "restarting"
    await seen.until(lambda: (sandbox.usage().oom_kills or 0) >= 1)


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
    await seen.until(lambda: seen.left_in(backend) == [])
    assert seen.on_engine(backend) == []
    await backend.close()


async def test_an_end_asked_for_while_the_engine_is_away_comes_once_it_is_back(
    sandbox_image: str, proxy: EngineProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container_module, "KILL_S", 0.3)
    backend = Docker(tmp_path / "run", Options(sandbox_image, proxy.path))
    sandbox = await backend.create(Spec("one", tmp_path / "ws", Limits()))
    await proxy.down()
    await sandbox.kill()
    assert not sandbox.alive() and seen.on_engine(backend) == [sandbox.container]
    await proxy.up()
    await seen.until(lambda: seen.on_engine(backend) == [] and seen.left_in(backend) == [])
    await backend.close()


async def test_a_creation_that_is_given_up_leaves_nothing(docker: Docker, tmp_path: Path) -> None:
    await docker.prepared()
    for wait in (0.0, 0.01, 0.03, 0.06, 0.1, 0.2, 0.4):
        making = asyncio.create_task(docker.create(Spec("given-up", tmp_path / "ws", Limits())))
        await asyncio.sleep(wait)
        making.cancel()
        await asyncio.gather(making, return_exceptions=True)
        if not making.cancelled():
            await making.result().kill()
        assert seen.on_engine(docker) == [] and seen.left_in(docker) == [] and docker.running == {}


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
    assert seen.on_engine(docker) == [] and seen.left_in(docker) == []


async def test_t24_many_at_once_take_no_network(docker: Docker, tmp_path: Path) -> None:
    """Bridges and address pools run out at some thirty; without a network there is nothing to run out of."""
    specs = [Spec(f"s{number}", tmp_path / f"ws{number}", Limits()) for number in range(8)]
    sandboxes = await asyncio.gather(*(docker.create(spec) for spec in specs))
    assert len({sandbox.uid for sandbox in sandboxes}) == len({sandbox.token for sandbox in sandboxes}) == len(specs)
    plant = await docker.prepared()
    for sandbox in sandboxes:
        networks = (await plant.engine.inspect(sandbox.container))["NetworkSettings"]["Networks"]
        assert list(networks) in ([], ["none"]) and not any(network["IPAddress"] for network in networks.values())
    assert len(seen.on_engine(docker)) == len(specs)
    await asyncio.gather(*(sandbox.kill() for sandbox in sandboxes))
    assert seen.on_engine(docker) == [] and seen.left_in(docker) == [] and docker.running == {}


async def test_t42_many_lives_leak_nothing(docker: Docker, tmp_path: Path) -> None:
    async def life(number: int) -> None:
        sandbox = await docker.create(Spec(f"life-{number}", tmp_path / "ws", Limits()))
        await sandbox.kill()

    await life(0)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for number in range(1, 6):
        await life(number)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
    assert seen.on_engine(docker) == [] and seen.left_in(docker) == [] and docker.running == {}
    assert record.read(docker.run_dir / "life-1") is None
