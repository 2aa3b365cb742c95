"""Records that do not say the truth: whatever stands in them, nothing that is not the sandbox's own is kept, killed or
removed."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from executor.sandbox import adoption, left, process, record
from executor.sandbox.base import SandboxUnavailable, Spec
from executor.sandbox.bubblewrap import Bubblewrap
from executor.sandbox.place import mounts
from executor.sandbox.process import Held, started
from executor.sandbox.programs import default_python
from executor.sandbox.record import Record
from tests.executor.kernel_client import run
from tests.executor.lives import there_is

pytestmark = pytest.mark.sandbox


@pytest.fixture
def victim() -> Iterator[int]:
    """A process that is nobody's sandbox."""
    with subprocess.Popen(["sleep", "600"]) as sleeping:
        yield sleeping.pid
        alive = sleeping.poll() is None
        sleeping.kill()
    assert alive


def spawn(script: str, *name: str, **how: Any) -> subprocess.Popen:
    return subprocess.Popen(["sh", "-c", script, *name], **how)


def says(**facts: Any) -> Callable[[dict], None]:
    return lambda noted: noted["facts"].update(facts)


def lacks(name: str) -> Callable[[dict], None]:
    return lambda noted: noted["facts"].pop(name)


def is_said(**fields: Any) -> Callable[[dict], None]:
    return lambda noted: noted.update(fields)


LIES: dict[str, Callable[[dict], None]] = {
    "no-deadline": is_said(deadline=None),
    "never": is_said(deadline=float("nan")),
    "past": is_said(deadline=1.0),
    "a-path": is_said(conversation="../../etc"),
    "a-number": is_said(conversation=7),
    "another-hash": is_said(spec_hash="0" * 16),
    "no-facts": is_said(facts=None),
    "no-pids": lacks("init"),
    "words-for-pids": says(outer=["one", "two"]),
    "huge-pid": says(outer=[10**30, "1"]),
    "another-user": says(uid=0),
    "another-workspace": is_said(workspace="/etc"),
    "no-cgroups": lacks("cgroups"),
    "more-memory": says(limits={"memory": 1 << 40}),
    "another-profile": says(profile="all"),
}


async def left_running(run_dir: Path, tree: Path, id: str) -> Path:
    """The directory of a sandbox that an earlier life left."""
    backend = Bubblewrap(run_dir, default_python(), survive=True)
    await backend.adopt()
    sandbox = await backend.create(Spec(id, tree))
    await run(sandbox, "x = 41")
    sandbox.assign("talk", tree)
    await backend.close(keep=True)
    return sandbox.directory


async def test_t11_a_record_that_lies_opens_no_sandbox(tmp_path: Path, victim: int) -> None:
    directory = await left_running(tmp_path / "run", tmp_path / "ws", "one")
    backend = Bubblewrap(tmp_path / "run", default_python(), survive=True)
    kit, file = await backend._prepared(), directory / "sandbox.json"
    honest = file.read_text()
    LIES["somebody-elses-pid"] = says(outer=[victim, started(victim)])
    LIES["a-later-pid"] = says(outer=[json.loads(honest)["facts"]["outer"][0], "1"])
    LIES["somebody-elses-pid-1"] = says(init=[victim, started(victim)])
    for name, lie in LIES.items():
        noted = json.loads(honest)
        lie(noted)
        file.write_text(json.dumps(noted))
        with pytest.raises(adoption.Unfit):
            print(name, adoption.reopened(kit, directory, None))
    for text in (honest[:-1], honest[: len(honest) // 2], "", "[]", honest.replace('"one"', '"two"', 1)):
        file.write_text(text)
        with pytest.raises(adoption.Unfit, match="no record"):
            adoption.reopened(kit, directory, None)
    file.write_text(honest)
    [sandbox] = await backend.adopt()  # nothing but the lies stood in the way
    assert (await run(sandbox, "print(x)")).stdout == "41\n"
    await backend.close()
    assert there_is(tmp_path / "run") == []


async def test_t29_what_lies_in_the_place_of_the_socket_is_looked_at(tmp_path: Path) -> None:
    directory = await left_running(tmp_path / "run", tmp_path / "ws", "one")
    backend = Bubblewrap(tmp_path / "run", default_python(), survive=True)
    kit, place = await backend._prepared(), directory / "gateway.sock"
    place.rename(directory / "real")
    for plant in (place.mkdir, place.touch, lambda: place.symlink_to("real"), lambda: os.mkfifo(place), lambda: None):
        plant()
        with pytest.raises(adoption.Unfit):
            adoption.reopened(kit, directory, None)
        if place.is_dir():
            place.rmdir()
        place.unlink(missing_ok=True)
    (directory / "real").rename(place)
    [_] = await backend.adopt()
    await backend.close()
    assert there_is(tmp_path / "run") == []


@pytest.mark.parametrize("start", ["right", "wrong"])
async def test_t11_a_record_that_names_others_harms_them_not(tmp_path: Path, victim: int, start: str) -> None:
    run_dir = tmp_path / "run"
    directory = await left_running(run_dir, tmp_path / "ws", "one")
    mark = left.mark(run_dir, "one")
    fake = tmp_path / mark
    fake.mkdir()
    (fake / "cgroup.procs").write_text(f"{victim}\n")
    begun = started(victim) if start == "right" else "1"
    noted = json.loads((directory / "sandbox.json").read_text())
    noted["facts"].update(outer=[victim, begun], init=[victim, begun], pid=victim, cgroups={"memory": str(fake)})
    (directory / "sandbox.json").write_text(json.dumps(noted))
    (run_dir / "half").mkdir()
    point = next(mount.point for mount in mounts(Path("/proc/self/mountinfo").read_text()).values())
    odd_paths = (f"{point}/tasks/{left.mark(run_dir, 'paths')}", f"{point}/\0/{left.mark(run_dir, 'paths')}")
    for name, facts in (("facts", None), ("paths", {"cgroups": dict(enumerate(odd_paths))})):
        record.begin(run_dir / name, Record(name, 1, "x", 1.0, time.time() + 600, "talk", "/", facts))
    (run_dir / "odd").mkdir()
    (run_dir / "odd" / "sandbox.json").mkdir()
    backend = Bubblewrap(run_dir, default_python(), survive=True)
    assert await backend.adopt() == []
    await backend.close()
    assert there_is(run_dir) == [] and fake.is_dir() and Path(f"/proc/{victim}").exists()


async def test_t28_a_record_of_another_generation_has_no_token(tmp_path: Path) -> None:
    directory = await left_running(tmp_path / "run", tmp_path / "ws", "one")
    noted = json.loads((directory / "sandbox.json").read_text())
    (directory / "sandbox.json").write_text(json.dumps(noted | {"generation": 2}))
    backend = Bubblewrap(tmp_path / "run", default_python(), survive=True)
    assert await backend.adopt() == []
    assert there_is(tmp_path / "run") == []
    await backend.close()


async def test_t28_another_key_opens_nothing(tmp_path: Path) -> None:
    directory = await left_running(tmp_path / "run", tmp_path / "ws", "one")
    (directory.parent / "runner.key").write_bytes(b"k" * 32)
    backend = Bubblewrap(tmp_path / "run", default_python(), survive=True)
    assert await backend.adopt() == [] and there_is(tmp_path / "run") == []
    await backend.close()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "runner.key").touch(mode=0o644)
    with pytest.raises(SandboxUnavailable, match="open to others"):
        await Bubblewrap(tmp_path / "run", default_python(), survive=True).adopt()


async def test_a_workspace_that_was_replaced_is_not_taken_for_the_sandboxs(tmp_path: Path) -> None:
    directory = await left_running(tmp_path / "run", tmp_path / "ws", "one")
    (tmp_path / "ws").rename(tmp_path / "elsewhere")
    (tmp_path / "ws").symlink_to(tmp_path / "elsewhere")
    backend = Bubblewrap(tmp_path / "run", default_python(), survive=True)
    kit = await backend._prepared()
    with pytest.raises(adoption.Unfit):
        adoption.reopened(kit, directory, None)
    (tmp_path / "ws").unlink()
    (tmp_path / "ws").mkdir()
    assert await backend.adopt() == [] and there_is(tmp_path / "run") == []
    assert (tmp_path / "elsewhere").is_dir()
    await backend.close()


def test_a_records_cgroups_are_those_of_its_own_name(tmp_path: Path) -> None:
    mark = left.mark(tmp_path, "one")
    point = next(mount.point for mount in mounts(Path("/proc/self/mountinfo").read_text()).values())
    own = str(point / "deep" / mark)
    for path in (str(tmp_path / mark), str(point / "other"), f"{point}/../../tmp/{mark}", f"{own}/more", "", mark, 7, None):
        assert left.noted_cgroups(tmp_path, "one", {"cgroups": {"memory": path}}) == {}
    assert left.noted_cgroups(tmp_path, "one", {"cgroups": {"memory": own}}) == {"memory": Path(own)}
    assert left.noted_cgroups(tmp_path, "one", None) == {}
    for odd in (None, [], "x", 7):
        assert left.noted_cgroups(tmp_path, "one", {"cgroups": odd}) == {}
    assert left.noted_cgroups(tmp_path, "one", {}) == {}


async def test_t11_only_what_bears_the_mark_is_ended(tmp_path: Path, victim: int) -> None:
    marks = [left.mark(tmp_path, "one"), left.mark(tmp_path, "two")]
    sleeping = [spawn("sleep 600; true", name) for name in (marks[0], marks[0] + "x", marks[1])]
    try:
        assert process.end_marked(lambda word: word == marks[0], 5.0)
        sleeping[0].wait(5)
        assert [one.poll() for one in sleeping[1:]] == [None, None]
    finally:
        for one in sleeping:
            one.kill()
            one.wait()


async def test_a_process_is_held_by_more_than_its_number(victim: int) -> None:
    assert process.again(victim, "1") is None
    assert process.again(10**9, "1") is None and process.again(-1, "1") is None
    held = process.again(victim, started(victim))
    assert held is not None and held.alive()
    held.close()
    held.kill()  # nobody any more
    assert not held.alive()


async def test_how_a_process_ended_is_known_to_its_parent_alone() -> None:
    for end, status in (("exit 3", 3), ("kill -9 $$", -9), ("true", 0)):
        child = spawn(f"sleep 0.1; {end}")
        held = Held(child.pid)
        child.returncode = 0
        assert await held.ended() == status
        held.close()
    parent = spawn("sleep 0.5 & echo $!", stdout=subprocess.PIPE, text=True)
    held = Held(int(parent.stdout.readline()))
    parent.communicate()
    assert await held.ended() is None
    held.close()
