"""Lives of an executor, one after another, for tests: one in a process of its own, which ends with SIGKILL where a test
wants it to; and what there is on this machine of a run directory's sandboxes."""

import asyncio
import json
import os
import sys
from pathlib import Path

from executor.sandbox.identity import runner_id
from executor.sandbox.programs import default_python

ROOT = Path(__file__).resolve().parents[2]

LIFE = """
import asyncio, json, os, signal, sys
from pathlib import Path
from executor.sandbox import making, record, running, starting
from executor.sandbox.base import Spec
from executor.sandbox.bubblewrap import Bubblewrap
from tests.executor.kernel_client import run

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def before(module, name):
    setattr(module, name, die)

def after(module, name):
    done = getattr(module, name)
    def wrapped(*args):
        result = done(*args)
        die()
    setattr(module, name, wrapped)

def half_written(directory, note):
    (directory / "sandbox.json.new").write_text(json.dumps({"id": note.id})[:-3])
    die()

POINTS = {
    "directory made": lambda: before(record, "write"),
    "record written": lambda: after(record, "begin"),
    "cgroups made": lambda: before(making, "listen"),
    "socket bound": lambda: after(making, "listen"),
    "launched": lambda: after(starting, "launch"),
    "settings told": lambda: before(record, "add"),
    "noted": lambda: after(record, "add"),
}
LATER = {
    "half bound": lambda: setattr(record, "write", half_written),
    "bound": lambda: after(record, "bind"),
    "processes ended": lambda: before(running.Running, "_remove"),
    "cgroups removed": lambda: before(running.shutil, "rmtree"),
}

async def main(run_dir, python, workspace, point):
    backend = Bubblewrap(Path(run_dir), Path(python), survive=True)
    await backend.adopt()
    if point in POINTS:
        POINTS[point]()
    sandbox = await backend.create(Spec("one", Path(workspace), generation=3))
    if point == "made":
        die()
    await run(sandbox, "import os; x = 41; open('kept', 'w').write('x')")
    if point in ("half bound", "bound"):
        LATER[point]()
    sandbox.assign("talk", Path(workspace))
    print(json.dumps({"pid": sandbox.tree.outer.pid, "init": sandbox.tree.init.pid, "token": sandbox.token}), flush=True)
    if point in LATER:
        LATER[point]()
        await sandbox.kill()
    die()

asyncio.run(main(*sys.argv[1:]))
"""


async def live(run_dir: Path, workspace: Path, point: str = "") -> dict:
    """A life that makes one sandbox and is killed at `point`; "": with the sandbox bound and x = 41 in its kernel. What it
    told of that."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", LIFE, str(run_dir), str(default_python()), str(workspace), point),
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    said, _ = await process.communicate()
    assert process.returncode == -9
    return json.loads(said) if said else {}


def there_is(run_dir: Path) -> list[str]:
    """Everything of its sandboxes that can be seen from here: processes, cgroups, sockets, mounts, directories."""
    name = f"codeact-{runner_id(run_dir)}"
    found = [f"process {pid}: {line[:60]}" for pid, line in command_lines() if name in line]
    groups = (path for path, *_ in os.walk("/sys/fs/cgroup"))  # unlike rglob, it takes it when others' go meanwhile
    found += [path for path in groups if Path(path).name.startswith(f"{name}-")]
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(run_dir.parent) in line]
    found += [line for line in Path("/proc/net/unix").read_text().splitlines() if str(run_dir) in line]
    if run_dir.is_dir():
        found += [path.name for path in run_dir.iterdir() if path.name not in ("etc", "lock", "runner.key")]
    return found


def command_lines() -> list[tuple[int, str]]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            found.append(
                (int(process.name), (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            )
        except OSError:
            continue
    return found
