"""A warm directory becomes a workspace: every file arrives, no link is followed, and a crash loses nothing."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from executor import handover
from executor.handover import WARM, discard, hand_over, settle


def warm(workspaces: Path, sandbox: str = "box", **files: str) -> int:
    """A warm directory with what a sandbox's start may leave there; its inode."""
    directory = workspaces / WARM / sandbox
    directory.mkdir(parents=True)
    for name, text in files.items():
        (directory / name).write_text(text)
    return directory.stat().st_ino


def fill(workspace: Path) -> None:
    """A workspace with everything that may lie in one."""
    (workspace / "deep" / "er").mkdir(parents=True)
    (workspace / "deep" / "er" / "f").write_text("deep")
    (workspace / "empty").mkdir()
    (workspace / "plain").write_text("text")
    (workspace / "link").symlink_to("/etc")
    (workspace / "dangling").symlink_to("nowhere")
    os.mkfifo(workspace / "pipe")
    os.link(workspace / "plain", workspace / "other name")
    (workspace / ".hidden").write_text("h")
    (workspace / "a\nb").write_text("newline")
    Path(os.fsdecode(os.fsencode(workspace) + b"/\xff")).write_text("no UTF-8")


def seen(workspace: Path) -> dict[str, object]:
    """Every path below, with its kind, mode and contents."""
    found: dict[str, object] = {}
    for parent, directories, names in os.walk(workspace):
        for name in (*directories, *names):
            path = Path(parent, name)
            status = path.lstat()
            body = path.readlink() if path.is_symlink() else path.read_bytes() if stat.S_ISREG(status.st_mode) else None
            found[str(path.relative_to(workspace))] = (status.st_mode, status.st_mtime_ns, body)
    return found


def test_a_new_conversation_gets_the_directory_itself(tmp_path):
    inode = warm(tmp_path)
    workspace = hand_over(tmp_path, "box", "chat")
    assert workspace == tmp_path / "chat" and workspace.stat().st_ino == inode
    assert list((tmp_path / WARM).iterdir()) == []


def test_an_empty_workspace_is_replaced(tmp_path):
    inode = warm(tmp_path)
    (tmp_path / "chat").mkdir()
    assert hand_over(tmp_path, "box", "chat").stat().st_ino == inode


def test_a_returning_conversation_finds_every_file_as_it_was(tmp_path):
    inode = warm(tmp_path, started="by the sandbox")
    fill(tmp_path / "chat")
    before = seen(tmp_path / "chat")
    workspace = hand_over(tmp_path, "box", "chat")
    after = seen(workspace)
    assert workspace.stat().st_ino == inode and after.pop("started")
    assert after == before and Path("/etc/passwd").exists()
    assert list((tmp_path / WARM).iterdir()) == []


def test_what_the_conversation_has_wins(tmp_path):
    warm(tmp_path, file="start", directory="a file here")
    (tmp_path / WARM / "box" / "both").mkdir()
    (tmp_path / WARM / "box" / "both" / "of start").write_text("x")
    for name in ("both", "directory"):
        (tmp_path / "chat" / name).mkdir(parents=True)
        (tmp_path / "chat" / name / "mine").write_text("mine")
    (tmp_path / "chat" / "file").write_text("mine")
    before = seen(tmp_path / "chat")
    assert seen(hand_over(tmp_path, "box", "chat")) == before


def test_a_file_that_is_uploaded_meanwhile_arrives_too(tmp_path, monkeypatch):
    warm(tmp_path)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "first").write_text("first")
    move, late = handover._move, ["third", "second"]

    def moving(name: str, out: int, into: int) -> None:
        move(name, out, into)
        if late:
            upload = late.pop()
            (tmp_path / "c" / upload).write_text(upload)

    monkeypatch.setattr(handover, "_move", moving)
    workspace = hand_over(tmp_path, "box", "c")
    assert {path.name: path.read_text() for path in workspace.iterdir()} == {n: n for n in ("first", "second", "third")}
    assert not any((tmp_path / WARM).iterdir())


def test_a_locked_directory_keeps_its_mode(tmp_path):
    warm(tmp_path)
    (tmp_path / "chat" / "locked").mkdir(parents=True)
    (tmp_path / "chat" / "locked" / "f").write_text("x")
    (tmp_path / "chat" / "locked").chmod(0o500)
    before = seen(tmp_path / "chat")
    assert seen(hand_over(tmp_path, "box", "chat")) == before


@pytest.mark.parametrize("planted", ["link", "file"])
def test_something_else_in_the_workspaces_place_is_refused_and_left(tmp_path, planted):
    warm(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    if planted == "link":
        (tmp_path / "chat").symlink_to(tmp_path / "elsewhere")
    else:
        (tmp_path / "chat").write_text("x")
    with pytest.raises(OSError):
        hand_over(tmp_path, "box", "chat")
    assert list((tmp_path / "elsewhere").iterdir()) == [] and (tmp_path / "chat").exists()


class Crash(BaseException):
    pass


@pytest.mark.parametrize("moves", range(12))
@pytest.mark.parametrize("finish", [settle, lambda workspaces: discard(workspaces, "box")], ids=["next life", "at once"])
def test_t11_a_crash_after_any_move_loses_no_file(tmp_path, monkeypatch, moves, finish):
    warm(tmp_path, started="by the sandbox")
    fill(tmp_path / "chat")
    before, move, done = seen(tmp_path / "chat"), handover._move, []

    def counted(name: str, out: int, into: int) -> None:
        if len(done) == moves:
            raise Crash
        move(name, out, into)
        done.append(name)

    monkeypatch.setattr(handover, "_move", counted)
    try:
        hand_over(tmp_path, "box", "chat")
    except Crash:
        pass
    else:
        assert moves > len(done) - 1
    monkeypatch.undo()
    finish(tmp_path)
    after = seen(tmp_path / "chat")
    after.pop("started", None)
    assert after == before and list((tmp_path / WARM).iterdir()) == []


def test_t11_a_crash_before_the_intent_is_gone_changes_nothing(tmp_path):
    (tmp_path / WARM).mkdir()
    (tmp_path / WARM / "box.chat").touch()
    (tmp_path / "chat").mkdir()
    (tmp_path / "chat" / "f").write_text("x")
    settle(tmp_path)
    assert (tmp_path / "chat" / "f").read_text() == "x" and list((tmp_path / WARM).iterdir()) == []


def test_what_cannot_be_finished_is_kept_and_does_not_stop_the_rest(tmp_path):
    warm(tmp_path, "box", f="of the conversation")
    warm(tmp_path, "other")
    (tmp_path / WARM / "box.chat").touch()
    (tmp_path / "chat").write_text("in the way")
    settle(tmp_path)
    assert (tmp_path / WARM / "box" / "f").read_text() == "of the conversation"
    assert not (tmp_path / WARM / "other").exists() and (tmp_path / "chat").read_text() == "in the way"
