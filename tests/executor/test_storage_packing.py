"""Files of a workspace as a zip file that is made while it is read."""

from __future__ import annotations

import io
import os
import stat
import time
import zipfile
from pathlib import Path

import pytest

from executor.storage import packing
from executor.storage.errors import NotADirectory, NotAFile, NotFound, TooLarge
from executor.storage.names import parse
from executor.storage.packing import Grown, outermost, packed, survey

MB = 1024**2


@pytest.fixture
def root(tmp_path):
    made = tmp_path / "workspace"
    (made / "d" / "empty").mkdir(parents=True)
    (made / "d" / "a.csv").write_text("1,2\n")
    (made / "d" / "run.sh").write_text("echo")
    (made / "d" / "run.sh").chmod(0o755)
    (made / "f").write_bytes(os.urandom(MB))
    return made


def unzipped(root, *paths: str) -> zipfile.ZipFile:
    made = zipfile.ZipFile(io.BytesIO(b"".join(packed(root, [parse(path) for path in paths], 100 * MB))))
    assert made.testzip() is None
    return made


def test_files_and_folders_come_out_as_they_are(root):
    made = unzipped(root, "d", "f")
    assert sorted(made.namelist()) == ["d/", "d/a.csv", "d/empty/", "d/run.sh", "f"]
    assert made.read("d/a.csv") == b"1,2\n" and made.read("f") == (root / "f").read_bytes()
    assert made.getinfo("d/run.sh").external_attr >> 16 & 0o100 and not made.getinfo("d/a.csv").external_attr >> 16 & 0o100
    assert abs(time.mktime((*made.getinfo("f").date_time, 0, 0, 0)) - time.mktime(time.gmtime())) < 120


def test_the_whole_workspace_leaves_out_what_is_on_its_way(root):
    (root / ".incoming").mkdir()
    (root / ".incoming" / "half").write_text("x")
    assert sorted(unzipped(root, "").namelist()) == ["d/", "d/a.csv", "d/empty/", "d/run.sh", "f"]


def test_t7_links_pipes_second_names_and_unprintable_names_are_left_out_and_counted(root):
    outside = root.parent / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (root / "d" / "link").symlink_to(outside / "secret")
    (root / "d" / "dir").symlink_to(outside)
    os.mkfifo(root / "d" / "fifo")
    os.link(outside / "secret", root / "d" / "linked")
    (root / "d" / "line\nbreak").mkdir()
    (root / "d" / "line\nbreak" / "f").write_text("x")
    assert sorted(unzipped(root, "d").namelist()) == ["d/", "d/a.csv", "d/empty/", "d/run.sh"]
    contents = survey(root, [("d",)], MB)
    assert (contents.files, contents.size, contents.left_out) == (4, 8, 6)
    for name, refused in (
        ("d/link", NotAFile),
        ("d/linked", NotAFile),
        ("d/dir/secret", NotADirectory),
        ("none", NotFound),
    ):
        with pytest.raises(refused):
            survey(root, [parse(name)], MB)
        with pytest.raises(refused):
            list(packed(root, [parse(name)], MB))


def test_a_path_within_another_is_packed_once():
    assert outermost([("a", "b"), ("a",), ("ab",), ("a",), ("c", "d")]) == [("a",), ("ab",), ("c", "d")]
    assert outermost([("a",), ()]) == [()]


def test_too_much_is_refused_before_it_begins(root, monkeypatch):
    with pytest.raises(TooLarge):
        survey(root, [()], MB)
    monkeypatch.setattr(packing, "MOST_FILES", 4)
    with pytest.raises(TooLarge):
        survey(root, [()], 2 * MB)


def test_what_grows_while_it_is_packed_ends_the_stream(root):
    (root / "g").write_bytes(os.urandom(MB))
    stream = packed(root, [("d",), ("f",), ("g",)], MB + 1000)
    next(stream)
    with pytest.raises(Grown):
        list(stream)


def test_memory_holds_a_few_chunks_whatever_the_size(root):
    (root / "big").write_bytes(os.urandom(16 * MB))
    sizes = [len(chunk) for chunk in packed(root, [("big",)], 100 * MB)]
    assert max(sizes) < 2 * packing.CHUNK and sum(sizes) > 16 * MB


def test_a_file_that_shrinks_or_vanishes_meanwhile_leaves_a_readable_zip(root):
    (root / "y").write_bytes(os.urandom(4 * MB))
    (root / "z").mkdir()
    (root / "z" / "z").write_text("x")
    stream = packed(root, [("f",), ("y",), ("z",)], 100 * MB)
    data = b"".join(next(stream) for _ in range(5))
    os.truncate(root / "y", 2 * MB)
    (root / "z" / "z").unlink()
    made = zipfile.ZipFile(io.BytesIO(data + b"".join(stream)))
    assert made.testzip() is None and made.getinfo("y").file_size < 4 * MB
    assert made.namelist() == ["f", "y", "z/"]


def test_a_path_that_was_asked_for_and_has_gone_breaks_the_stream(root):
    stream = packed(root, [("d",), ("f",)], 100 * MB)
    (root / "f").rename(root / "g")
    with pytest.raises(NotFound):
        list(stream)


def test_a_reader_who_leaves_leaves_nothing_open(root):
    before = len(list(Path("/proc/self/fd").iterdir()))
    for count in range(4):
        stream = packed(root, [()], 100 * MB)
        for _ in range(count):
            next(stream)
        stream.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("when", [-(2**40), -1, 0, 2**33, 2**35])
def test_times_the_format_cannot_write_do_no_harm(root, when):
    try:
        os.utime(root / "f", (when, when))
    except OverflowError:
        pytest.skip("this file system cannot, either")
    year = unzipped(root, "f").getinfo("f").date_time[0]
    assert 1980 <= year <= 2107


def test_modes_carry_no_special_bits(root):
    (root / "f").chmod(0o6777)
    mode = unzipped(root, "f").getinfo("f").external_attr >> 16
    assert stat.S_IMODE(mode) == 0o755
