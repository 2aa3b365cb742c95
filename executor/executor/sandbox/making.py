"""Making one sandbox, step by step: directory and cgroups, socket, mounts, launch, first answer. What fails is undone."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from executor.sandbox import argv, cgroups, left
from executor.sandbox.advice import advise
from executor.sandbox.base import SandboxUnavailable, Spec
from executor.sandbox.gateway import answered
from executor.sandbox.programs import Bwrap, Python
from executor.sandbox.running import Running

LAUNCH = Path(__file__).with_name("launch.py")
START_S = 60.0
BACKLOG = 64


@dataclass(frozen=True, slots=True)
class Kit:
    """What every sandbox of one executor is made with. `filter` is the compiled system call filter."""

    run_dir: Path
    bwrap: Bwrap
    python: Python
    image: Path
    place: cgroups.Place | None
    filter: bytes


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
    """The sandbox's directory, identity, cgroups and listening socket; nothing runs yet."""
    directory = kit.run_dir / spec.id
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        raise SandboxUnavailable(f"A sandbox {spec.id} is there already.") from None
    try:
        name = left.group_name(kit.run_dir, spec.id)
        left.write(directory, kit.place, name)
        group = cgroups.Group(kit.place, name, spec.limits) if kit.place else None
        listener = listen(directory)
        return Running(spec, directory, secrets.token_urlsafe(32), group, uid), listener
    except OSError:
        left.remove(directory)
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


async def start(kit: Kit, sandbox: Running, listener: socket.socket) -> None:
    """Launches bubblewrap and tells the gateway its settings."""
    told, tell = os.pipe2(os.O_CLOEXEC)
    rules = filter_file(kit.filter)
    keep = [listener.fileno(), tell, rules]
    try:
        plan = plan_for(kit, sandbox, keep, tell, rules)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", str(LAUNCH), json.dumps(plan)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            pass_fds=keep,
            start_new_session=True,  # a Ctrl-C in the terminal is the executor's to handle
        )
    except BaseException:
        os.close(told)
        raise
    finally:
        os.close(tell)
        os.close(rules)
    sandbox.attach(process)
    info = asyncio.create_task(asyncio.to_thread(init_pid, told))
    left.write(sandbox.directory, kit.place, left.group_name(kit.run_dir, sandbox.id), process.pid)
    with suppress(BrokenPipeError, ConnectionResetError):  # it failed; `first_answer` says how
        await send_settings(process, sandbox, listener.fileno())
    pid = await info
    if pid is not None:
        sandbox.attach_init(pid)


def filter_file(program: bytes) -> int:
    """A descriptor bubblewrap reads the system call filter from."""
    fd = os.memfd_create("seccomp")
    os.write(fd, program)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


async def send_settings(process: asyncio.subprocess.Process, sandbox: Running, listen_fd: int) -> None:
    assert process.stdin is not None
    limits = sandbox.limits
    settings = {
        "token": sandbox.token,
        "listen": listen_fd,
        "data": limits.data,
        "file_size": limits.file_size,
        "open_files": limits.open_files,
        "pids": limits.pids,
    }
    process.stdin.write(json.dumps(settings).encode() + b"\n")
    await process.stdin.drain()
    process.stdin.close()


def init_pid(told: int) -> int | None:
    """The pid bubblewrap tells of; None when it failed before. Blocks until one or the other. Closes `told`."""
    with os.fdopen(told, "rb") as info:
        text = info.read()
    with suppress(ValueError, KeyError):
        return int(json.loads(text)["child-pid"])
    return None


def plan_for(kit: Kit, sandbox: Running, keep: list[int], tell: int, rules: int) -> dict[str, object]:
    """The launcher's plan (`executor.sandbox.launch.Plan`)."""
    python, limits, sources = kit.python, sandbox.limits, argv.Sources(staged=sandbox.uid is not None)
    program = sources.name(kit.bwrap.path.parent)
    libraries = sources.name(kit.bwrap.libraries) if kit.bwrap.libraries else None
    command = [
        "bwrap",
        *argv.isolation(),
        *argv.settings(argv.environment(python.path, limits, sandbox.spec.egress)),
        *argv.root(sources, kit.run_dir / "etc", kit.image, list(python.needs), limits, sandbox.spec.egress),
        *("--bind", sources.name(sandbox.spec.workspace), argv.WORKSPACE, "--chdir", argv.WORKSPACE, "--remount-ro", "/"),
        *("--info-fd", str(tell), "--seccomp", str(rules)),
        *("--", str(python.path), f"{argv.BOOTSTRAP}/gateway.py"),
    ]
    return {
        "parent": os.getpid(),
        "cgroups": sandbox.group.procs_files() if sandbox.group else [],
        "uid": sandbox.uid,
        "stage": sources.stage,
        "keep": keep,
        "program": f"{program}/{kit.bwrap.path.name}",
        "libraries": libraries,
        "argv": command,
    }


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
