"""Starting the processes of one sandbox: the launcher, which becomes bubblewrap, which starts the gateway."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from executor.sandbox import argv, left, record
from executor.sandbox.process import Held
from executor.sandbox.running import Running
from executor.sandbox.tree import Tree, new_stderr

if TYPE_CHECKING:
    from executor.sandbox.making import Kit

LAUNCH = Path(__file__).with_name("launch.py")


async def start(kit: Kit, sandbox: Running, listener: socket.socket) -> None:
    """Launches bubblewrap, tells the gateway its settings, and notes what runs now. The record comes last: until the
    sandbox is somebody's, what nobody holds is found by its mark."""
    told, tell = os.pipe2(os.O_CLOEXEC)
    settings, say = os.pipe2(os.O_CLOEXEC)
    with ExitStack() as open_here:
        open_here.callback(os.close, say)
        try:
            with ExitStack() as for_launch:
                for fd in (tell, settings, rules := filter_file(kit.filter)):
                    for_launch.callback(os.close, fd)
                keep = [listener.fileno(), tell, rules]
                plan = plan_for(kit, sandbox, keep, tell, rules)
                sandbox.attach(launch(left.mark(kit.run_dir, sandbox.id), plan, settings, keep))
        except BaseException:
            os.close(told)
            raise
        info = asyncio.create_task(asyncio.to_thread(init_pid, told))
        with suppress(BrokenPipeError):  # it failed; `first_answer` says how
            os.write(say, json.dumps(settings_for(sandbox, listener.fileno())).encode() + b"\n")
    pid = await info
    if pid is not None and sandbox.tree is not None:
        sandbox.tree.attach_init(pid)
        record.add(sandbox.directory, facts(sandbox, sandbox.tree))


def launch(mark: str, plan: dict[str, object], stdin: int, keep: list[int]) -> Tree:
    stderr = new_stderr()
    try:
        process = subprocess.Popen(  # noqa: S603  (asyncio's would kill the sandbox when it is collected)
            [sys.executable, "-I", "-S", str(LAUNCH), mark, json.dumps(plan)],
            stdin=stdin,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            pass_fds=keep,
            start_new_session=True,  # a Ctrl-C in the terminal is the executor's to handle
        )
    except BaseException:
        os.close(stderr)
        raise
    try:
        tree = Tree(Held(process.pid), stderr)
    except OSError:  # this process has too many descriptors
        os.close(stderr)
        process.kill()
        process.wait()
        raise
    process.returncode = 0  # from here on it is waited for by its pidfd
    return tree


def facts(sandbox: Running, tree: Tree) -> dict[str, object]:
    """What `executor.sandbox.adoption` finds the sandbox again by."""
    workspace = sandbox.spec.workspace.lstat()
    group = sandbox.group
    return {
        **tree.facts(),
        "workspace": [workspace.st_dev, workspace.st_ino],
        "cgroup_version": group.version if group else 0,
        "cgroups": {controller: str(path) for controller, path in group.paths.items()} if group else {},
    }


def filter_file(program: bytes) -> int:
    """A descriptor bubblewrap reads the system call filter from."""
    fd = os.memfd_create("seccomp")
    os.write(fd, program)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def settings_for(sandbox: Running, listen_fd: int) -> dict[str, object]:
    """What `executor/image/gateway.py` reads: less than a pipe holds."""
    limits = sandbox.limits
    return {
        "token": sandbox.token,
        "listen": listen_fd,
        "data": limits.data,
        "file_size": limits.file_size,
        "open_files": limits.open_files,
        "pids": limits.pids,
        "deadline_s": max(0.1, sandbox.deadline - time.time()),
    }


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
        left.mark(kit.run_dir, sandbox.id),
        *argv.isolation(kit.survive),
        *argv.settings(argv.environment(python.path, limits, sandbox.spec.egress)),
        *argv.root(sources, kit.run_dir / "etc", kit.image, list(python.needs), limits, sandbox.spec.egress),
        *("--bind", sources.name(sandbox.spec.workspace), argv.WORKSPACE, "--chdir", argv.WORKSPACE, "--remount-ro", "/"),
        *("--info-fd", str(tell), "--seccomp", str(rules)),
        *("--", str(python.path), f"{argv.BOOTSTRAP}/gateway.py"),
    ]
    return {
        "parent": None if kit.survive else os.getpid(),
        "cgroups": sandbox.group.procs_files() if sandbox.group else [],
        "uid": sandbox.uid,
        "stage": sources.stage,
        "keep": keep,
        "program": f"{program}/{kit.bwrap.path.name}",
        "libraries": libraries,
        "argv": command,
    }
