"""Sandboxes that outlive their executor, by bubblewrap: what the next life takes up, and that nothing of the rest stays."""

import asyncio
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from executor.sandbox import adoption, etc
from executor.sandbox.base import Limits, SandboxUnavailable, Spec
from executor.sandbox.bubblewrap import Bubblewrap
from executor.sandbox.gateway import answered
from executor.sandbox.process import children
from executor.sandbox.programs import default_python
from executor.sandbox.running import Running
from tests.executor.kernel_client import run
from tests.executor.lives import live, there_is

pytestmark = pytest.mark.sandbox
Next = Callable[..., Bubblewrap]


@pytest.fixture
async def lives(tmp_path: Path) -> AsyncIterator[Next]:
    """Makes the lives of one executor; the last one's end is the end of all."""
    made: list[Bubblewrap] = []

    def begin(survive: bool = True, **how) -> Bubblewrap:
        made.append(Bubblewrap(tmp_path / "run", default_python(), survive, **how))
        return made[-1]

    yield begin
    for one in reversed(made):
        await one.close()
    last = Bubblewrap(tmp_path / "run", default_python())
    await last.adopt()
    await last.close()
    assert there_is(tmp_path / "run") == []


async def bound(backend: Bubblewrap, tree: Path, id: str = "one", **more) -> Running:
    sandbox = await backend.create(Spec(id, tree, **more))
    await run(sandbox, "x = 41")
    sandbox.assign(f"talk-{id}", tree)
    return sandbox


async def test_t39_variables_outlive_a_killed_executor(lives: Next, tmp_path: Path) -> None:
    told = await live(tmp_path / "run", tmp_path / "ws")
    assert alive(told["pid"]) and alive(told["init"])
    backend = lives()
    [sandbox] = await backend.adopt()
    assert (sandbox.id, sandbox.conversation, sandbox.token) == ("one", "talk", told["token"])
    assert sandbox.spec.generation == 3 and sandbox.spec.workspace == tmp_path / "ws"
    assert abs(sandbox.deadline - time.time() - sandbox.spec.lifetime_s) < 300
    assert sandbox.alive() and (await run(sandbox, "x += 1; print(x)")).stdout == "42\n"
    if backend.place is not None:
        assert (sandbox.usage().memory or 0) > 1024**2 and (sandbox.usage().pids or 0) > 1
    with pytest.raises(RuntimeError, match="conversation already"):
        sandbox.assign("another", tmp_path / "ws")
    waiting = asyncio.create_task(sandbox.wait())
    await sandbox.kill()
    assert await waiting == "was killed" and not sandbox.alive()
    assert there_is(tmp_path / "run") == []
    assert (tmp_path / "ws" / "kept").read_text() == "x"


MADE_HALF = ["directory made", "record written", "cgroups made", "socket bound", "launched", "settings told", "noted"]


@pytest.mark.parametrize("point", [*MADE_HALF, "made", "half bound", "processes ended", "cgroups removed"])
async def test_t11_what_a_crash_left_half_done_is_gone(lives: Next, tmp_path: Path, point: str) -> None:
    await live(tmp_path / "run", tmp_path / "ws", point)
    assert (tmp_path / "run" / "one").is_dir()
    backend = lives()
    assert await backend.adopt() == []
    assert there_is(tmp_path / "run") == []
    if point == "directory made":  # its name is free again
        sandbox = await backend.create(Spec("one", tmp_path / "ws"))
        assert (await run(sandbox, "print('x' in globals())")).stdout == "False\n"


async def test_t11_a_crash_just_after_it_was_bound_loses_nothing(lives: Next, tmp_path: Path) -> None:
    await live(tmp_path / "run", tmp_path / "ws", "bound")
    [sandbox] = await lives().adopt()
    assert sandbox.conversation == "talk"
    assert (await run(sandbox, "print(x)")).stdout == "41\n"


async def test_t39_closing_keeps_what_belongs_to_a_conversation(lives: Next, tmp_path: Path) -> None:
    first, second = lives(), lives()
    talk = await bound(first, tmp_path / "ws")
    await first.create(Spec("warm", tmp_path / "warm"))
    with pytest.raises(SandboxUnavailable, match="Another executor"):
        await second.adopt()
    await first.close(keep=True)
    assert not (tmp_path / "run" / "warm").exists()
    [sandbox] = await second.adopt()
    assert (await run(sandbox, "print(x)")).stdout == "41\n"
    assert sandbox.token == talk.token
    await second.close(keep=True)
    third = lives()
    [sandbox] = await third.adopt()
    assert (await run(sandbox, "print(x)")).stdout == "41\n"
    await third.close()
    assert there_is(tmp_path / "run") == [] and not (tmp_path / "run").exists()


async def test_t42_adopting_and_leaving_leaks_no_descriptor(lives: Next, tmp_path: Path) -> None:
    async def life() -> int:
        backend = lives()
        [sandbox] = await backend.adopt()
        assert (await run(sandbox, "print(x)")).stdout == "41\n"
        await backend.close(keep=True)
        return len(list(Path("/proc/self/fd").iterdir()))

    first = lives()
    await bound(first, tmp_path / "ws")
    await first.close(keep=True)
    before = await life()
    assert [await life() for _ in range(3)] == [before] * 3


async def test_t31_the_user_of_an_adopted_sandbox_is_nobody_elses(lives: Next, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("all sandboxes run as this user")
    first = lives()
    uid = (await bound(first, tmp_path / "ws")).uid
    await first.close(keep=True)
    backend = lives()
    [old] = await backend.adopt()
    (tmp_path / "other").mkdir()
    os.chown(tmp_path / "other", uid, uid)
    new = await backend.create(Spec("two", tmp_path / "other"))
    assert old.uid == uid and new.uid != uid
    await old.kill()
    (tmp_path / "third").mkdir()
    os.chown(tmp_path / "third", uid, uid)
    assert (await backend.create(Spec("three", tmp_path / "third"))).uid == uid


async def test_a_gateway_that_ends_is_noticed_after_adoption(lives: Next, tmp_path: Path) -> None:
    first = lives()
    await bound(first, tmp_path / "ws")
    await first.close(keep=True)
    [sandbox] = await lives().adopt()
    os.kill(sandbox.gateway_pid(), signal.SIGKILL)
    async with asyncio.timeout(20):
        assert "ended by itself" in await sandbox.wait()
    assert not sandbox.alive()
    with pytest.raises(RuntimeError):
        sandbox.assign("x", tmp_path)
    await sandbox.kill()
    with pytest.raises(SandboxUnavailable):
        sandbox.dial_path()


async def test_t16_a_gateway_that_the_tenant_stopped_is_dead(
    lives: Next, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = lives()
    sandbox = await bound(first, tmp_path / "ws")
    with pytest.raises(TimeoutError):
        await run(sandbox, "import os, signal; os.kill(os.getppid(), signal.SIGSTOP)", timeout=2)
    await first.close(keep=True)
    monkeypatch.setattr(adoption, "ANSWER_S", 1.0)
    assert await lives().adopt() == []
    assert there_is(tmp_path / "run") == []


async def test_t11_a_deadline_passes_while_there_is_no_executor(lives: Next, tmp_path: Path) -> None:
    """Not even a gateway that a cell has stopped lives longer."""
    first = lives()
    for lifetime in (5.0, 10.0, 20.0, 40.0):  # the shortest that this machine can make one in
        try:
            sandbox = await first.create(Spec("one", tmp_path / "ws", lifetime_s=lifetime))
            sandbox.assign("talk", tmp_path / "ws")
            break
        except SandboxUnavailable:
            continue
    outer, deadline = sandbox.tree.outer.pid, sandbox.deadline
    os.kill(sandbox.gateway_pid(), signal.SIGSTOP)
    await first.close(keep=True)
    while any(line for line in there_is(tmp_path / "run") if line.startswith("process")):
        assert time.time() < deadline + 30
        await asyncio.sleep(0.1)
    assert time.time() >= deadline - 0.5
    assert not alive(outer)
    assert await lives().adopt() == []
    assert there_is(tmp_path / "run") == []


async def test_a_lifetime_that_ends_is_told_as_such(lives: Next, tmp_path: Path) -> None:
    sandbox = await bound(lives(), tmp_path / "ws")
    sandbox.deadline = time.time()
    os.kill(sandbox.gateway_pid(), signal.SIGKILL)
    async with asyncio.timeout(20):
        assert "lifetime" in await sandbox.wait()


async def test_an_executor_whose_sandboxes_do_not_survive_adopts_none(lives: Next, tmp_path: Path) -> None:
    await live(tmp_path / "run", tmp_path / "ws")
    assert await lives(survive=False).adopt() == []
    assert there_is(tmp_path / "run") == []


async def test_t39_without_cgroups_it_is_the_same(lives: Next, tmp_path: Path) -> None:
    def next_life() -> Bubblewrap:
        backend = lives()
        backend.place = None
        return backend

    first = next_life()
    talk = await bound(first, tmp_path / "ws")
    assert talk.group is None
    await first.create(Spec("warm", tmp_path / "warm"))
    await first.close(keep=True)
    second = next_life()
    [sandbox] = await second.adopt()
    assert (await run(sandbox, "print(x)")).stdout == "41\n" and sandbox.usage().memory is None
    await second.close(keep=True)
    (tmp_path / "run" / "one" / "sandbox.json").unlink()
    assert await next_life().adopt() == []
    assert there_is(tmp_path / "run") == []


async def test_settings_of_another_day_are_not_kept(lives: Next, tmp_path: Path) -> None:
    first = lives()
    await bound(first, tmp_path / "ws")
    await first.close(keep=True)
    second = lives(limits=Limits())
    [_] = await second.adopt()
    await second.close(keep=True)
    assert await lives(limits=Limits(pids=100)).adopt() == []
    assert there_is(tmp_path / "run") == []


async def test_t11_a_run_directory_that_was_removed_hides_nothing(lives: Next, tmp_path: Path) -> None:
    await live(tmp_path / "run", tmp_path / "ws")
    shutil.rmtree(tmp_path / "run")
    assert await lives().adopt() == []
    assert there_is(tmp_path / "run") == []


async def test_t11_two_executors_leave_each_other_alone(lives: Next, tmp_path: Path) -> None:
    mine = await bound(lives(), tmp_path / "ws")
    other = Bubblewrap(tmp_path / "other", default_python(), survive=True)
    theirs = await bound(other, tmp_path / "ws2")
    assert theirs.token != mine.token
    await other.close(keep=True)
    other = Bubblewrap(tmp_path / "other", default_python(), survive=False)
    assert await other.adopt() == [] and there_is(tmp_path / "other") == []
    await other.close()
    assert (await run(mine, "print(x)")).stdout == "41\n"


async def test_t22_standard_error_holds_so_much_and_no_more(lives: Next, tmp_path: Path) -> None:
    """With nobody there to read it, it neither stops who writes nor grows."""
    first = lives()
    await bound(first, tmp_path / "ws")
    await first.close(keep=True)
    [sandbox] = await lives().adopt()
    flood = """
import os
out, written = os.open('/proc/1/fd/2', os.O_WRONLY), 0
try:
    for _ in range(1000): written += os.write(out, b'x' * 1000)
except OSError as error:
    print(error.errno, written)
for change in (lambda: os.ftruncate(out, 1 << 30), lambda: os.pwrite(out, b'x', 1 << 20)):
    try: change()
    except OSError as error: print(error.errno)
"""
    assert (await run(sandbox, flood)).stdout == "1 65536\n1\n1\n"
    assert (await run(sandbox, "print(x)")).stdout == "41\n"


async def test_etc_of_a_running_sandbox_stays_when_the_hosts_changes(
    lives: Next, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = lives()
    await bound(first, tmp_path / "ws")
    await first.close(keep=True)
    monkeypatch.setattr(etc, "FILES", {**etc.FILES, "motd": "hello"})
    backend = lives()
    [old] = await backend.adopt()
    new = await backend.create(Spec("two", tmp_path / "ws2"))
    look = "import os; print(os.path.exists('/etc/passwd'), os.path.exists('/etc/motd'))"
    assert (await run(old, look)).stdout == "True False\n"
    assert (await run(new, look)).stdout == "True True\n"
    await old.kill()
    await backend.close(keep=True)
    await lives().adopt()
    assert there_is(tmp_path / "run") == []


def test_etc_is_made_anew_only_when_it_differs(tmp_path: Path) -> None:
    etc.renew(tmp_path / "etc")
    inode = (tmp_path / "etc").stat().st_ino
    etc.renew(tmp_path / "etc")
    assert (tmp_path / "etc").stat().st_ino == inode and [path.name for path in tmp_path.iterdir()] == ["etc"]
    (tmp_path / "etc" / "hosts").write_text("10.0.0.1 bank\n")
    etc.renew(tmp_path / "etc")
    assert (tmp_path / "etc" / "hosts").read_text() == etc.FILES["hosts"]
    [aside] = [path for path in tmp_path.iterdir() if path.name != "etc"]
    assert aside.name.startswith("etc.") and aside.stat().st_ino == inode


async def test_t28_a_token_opens_no_later_sandbox_of_the_same_name(lives: Next, tmp_path: Path) -> None:
    backend = lives()
    first = await backend.create(Spec("one", tmp_path / "ws", generation=1))
    await run(first, "print(1)")
    await first.kill()
    second = await backend.create(Spec("one", tmp_path / "ws", generation=2))
    assert first.token != second.token
    with pytest.raises(ValueError, match="401"):
        await answered(second.dial_path(), first.token)
    assert (await run(second, "print(1)")).stdout == "1\n"


async def test_t6_links_in_a_workspace_lead_an_adopting_executor_nowhere(lives: Next, tmp_path: Path) -> None:
    """Names like those of mount points, and a host's file to be given away."""
    secret = tmp_path / "secret"
    secret.write_text("host's")
    owner = secret.stat().st_uid
    first = lives()
    sandbox = await bound(first, tmp_path / "ws")
    names = ("etc", "proc", "dev", "tmp", "run", "opt", "workspace", "usr", "sandbox.json", "gateway.sock")
    plant = f"import os\nfor name in {names}: os.symlink('/etc', name)\nos.symlink({str(secret)!r}, 'secret')"
    assert (await run(sandbox, plant)).error == ""
    await first.close(keep=True)
    before = {path: path.lstat().st_mtime_ns for path in Path("/etc").iterdir()}
    backend = lives()
    [adopted] = await backend.adopt()
    (tmp_path / "ws" / "uploaded").write_text("by the host")
    backend.give(tmp_path / "ws", adopted)
    assert (secret.stat().st_uid, secret.read_text()) == (owner, "host's")
    assert (await run(adopted, "open('uploaded', 'a').write('!'); print(x)")).stdout == "41\n"
    await adopted.kill()
    again = await backend.create(Spec("two", tmp_path / "ws"))
    assert (await run(again, "import os; print(os.path.isdir('/opt/sandbox'), os.getcwd())")).stdout == "True /workspace\n"
    assert {path: path.lstat().st_mtime_ns for path in Path("/etc").iterdir()} == before
    assert secret.read_text() == "host's"


@pytest.mark.timeout(900)
async def test_t42_sixty_lives_leave_nothing(lives: Next, tmp_path: Path) -> None:
    """The soak in miniature."""
    backend = lives()

    async def lane(number: int, count: int) -> None:
        for life in range(count):
            sandbox = await backend.create(Spec(f"s{number}-{life}", tmp_path / f"ws{number}", generation=life))
            assert (await run(sandbox, "open('f', 'w').write('x'); print(len(dir()))", timeout=120)).error == ""
            if life % 2:
                sandbox.assign(f"talk{number}", tmp_path / f"ws{number}")
            await sandbox.kill()

    await lane(0, 2)
    before = held()
    await asyncio.gather(lane(1, 20), lane(2, 20), lane(3, 20))
    assert there_is(tmp_path / "run") == []
    assert held() == before


def alive(pid: int) -> bool:
    """And not only waited for."""
    return Path(f"/proc/{pid}/exe").exists()


def held() -> dict[str, int]:
    """How much this process has open, and its children, dead ones included."""
    return {
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
        "children": len(children(os.getpid())),
    }
