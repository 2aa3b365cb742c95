"""What a sandbox may use, and what happens beyond: the cell fails, the kernel or at worst the sandbox; never the host."""

import asyncio
from pathlib import Path

import pytest

from executor.sandbox import disk
from executor.sandbox.base import Limits, Spec
from executor.sandbox.running import Running
from tests.executor import seen
from tests.executor.kernel_client import connect, run

pytestmark = pytest.mark.sandbox
MIB = 1024**2


def need_cgroups(backend: seen.AnyBackend) -> None:
    if not seen.counted(backend):
        pytest.skip("no writable cgroups here")


async def test_t13_a_soft_memory_bomb_is_a_memory_error_and_the_kernel_lives(sandbox: seen.Any) -> None:
    async with connect(sandbox) as client:
        await client.run("x = 1")
        for bomb in ("bytearray(2 * 10**9)", "import numpy; numpy.ones(2 * 10**8)", "[bytes(10**6) for _ in range(5000)]"):
            assert "MemoryError" in (await client.run(bomb)).error
        assert (await client.run("print(x)")).stdout == "1\n"


async def test_t13_a_hard_memory_bomb_kills_the_kernel_and_is_counted(backend: seen.AnyBackend, tmp_path: Path) -> None:
    need_cgroups(backend)
    limits = Limits(memory=300 * MIB, data=10_000 * MIB)
    sandbox = await backend.create(Spec("bomb", tmp_path / "ws", limits))
    async with connect(sandbox) as client:
        await client.run("x = 1")
        assert sandbox.usage().oom_kills == 0
        assert (await client.run("x = bytearray(2 * 10**9)", 30)).error == "restarting"
        assert (sandbox.usage().oom_kills or 0) >= 1
        assert (await client.run("print('x' in globals())")).stdout == "False\n"
    assert sandbox.alive()


async def test_t13_children_that_bomb_die_before_the_gateway(backend: seen.AnyBackend, tmp_path: Path) -> None:
    need_cgroups(backend)
    sandbox = await backend.create(Spec("bomb", tmp_path / "ws", Limits(memory=300 * MIB)))
    code = """
import os, time
for _ in range(4):
    if os.fork() == 0:
        x = b"x" * (200 * 1024 * 1024)
        time.sleep(30)
        os._exit(0)
time.sleep(3)
"""
    async with connect(sandbox) as client:
        await client.run(code, 30)
        assert (sandbox.usage().oom_kills or 0) >= 1
        assert (await client.run("print('here')", 30)).stdout == "here\n"


async def test_t23_a_fork_bomb_is_stopped_and_a_restart_clears_it(backend: seen.AnyBackend, tmp_path: Path) -> None:
    sandbox = await backend.create(Spec("forks", tmp_path / "ws", Limits(pids=80)))
    bomb = """
import os, time
made = 0
try:
    while True:
        if os.fork() == 0:
            time.sleep(100)
            os._exit(0)
        made += 1
except OSError as error:
    print(type(error).__name__, 10 < made < 80)
"""
    async with connect(sandbox) as client:
        assert (await client.run(bomb)).stdout == "BlockingIOError True\n"
        assert (sandbox.usage().pids or 80) <= 80
        assert await client.post("restart") == 200
        await client.restarted()
        assert (await client.run("import threading; print(threading.active_count() < 20)", 30)).stdout == "True\n"
        if seen.counted(backend):
            assert (sandbox.usage().pids or 0) < 40


async def test_t23_a_thread_storm_is_an_error(sandbox: seen.Any) -> None:
    code = """
import threading, time
for _ in range(1000): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
"""
    result = await run(sandbox, code)
    assert "can't start new thread" in result.error + result.stderr


async def test_t22_every_other_place_is_small(sandbox: seen.Any) -> None:
    code = """
import os
sizes = {}
for place in ("/tmp", "/dev/shm", "/run", "/dev", "/"):
    try:
        with open(place + "/fill", "wb", buffering=0) as file:
            size = 0
            while True: size += file.write(bytes(1024 * 1024))
    except OSError:
        sizes[place] = size if os.path.exists(place + "/fill") else None
    size = 0
    if os.path.exists(place + "/fill"): os.remove(place + "/fill")
print(sizes)
"""
    sizes = eval((await run(sandbox, code)).stdout)
    assert sizes["/dev"] is None and sizes["/"] is None
    for place, most in (("/tmp", 128), ("/dev/shm", 64), ("/run", 16)):
        assert 0 < sizes[place] <= most * MIB


async def test_t22_one_file_is_limited(backend: seen.AnyBackend, tmp_path: Path) -> None:
    sandbox = await backend.create(Spec("file", tmp_path / "ws", Limits(file_size=10 * MIB)))
    async with connect(sandbox) as client:
        assert "File too large" in (await client.run("open('big', 'wb').write(bytes(20 * 1024 * 1024))")).error
        assert (await client.run("print('here')")).stdout == "here\n"


async def test_t22_a_full_workspace_fails_writes_and_recovers(
    backend: seen.AnyBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "LOOK_S", 0.1)
    sandbox = await backend.create(Spec("full", tmp_path / "ws", Limits(workspace=40 * MIB)))
    write = "import time\nfor i in range({}): open(f'f{{i}}', 'wb').write(bytes(1024 * 1024)); time.sleep(0.2)"
    async with connect(sandbox) as client:
        assert "File too large" in (await client.run(write.format(200))).error
        async with asyncio.timeout(5):
            while not 40 * MIB < (sandbox.usage().workspace or 0) < 50 * MIB:
                await asyncio.sleep(0.05)
        await client.run("import glob, os\nfor f in glob.glob('f*'): os.remove(f)")
        async with asyncio.timeout(5):
            while (sandbox.usage().workspace or 0) > MIB:
                await asyncio.sleep(0.05)
        assert (await client.run(write.format(3))).error == ""


async def test_t22_a_workspace_that_explodes_ends_the_sandbox_with_words(
    backend: seen.AnyBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "LOOK_S", 0.1)
    sandbox = await backend.create(Spec("burst", tmp_path / "ws", Limits(workspace=20 * MIB)))
    async with connect(sandbox) as client:
        # in one system call: between several, a look may come that forbids the rest, and all would be well
        await client.send("open('f', 'wb', buffering=0).write(bytes(60 * 1024 * 1024))")
        async with asyncio.timeout(20):
            assert "its workspace grew to" in await sandbox.wait()


async def test_t22_too_many_files_end_the_sandbox_with_words(
    backend: seen.AnyBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "LOOK_S", 0.1)
    monkeypatch.setattr(disk, "MOST_ENTRIES", 1000)
    sandbox = await backend.create(Spec("inodes", tmp_path / "ws", Limits()))
    async with connect(sandbox) as client:
        await client.send("for i in range(3000): open(f'f{i}', 'w').close()")
        async with asyncio.timeout(20):
            assert "too many files" in await sandbox.wait()


async def test_t22_a_flood_on_the_original_stdout_reaches_nobody(sandbox: seen.Any) -> None:
    code = """
import os
for target in ("/proc/1/fd/2", "/proc/1/fd/1"):
    try:
        fd = os.open(target, os.O_WRONLY | os.O_NONBLOCK)
        for _ in range(20000): os.write(fd, b"x" * 4096)
    except OSError:
        pass
print("done")
"""
    assert (await run(sandbox, code)).stdout == "done\n"
    if isinstance(sandbox, Running):
        assert len(sandbox.complaint()) <= 4096
    else:
        logs = Path("/var/lib/docker/containers") / sandbox.container
        assert sum(path.stat().st_size for path in logs.rglob("*") if path.is_file()) < 2 * MIB


async def test_t23_cpu_time_is_shared_out(backend: seen.AnyBackend, tmp_path: Path) -> None:
    need_cgroups(backend)
    sandbox = await backend.create(Spec("cpu", tmp_path / "ws", Limits(cpus=0.2)))
    code = """
import time
began, used = time.monotonic(), time.process_time()
while time.monotonic() - began < 3: pass
print(time.process_time() - used)
"""
    assert float((await run(sandbox, code)).stdout) < 1.2
