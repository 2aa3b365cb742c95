"""T29: the way to a gateway's socket, when a tenant puts other things in its place."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from executor.sandbox.base import SandboxUnavailable
from executor.sandbox.docker import dial


@contextmanager
def listener(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen(1000)
        server.settimeout(0)
        yield server


def accepted(server: socket.socket) -> int:
    """How many connected so far."""
    count = 0
    with suppress(BlockingIOError):
        while True:
            server.accept()[0].close()
            count += 1
    return count


def connect(fd: int) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(dial.path(fd))


PLANTED: dict[str, Callable[[Path, Path], object]] = {
    "a link": lambda name, trap: name.symlink_to(trap),
    "a link to the engine": lambda name, trap: name.symlink_to("/var/run/docker.sock"),
    "a directory": lambda name, trap: name.mkdir(),
    "a pipe": lambda name, trap: os.mkfifo(name),
    "a file": lambda name, trap: name.write_text("x"),
}


@pytest.mark.parametrize("what", PLANTED)
def test_t29_only_a_socket_is_held(tmp_path: Path, what: str) -> None:
    with listener(tmp_path / "trap") as trap:
        PLANTED[what](tmp_path / "gateway.sock", tmp_path / "trap")
        with pytest.raises(SandboxUnavailable):
            dial.held(tmp_path, os.geteuid())
        assert accepted(trap) == 0


def test_t29_a_socket_of_another_user_is_not_held(tmp_path: Path) -> None:
    with listener(tmp_path / "gateway.sock") as server:
        with pytest.raises(SandboxUnavailable):
            dial.held(tmp_path, os.geteuid() + 1)
        fd = dial.held(tmp_path, os.geteuid())
        connect(fd)
        assert accepted(server) == 1
        os.close(fd)


def test_t29_no_descriptor_is_left_open(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        with pytest.raises(FileNotFoundError):
            dial.held(tmp_path, os.geteuid())
    (tmp_path / "gateway.sock").mkdir()
    for _ in range(20):
        with pytest.raises(SandboxUnavailable):
            dial.held(tmp_path, os.geteuid())
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_t29_swapped_in_a_loop_the_trap_is_never_reached(tmp_path: Path) -> None:
    """A tenant swaps the socket for a link and a pipe, without a gap and as fast as it can, while we look and connect."""
    name, new = tmp_path / "gateway.sock", tmp_path / "new"
    stop = threading.Event()

    def swap() -> None:
        os.mkfifo(tmp_path / "pipe")
        while not stop.is_set():
            new.hardlink_to(tmp_path / "real")
            new.replace(name)
            new.symlink_to(tmp_path / "trap")
            new.replace(name)
            new.hardlink_to(tmp_path / "pipe")
            new.replace(name)

    with listener(tmp_path / "trap") as trap, listener(tmp_path / "real") as server:
        tenant = threading.Thread(target=swap)
        tenant.start()
        reached = refused = 0
        try:
            while reached < 300 or refused < 300:
                try:
                    fd = dial.held(tmp_path, os.geteuid())
                except SandboxUnavailable:
                    refused += 1
                except FileNotFoundError:
                    continue
                else:
                    connect(fd)
                    os.close(fd)
                    reached += accepted(server)
        finally:
            stop.set()
            tenant.join()
        assert accepted(trap) == 0


def test_t29_what_is_held_stays_the_same_whatever_has_its_name(tmp_path: Path) -> None:
    with listener(tmp_path / "trap") as trap, listener(tmp_path / "gateway.sock") as server:
        fd = dial.held(tmp_path, os.geteuid())
        (tmp_path / "gateway.sock").unlink()
        (tmp_path / "gateway.sock").symlink_to(tmp_path / "trap")
        connect(fd)
        assert (accepted(server), accepted(trap)) == (1, 0)
        os.close(fd)
    with pytest.raises(SandboxUnavailable):
        dial.path(-1)


def test_t29_a_closed_directory_belongs_to_nobody_else(tmp_path: Path) -> None:
    directory = tmp_path / "gw"
    directory.mkdir(mode=0o777)
    if os.geteuid() == 0:
        os.chown(directory, 210_001, 210_001)
    dial.close_to_tenant(directory)
    assert (directory.stat().st_uid, directory.stat().st_mode & 0o777) == (os.geteuid(), 0o700)
    (tmp_path / "link").symlink_to("/etc")
    with pytest.raises(OSError):
        dial.close_to_tenant(tmp_path / "link")
