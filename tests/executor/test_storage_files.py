"""Files of a workspace listed, written, moved and removed, while nobody else is there. (Races: test_storage_races.py.)"""

from __future__ import annotations

import os
import stat
import tempfile
import threading
import time
from pathlib import Path

import pytest

from executor import files
from executor.files import snapshot
from executor.sandbox.workspace import Size
from executor.storage import changing, listing, names, reading, writing
from executor.storage.errors import (
    BadPath,
    Full,
    NotADirectory,
    NotAFile,
    NotFound,
    Occupied,
    StorageError,
    TooLarge,
    WrongOffset,
)
from executor.storage.names import STAGING, parse
from executor.storage.room import Room, Rooms
from executor.storage.writing import Writer

MB = 1024**2
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root may choose an owner")


@pytest.fixture
def root(tmp_path):
    made = tmp_path / "workspace"
    made.mkdir()
    return made


@pytest.fixture
def writer():
    return Writer(10 * MB, Rooms(20 * MB))


def put(writer, root, path: str, data: bytes, **how) -> bool:
    part = writer.begin(root)
    try:
        part.write(data)
        return writing.publish(root, part.id, parse(path), **how)
    finally:
        part.close()


def staged(root) -> list[str]:
    return [path.name for path in (root / STAGING).iterdir()]


# ---- listing ---------------------------------------------------------------------------------------------------------


def test_a_folder_is_listed_sorted_with_kind_size_and_time(root):
    (root / "b.txt").write_text("12345")
    (root / "a").mkdir()
    (root / "link").symlink_to("b.txt")
    os.utime(root / "b.txt", (1.5, 1.5))
    page = listing.page(root, ())
    assert [(e.name, e.kind, e.size) for e in page.entries] == [("a", "dir", 0), ("b.txt", "file", 5), ("link", "other", 0)]
    assert page.entries[1].mtime == 1.5 and page.cursor is None and page.complete and page.skipped == 0


def test_t7_names_that_are_no_printable_text_are_counted_only(root):
    for name in (b"\xff\xfe", b"line\nbreak", "\u202egnp.exe".encode(), b"\x1b[31m", "né".encode()):
        os.close(os.open(os.fsencode(root) + b"/" + name, os.O_CREAT | os.O_WRONLY))
    page = listing.page(root, ())
    assert [entry.name for entry in page.entries] == ["né"] and page.skipped == 4


def test_pages_hold_every_name_once_also_while_names_come_and_go(root):
    for number in range(25):
        (root / f"f{number:02}").touch()
    seen, cursor = [], ""
    while cursor is not None:
        page = listing.page(root, (), cursor, 10)
        seen += [entry.name for entry in page.entries]
        cursor = page.cursor
        if len(seen) == 10:
            (root / "f05").unlink()
            (root / "a-newcomer").touch()
    assert seen == [f"f{number:02}" for number in range(25)]


def test_a_page_has_at_most_a_thousand_entries_and_what_is_on_its_way_is_not_listed(root, writer):
    put(writer, root, "f", b"")
    assert (root / STAGING).is_dir()
    assert [entry.name for entry in listing.page(root, ()).entries] == ["f"]
    for number in range(1100):
        (root / f"g{number}").touch()
    assert len(listing.page(root, (), "", 5000).entries) == 1000


def test_a_conversation_without_files_is_an_empty_folder(tmp_path):
    assert listing.page(tmp_path / "none", ()).entries == []
    with pytest.raises(NotFound):
        listing.page(tmp_path / "none", ("a",))
    with pytest.raises(NotFound):
        reading.open_file(tmp_path / "none", ("a",))


# ---- reading ---------------------------------------------------------------------------------------------------------


def test_the_etag_changes_with_size_time_and_file(root):
    (root / "f").write_text("one")
    os.utime(root / "f", ns=(1, 1))
    tags = {reading.open_file(root, ("f",)).etag, reading.open_file(root, ("f",)).etag}
    assert len(tags) == 1
    os.utime(root / "f", ns=(2, 2))
    tags.add(reading.open_file(root, ("f",)).etag)
    (root / "g").write_text("two")
    os.utime(root / "g", ns=(2, 2))
    (root / "g").rename(root / "f")
    tags.add(reading.open_file(root, ("f",)).etag)
    (root / "f").write_text("longer")
    os.utime(root / "f", ns=(2, 2))
    tags.add(reading.open_file(root, ("f",)).etag)
    assert len(tags) == 4


def test_a_file_closed_while_another_thread_reads_gives_no_other_files_bytes(root):
    (root / "f").write_bytes(b"f" * MB)
    (root / "g").write_bytes(b"g" * MB)
    for _ in range(50):
        file, seen = reading.open_file(root, ("f",)), set()

        def read(file=file, seen=seen) -> None:
            while data := file.read(0, 4096):
                seen.add(data[:1])

        thread = threading.Thread(target=read)
        thread.start()
        file.close()
        other = (root / "g").open("rb")  # takes the number of the descriptor that was closed
        thread.join()
        other.close()
        assert seen <= {b"f"}


# ---- writing ---------------------------------------------------------------------------------------------------------


def test_a_file_appears_whole_or_not_at_all(root, writer):
    part = writer.begin(root)
    part.write(b"half")
    assert listing.page(root, ()).entries == []
    part.write(b" and half")
    assert writing.publish(root, part.id, ("f",)) is False
    part.close()
    assert (root / "f").read_bytes() == b"half and half" and staged(root) == []
    assert stat.S_IMODE((root / "f").stat().st_mode) == 0o644


def test_a_file_takes_the_place_of_a_file_and_of_nothing_else(root, writer):
    (root / "f").write_text("old")
    os.link(root / "f", root / "second-name")
    assert put(writer, root, "f", b"new") is True
    assert (root / "f").read_text() == "new" and (root / "second-name").read_text() == "old"
    (root / "dir").mkdir()
    (root / "link").symlink_to("f")
    os.mkfifo(root / "fifo")
    for name in ("dir", "link", "fifo"):
        with pytest.raises(Occupied):
            writing.check(root, parse(name))
        with pytest.raises(Occupied):
            put(writer, root, name, b"x")
    assert (root / "dir").is_dir() and (root / "link").is_symlink() and (root / "f").read_text() == "new"


def test_nothing_is_replaced_when_that_is_not_wanted(root, writer):
    (root / "f").write_text("old")
    with pytest.raises(Occupied):
        writing.check(root, ("f",), replace=False)
    with pytest.raises(Occupied):
        put(writer, root, "f", b"new", replace=False)
    assert (root / "f").read_text() == "old"


def test_t7_a_write_through_a_link_goes_nowhere(root, writer):
    outside = root.parent / "outside"
    outside.mkdir()
    (root / "dir").symlink_to(outside)
    for make in (False, True):
        for path in ("dir/x", "dir/y/x"):
            with pytest.raises(StorageError):
                put(writer, root, path, b"x", make_folders=make)
    assert list(outside.iterdir()) == []


def test_t7_a_link_in_place_of_the_staging_folder_is_not_followed(root, writer):
    outside = root.parent / "outside"
    outside.mkdir()
    (root / STAGING).symlink_to(outside)
    with pytest.raises(NotADirectory) as refused:
        writer.begin(root)
    assert STAGING in refused.value.words and list(outside.iterdir()) == []
    changing.sweep(root, 0)


def test_t7_a_part_that_was_swapped_is_neither_written_nor_published(root, writer):
    secret = root.parent / "secret"
    secret.write_text("secret")
    part = writer.begin(root)
    part.write(b"12")
    part.close()
    lying = root / STAGING / part.id
    for swap in (lambda: lying.symlink_to(secret), lambda: os.link(secret, lying), lambda: os.mkfifo(lying), lying.mkdir):
        lying.unlink() if not lying.is_dir() else lying.rmdir()
        swap()
        with pytest.raises(StorageError):
            writer.resume(root, part.id, 6).write(b"!")
        with pytest.raises(StorageError):
            writing.publish(root, part.id, ("f",))
        with pytest.raises(StorageError):
            writing.open_part(root, part.id)
    assert secret.read_text() == "secret" and not (root / "f").exists()
    assert stat.S_IMODE(secret.stat().st_mode) == 0o644


def test_folders_are_made_only_when_wanted(root, writer):
    with pytest.raises(NotFound):
        writing.check(root, parse("a/b/f"))
    with pytest.raises(NotFound):
        put(writer, root, "a/b/f", b"x")
    writing.check(root, parse("a/b/f"), make_folders=True)
    put(writer, root, "a/b/f", b"x", make_folders=True)
    assert (root / "a" / "b" / "f").read_bytes() == b"x"


@root_only
def test_what_is_written_belongs_to_the_owner_of_the_workspace(root, writer):
    os.chown(root, 212_345, 212_346)
    put(writer, root, "a/f", b"x", make_folders=True)
    changing.make_folder(root, parse("b/c"), make_parents=True)
    for path in ("a", "a/f", "b", "b/c", STAGING):
        info = (root / path).stat()
        assert (info.st_uid, info.st_gid) == (212_345, 212_346), path


@root_only
def test_a_sandbox_that_starts_during_an_upload_owns_the_file_nevertheless(root, writer):
    part = writer.begin(root)
    part.write(b"x")
    os.chown(root, 212_345, 212_345)
    writing.publish(root, part.id, ("f",))
    part.close()
    assert (root / "f").stat().st_uid == 212_345


def test_an_upload_goes_on_where_it_was_and_nowhere_else(root, writer):
    part = writer.begin(root)
    part.write(b"one ")
    part.close()
    assert writing.arrived(root, part.id) == 4
    for offset in (0, 3, 5):
        with pytest.raises(WrongOffset) as wrong:
            writer.resume(root, part.id, offset)
        assert wrong.value.offset == 4
    again = Writer(10 * MB, Rooms(20 * MB)).resume(root, part.id, 4)  # another life of the executor
    again.write(b"two")
    again.close()
    writing.publish(root, part.id, ("f",))
    assert (root / "f").read_bytes() == b"one two"
    with pytest.raises(NotFound):
        writing.arrived(root, part.id)


@pytest.mark.parametrize("id", ["", ".", "..", "../f", "x" * 32, "0" * 31, "0" * 33, "A" * 32, "0" * 32 + "\n", "0" * 32])
def test_t7_an_upload_has_an_id_of_ours_or_is_none(root, writer, id):
    (root / "f").write_text("not yours")
    put(writer, root, "g", b"")
    for ask in (lambda: writing.arrived(root, id), lambda: writer.resume(root, id, 0), lambda: writing.open_part(root, id)):
        with pytest.raises(NotFound):
            ask()
    writing.discard(root, id)
    assert (root / "f").exists() and (root / STAGING).is_dir()


def test_a_file_is_no_longer_than_allowed(root, writer):
    part = writer.begin(root)
    with pytest.raises(TooLarge):
        part.expect(10 * MB + 1)
    part.write(b"x" * 10 * MB)
    with pytest.raises(TooLarge) as refused:
        part.write(b"x")
    assert "10 MiB" in refused.value.words and part.offset == 10 * MB
    part.close()


# ---- room ------------------------------------------------------------------------------------------------------------


def test_a_full_workspace_refuses_with_words_and_takes_more_once_something_is_deleted(root, writer):
    (root / "big").write_bytes(b"x" * 15 * MB)
    part = writer.begin(root)
    with pytest.raises(Full) as refused:
        part.expect(6 * MB)
    assert "20 MiB" in refused.value.words and refused.value.status == 507
    part.write(b"x" * 4 * MB)
    with pytest.raises(Full):
        part.write(b"x" * 2 * MB)
    assert part.offset == 4 * MB
    changing.remove(root, ("big",))
    part.write(b"x" * 2 * MB)
    part.close()


def test_uploads_beside_each_other_share_one_room(root):
    writer = Writer(10 * MB, Rooms(20 * MB))
    parts, refused = [writer.begin(root) for _ in range(5)], []

    def fill(part) -> None:
        try:
            for _ in range(8):
                part.write(b"x" * MB)
        except Full:
            refused.append(part)

    threads = [threading.Thread(target=fill, args=(part,)) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    held = sum(part.offset for part in parts)
    for part in parts:
        part.close()
    assert refused and 10 * MB <= held <= 20 * MB  # what is being written while it is measured may count twice


def test_a_write_is_measured_once_and_again_before_it_is_refused():
    looks = []

    def measured(fd: int) -> Size:
        looks.append(fd)
        return Size(90 if len(looks) < 3 else 0, 1, False)

    room = Room(100, measured)
    for _ in range(2):
        with room.taking(0, 5):
            pass
    room.check(0, 0)
    assert len(looks) == 1
    with pytest.raises(Full):
        room.check(0, 20)
    assert len(looks) == 2
    room.check(0, 20)
    assert len(looks) == 3


def test_what_is_being_written_while_it_is_measured_is_counted():
    room = Room(100, lambda fd: Size(0, 0, False))  # sees nothing of it yet
    with room.taking(0, 60), room.taking(0, 40):
        for size in (1, 50):
            with pytest.raises(Full):
                room.check(0, size)
    room.check(0, 100)


def test_looks_at_the_same_time_do_not_forget_what_was_written():
    """Two measurements begin; what was written before is taken off the books once."""
    both = threading.Barrier(2)

    def measured(fd: int) -> Size:
        if fd == 2:
            both.wait()
        return Size(50 if fd else 0, 1, False)

    room = Room(100, measured)
    with room.taking(0, 50):
        pass
    threads = [threading.Thread(target=room._look, args=(2,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with pytest.raises(Full):
        room.check(1, 51)
    room.check(1, 50)


def test_too_many_names_are_refused():
    looks = iter([299_999, 300_000])
    room = Room(100, lambda fd: Size(0, next(looks), False))
    with room.taking(0, 0, names=1):
        pass
    with pytest.raises(Full):
        with room.taking(0, 0, names=1):
            pass
    room.check(0, 50)


# ---- moving and removing ---------------------------------------------------------------------------------------------


def test_things_are_moved_without_replacing_anything(root):
    (root / "f").write_text("f")
    (root / "g").write_text("g")
    (root / "d" / "e").mkdir(parents=True)
    changing.move(root, ("f",), parse("d/e/h"))
    assert (root / "d" / "e" / "h").read_text() == "f"
    with pytest.raises(Occupied):
        changing.move(root, parse("d/e/h"), ("g",))
    changing.move(root, parse("d/e/h"), ("g",), replace=True)
    assert (root / "g").read_text() == "f"
    with pytest.raises(Occupied):
        changing.move(root, ("g",), ("d",), replace=True)
    (root / "empty").mkdir()
    with pytest.raises(Occupied):
        changing.move(root, ("d",), ("empty",), replace=True)
    with pytest.raises(StorageError) as refused:
        changing.move(root, ("d",), parse("d/e/d"))
    assert refused.value.status == 409
    with pytest.raises(NotFound):
        changing.move(root, ("none",), ("x",))
    with pytest.raises(NotFound):
        changing.move(root, ("g",), parse("none/x"))
    changing.move(root, ("g",), parse("none/x"), make_folders=True)
    assert (root / "none" / "x").exists()


def test_t7_a_link_is_moved_and_removed_as_a_link(root):
    outside = root.parent / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    (root / "link").symlink_to(outside)
    changing.move(root, ("link",), ("other",))
    with pytest.raises(NotADirectory):
        changing.remove(root, parse("other/kept"))
    changing.remove(root, ("other",))
    assert list(root.iterdir()) == [] and (outside / "kept").exists()


def test_a_folder_is_made_once(root):
    assert changing.make_folder(root, ("d",)) is True
    assert changing.make_folder(root, ("d",)) is False
    with pytest.raises(NotFound):
        changing.make_folder(root, parse("e/f"))
    (root / "file").touch()
    (root / "link").symlink_to("d")
    for name in ("file", "link"):
        with pytest.raises(NotADirectory):
            changing.make_folder(root, (name,))
    with pytest.raises(BadPath):
        parse(f"{names.STAGING}/d")


def test_removal_of_what_is_not_there_is_told(root):
    with pytest.raises(NotFound):
        changing.remove(root, ("none",))
    with pytest.raises(NotFound):
        changing.remove(root.parent / "none", ("none",))
    (root / "f").touch()
    with pytest.raises(NotADirectory):
        changing.remove(root, parse("f/x"))


@pytest.fixture
def in_memory():
    """A directory whose file system makes and removes 65536 folders in seconds, however busy the disk is."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as made:
        root = Path(made, "workspace")
        root.mkdir()
        yield root
        files.remove(root)  # TemporaryDirectory itself does not go that deep


def test_t7_a_tree_of_any_depth_and_mode_is_removed_and_what_it_points_to_is_not(in_memory):
    root, outside = in_memory, in_memory.parent / "outside"
    outside.mkdir(mode=0o750)
    (outside / "kept").write_text("x")
    fd = os.open(root, os.O_RDONLY)
    os.mkdir("deep", dir_fd=fd)
    for name in ["deep", *["x"] * 2**16]:
        inner = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.mkdir("x", dir_fd=inner)
        os.close(fd)
        fd = inner
    os.symlink(outside, "link", dir_fd=fd)
    os.close(fd)
    (root / "deep" / "closed").mkdir()
    (root / "deep" / "closed" / "link").symlink_to(outside)
    (root / "deep" / "closed").chmod(0)
    os.mkfifo(root / "deep" / "fifo")
    changing.remove(root, ("deep",))
    while staged(root):  # what took longer than one request may
        changing.sweep(root, 0)
    assert listing.page(root, ()).entries == []
    assert stat.S_IMODE(outside.stat().st_mode) == 0o750 and (outside / "kept").read_text() == "x"


def test_t7_no_mode_is_changed_through_a_link(root):
    outside = root.parent / "outside"
    outside.mkdir(mode=0o755)
    (root / "link").symlink_to(outside)
    fd = os.open(root, os.O_RDONLY)
    with pytest.raises(NotADirectoryError):
        files.open_up(fd, "link")
    os.close(fd)
    assert stat.S_IMODE(outside.stat().st_mode) == 0o755


def test_what_was_given_up_is_swept_after_a_day(root, writer):
    old, new = writer.begin(root), writer.begin(root)
    for part in (old, new):
        part.write(b"x")
        part.close()
    for name in ("trash-1", "import-1", "import-2"):
        (root / STAGING / name).mkdir()
        (root / STAGING / name / "f").write_text("x")
    yesterday = time.time() - changing.ABANDONED_S - 60
    for name in (old.id, "import-1"):
        os.utime(root / STAGING / name, (yesterday, yesterday))
    assert changing.sweep_all(root.parent) == 3
    assert sorted(staged(root)) == sorted([new.id, "import-2"])
    assert changing.sweep_all(root.parent / "none") == 0


def test_what_is_on_its_way_is_no_news_of_a_cell(root, writer):
    before = snapshot(root)
    part = writer.begin(root)
    part.write(b"x")
    assert snapshot(root) == before
    part.close()


def test_an_error_of_the_disk_is_one_of_ours(root, writer):
    part = writer.begin(root)
    os.close(part._fd)
    with pytest.raises(StorageError) as broken:
        part.write(b"x")
    assert broken.value.status == 500 and broken.value.words
    part._fd = os.dup(part._root)
    part.close()
    with pytest.raises(StorageError):
        part.write(b"x")
    assert issubclass(NotAFile, StorageError)
