"""The process every sandbox starts: a Jupyter kernel gateway for exactly one kernel, on a Unix socket it inherits.

It replaces `jupyter kernelgateway`, whose command line cannot be told to keep the token out of sight, to leave output
unthrottled, or to listen on anything but TCP. The executor made the listening socket and hands it over as a file
descriptor, so no path to it exists in here for the tenant to tamper with. The token arrives on standard input and lives in
this process's memory alone: the process is not dumpable, so a cell (which has the same uid) can read neither its memory
nor its descriptors.

Standard input holds one line of JSON, a `Settings`. HTTP: `GET /api/kernels`, `GET /api/kernels/{id}`,
`POST /api/kernels/{id}/interrupt|restart`, and the websocket `/api/kernels/{id}/channels`, each with the header
`Authorization: token …`; anything else is refused.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import resource
import socket
import sys
from pathlib import Path
from typing import NamedTuple

PR_SET_DUMPABLE = 4
STATE = Path("/run/kernel")  # connection file and ZMQ sockets: a private directory in the sandbox's own tmpfs


class Settings(NamedTuple):
    """What the executor says on standard input. Sizes in bytes; `listen` is the descriptor of the bound socket."""

    token: str
    listen: int
    data: int
    file_size: int
    open_files: int
    pids: int


def read_settings() -> Settings:
    """The settings, after which standard input is empty for everybody."""
    settings = Settings(**json.loads(sys.stdin.buffer.readline()))
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)
    return settings


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
    its memory bombs; the number of processes is counted within this user namespace."""
    for what, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, settings.file_size),
        (resource.RLIMIT_NOFILE, settings.open_files),
        (resource.RLIMIT_NPROC, settings.pids),
    ):
        resource.setrlimit(what, (value, value))


async def serve(settings: Settings) -> None:
    """Starts the kernel, then answers until killed."""
    import forwarder
    from app import make_app
    from manager import make_manager
    from tornado.httpserver import HTTPServer

    manager = make_manager(STATE, settings.data)
    await manager.start_kernel()
    await forwarder.listen()
    listener = socket.socket(fileno=settings.listen)
    listener.setblocking(False)
    HTTPServer(make_app(manager, settings.token), max_buffer_size=256 * 1024**2).add_sockets([listener])
    await asyncio.Event().wait()


def main() -> None:
    settings = read_settings()
    hide()
    close_all_but(settings.listen)
    limit(settings)
    STATE.mkdir(mode=0o700, exist_ok=True)
    asyncio.run(serve(settings))


if __name__ == "__main__":
    main()
