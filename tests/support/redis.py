"""A real Redis for tests: a process of its own, on a Unix socket only, without a disk, gone afterwards.

Use: `redis` as a fixture, then `redis.url()` in a test: the URL of an empty database. `crash`, `start`, `freeze` and `thaw`
are there for tests of a Redis that goes away.
"""

from __future__ import annotations

import itertools
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

START_S = 20.0
DATABASES = 1000


class RedisServer:
    """A running server. Without a disk it forgets everything when it ends."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.socket = folder / "redis.sock"
        self._folder = folder
        self._options = options
        self._databases = itertools.cycle(range(DATABASES))
        self._server: subprocess.Popen[bytes] | None = None

    def url(self, database: int | None = None, login: str = "") -> str:
        """`login`: `name:password@`."""
        return f"unix://{login}{self.socket}?db={next(self._databases) if database is None else database}"

    def start(self) -> None:
        self.socket.unlink(missing_ok=True)
        with (self._folder / "log").open("ab") as log:
            self._server = subprocess.Popen(
                ["setpriv", "--pdeathsig=KILL", "redis-server", "--port", "0", "--unixsocket", str(self.socket),
                 "--save", "", "--appendonly", "no", "--databases", str(DATABASES), "--dir", str(self._folder),
                 *self._options],
                stdout=log, stderr=log,
            )  # fmt: skip
        deadline = time.monotonic() + START_S
        while not self._answers():
            if time.monotonic() > deadline or self._server.poll() is not None:
                raise RuntimeError((self._folder / "log").read_text())
            time.sleep(0.02)

    def crash(self) -> None:
        """As `kill -9` does."""
        if self._server is not None:
            self._server.kill()
            self._server.wait(timeout=START_S)
            self._server = None

    def freeze(self) -> None:
        """It takes connections and bytes, and says nothing."""
        assert self._server is not None
        self._server.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._server is not None
        self._server.send_signal(signal.SIGCONT)

    def ask(self, *words: str) -> str:
        """What redis-cli says."""
        command = ["redis-cli", "-s", str(self.socket), *words]
        return subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1)
            try:
                probe.connect(str(self.socket))
                probe.sendall(b"PING\r\n")
                return probe.recv(100) != b""
            except OSError:
                return False


@contextmanager
def server(*options: str) -> Iterator[RedisServer]:
    if shutil.which("redis-server") is None:
        pytest.skip("Redis is not installed here")
    folder = Path(tempfile.mkdtemp(prefix="codeact-redis-"))
    one = RedisServer(folder, *options)
    try:
        one.start()
        yield one
    finally:
        one.crash()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    """One for many tests, which leave it running."""
    with server() as one:
        yield one
