"""How sandboxes begin and end, and what is left of them: nothing."""

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from executor.sandbox import left
from executor.sandbox.base import Limits, SandboxUnavailable, Spec
from executor.sandbox.bubblewrap import Bubblewrap
from executor.sandbox.programs import default_python
from executor.sandbox.running import Running
from tests.executor import seen
from tests.executor.kernel_client import connect, run

pytestmark = pytest.mark.sandbox
BOTH = pytest.mark.parametrize("maker", ["bubblewrap", "docker"], indirect=True)


@pytest.fixture(params=["bubblewrap"])
def maker(request: pytest.FixtureRequest) -> seen.Maker:
    return seen.maker(request)


def processes(mark: str) -> list[str]:
    """Command lines of all processes that have `mark` in theirs, our own excepted."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if mark in line and int(process.name) != os.getpid():
            found.append(line)
    return found


def cgroups_of(sandbox: Running) -> list[Path]:
    return list(sandbox.group.paths.values()) if sandbox.group else []


async def until(true, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "did not come true in time"
        await asyncio.sleep(0.02)


async def test_kill_leaves_nothing_but_the_workspace(backend: Bubblewrap, tmp_path: Path) -> None:
    sandbox = await backend.create(Spec("one", tmp_path / "ws", Limits()))
    code = "import subprocess; open('kept', 'w').write('x'); subprocess.Popen(['setsid', 'sleep', '98765'])"
    assert (await run(sandbox, code)).error == ""
    assert processes("sleep 98765") and all(path.is_dir() for path in cgroups_of(sandbox))
    inside = sandbox.tenant_pids()
    await sandbox.kill()
    assert not any(Path(f"/proc/{pid}").exists() for pid in inside)
    assert not any(path.exists() for path in cgroups_of(sandbox))
    assert sorted(path.name for path in backend.run_dir.iterdir()) == ["etc", "lock"]
    assert (tmp_path / "ws" / "kept").read_text() == "x"
    assert not sandbox.alive() and await sandbox.wait() == "was killed"
    await sandbox.kill()


@BOTH
async def test_files_last_from_one_sandbox_to_the_next(backend: seen.AnyBackend, tmp_path: Path) -> None:
    first = await backend.create(Spec("one", tmp_path / "ws", Limits()))
    await run(first, "import os; os.makedirs('a/b'); open('a/b/c', 'w').write('hello')")
    await first.kill()
    second = await backend.create(Spec("two", tmp_path / "ws", Limits()))
    assert (await run(second, "open('a/b/c', 'a').write(' again'); print(open('a/b/c').read())")).stdout == "hello again\n"


@BOTH
async def test_an_id_cannot_be_taken_twice_nor_be_a_path(
    backend: seen.AnyBackend, sandbox: seen.Any, tmp_path: Path
) -> None:
    with pytest.raises(SandboxUnavailable, match="already"):
        await backend.create(Spec("one", tmp_path / "other", Limits()))
    assert (await run(sandbox, "print(1)")).stdout == "1\n"
    for id in ("../x", "", "a/b", "x" * 65, "."):
        with pytest.raises(ValueError):
            await backend.create(Spec(id, tmp_path / "other", Limits()))


@BOTH
async def test_t16_a_gateway_killed_from_inside_ends_the_sandbox_and_is_noticed(sandbox: seen.Any) -> None:
    async with connect(sandbox) as client:
        await client.send("import os, signal; os.kill(os.getppid(), signal.SIGKILL)")
        with pytest.raises(ConnectionError):
            async with asyncio.timeout(5):
                while True:
                    await client.receive()
    async with asyncio.timeout(5):
        assert "ended by itself" in await sandbox.wait()
    assert not sandbox.alive()


PARENT = """
import asyncio, json, sys
from pathlib import Path
from executor.sandbox import left
from executor.sandbox.base import Limits, Spec
from executor.sandbox.bubblewrap import Bubblewrap

async def main():
    backend = Bubblewrap(Path(sys.argv[1]), Path(sys.argv[2]))
    sandbox = await backend.create(Spec("orphan", Path(sys.argv[3]), Limits()))
    groups = [str(path) for path in sandbox.group.paths.values()] if sandbox.group else []
    print(json.dumps({"pids": [sandbox.tree.outer.pid, *sandbox.tenant_pids()], "groups": groups}), flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_t11_a_killed_executor_leaves_nothing_once_the_next_has_swept(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT, str(run_dir), str(default_python()), str(tmp_path / "ws")),
        stdout=asyncio.subprocess.PIPE,
    )
    assert parent.stdout is not None
    alive = json.loads(await parent.stdout.readline())
    backend = Bubblewrap(run_dir, default_python())
    with pytest.raises(SandboxUnavailable, match="Another executor"):
        await backend.adopt()
    parent.send_signal(signal.SIGKILL)
    await parent.wait()
    await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in alive["pids"]), 5)
    assert (run_dir / "orphan").is_dir()
    await backend.adopt()
    assert sorted(path.name for path in run_dir.iterdir()) == ["etc", "lock"]
    assert not any(Path(path).exists() for path in alive["groups"])
    sandbox = await backend.create(Spec("orphan", tmp_path / "ws", Limits()))
    assert (await run(sandbox, "print('again')")).stdout == "again\n"
    await backend.close()


async def test_an_abandoned_cgroup_is_swept_and_a_new_one_left_alone(
    backend: Bubblewrap, monkeypatch: pytest.MonkeyPatch
) -> None:
    if backend.place is None:
        pytest.skip("no writable cgroups here")
    parent = next(iter(backend.place.parents.values())) / f"test-{os.getpid()}"
    path = parent / "codeact-abandoned"
    path.mkdir(parents=True)
    try:
        left.remove_abandoned(parent)
        assert path.is_dir()
        monkeypatch.setattr(left, "ABANDONED_S", -1.0)
        left.remove_abandoned(parent)
        assert not path.exists()
    finally:
        parent.rmdir()


async def test_t11_a_creation_that_is_given_up_leaves_nothing(backend: Bubblewrap, tmp_path: Path) -> None:
    await (await backend.create(Spec("first", tmp_path / "ws", Limits()))).kill()
    for wait in (0.0, 0.02, 0.1, 0.3):
        making = asyncio.create_task(backend.create(Spec("given-up", tmp_path / "ws", Limits())))
        await asyncio.sleep(wait)
        making.cancel()
        await asyncio.gather(making, return_exceptions=True)
        if making.cancelled():
            await until(lambda: sorted(path.name for path in backend.run_dir.iterdir()) == ["etc", "lock"], 5)
        else:
            await making.result().kill()
    assert processes("given-up") == []


async def test_a_python_without_packages_is_refused_with_words(tmp_path: Path) -> None:
    backend = Bubblewrap(tmp_path / "run", Path("/usr/bin/python3"))
    health = await backend.check()
    assert not health.ok and "make setup" in health.words
    missing = await Bubblewrap(tmp_path / "run2", tmp_path / "none").check()
    assert not missing.ok and "make setup" in missing.words
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["etc", "lock"]
    await backend.close()


async def test_check_makes_one_and_names_what_isolates_it(backend: Bubblewrap) -> None:
    health = await backend.check()
    assert health.ok, health.words
    states = {feature.name: feature.state for feature in health.features}
    for name in ("namespaces", "system call filter", "no new privileges", "no capabilities"):
        assert states[name] == "on"
    assert states["user of its own"] == ("on" if os.geteuid() == 0 else "off")
    assert (states["memory limit"] == "on") == (backend.place is not None)
    assert sorted(path.name for path in backend.run_dir.iterdir()) == ["etc", "lock"]


async def test_t42_many_lives_leak_no_descriptor(backend: Bubblewrap, tmp_path: Path) -> None:
    async def life(number: int) -> None:
        sandbox = await backend.create(Spec(f"life-{number}", tmp_path / "ws", Limits()))
        await sandbox.kill()

    await life(0)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for number in range(1, 6):
        await life(number)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
