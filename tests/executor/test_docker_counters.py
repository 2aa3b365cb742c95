"""Finding a container's counters on the host, whichever version of cgroups, and never another process's."""

from pathlib import Path

import pytest

from executor.sandbox.docker.counters import told, visible

ID = "bddfd53340af7adfacefb87913ec0d4e0d7444c431c0eb40d5f56f275eb25311"


def lay_out(directory: Path, mountinfo: str, cgroup: str, files: dict[str, str]) -> Path:
    """A /proc with our mounts and one process, 77, in `cgroup`; and the cgroups' files. The /proc."""
    proc = directory / "proc"
    (proc / "self").mkdir(parents=True)
    (proc / "77").mkdir()
    (proc / "self" / "mountinfo").write_text(mountinfo.format(at=directory))
    (proc / "77" / "cgroup").write_text(cgroup)
    for name, text in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    return proc


V1_MOUNTS = "".join(
    f"3{number} 24 0:3{number} / {{at}}/{name} rw - cgroup cgroup rw,{name}\n"
    for number, name in enumerate(("memory", "pids", "cpuacct", "cpu"))
)
V1_FILES = {
    f"memory/docker/{ID}/memory.usage_in_bytes": "5000\n",
    f"memory/docker/{ID}/memory.max_usage_in_bytes": "6000\n",
    f"memory/docker/{ID}/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
    f"pids/docker/{ID}/pids.current": "9\n",
    f"cpuacct/docker/{ID}/cpuacct.usage": "1500000000\n",
}


def v1_cgroup(path: str) -> str:
    return "".join(f"{number}:{name}:{path}\n" for number, name in enumerate(("memory", "pids", "cpuacct", "cpu")))


def test_version_1(tmp_path: Path) -> None:
    proc = lay_out(tmp_path, V1_MOUNTS, v1_cgroup(f"/docker/{ID}") + f"0::/docker/{ID}\n", V1_FILES)
    found = visible(77, ID, proc)
    assert found is not None and found.version == 1
    usage = found.usage()
    assert (usage.memory, usage.peak, usage.oom_kills, usage.pids, usage.cpu_s) == (5000, 6000, 2, 9, 1.5)


@pytest.mark.parametrize("path", [f"/system.slice/docker-{ID}.scope", f"/docker/{ID}"])
def test_version_2_by_either_driver(tmp_path: Path, path: str) -> None:
    files = {
        "memory.current": "5000\n",
        "memory.peak": "6000\n",
        "memory.events": "low 0\noom 3\noom_kill 2\n",
        "pids.current": "9\n",
        "cpu.stat": "usage_usec 1500000\nuser_usec 1\n",
    }
    mounts = "35 24 0:30 / {at}/cg rw,nosuid - cgroup2 cgroup2 rw\n"
    proc = lay_out(tmp_path, mounts, f"0::{path}\n", {f"cg{path}/{name}": text for name, text in files.items()})
    found = visible(77, ID, proc)
    assert found is not None and found.version == 2
    usage = found.usage()
    assert (usage.memory, usage.peak, usage.oom_kills, usage.pids, usage.cpu_s) == (5000, 6000, 2, 9, 1.5)


def test_a_process_of_the_same_number_that_is_another_is_none_of_ours(tmp_path: Path) -> None:
    """Where the executor is in a container itself, the engine's process numbers mean others here."""
    proc = lay_out(tmp_path, V1_MOUNTS, v1_cgroup("/docker/another"), V1_FILES)
    assert visible(77, ID, proc) is None
    assert visible(78, ID, proc) is None


def test_what_cannot_be_read_is_none(tmp_path: Path) -> None:
    """A container of our own sees its cgroups only, as if they were the root."""
    proc = lay_out(tmp_path, V1_MOUNTS, v1_cgroup(f"/../{ID}"), {})
    assert visible(77, ID, proc) is None


def test_the_engines_figures() -> None:
    stats = {
        "memory_stats": {"usage": 5000, "max_usage": 6000},
        "pids_stats": {"current": 9},
        "cpu_stats": {"cpu_usage": {"total_usage": 1_500_000_000}},
    }
    usage = told(stats, 2)
    assert (usage.memory, usage.peak, usage.oom_kills, usage.pids, usage.cpu_s) == (5000, 6000, 2, 9, 1.5)
    ended = told({"memory_stats": {}, "pids_stats": {}, "cpu_stats": {"cpu_usage": {}}}, 0)
    assert (ended.memory, ended.pids, ended.cpu_s) == (None, None, None)
    assert told({}, 1).oom_kills == 1
