"""Taking up the sandboxes that an earlier life of this executor left running.

One is taken up when it belongs to a conversation, has time left, was made to the settings of today, runs (both of its outer
processes are the very ones noted), has its workspace where it was noted, and answers to the token that only this executor
can derive. What a record says is believed only as far as the machine agrees.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from pathlib import Path

from executor.sandbox import identity, left, process, record, tree
from executor.sandbox.base import Limits, SandboxUnavailable
from executor.sandbox.cgroups import Group
from executor.sandbox.gateway import answered
from executor.sandbox.making import Kit
from executor.sandbox.notes import spec_of
from executor.sandbox.record import Record
from executor.sandbox.running import Running
from executor.sandbox.tree import Tree
from executor.sandbox.workspace import DIRECTORY

ANSWER_S = 10.0  # a gateway that a cell has stopped never answers
CONVERSATIONS = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Unfit(Exception):
    """Why a sandbox cannot be kept."""


def reopened(kit: Kit, directory: Path, limits: Limits | None) -> tuple[Running, Tree]:
    """What is left in `directory`, when it still is a whole sandbox. `limits` are those of today; None where any will do.
    Raises Unfit. Blocks."""
    note = record.read(directory)
    if note is None:
        raise Unfit("it has no record")
    try:
        check(kit, note, limits)
        held = tree.found(note.facts, left.mark(kit.run_dir, note.id))
        if held is None:
            raise Unfit("it has ended")
        try:
            return sandbox_of(kit, directory, note, held), held
        except BaseException:
            held.close()
            raise
    except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise Unfit(f"its record does not fit what there is ({error!r})") from error


def check(kit: Kit, note: Record, limits: Limits | None) -> None:
    """Raises Unfit, and what a record of another version may lead to."""
    spec = spec_of(note)
    if note.conversation is None:
        raise Unfit("it has no conversation")
    if not CONVERSATIONS.fullmatch(note.conversation):
        raise Unfit("its conversation is none")
    if not time.time() < note.deadline:
        raise Unfit("it is past its deadline")
    if note.spec_hash != kit.spec_hash(limits or spec.limits, spec.profile):
        raise Unfit("it was made to other settings")
    if identity_of(spec.workspace) != note.facts["workspace"]:
        raise Unfit("its workspace is not there any more")


def identity_of(workspace: Path) -> list[int]:
    fd = os.open(workspace, DIRECTORY)
    try:
        status = os.fstat(fd)
        return [status.st_dev, status.st_ino]
    finally:
        os.close(fd)


def sandbox_of(kit: Kit, directory: Path, note: Record, held: Tree) -> Running:
    """Raises Unfit, OSError, KeyError, TypeError or ValueError."""
    uid = note.facts["uid"]
    if (uid is None) != (os.geteuid() != 0) or process.user(held.outer.pid) != (os.geteuid() if uid is None else uid):
        raise Unfit("it does not run as the user it should")
    paths = left.noted_cgroups(kit.run_dir, note.id, note.facts)
    if paths.keys() != note.facts["cgroups"].keys() or not all(path.is_dir() for path in paths.values()):
        raise Unfit("its cgroups are not its own")
    group = Group.found(int(note.facts["cgroup_version"]), paths) if paths else None
    spec = spec_of(note)
    sandbox = Running(spec, directory, identity.token(kit.key, spec.id, spec.generation), group, uid)
    sandbox.conversation, sandbox.deadline = note.conversation, note.deadline
    if not sandbox.owned_socket():
        sandbox.let_go()
        raise Unfit("what lies in the place of its socket is none of ours")
    return sandbox


async def answering(sandbox: Running) -> bool:
    """Whether its own gateway is behind its socket."""
    try:
        async with asyncio.timeout(ANSWER_S):
            await answered(sandbox.dial_path(), sandbox.token)
        return True
    except (OSError, SandboxUnavailable, TimeoutError, ValueError):
        return False
