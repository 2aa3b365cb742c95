"""Finding and using control groups of either version."""

import asyncio
import os
from pathlib import Path

import pytest

from executor.sandbox import cgroups
from executor.sandbox.advice import advise
from executor.sandbox.base import Limits, Spec
from executor.sandbox.bubblewrap import Bubblewrap
from executor.sandbox.cgroups import Group, Place
from executor.sandbox.place import hands_on, here, mounts, own
from executor.sandbox.running import Running
from tests.executor import seen
from tests.executor.kernel_client import run

SYSTEMD = (
    "35 24 0:30 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"
    "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
)
FILES = ("memory.max", "memory.swap.max", "memory.oom.group", "pids.max", "cpu.max")
SPLIT = (
    "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 /docker/ab /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
    "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
)


@pytest.fixture(params=["bubblewrap"])
def maker(request: pytest.FixtureRequest) -> seen.Maker:
    return seen.maker(request)


def test_the_own_cgroup_is_found_on_version_2() -> None:
    paths = own("0::/user.slice/user-1000.slice/session-2.scope\n")
    assert here("all", mounts(SYSTEMD), paths) == Path("/sys/fs/cgroup/user.slice/user-1000.slice/session-2.scope")


def test_the_own_cgroups_are_found_on_version_1() -> None:
    points, paths = mounts(SPLIT), own("3:memory:/docker/ab/x\n1:cpu,cpuacct:/\n0::/\n")
    assert here("memory", points, paths) == Path("/sys/fs/cgroup/memory/x")
    assert here("cpu", points, paths) == Path("/sys/fs/cgroup/cpu,cpuacct")
    assert here("all", points, paths) == Path("/sys/fs/cgroup/unified")


def version_2(parent: Path, files: tuple[str, ...] = FILES) -> Place:
    """A directory with the files the kernel would put into a group called x."""
    (parent / "codeact-x").mkdir()
    for name in files:
        (parent / "codeact-x" / name).touch()
    return Place(2, {"all": parent})


def test_limits_are_written_as_version_2_wants_them(tmp_path: Path) -> None:
    group = Group(version_2(tmp_path), "x", Limits(memory=1000, pids=7, cpus=0.5))
    written = {path.name: path.read_text() for path in group.paths["all"].iterdir()}
    assert written == {
        "memory.max": "1000",
        "memory.swap.max": "0",
        "memory.oom.group": "0",
        "pids.max": "7",
        "cpu.max": "50000 100000",
    }


def test_a_kernel_without_swap_accounting_is_no_obstacle_but_one_without_limits_is(tmp_path: Path) -> None:
    Group(version_2(tmp_path, tuple(name for name in FILES if name not in cgroups.OPTIONAL)), "x", Limits())
    (tmp_path / "codeact-x" / "memory.max").unlink()
    with pytest.raises(OSError):
        Group(Place(2, {"all": tmp_path}), "x", Limits())


def test_version_2_counters_are_read(tmp_path: Path) -> None:
    group = Group(version_2(tmp_path), "x", Limits())
    (group.paths["all"] / "memory.current").write_text("123\n")
    (group.paths["all"] / "pids.current").write_text("4\n")
    (group.paths["all"] / "memory.events").write_text("low 0\nhigh 0\nmax 9\noom 2\noom_kill 1\noom_group_kill 0\n")
    (group.paths["all"] / "cpu.stat").write_text("usage_usec 1500000\nuser_usec 1000000\nsystem_usec 500000\n")
    usage = group.usage()
    assert (usage.memory, usage.pids, usage.oom_kills, usage.cpu_s) == (123, 4, 1, 1.5)


def test_version_1_counts_cpu_time_by_a_controller_that_limits_nothing(tmp_path: Path) -> None:
    for name in ("memory", "cpuacct"):
        (tmp_path / name / "codeact-x").mkdir(parents=True)
    for file in ("memory.limit_in_bytes", "memory.swappiness"):
        (tmp_path / "memory" / "codeact-x" / file).touch()
    place = Place(1, {name: tmp_path / name for name in ("memory", "cpuacct")})
    group = Group(place, "x", Limits())
    assert group.usage().cpu_s is None
    (group.paths["cpuacct"] / "cpuacct.usage").write_text("2500000000\n")
    assert group.usage().cpu_s == 2.5 and place.controllers() == {"memory"}


@pytest.mark.sandbox
async def test_cpu_time_grows_with_what_a_cell_computes(sandbox: Running) -> None:
    before = sandbox.usage().cpu_s
    if before is None:
        pytest.skip("CPU time is not counted here")
    await run(sandbox, "import time\nend = time.process_time() + 0.5\nwhile time.process_time() < end: pass")
    after = sandbox.usage().cpu_s
    assert after is not None and after >= before + 0.5


def test_controllers_are_handed_on_where_that_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "cgroup.subtree_control").write_text("cpu memory pids\n")
    assert hands_on(tmp_path)
    assert not hands_on(tmp_path / "missing")


@pytest.mark.sandbox
async def test_a_sandbox_joins_and_leaves_a_version_2_cgroup(
    backend: Bubblewrap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine whose controllers belong to version 1 the groups are real, only without limits."""
    points = mounts(Path("/proc/self/mountinfo").read_text())
    if "all" not in points or not os.access(points["all"].point, os.W_OK):
        pytest.skip("no writable version 2 hierarchy here")
    backend.place = Place(2, {"all": points["all"].point})
    if "memory" not in (points["all"].point / "cgroup.controllers").read_text():
        monkeypatch.setattr(cgroups, "v2_limits", lambda limits: {})
    sandbox = await backend.create(Spec("two", tmp_path / "ws", Limits()))
    await run(sandbox, "import subprocess; subprocess.Popen(['setsid', 'sleep', '97531'])")
    assert sandbox.group is not None
    path = sandbox.group.paths["all"]
    assert set(sandbox.tenant_pids()) < set(cgroups.members(path))
    await asyncio.to_thread(cgroups.kill, path)
    async with asyncio.timeout(5):
        await sandbox.wait()
    await sandbox.kill()
    assert not path.exists()


def test_advice_names_the_switch_that_is_off() -> None:
    def only(name: str, value: str):
        return lambda asked: value if asked == name else ""

    bwrap, complaint = Path("/x/bwrap"), "bwrap: setting up uid map: Permission denied"
    assert "unprivileged_userns_clone=1" in advise(complaint, bwrap, only("kernel/unprivileged_userns_clone", "0"))
    assert "max_user_namespaces" in advise(complaint, bwrap, only("user/max_user_namespaces", "0"))
    apparmor = advise(complaint, bwrap, only("kernel/apparmor_restrict_unprivileged_userns", "1"))
    assert "apparmor_restrict_unprivileged_userns=0" in apparmor and "/x/bwrap" in apparmor
    assert "make setup" in advise("ModuleNotFoundError: No module named 'jupyter_server'", bwrap, only("", ""))
    assert "container" in advise("bwrap: Can't mount proc on /newroot/proc: Operation not permitted", bwrap, only("", ""))
    assert advise("something else", bwrap, only("", "")) == ""
