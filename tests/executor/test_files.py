"""What a cell did to its workspace, and the end of a workspace, whatever the tenant built there."""

from __future__ import annotations

import os
import threading
import time

from executor import files
from executor.files import changes, snapshot


def told(before, after) -> set[tuple[str, str]]:
    return {(change.path, change.change) for change in changes(before, after)}


def test_new_changed_and_deleted_files_are_told(tmp_path):
    for name in ("same", "changed", "deleted"):
        (tmp_path / name).write_text(name)
    before = snapshot(tmp_path)
    (tmp_path / "changed").write_text("longer than before")
    (tmp_path / "deleted").unlink()
    (tmp_path / "a dir").mkdir()
    (tmp_path / "a dir" / "néw.csv").write_text("12345")
    after = snapshot(tmp_path)
    assert told(before, after) == {("changed", "changed"), ("deleted", "deleted"), ("a dir/néw.csv", "new")}
    assert {change.size for change in changes(before, after)} == {5, 18, 0}


def test_no_link_is_followed_and_only_regular_files_are_told(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("x")
    root = tmp_path / "root"
    root.mkdir()
    (root / "to-dir").symlink_to(outside)
    (root / "to-file").symlink_to(outside / "secret")
    (root / "dangling").symlink_to("/nowhere")
    os.mkfifo(root / "fifo")
    (root / "line\nbreak").write_text("x")
    (root / "‮gnp.exe").write_text("x")
    os.close(os.open(os.fsencode(root) + b"/\xff\xfe", os.O_CREAT | os.O_WRONLY))
    assert snapshot(root).files == {}


def test_a_workspace_that_is_not_there_is_empty(tmp_path):
    assert snapshot(tmp_path / "none").files == {}


def test_a_link_in_place_of_the_workspace_is_not_followed(tmp_path):
    (tmp_path / "ws").symlink_to("/etc")
    assert snapshot(tmp_path / "ws").files == {}


def test_a_look_that_was_cut_short_claims_nothing_it_did_not_see(tmp_path):
    for number in range(50):
        (tmp_path / f"f{number}").write_text("x")
    whole = snapshot(tmp_path)
    part = snapshot(tmp_path, 10)
    assert not part.complete and len(part.files) <= 10
    assert changes(whole, part) == [] and changes(part, whole) == []


def test_at_most_a_thousand_changes_are_told(tmp_path):
    before = snapshot(tmp_path)
    for number in range(1500):
        (tmp_path / f"f{number}").touch()
    assert len(changes(before, snapshot(tmp_path))) == 1000


def test_a_deep_or_huge_tree_costs_a_bounded_time(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    deep(root, 3000)
    began = time.monotonic()
    assert not snapshot(root).complete
    assert time.monotonic() - began < 1
    files.remove(root)


def test_names_swapped_while_looking_lead_nowhere_else(tmp_path):
    root, other = tmp_path / "root", tmp_path / "other"
    root.mkdir()
    other.mkdir()
    (other / "secret").write_text("x")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            (root / "d").mkdir()
            (root / "d").rmdir()
            (root / "d").symlink_to(other)
            (root / "d").unlink()

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        for _ in range(500):
            assert "d/secret" not in snapshot(root).files
    finally:
        stop.set()
        swapping.join()


def deep(root, depth: int) -> None:
    fd = os.open(root, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=fd)
        inner = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)


def test_removal_copes_with_depth_links_and_modes(tmp_path):
    root, other = tmp_path / "root", tmp_path / "other"
    root.mkdir()
    other.mkdir()
    (other / "kept").write_text("x")
    deep(root, 3000)
    (root / "link").symlink_to(other)
    (root / "d" / "up").symlink_to("..")
    (root / "closed").mkdir()
    (root / "closed" / "f").write_text("x")
    (root / "closed").chmod(0)
    os.mkfifo(root / "fifo")
    files.remove(root)
    assert not root.exists() and (other / "kept").exists()
    files.remove(root)
