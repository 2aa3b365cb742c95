"""What a gateway has to see to by itself where it is the only process that a Kubernetes pod starts: there is no bubblewrap
and no `docker-init` around it.

A pod's container runtime offers the filter of its own defaults, which leaves more open than ours does; a filter of our own
would have to lie on every node. So the gateway puts ours on top, before anything of the tenant's runs: nothing takes a
filter away again. A pod also has an interface. Whether the cluster's policies close it is tried, not believed: the executor
keeps a door open to everybody, which a sandbox must not be able to reach.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import platform
import signal
import sys
import zlib
from base64 import b64decode
from collections.abc import Mapping

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
STEP = 8  # bytes of a `struct sock_filter`
TRY_S = 1.0  # for a connection within a cluster
POLICIES_S = 20.0  # for a cluster to put a new pod under its policies
OPEN = 77  # the exit status of a sandbox whose network stayed open; as in executor.sandbox.kubernetes.facts
OURS = ("KUBERNETES_", "HOSTNAME")  # what the kubelet adds to every environment


class Program(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))


def enter(filters: Mapping[str, str]) -> None:
    """Puts this process, and all that it starts, under the filter for this machine (`filters` has one per `uname -m`,
    compressed, in base64); drops what the cluster told it; and lets a child go on in its place. Raises OSError or KeyError
    where there is no filter: then nothing runs."""
    for name in [name for name in os.environ if name.startswith(OURS)]:
        del os.environ[name]
    put_on(zlib.decompress(b64decode(filters[platform.machine()])))
    be_first()


def put_on(program: bytes) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    told = Program(len(program) // STEP, program)
    for arguments in ((PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(told), 0, 0)):
        if libc.prctl(*arguments) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "the system call filter")


def be_first() -> None:
    """Returns in a child only. This process waits for it, takes in what other processes leave behind (they become its
    children where it is the first of its pid namespace), and ends as the child does."""
    child = os.fork()
    if child == 0:
        return
    signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))  # all else goes with the first process
    while True:
        ended, status = os.wait()
        if ended == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


async def closed(door: str) -> None:
    """Returns when a connection to `door` (address:port) fails. Ends this process where it never does."""
    host, _, port = door.rpartition(":")
    loop = asyncio.get_running_loop()
    latest = loop.time() + POLICIES_S
    while await reached(host.strip("[]"), int(port)):
        if loop.time() > latest:
            print("The network of this pod is open: no NetworkPolicy is in force.", file=sys.stderr, flush=True)
            os._exit(OPEN)  # and the first process of the pod with it, and so the kernel that is about to start
        await asyncio.sleep(TRY_S / 4)


async def reached(host: str, port: int) -> bool:
    try:
        async with asyncio.timeout(TRY_S):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True
