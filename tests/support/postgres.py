"""A real PostgreSQL for tests: its own cluster in a folder of its own, on a Unix socket only, gone afterwards.

Use: `from tests.support.postgres import postgres` in a conftest, then `url = postgres.database()` in a test: an empty
database with a fresh name, as a SQLAlchemy URL.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

USER = "postgres"
START_S = 30.0


def binaries() -> Path | None:
    """Debian keeps each version's programs off the path."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if versions:
        return versions[-1].parent
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found else None


class Postgres:
    """A running cluster. `stop` and `start` are there for tests of a database that goes away."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self._folder = folder
        self._names = (f"test_{n}" for n in itertools.count())
        self._server: subprocess.Popen[bytes] | None = None

    def database(self) -> str:
        """The URL of a new, empty database."""
        name = next(self._names)
        self._run("createdb", "-h", str(self._folder), "-U", USER, name)
        return f"postgresql+asyncpg://{USER}@/{name}?host={self._folder}"

    def init(self) -> None:
        self._run("initdb", "-D", str(self._data), "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")

    def start(self) -> None:
        options = ["-k", str(self._folder), "-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=60"]
        with (self._folder / "log").open("ab") as log:
            self._server = subprocess.Popen(
                [*_as_user("--pdeathsig=INT"), self._programs / "postgres", "-D", self._data, *options],
                stdout=log,
                stderr=log,
            )
        self._wait()

    def stop(self) -> None:
        """At once, cutting every connection."""
        if self._server is not None:
            self._server.send_signal(signal.SIGINT)
            self._server.wait(timeout=START_S)
            self._server = None

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _wait(self) -> None:
        deadline = time.monotonic() + START_S
        while subprocess.run(
            [self._programs / "pg_isready", "-h", self._folder, "-U", USER], capture_output=True, check=False
        ).returncode:
            if time.monotonic() > deadline:
                raise RuntimeError((self._folder / "log").read_text())
            time.sleep(0.05)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [*_as_user(), str(self._programs / program), *arguments], capture_output=True, cwd=self._folder, check=False
        )
        if done.returncode:
            raise RuntimeError(done.stderr.decode())


def _as_user(*options: str) -> list[str]:
    """The server refuses to run as root. `--pdeathsig` ends it with us, even when we are killed."""
    if os.geteuid() != 0:
        return ["setpriv", *options] if options else []
    return ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups", *options]


@contextmanager
def cluster() -> Iterator[Postgres]:
    programs = binaries()
    if programs is None:
        pytest.skip("PostgreSQL is not installed here")
    folder = Path(tempfile.mkdtemp(prefix="codeact-pg-"))
    if os.geteuid() == 0:
        shutil.chown(folder, USER, USER)
    server = Postgres(programs, folder)
    try:
        server.init()
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with cluster() as server:
        yield server
