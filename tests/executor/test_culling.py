"""How many sandboxes there are and for how long, and that the end leaves nothing behind."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import psutil
import pytest

from executor import words
from executor.local import make_manager
from executor.manager import Manager
from executor.sandbox.base import SandboxUnavailable
from executor.sandbox.bubblewrap import Bubblewrap
from executor.settings import Settings, run_dir
from executor.wire import KernelState, Outcome
from executor.wire_claims import ClaimRequest
from tests.support.kernels import Chat, managing

pytestmark = pytest.mark.sandbox


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def state(chat: Chat) -> KernelState:
    return (await chat.manager.status(chat.id)).state


def clocked(data, **settings) -> tuple[Manager, Clock]:
    clock, chosen = Clock(), Settings(_env_file=None, **{"warm": 0, **settings})
    return Manager(Bubblewrap(run_dir(data), chosen.python), chosen, data, clock), clock


async def test_t25_an_idle_sandbox_goes_after_its_time_and_its_files_stay(tmp_path):
    manager, clock = clocked(tmp_path, idle_minutes=10)
    try:
        idle, busy = Chat(manager), Chat(manager)
        await idle.run("open('f', 'w').write('x')")
        running = asyncio.create_task(busy.run("import time; time.sleep(2)"))
        while await state(busy) is not KernelState.BUSY:
            await asyncio.sleep(0.05)
        clock.now += 9 * 60
        await manager.cull()
        assert await state(idle) is KernelState.IDLE
        clock.now += 2 * 60
        await manager.cull()
        assert (await state(idle), await state(busy)) == (KernelState.NONE, KernelState.BUSY)
        assert (await running).outcome is Outcome.OK
        ran = await idle.run("print(open('f').read())")
        assert ran.text() == "x\n" and ran.fresh
    finally:
        await manager.close()


async def busy_with(chat: Chat, code: str) -> asyncio.Task:
    running = asyncio.create_task(chat.run(code))
    async with asyncio.timeout(30):
        while await state(chat) is not KernelState.BUSY:
            await asyncio.sleep(0.02)
    return running


async def test_t25_an_old_sandbox_ends_after_its_cell_and_the_next_cell_gets_another(tmp_path):
    manager, clock = clocked(tmp_path, lifetime_hours=2, grace_minutes=15, idle_minutes=600)
    try:
        chat = Chat(manager)
        await chat.run("x = 1")
        first = chat.sandbox
        running = await busy_with(chat, "import time; time.sleep(1.5); print(x)")
        waiting = asyncio.create_task(chat.run("print('x' in globals())"))
        clock.now += 2 * 3600
        await manager.cull()
        assert await state(chat) is KernelState.BUSY and first.alive()
        assert (await running).text() == "1\n" and (await running).outcome is Outcome.OK
        after = await waiting
        assert after.text() == "False\n" and after.fresh and "the age at which it is replaced" in after.started.lost
        assert chat.sandbox is not first and manager.counts.ends["max_lifetime"] == 1
    finally:
        await manager.close()


async def test_t25_preparing_an_old_sandbox_leaves_its_last_cell_alone(tmp_path):
    manager, clock = clocked(tmp_path, lifetime_hours=2, idle_minutes=600)
    try:
        chat = Chat(manager)
        running = await busy_with(chat, "import time; time.sleep(1.5); print('whole')")
        clock.now += 2 * 3600
        await manager.cull()
        await manager.prepare(chat.id)
        claim, made = await manager.claims.claim(chat.id, ClaimRequest(owner="one"))
        assert claim.state is KernelState.BUSY and not made
        assert (await running).text() == "whole\n"
    finally:
        await manager.close()


async def test_t25_a_cell_that_outlives_the_grace_is_ended_with_words(tmp_path):
    manager, clock = clocked(tmp_path, lifetime_hours=2, grace_minutes=15)
    try:
        chat = Chat(manager)
        running = await busy_with(chat, "while True: pass")
        clock.now += 2 * 3600 + 16 * 60
        await manager.cull()
        ran = await running
        assert ran.outcome is Outcome.INTERRUPTED and not ran.closed.variables_kept
        assert "the age at which it is removed" in ran.closed.words and "files are kept" in ran.closed.words
        assert await state(chat) is KernelState.NONE and manager.counts.ends["max_lifetime"] == 1
    finally:
        await manager.close()


async def test_t25_an_old_idle_sandbox_goes_although_it_was_just_used(tmp_path):
    manager, clock = clocked(tmp_path, lifetime_hours=2, idle_minutes=600)
    try:
        chat = Chat(manager)
        await chat.run("1")
        clock.now += 2 * 3600 - 60
        await manager.prepare(chat.id)
        await manager.cull()
        assert await state(chat) is KernelState.IDLE
        clock.now += 61
        await manager.cull()
        assert await state(chat) is KernelState.NONE
    finally:
        await manager.close()


@pytest.mark.parametrize("jump", [-86_400.0, 86_400.0 * 365])
async def test_t40_a_jump_of_the_walls_clock_ends_nothing(tmp_path, jump):
    clock, wall = Clock(), Clock()
    wall.now = time.time()
    chosen = Settings(_env_file=None, warm=0)
    manager = Manager(Bubblewrap(run_dir(tmp_path), chosen.python), chosen, tmp_path, clock, wall)
    try:
        chat = Chat(manager)
        await chat.run("x = 1")
        wall.now += jump
        await manager.cull()
        clock.now += 60
        await manager.cull()
        assert (await chat.run("print(x)")).text() == "1\n"
    finally:
        await manager.close()


async def test_when_all_are_taken_the_longest_idle_one_makes_room(tmp_path):
    manager, clock = clocked(tmp_path, max=2)
    try:
        one, two, three = Chat(manager), Chat(manager), Chat(manager)
        await one.run("1")
        clock.now += 100
        await two.run("1")
        assert (await three.run("print(3)")).text() == "3\n"
        assert [await state(chat) for chat in (one, two, three)] == [KernelState.NONE, KernelState.IDLE, KernelState.IDLE]
    finally:
        await manager.close()


async def test_when_all_are_busy_the_cell_is_told_and_does_not_run(tmp_path):
    async with managing(tmp_path, max=1, queue_s=0) as manager:
        busy, other = Chat(manager), Chat(manager)
        running = asyncio.create_task(busy.run("import time; time.sleep(2)"))
        while await state(busy) is not KernelState.BUSY:
            await asyncio.sleep(0.05)
        refused = await other.run("open('ran', 'w')")
        assert refused.outcome is Outcome.UNAVAILABLE and not refused.began
        assert refused.closed.words == f"The code did not run: {words.all_taken(1)}"
        assert (await running).outcome is Outcome.OK


async def test_where_no_sandbox_can_be_made_nothing_runs_and_the_words_say_why(tmp_path):
    async with managing(tmp_path, python=tmp_path / "no-such-python") as manager:
        chat = Chat(manager)
        await manager.prepare(chat.id)
        ran = await chat.run("print(1)")
        assert ran.outcome is Outcome.UNAVAILABLE and not ran.began and "no-such-python" in ran.closed.words
        with pytest.raises(SandboxUnavailable):
            await manager.restart(chat.id)
        assert not (await manager.check()).ok


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def leftovers(before: set[int], data) -> list[object]:
    """Processes, run directories' contents and cgroups that were not there before."""
    children = [p for p in psutil.Process().children(recursive=True) if p.pid not in before and p.status() != "zombie"]
    return [*children, *(path for path in run_dir(data).iterdir() if path.is_dir() and path.name != "etc")]


async def test_close_ends_all_sandboxes_at_once_whatever_they_do(tmp_path):
    before = {p.pid for p in psutil.Process().children(recursive=True)}
    fds = open_files()
    manager = make_manager(tmp_path, Settings(_env_file=None, warm=0))
    chats = [Chat(manager) for _ in range(4)]
    codes = [
        "while True: pass",
        "import time; time.sleep(60)",
        "import signal; signal.signal(2, signal.SIG_IGN)\nwhile True: pass",
    ]
    running = [asyncio.create_task(chat.run(code)) for chat, code in zip(chats, codes, strict=False)]
    running.append(asyncio.create_task(chats[0].run("print('queued')")))
    while not all([await state(chat) is KernelState.BUSY for chat in chats[:3]]):
        await asyncio.sleep(0.05)
    await manager.prepare(chats[3].id)
    await asyncio.sleep(0.2)
    began = time.monotonic()
    await manager.close()
    assert time.monotonic() - began < 5
    for task in running:
        ran = await task
        assert ran.outcome is Outcome.INTERRUPTED and "shutting down" in ran.closed.words
    assert leftovers(before, tmp_path) == []
    await asyncio.sleep(0.1)
    assert open_files() <= fds + 2


async def test_many_lives_leak_nothing(tmp_path):
    before = {p.pid for p in psutil.Process().children(recursive=True)}
    async with managing(tmp_path) as manager:
        chat = Chat(manager)
        await chat.run("1")
        await manager.remove(chat.id)
        fds, tasks = open_files(), len(asyncio.all_tasks())
        for _ in range(5):
            await chat.run("1")
            await manager.remove(chat.id)
        assert open_files() <= fds + 1 and len(asyncio.all_tasks()) <= tasks + 1
        assert leftovers(before, tmp_path) == []


def test_a_run_directory_leaves_room_for_a_sockets_path(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / ("deep" * 30)))
    path = run_dir(tmp_path)
    assert len(str(path / ("x" * 12) / "gateway.sock")) < 100
    assert path == run_dir(tmp_path) != run_dir(tmp_path / "other")
    assert path.stat().st_mode & 0o077 == 0


def test_settings_are_read_from_the_environment(monkeypatch):
    monkeypatch.setenv("CODEACT_SANDBOX_MEMORY_MB", "2048")
    monkeypatch.setenv("CODEACT_SANDBOX_IDLE_MINUTES", "5")
    settings = Settings(_env_file=None)
    assert (settings.memory_mb, settings.idle_minutes) == (2048, 5)
    limits = settings.limits()
    assert limits.memory == 2 * 1024**3 and limits.data < limits.memory


def test_the_words_name_sizes_and_times_as_people_do():
    assert words.size_words(1024**3) == "1 GB" and words.size_words(512 * 1024**2) == "512 MB"
    assert words.seconds(1) == "1 second" and words.seconds(120) == "2 minutes" and words.seconds(90) == "90 seconds"
    assert words.ended(Outcome.OUT_OF_MEMORY, False, 1024**3, 1) == (
        "Ran out of memory: the cell needed more than the 1 GB this sandbox has. "
        "Your variables are gone; files are kept. Try it in smaller steps."
    )
