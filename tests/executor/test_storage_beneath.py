"""T7: nothing outside a workspace is ever opened, by openat2 or step by step alike."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import threading
from pathlib import Path

import pytest

from executor.storage import beneath, listing, reading
from executor.storage.beneath import DIRECTORY, in_one_call, opened, step_by_step
from executor.storage.errors import NotADirectory, NotAFile, NotFound, StorageError
from executor.storage.names import parse
from executor.storage.syscalls import has_openat2

pytestmark = pytest.mark.usefixtures("opener")


@pytest.fixture(params=[in_one_call, step_by_step], ids=["openat2", "steps"])
def opener(request, monkeypatch):
    if request.param is in_one_call and not has_openat2():
        pytest.skip("this kernel has no openat2")
    monkeypatch.setattr(beneath, "opener", request.param)


@pytest.fixture
def root(tmp_path):
    """A workspace beside something secret."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    made = tmp_path / "workspace"
    (made / "d" / "e").mkdir(parents=True)
    (made / "d" / "e" / "f").write_text("inside")
    return made


def read(root, path: str) -> bytes:
    file = reading.open_file(root, parse(path))
    try:
        return file.read(0, 100)
    finally:
        file.close()


def refused(root, path: str) -> type[StorageError]:
    with pytest.raises(StorageError) as error:
        read(root, path)
    assert error.value.words and str(root) not in error.value.words
    return type(error.value)


def test_what_is_inside_is_read(root):
    assert read(root, "d/e/f") == b"inside"


def test_t7_no_link_is_followed_wherever_it_points(root):
    (root / "file").symlink_to(root.parent / "outside" / "secret")
    (root / "dir").symlink_to(root.parent / "outside")
    (root / "up").symlink_to("..")
    (root / "inner").symlink_to("d/e/f")
    (root / "folder").symlink_to("d")
    (root / "loop").symlink_to("loop")
    (root / "d" / "root").symlink_to("/")
    for path in ("file", "dir/secret", "up/outside/secret", "inner", "folder/e/f", "loop", "loop/x", "d/root/etc/passwd"):
        assert refused(root, path) is NotADirectory, path
    for path in ("dir", "up", "d/root"):
        with pytest.raises(NotADirectory):
            listing.page(root, parse(path))


def test_t7_magic_links_of_proc_lead_nowhere(root):
    for name in ("cwd", "root", "exe"):
        (root / name).symlink_to(f"/proc/self/{name}")
        assert refused(root, name) is NotADirectory


def test_t7_pipes_sockets_and_devices_are_no_files_and_make_nobody_wait(root):
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "socket"))
    names = ["fifo", "socket"]
    if os.geteuid() == 0:
        os.mknod(root / "zero", 0o20644, os.makedev(1, 5))
        os.mknod(root / "tty", 0o20644, os.makedev(5, 0))
        names += ["zero", "tty"]
    for name in names:
        assert refused(root, name) is NotAFile
    assert {entry.name: entry.kind for entry in listing.page(root, ()).entries} == {"d": "dir"} | dict.fromkeys(
        names, "other"
    )


def test_t7_a_file_with_a_second_name_is_not_read(root):
    os.link(root.parent / "outside" / "secret", root / "linked")
    assert refused(root, "linked") is NotAFile
    (root.parent / "outside" / "secret").unlink()
    assert read(root, "linked") == b"secret"


def test_a_leased_file_makes_nobody_wait(root):
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)  # the holder of a lease is told by a signal
    with (root / "leased").open("w") as file:
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        with pytest.raises(StorageError) as busy:
            read(root, "leased")
        assert busy.value.status == 503
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    signal.signal(signal.SIGIO, before)


def test_what_is_no_folder_leads_no_further(root):
    assert refused(root, "d/e/f/g") is NotADirectory
    assert refused(root, "d/none/f") is NotFound
    assert refused(root, "d/e") is NotAFile


def test_t7_parts_that_are_none_are_an_error_of_ours(root):
    fd = os.open(root, DIRECTORY)
    for part in ("..", ".", "", "d/e", "a\0"):
        with pytest.raises(ValueError):
            opened(fd, ("d", part), os.O_PATH)
    os.close(fd)


def test_descriptors_are_closed_and_not_inherited(root):
    fd = os.open(root, DIRECTORY)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for path in ("d/e/f", "d/none/f", "d/e/f/g"):
        try:
            inner = opened(fd, parse(path), os.O_RDONLY)
        except OSError:
            continue
        assert not os.get_inheritable(inner)
        os.close(inner)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    os.close(fd)


def test_t7_a_name_swapped_in_a_loop_never_leads_outside(root):
    """A file becomes a link to the secret, a folder a link to the folder of the secret, and back, all the time."""
    stop, outside = threading.Event(), root.parent / "outside"
    (root / "swap").mkdir()
    (root / "swap" / "secret").write_text("inside")
    (root / "swapped").symlink_to(outside)

    def swap() -> None:
        while not stop.is_set():
            (root / "swap").rename(root / "other")
            (root / "swapped").rename(root / "swap")
            (root / "swap").rename(root / "swapped")
            (root / "other").rename(root / "swap")

    swapping = threading.Thread(target=swap)
    swapping.start()
    seen = set()
    try:
        for _ in range(3000):
            try:
                seen.add(read(root, "swap/secret"))
            except StorageError as error:
                seen.add(error.code)
    finally:
        stop.set()
        swapping.join()
    assert seen <= {b"inside", "not_a_directory", "not_found"} and b"inside" in seen


def test_both_ways_say_the_same_about_everything(root):
    (root / "link").symlink_to("d")
    os.mkfifo(root / "fifo")
    fd = os.open(root, DIRECTORY)
    for path in ("", "d", "d/e/f", "link", "link/e", "fifo", "fifo/x", "none", "d/e/f/g", "n" * 255):
        for flags in (os.O_RDONLY | os.O_NONBLOCK, DIRECTORY, os.O_PATH, os.O_WRONLY | os.O_NONBLOCK):
            said = []
            for way in (in_one_call, step_by_step):
                try:
                    inner = way(fd, parse(path), flags)
                    said.append(os.fstat(inner).st_ino)
                    os.close(inner)
                except OSError as error:
                    # "link" itself, with O_DIRECTORY: one says loop, the other says no folder; both are one refusal here
                    said.append("link" if error.errno in (errno.ELOOP, errno.ENOTDIR) else error.errno)
            assert said[0] == said[1], (path, flags, said)
    os.close(fd)
