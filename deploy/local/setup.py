"""Makes this checkout runnable: two Python environments from hashed locks, the npm packages, the built page.

Does only what has changed since the last time: every step leaves a stamp holding the hash of what it was made from.
Standard library only, because it runs before anything is installed.

    setup.py            what `make run` needs
    setup.py --tests    what `make test` and `make check` need as well
"""
# ruff: noqa: S603 (every command here is written here)

from __future__ import annotations

import argparse
import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SERVER, SANDBOX = ROOT / ".venv", ROOT / ".venv-sandbox"
FRONTEND = ROOT / "frontend"
PACKAGES = ("backend", "executor", "model-server")
NEEDED_BYTES = 2_500_000_000
NODE = (20, 19)
NODE_RELEASE = "v20.20.2"


class Missing(Exception):
    """Something this machine lacks, with the command that mends it."""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tests", action="store_true", help="also what the tests and checks need")
    options = parser.parse_args()
    os.chdir(ROOT)
    try:
        with one_at_a_time():
            todo = [step for step in steps(options.tests) if not step.done()]
            if todo:
                check(todo)
            for step in todo:
                step.run()
    except Missing as missing:
        print(f"\n{missing}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. Start again to go on where it was.", file=sys.stderr)
        return 130
    return 0


class Step:
    """Work that need not be done again while `sources` (files and words) stay the same and `result` exists."""

    def __init__(
        self, title: str, stamp: Path, result: Path, sources: Iterable[Path | str], work: Callable[[], None]
    ) -> None:
        self.title, self.stamp, self._result, self._work = title, stamp, result, work
        self._hash = fingerprint(sources)

    def done(self) -> bool:
        return self._result.exists() and self.stamp.is_file() and self.stamp.read_text() == self._hash

    def run(self) -> None:
        self.stamp.unlink(missing_ok=True)
        begun = time.monotonic()
        print(f"{self.title} …", file=sys.stderr, flush=True)
        self._work()
        self.stamp.write_text(self._hash)
        print(f"  done in {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)


def steps(tests: bool) -> list[Step]:
    """In the order they must happen."""
    server_lock, sandbox_lock = ROOT / "deploy/requirements.lock", ROOT / "executor/image/requirements.lock"
    test_lock = ROOT / "tests/requirements.lock"
    projects = [ROOT / name / "pyproject.toml" for name in PACKAGES]
    who = (sys.version, str(ROOT))  # a moved checkout or another Python needs new environments
    prepare = ROOT / "executor/image/prepare.py"
    sandbox_sources = [sandbox_lock, *(path for path in (prepare, prepare.with_name("trim.py")) if path.exists())]
    made = [
        Step("Setting up the server's Python environment", SERVER / ".setup", SERVER / "bin/codeact",
             [*who, server_lock, *projects], lambda: server_environment(server_lock)),
        Step("Setting up the sandbox's Python environment (numpy, pandas, matplotlib, …)", SANDBOX / ".setup",
             SANDBOX / "bin/python", [*who, *sandbox_sources], lambda: sandbox_environment(sandbox_lock, prepare)),
    ]  # fmt: skip
    if tests:
        made.append(Step("Setting up what the tests need", SERVER / ".setup-tests", SERVER / "bin/pytest",
                         [*who, server_lock, test_lock], lambda: install(SERVER, test_lock)))  # fmt: skip
    npm_lock = FRONTEND / "package-lock.json"
    made.append(Step("Installing the page's npm packages", FRONTEND / "node_modules/.setup", FRONTEND / "node_modules",
                     [FRONTEND / "package.json", npm_lock], npm_packages))  # fmt: skip
    made.append(Step("Building the page", FRONTEND / "node_modules/.setup-built", FRONTEND / "dist/index.html",
                     page_sources(), lambda: npm("run", "build")))  # fmt: skip
    return made


# ---- what must be here -----------------------------------------------------------------------------------------------


def check(todo: list[Step]) -> None:
    """Before anything slow: everything that is missing at once, not one thing per try."""
    words = [found for step in (check_system, check_venv, check_node, check_space) if (found := step(todo))]
    if words:
        raise Missing("\n\n".join(words))


def check_system(_: list[Step]) -> str:
    machine = os.uname()
    if machine.sysname == "Linux":
        return ""
    return (
        f"This runs on Linux (sandboxes are made of its namespaces); here is {machine.sysname}. Use a Linux machine or VM."
    )


def check_venv(_: list[Step]) -> str:
    if importlib.util.find_spec("ensurepip") and importlib.util.find_spec("venv"):
        return ""
    package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    return f"Python's venv module is missing. Install it:   sudo apt-get install -y {package}"


def check_node(todo: list[Step]) -> str:
    if not any(FRONTEND in step.stamp.parents for step in todo):
        return ""
    node, npm_path = shutil.which("node"), shutil.which("npm")
    said = subprocess.run([node, "--version"], capture_output=True, text=True).stdout.strip() if node else ""
    version = tuple(int(number) for number in re.findall(r"\d+", said)[:2])
    if version >= NODE and npm_path:
        return ""
    wanted = ".".join(map(str, NODE))
    have = f"here is {f'Node {said}' if said else 'no Node'}" + ("" if npm_path else " and no npm")
    arch = {"x86_64": "x64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    archive = f"https://nodejs.org/dist/{NODE_RELEASE}/node-{NODE_RELEASE}-linux-{arch}.tar.xz"
    return (
        f"Node.js {wanted} or newer with npm is needed to build the page; {have}. Install it:\n"
        "  Debian 13 or newer, Ubuntu 25.04 or newer:   sudo apt-get install -y nodejs npm\n"
        f"  older ones:   curl -fsSL {archive} | sudo tar -xJ -C /usr/local --strip-components=1"
    )


def check_space(todo: list[Step]) -> str:
    free = shutil.disk_usage(ROOT).free
    fresh = not (SERVER.exists() and SANDBOX.exists())
    needed = NEEDED_BYTES if fresh else NEEDED_BYTES // 4
    if free >= needed:
        return ""
    return (
        f"Not enough disk space: {free / 1e9:.1f} GB are free in {ROOT}, {needed / 1e9:.1f} GB are needed "
        "(besides 1.3 GB for the model). Free some, or clone the project onto another disk."
    )


# ---- the work --------------------------------------------------------------------------------------------------------


def server_environment(lock: Path) -> None:
    environment(SERVER)
    install(SERVER, lock)
    links = [argument for name in PACKAGES for argument in ("-e", name)]
    pip(SERVER, "install", "--no-deps", "--no-build-isolation", *links)


def sandbox_environment(lock: Path, prepare: Path) -> None:
    environment(SANDBOX)
    install(SANDBOX, lock)
    if prepare.exists():
        command([str(SANDBOX / "bin/python"), str(prepare)], SANDBOX / "setup.log")


def environment(venv: Path) -> None:
    """A virtual environment whose interpreter runs; a broken or foreign one is made anew."""
    python = venv / "bin/python"
    wanted = f"{sys.version_info.major}.{sys.version_info.minor}|{venv}"
    ask = "import sys; print(f'{sys.version_info.major}.{sys.version_info.minor}|{sys.prefix}')"
    if python.exists() and subprocess.run([python, "-c", ask], capture_output=True, text=True).stdout.strip() == wanted:
        return
    clear = ["--clear"] if venv.exists() else []
    made = subprocess.run([sys.executable, "-m", "venv", *clear, str(venv)], capture_output=True, text=True)
    if made.returncode != 0:
        raise Missing(f"{venv} could not be made:\n{(made.stdout + made.stderr).strip()}")


def install(venv: Path, lock: Path) -> None:
    """Exactly what the lock says, every file checked against its hash."""
    pip(venv, "install", "--require-hashes", "--no-deps", "-r", str(lock.relative_to(ROOT)))


def pip(venv: Path, *arguments: str) -> None:
    options = ("--disable-pip-version-check", "--no-input")
    command([str(venv / "bin/python"), "-m", "pip", *arguments, *options], venv / "setup.log")


def npm_packages() -> None:
    npm("ci", "--no-audit", "--no-fund")


def npm(*arguments: str) -> None:
    command(["npm", "--prefix", str(FRONTEND), *arguments], SERVER / "setup.log")


def command(arguments: list[str], log: Path) -> None:
    """Quiet while it works: on a terminal a line that moves. What it said stands in `log` and, if it failed, here."""
    with log.open("w+") as out:
        process = subprocess.Popen(arguments, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=ROOT)
        try:
            watch(process, log)
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if process.returncode != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise Missing(
            f"This failed (status {process.returncode}):   {' '.join(arguments)}\n{tail}\n\nAll it said is in {log}. "
            "If the network was the reason, start again: what is there is kept."
        )


def watch(process: subprocess.Popen[bytes], log: Path) -> None:
    """Until it ends; the last line of its log as a sign of life."""
    begun, terminal = time.monotonic(), sys.stderr.isatty()
    told = begun
    while True:
        try:
            process.wait(0.5)
            break
        except subprocess.TimeoutExpired:
            now = time.monotonic()
            last = last_line(log)
            if terminal:
                width = shutil.get_terminal_size().columns - 12
                print(f"\r\033[K  {now - begun:4.0f} s  {last[: max(width, 20)]}", end="", file=sys.stderr, flush=True)
            elif now - told > 20:
                told = now
                print(f"  {now - begun:.0f} s  {last[:100]}", file=sys.stderr, flush=True)
    if terminal:
        print("\r\033[K", end="", file=sys.stderr, flush=True)


def last_line(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 2000))
        lines = file.read().decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


# ---- what has changed ------------------------------------------------------------------------------------------------


def page_sources() -> list[Path]:
    kept = [FRONTEND / "index.html", FRONTEND / "package.json", FRONTEND / "package-lock.json"]
    kept += sorted(FRONTEND.glob("*.ts")) + sorted(FRONTEND.glob("tsconfig*.json"))
    for directory in ("src", "public"):
        kept += sorted(path for path in (FRONTEND / directory).rglob("*") if path.is_file())
    return kept


def fingerprint(sources: Iterable[Path | str]) -> str:
    digest = hashlib.sha256()
    for source in sources:
        if isinstance(source, Path):
            digest.update(f"{source.relative_to(ROOT)}\0".encode() + source.read_bytes() if source.exists() else b"-")
        else:
            digest.update(source.encode())
        digest.update(b"\0")
    return digest.hexdigest()


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Two starts at once would install into one environment."""
    with Path(__file__).open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another set-up is running in this checkout; waiting for it …", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    raise SystemExit(main())
