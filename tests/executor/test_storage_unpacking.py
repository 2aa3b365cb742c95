"""T34: what a foreign zip file may not do. And what a good one does."""

from __future__ import annotations

import io
import os
import random
import stat
import struct
import threading
import zipfile
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from executor.storage import unpacking
from executor.storage.errors import BadArchive, Full, Occupied, StorageError
from executor.storage.names import STAGING, parse
from executor.storage.reading import open_at
from executor.storage.room import Rooms
from executor.storage.unpacking import Terms, unpack

MB = 1024**2


@pytest.fixture
def root(tmp_path):
    made = tmp_path / "workspace"
    made.mkdir()
    (tmp_path / "outside").mkdir()
    return made


def entry(name: str, mode: int = 0, **fields) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.orig_filename = info.filename = name  # as it is, NUL and all
    info.create_system, info.external_attr = 3, mode << 16
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def zipped(*entries: tuple[str | zipfile.ZipInfo, bytes | str], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", method) as made:
        for name, data in entries:
            made.writestr(name, data, None if isinstance(name, zipfile.ZipInfo) else method)
    return held.getvalue()


def imported(root, data: bytes, into: str = "", room: int = 100 * MB, longest: int = 50 * MB, **how):
    lying = root.parent / "archive.zip"
    lying.write_bytes(data)
    fd = os.open(root.parent, os.O_RDONLY)
    file = open_at(fd, ("archive.zip",))
    os.close(fd)
    try:
        return unpack(root, file, parse(into), Terms(Rooms(room), longest, **how))
    finally:
        file.close()
        assert not (root / STAGING).exists() or not any((root / STAGING).iterdir())


def tree(root) -> dict[str, bytes | None]:
    found = sorted(path for path in root.rglob("*") if path.name != STAGING)
    return {str(path.relative_to(root)): None if path.is_dir() else path.read_bytes() for path in found}


def refused(root, data: bytes, **how) -> BadArchive:
    """Nothing changes, anywhere."""
    before = tree(root.parent)
    with pytest.raises(BadArchive) as error:
        imported(root, data, **how)
    (root.parent / "archive.zip").unlink()
    assert tree(root.parent) == before
    return error.value


def test_a_zip_file_is_unpacked_with_folders_and_nothing_else(root):
    data = zipped(("d/", ""), ("d/a.csv", "1,2"), ("new/deep/f", b"\0" * 1000), (entry("run.sh", 0o100755), "echo"))
    report = imported(root, data)
    assert tree(root) == {
        "d": None,
        "d/a.csv": b"1,2",
        "new": None,
        "new/deep": None,
        "new/deep/f": b"\0" * 1000,
        "run.sh": b"echo",
    }
    assert (report.files, report.folders, report.bytes, report.refused) == (3, 1, 1007, [])
    assert (
        stat.S_IMODE((root / "run.sh").stat().st_mode) == 0o755 and stat.S_IMODE((root / "d/a.csv").stat().st_mode) == 0o644
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may choose an owner")
def test_what_was_unpacked_belongs_to_the_owner_of_the_workspace(root):
    os.chown(root, 212_345, 212_346)
    imported(root, zipped(("d/e/f", "x"), ("empty/", "")), into="into/here")
    for path in root.rglob("*"):
        assert (path.stat().st_uid, path.stat().st_gid) == (212_345, 212_346), path


NAMES = {
    "absolute": "/etc/passwd",
    "parent": "a/../../outside/f",
    "drive": "C:evil.txt",
    "backslash": "..\\evil.txt",
    "name": "line\nbreak",
    "depth": "d/" * 70 + "f",
    "reserved": f"{STAGING}/f",
}


@pytest.mark.parametrize(
    ("reason", "name"), [*NAMES.items(), ("parent", ".."), ("name", "a//b"), ("name", "\u202egnp.exe")]
)
def test_t34_a_name_that_leads_elsewhere_refuses_the_whole_file(root, reason, name):
    error = refused(root, zipped(("good.txt", "x"), (entry(name), "evil")))
    (told,) = error.facts["report"]["refused"]
    assert told["reason"] == reason and told["words"] in error.words
    assert told["name"].isprintable()


@pytest.mark.parametrize(
    ("reason", "mode"),
    [
        ("link", stat.S_IFLNK),
        ("special", stat.S_IFCHR),
        ("special", stat.S_IFBLK),
        ("special", stat.S_IFIFO),
        ("special", stat.S_IFSOCK),
    ],
)
def test_t34_links_and_devices_are_refused(root, reason, mode):
    error = refused(root, zipped((entry("evil", mode | 0o777), "../outside"), ("evil/f", "x")))
    assert error.facts["report"]["refused"][0]["reason"] == reason


def test_the_rest_is_imported_where_that_is_wanted(root):
    evil = [(entry(name), "evil") for name in NAMES.values()] + [(entry("link", stat.S_IFLNK), "/etc/passwd")]
    report = imported(root, zipped(("good.txt", "x"), *evil), partial=True)
    assert tree(root.parent) == {
        "archive.zip": (root.parent / "archive.zip").read_bytes(),
        "outside": None,
        "workspace": None,
        "workspace/good.txt": b"x",
    }
    assert [one.reason for one in report.refused] == [*NAMES, "link"] and report.refused_count == 8


def test_t34_a_name_with_nul_is_refused(root):
    data = zipped((entry("good.txt"), "x"), (entry("evil.txt_.png"), "x")).replace(b"evil.txt_.png", b"evil.txt\0.png")
    assert refused(root, data).facts["report"]["refused"][0]["reason"] == "name"


def test_t34_the_same_name_twice_is_refused_however_it_is_spelled(root):
    with pytest.warns(UserWarning, match="Duplicate"):
        data = zipped(("a", "1"), ("a", "2"))
    assert refused(root, data).facts["report"]["refused"][0]["reason"] == "duplicate"
    refused(root, zipped(("ü", "1"), ("u\u0308", "2")))
    refused(root, zipped(("a", "1"), ("a/b", "2")))
    refused(root, zipped(("a/b", "1"), ("a", "2")))
    imported(root, zipped(("d/", ""), ("d/a", "1")))


def test_names_that_differ_in_capitals_are_told(root):
    report = imported(root, zipped(("README", "1"), ("readme", "2"), ("b", "3")))
    assert report.same_but_case == ["README", "readme"] and (root / "readme").read_text() == "2"


def test_by_products_of_other_systems_are_ignored_and_told(root):
    report = imported(root, zipped(("a", "1"), ("__MACOSX/._a", "x"), ("d/.DS_Store", "x")))
    assert tree(root) == {"a": b"1"} and report.ignored == ["__MACOSX/._a", "d/.DS_Store"]


def test_names_in_utf8_without_a_mark_and_in_other_spellings_come_out_right(root):
    data = zipped((entry("Bericht_\u0081.txt"), "x")).replace("\u0081".encode(), "ü".encode())
    imported(root, data)
    imported(root, zipped(("Cafe\u0301\u202f2.txt", "x")))
    assert sorted(tree(root)) == ["Bericht_ü.txt", "Café 2.txt"]


# ---- bombs -----------------------------------------------------------------------------------------------------------


def test_t34_a_file_of_zeros_is_a_bomb(root):
    error = refused(root, zipped(("zeros", b"\0" * 20 * MB)))
    assert "200" in error.words


def test_t34_many_small_bombs_are_one(root):
    error = refused(root, zipped(*((f"f{n}", b"\0" * MB) for n in range(30))))
    assert "200" in error.words


def test_t34_sizes_in_headers_are_not_believed(root):
    """Claims 1 byte, inflates to more: cut off, and the checksum tells."""
    data = bytearray(zipped(("f", os.urandom(1000))))
    for signature, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<I", data, data.index(signature) + at, 1)
    refused(root, bytes(data))


def test_t34_a_lie_about_the_packed_size_does_not_hide_the_ratio(root):
    data = bytearray(zipped(("zeros", b"\0" * 20 * MB), ("other", random.Random(1).randbytes(MB))))
    struct.pack_into("<I", data, data.index(b"PK\x01\x02") + 20, 10 * MB)
    assert refused(root, bytes(data)).facts["report"]["refused"][0]["reason"] == "overlap"
    data = bytearray(zipped(("zeros", b"\0" * 20 * MB)))
    struct.pack_into("<I", data, data.index(b"PK\x01\x02") + 20, 10 * MB)
    assert refused(root, bytes(data)).facts["report"]["refused"][0]["reason"] == "overlap"


def local(name: bytes, data: bytes) -> bytes:
    """An entry as it lies in the file, not packed."""
    fields = (20, 0, 0, 0, 33, zlib.crc32(data), len(data), len(data), len(name), 0)
    return struct.pack("<4sHHHHHIIIHH", b"PK\x03\x04", *fields) + name + data


def listed(name: bytes, data: bytes, at: int, remark: bytes = b"") -> bytes:
    """The same entry in the list at the file's end."""
    fields = (20, 3, 20, 0, 0, 0, 0, 33, zlib.crc32(data), len(data), len(data), len(name), 0, len(remark), 0, 0, 0, at)
    return struct.pack("<4sBBBBHHHHIIIHHHHHII", b"PK\x01\x02", *fields) + name + remark


def closing(entries: list[bytes], at: int) -> bytes:
    list_ = b"".join(entries)
    count = min(len(entries), 0xFFFF)
    return list_ + struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, count, count, len(list_), at, 0)


def test_a_zip_file_made_by_hand_is_one(root):
    """What the tests below change is otherwise in order."""
    a, b = local(b"a", b"1"), local(b"b", b"2")
    imported(root, a + b + closing([listed(b"a", b"1", 0), listed(b"b", b"2", len(a), b"remark")], len(a + b)))
    assert tree(root) == {"a": b"1", "b": b"2"}


def test_t34_entries_that_share_their_bytes_are_refused(root):
    """The kernel of a bomb without nesting: what is the data of one entry is the next ones, header and all."""
    inner = local(b"b", os.urandom(1000))
    outer = local(b"a", inner)
    data = outer + closing([listed(b"a", inner, 0), listed(b"b", inner[-1000:], len(outer) - len(inner))], len(outer))
    assert [told["reason"] for told in refused(root, data).facts["report"]["refused"]] == ["overlap"]


def test_t34_methods_that_inflate_without_bound_and_encryption_are_refused(root):
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        assert refused(root, zipped(("f", "x" * 100), method=method)).facts["report"]["refused"][0]["reason"] == "method"
    data = bytearray(zipped(("f", "x")))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    assert refused(root, bytes(data)).facts["report"]["refused"][0]["reason"] == "encrypted"


def test_t34_too_many_entries_are_refused_before_they_are_read(root, monkeypatch):
    monkeypatch.setattr(unpacking, "MOST_ENTRIES", 20)
    refused(root, zipped(*((f"f{n}", "") for n in range(21))))
    data = zipped(("f", "x"))
    huge = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 9, 9, 2**31, 0, 0)
    refused(root, data[: data.index(b"PK\x05\x06")] + huge)


def test_t34_a_list_of_entries_longer_than_memory_is_not_read(root):
    for entries in (
        [listed(b"%08d" % number, b"", 0) for number in range(100_000)],
        [listed(b"%08d" % number, b"", 0, b"x" * 65_000) for number in range(100)],
    ):
        assert "10000" in refused(root, closing(entries, 0)).words


def test_t34_a_zip_file_within_is_a_file_like_any_other(root):
    inner = zipped(("zeros", b"\0" * 20 * MB))
    imported(root, zipped(("inner.zip", inner)))
    assert tree(root) == {"inner.zip": inner}


def test_t34_one_file_and_all_of_them_have_a_limit(root):
    data = zipped(("a", os.urandom(2 * MB)), ("b", os.urandom(2 * MB)))
    assert "1 MiB" in refused(root, data, longest=MB).words
    with pytest.raises(Full):
        imported(root, data, room=3 * MB)
    assert tree(root) == {}
    imported(root, data, room=6 * MB)


def test_t34_a_wrong_checksum_refuses_everything(root):
    data = bytearray(zipped(("a", "good"), ("b", "x" * 1000), method=zipfile.ZIP_STORED))
    data[data.index(b"xxxx")] ^= 1
    refused(root, bytes(data))


@pytest.mark.parametrize(
    "data", [b"", b"PK", b"no zip file", b"PK\x05\x06" + b"\0" * 18, b"\0" * 10_000, b"PK\x05\x06" * 500]
)
def test_t34_what_is_no_zip_file_is_refused_or_empty(root, data):
    try:
        report = imported(root, data)
    except BadArchive:
        return
    assert report.files == 0 and tree(root) == {}


BASE = zipped(("a/b.txt", b"hello" * 100), ("c", os.urandom(200)), ("d/", ""))


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(BASE) - 1), st.integers(0, 255)), min_size=1, max_size=6), st.integers(0, 40))
def test_t34_no_mutation_of_a_zip_file_does_more_than_be_refused(tmp_path_factory, changes, cut):
    base = tmp_path_factory.mktemp("mutated")
    root = base / "workspace"
    root.mkdir()
    data = bytearray(BASE)
    for at, value in changes:
        data[at] = value
    try:
        imported(root, bytes(data[: len(data) - cut]))
    except StorageError as error:
        assert error.status < 500 and tree(root) == {}
    assert sorted(path.name for path in base.iterdir()) == ["archive.zip", "workspace"]


# ---- all or nothing --------------------------------------------------------------------------------------------------


def test_an_import_joins_what_is_there_and_replaces_only_when_that_is_wanted(root):
    (root / "d").mkdir()
    (root / "d" / "old").write_text("old")
    (root / "d" / "both").write_text("old")
    data = zipped(("d/new", "new"), ("d/both", "new"), ("e/f", "new"))
    before = tree(root)
    with pytest.raises(Occupied) as taken:
        imported(root, data)
    assert taken.value.facts["occupied"] == ["d/both"] and tree(root) == before
    imported(root, data, replace=True)
    assert tree(root) == {"d": None, "d/both": b"new", "d/new": b"new", "d/old": b"old", "e": None, "e/f": b"new"}


def test_a_folder_is_never_replaced_and_no_link_either(root):
    (root / "taken").mkdir()
    (root / "link").symlink_to(root.parent / "outside")
    (root / "file").write_text("old")
    for name in ("taken", "link", "link/f", "file/f"):
        with pytest.raises(StorageError) as error:
            imported(root, zipped((name, "x"), ("good", "x")), replace=True)
        assert error.value.status == 409, name
    assert not (root / "good").exists() and not any((root.parent / "outside").iterdir())
    assert (root / "file").read_text() == "old" and (root / "link").is_symlink()


def test_an_import_into_a_folder_makes_it(root):
    imported(root, zipped(("f", "x")), into="a/b")
    assert tree(root) == {"a": None, "a/b": None, "a/b/f": b"x"}


def test_a_failure_in_the_middle_takes_everything_back(root, monkeypatch):
    from executor.storage import merging

    (root / "a").write_text("old")
    (root / "d").mkdir()
    before, renames = tree(root), []
    rename = merging.rename_noreplace

    def failing(source: str, *rest) -> None:
        renames.append(source)
        if renames.count("z") == 1 and source == "z":
            raise OSError(28, "No space left on device")
        rename(source, *rest)

    monkeypatch.setattr(merging, "rename_noreplace", failing)
    with pytest.raises(Full):
        imported(root, zipped(("a", "new"), ("d/x", "new"), ("new/y", "new"), ("z", "new")), replace=True)
    assert "z" in renames and tree(root) == before


def test_two_imports_at_once_do_not_mix(root):
    """Both want the same names: one gets them, the other gets nothing."""
    archives = [zipped(*((f"d{n}/f", mark) for n in range(40))) for mark in ("1", "2")]
    results: list[object] = []

    def work(number: int) -> None:
        lying = root.parent / f"{number}.zip"
        lying.write_bytes(archives[number])
        fd = os.open(root.parent, os.O_RDONLY)
        file = open_at(fd, (lying.name,))
        os.close(fd)
        try:
            unpack(root, file, (), Terms(Rooms(100 * MB), MB))
            results.append(number)
        except StorageError as error:
            results.append(error)
        finally:
            file.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    won = [result for result in results if isinstance(result, int)]
    found = {data for data in tree(root).values() if data is not None}
    assert len(won) <= 1 and found == {str(number + 1).encode() for number in won}


def test_the_bytes_after_the_end_of_packed_data_are_not_unpacked(root):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = bytearray(zipped(("f", b"good"), ("g", b"x")))
    packed = packer.compress(b"good") + packer.flush()
    at = data.index(packed)
    longer = data[:at] + packed + b"\0" * 50 + data[at + len(packed) :]
    for signature, size_at in ((b"PK\x03\x04", 18), (b"PK\x01\x02", 20)):
        struct.pack_into("<I", longer, longer.index(signature) + size_at, len(packed) + 50)
    second = longer.index(b"PK\x01\x02", longer.index(b"PK\x01\x02") + 1)
    struct.pack_into("<I", longer, second + 42, longer.index(b"PK\x03\x04", at))
    end = longer.index(b"PK\x05\x06")
    struct.pack_into("<I", longer, end + 16, longer.index(b"PK\x01\x02"))
    imported(root, bytes(longer))
    assert tree(root) == {"f": b"good", "g": b"x"}
