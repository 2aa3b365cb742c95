"""An executor that is killed and comes again: Docker sandboxes found, kept or cleared away."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from executor.sandbox.base import Limits, Spec
from executor.sandbox.docker import leftover
from executor.sandbox.docker.backend import Docker
from executor.sandbox.docker.container import Container
from executor.sandbox.docker.ground import Options
from tests.executor import seen
from tests.executor.kernel_client import run

pytestmark = pytest.mark.sandbox

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
        assert seen.on_engine(backend) == [] and seen.left_in(backend) == []
        sandbox = await backend.create(Spec("orphan", tmp_path / "ws", Limits()))
        assert (await run(sandbox, "print('again')")).stdout == "again\n"
    finally:
        await backend.close()
    assert seen.on_engine(backend) == []


async def test_t11_t39_killed_with_a_conversation_it_finds_the_sandbox_again(sandbox_image: str, tmp_path: Path) -> None:
    await killed_at("assigned", tmp_path / "run", sandbox_image, tmp_path / "ws")
    backend = Docker(tmp_path / "run", Options(sandbox_image))
    [sandbox] = await backend.adopt()
    assert isinstance(sandbox, Container)
    assert (sandbox.conversation, sandbox.id, sandbox.spec.workspace) == ("talk", "orphan", tmp_path / "ws")
    assert (await run(sandbox, "print(1)")).stdout == "1\n"
    await backend.close()
    assert seen.on_engine(backend) == [] and seen.left_in(backend) == []


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
    assert len(seen.on_engine(first)) == 1 and not warm.alive()
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
        await seen.until(lambda: sandbox.usage().workspace is not None)
    finally:
        await second.close()
    assert seen.on_engine(second) == [] and seen.left_in(second) == []


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
        assert seen.on_engine(second) == [] and seen.left_in(second) == []
    finally:
        await second.close()


async def test_t11_a_container_without_a_record_goes_after_a_grace(docker: Docker, tmp_path: Path) -> None:
    sandbox = await docker.create(Spec("one", tmp_path / "ws", Limits()))
    plant = await docker.prepared()
    del docker.running["one"]
    await leftover.strays(docker, plant, 60)
    assert seen.on_engine(docker) == [sandbox.container]
    await leftover.strays(docker, plant, -1)
    assert seen.on_engine(docker) == []
    docker.running["one"] = sandbox


async def test_t11_another_executors_containers_are_left_alone(docker: Docker, sandbox_image: str, tmp_path: Path) -> None:
    sandbox = await docker.create(Spec("one", tmp_path / "ws", Limits()))
    other = Docker(tmp_path / "other", Options(sandbox_image))
    assert await other.adopt() == []
    await leftover.strays(other, await other.prepared(), -1)
    await other.close()
    assert (await run(sandbox, "print(1)")).stdout == "1\n"
