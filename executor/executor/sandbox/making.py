"""Making one sandbox, step by step: directory, record, cgroups, socket, processes, first answer. What fails is undone."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from executor.sandbox import argv, cgroups, identity, image, left, record
from executor.sandbox.advice import advise
from executor.sandbox.base import Limits, Profile, SandboxUnavailable, Spec
from executor.sandbox.gateway import answered
from executor.sandbox.notes import new_record
from executor.sandbox.programs import Bwrap, Python
from executor.sandbox.running import Running
from executor.sandbox.starting import start

START_S = 60.0
BACKLOG = 64


@dataclass(frozen=True, slots=True)
class Kit:
    """What every sandbox of one executor is made with. `filter` is the compiled system call filter, `key` what tokens are
    derived from; `survive` says whether sandboxes outlive the executor."""

    run_dir: Path
    bwrap: Bwrap
    python: Python
    image: Path
    place: cgroups.Place | None
    filter: bytes
    key: bytes
    survive: bool

    def spec_hash(self, limits: Limits, profile: Profile) -> str:
        """Tells sandboxes that were made to other settings, or of another image, from those made now."""
        made_of = image.name(self.image), str(self.python.path), self.filter.hex(), argv.isolation(self.survive)
        parts = asdict(limits), profile, made_of, argv.environment(self.python.path, limits)
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


async def make(kit: Kit, spec: Spec, uid: int | None) -> Running:
    """A sandbox whose gateway answers. Its workspace is owned by `uid`. Raises SandboxUnavailable, with nothing
    left behind."""
    laying_out = asyncio.create_task(asyncio.to_thread(lay_out, kit, spec, uid))
    try:
        sandbox, listener = await asyncio.shield(laying_out)
    except OSError as error:
        raise SandboxUnavailable(f"The sandbox's directory or cgroup cannot be made: {error}.") from error
    except asyncio.CancelledError:
        await undo(laying_out)  # the thread cannot be stopped
        raise
    try:
        with listener:
            await start(kit, sandbox, listener)
        await first_answer(sandbox, kit.bwrap.path)
    except BaseException:
        await sandbox.kill()
        raise
    return sandbox


async def undo(laying_out: asyncio.Task[tuple[Running, socket.socket]]) -> None:
    await asyncio.wait({laying_out})
    if laying_out.exception() is None:
        sandbox, listener = laying_out.result()
        listener.close()
        await sandbox.kill()


def lay_out(kit: Kit, spec: Spec, uid: int | None) -> tuple[Running, socket.socket]:
    """The sandbox's directory, record, cgroups and listening socket; nothing runs yet."""
    directory, now = kit.run_dir / spec.id, time.time()
    note = new_record(spec, kit.spec_hash(spec.limits, spec.profile), now, now + spec.lifetime_s, uid)
    try:
        record.begin(directory, note)
    except FileExistsError:
        raise SandboxUnavailable(f"A sandbox {spec.id} is there already.") from None
    try:
        group = cgroups.Group(kit.place, left.group_name(kit.run_dir, spec.id), spec.limits) if kit.place else None
        listener = listen(directory)
        sandbox = Running(spec, directory, identity.token(kit.key, spec.id, spec.generation), group, uid)
        sandbox.deadline = note.deadline
        return sandbox, listener
    except OSError:
        left.remove(kit.run_dir, spec.id, kit.place)
        raise


def listen(directory: Path) -> socket.socket:
    """The gateway's socket, made here and inherited by the gateway: no name for it exists inside the sandbox. Bound through
    a descriptor, because a socket's name may have 107 bytes and a path more."""
    fd = os.open(directory, os.O_PATH | os.O_CLOEXEC)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(f"/proc/self/fd/{fd}/gateway.sock")
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    finally:
        os.close(fd)
    return listener


async def first_answer(sandbox: Running, bwrap: Path) -> None:
    """Until the gateway answers. Raises SandboxUnavailable when the sandbox ends first, or takes too long."""
    ended = asyncio.create_task(sandbox.wait())
    answer = asyncio.create_task(answered(sandbox.dial_path(), sandbox.token))
    try:
        await asyncio.wait({ended, answer}, timeout=START_S, return_when=asyncio.FIRST_COMPLETED)
        if answer.done() and answer.exception() is None:
            return
        await asyncio.wait({ended}, timeout=1.0)  # a gateway that hung up is about to end, and says why
        cause = f"it {ended.result()}" if ended.done() else f"the gateway did not answer within {START_S:.0f} s"
        words = f"The sandbox could not be started. {advise(sandbox.complaint(), bwrap)}".strip()
        raise SandboxUnavailable(f"{words} ({cause})")
    finally:
        for task in (ended, answer):
            task.cancel()
        await asyncio.gather(ended, answer, return_exceptions=True)
