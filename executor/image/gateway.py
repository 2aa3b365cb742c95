"""The process every sandbox starts: a Jupyter kernel gateway for exactly one kernel, on a Unix socket.

It replaces `jupyter kernelgateway`, whose command line cannot be told to keep the token out of sight, to leave output
unthrottled, or to listen on anything but TCP. The settings, one JSON object (`Settings`), come on standard input, or in a
file that is named on the command line and removed as soon as it is read, before anything of the tenant runs; in a pod they
are on the command line themselves, where everybody may read them, with the token's digest in the token's place. Of the
token this process remembers its digest alone, and it is not dumpable, so that a cell (which has the same uid) can read
neither its memory nor its descriptors.

It listens on a socket that the executor made and handed over as a descriptor, so that no path to it exists in here for the
tenant to tamper with; or, where a descriptor cannot be handed over, at a path; or, in a pod, on a port.

HTTP: `GET /api/kernels`, `GET /api/kernels/{id}`, `POST /api/kernels/{id}/interrupt|restart`, the websocket
`/api/kernels/{id}/channels`, `POST /hold` (see hold.py) and `GET /usage` (see counters.py), each with the header
`Authorization: token …`; anything else is refused.
"""

from __future__ import annotations

import asyncio
import ctypes
import hashlib
import json
import os
import resource
import socket
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pod
from absent import leave_out
from deadline import end_after

PR_SET_DUMPABLE = 4
BACKLOG = 64
STATE = Path("/run/kernel")  # connection file and ZMQ sockets: a private directory in the sandbox's own tmpfs


class Settings(NamedTuple):
    """What the executor says. Sizes in bytes; `listen` is the descriptor of the bound socket, the path to bind one at, or
    `:port`; after `deadline_s` seconds the sandbox ends, whatever happens until then (0: never); `pids` may be 0: no limit
    of ours. `digest` is there instead of the token where others can read these settings; `pod` where this is one (see
    pod.py): its system call filters, and the door that it must not reach."""

    listen: int | str
    data: int
    file_size: int
    open_files: int
    pids: int
    deadline_s: float = 0
    token: str = ""
    digest: str = ""
    pod: dict[str, Any] | None = None

    @property
    def authorization(self) -> str:
        """The digest of the header that lets in. Nothing lets in where there is neither token nor digest."""
        return self.digest or (digest_of(self.token) if self.token else "none")


def digest_of(token: str) -> str:
    """As in executor.sandbox.kubernetes.body."""
    return hashlib.sha256(f"token {token}".encode()).hexdigest()


def read_settings(given: str | None) -> Settings:
    """The settings: `given` itself where it is JSON, with no secret in it. Else nobody can read them afterwards: they come
    from the file `given`, which is removed, or from standard input."""
    if given is None:
        text = sys.stdin.buffer.readline()
    elif given.startswith("{"):
        text = given.encode()
    else:
        text = Path(given).read_bytes()
        Path(given).unlink()
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)
    return Settings(**json.loads(text))


def bound(listen: int | str) -> socket.socket:
    """The socket to listen on."""
    if isinstance(listen, int):
        listener = socket.socket(fileno=listen)
    elif listen.startswith(":"):
        dual = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if dual else socket.AF_INET
        listener = socket.create_server(("", int(listen[1:])), family=family, backlog=BACKLOG, dualstack_ipv6=dual)
    else:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o177)
        listener.bind(listen)
        os.umask(mask)
        listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


def hide() -> None:
    """Makes /proc/<this process>/{environ,mem,fd,…} unreadable for the tenant."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_DUMPABLE)")


def close_all_but(kept: int) -> None:
    """Nothing the launcher had open may reach the tenant, whatever bubblewrap left."""
    os.closerange(3, kept)
    os.closerange(kept + 1, 4096)


def limit(settings: Settings) -> None:
    """Limits for this process and all it starts. RLIMIT_DATA is set by the kernel alone, so that the gateway outlives
    its memory bombs; the number of processes is counted within this user namespace, which in a pod may be the node's."""
    for what, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, settings.file_size),
        (resource.RLIMIT_NOFILE, settings.open_files),
        *(((resource.RLIMIT_NPROC, settings.pids),) if settings.pids else ()),
    ):
        resource.setrlimit(what, (value, value))


async def serve(settings: Settings, listener: socket.socket) -> None:
    """Starts the kernel, then answers on `listener` until killed."""
    leave_out()
    import forwarder
    from app import make_app
    from manager import make_manager
    from tornado.httpserver import HTTPServer

    manager = make_manager(STATE, settings.data)
    door = settings.pod["door"] if settings.pod is not None else ""
    await asyncio.gather(manager.start_kernel(), *([pod.closed(door)] if door else ()))
    await forwarder.listen()
    HTTPServer(make_app(manager, settings.authorization), max_buffer_size=256 * 1024**2).add_sockets([listener])
    await asyncio.Event().wait()


def main() -> None:
    settings = read_settings(sys.argv[1] if sys.argv[1:] else None)
    hide()
    if settings.pod is not None:
        pod.enter(settings.pod["filters"])
    end_after(settings.deadline_s)
    listener = bound(settings.listen)
    close_all_but(listener.fileno())
    limit(settings)
    STATE.mkdir(mode=0o700, exist_ok=True)
    asyncio.run(serve(settings, listener))


if __name__ == "__main__":
    main()
