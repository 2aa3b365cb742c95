"""What `codeact serve` needs of the machine. Every check either passes or raises Refused with words that say what is
missing and how to mend it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import ipaddress
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from orchestrator.settings import Settings
from orchestrator.wiring import ui_dir

MIN_FREE_BYTES = 300_000_000


class Refused(Exception):
    """The program does not start like this. The message is for people, and complete."""


def check_ui(settings: Settings) -> None:
    directory = ui_dir(settings)
    if settings.serve_ui and not (directory / "index.html").is_file():
        raise Refused(f"The page is not built: there is no index.html in {directory}. Run: make setup")


def check_disk(settings: Settings) -> None:
    """Also makes the data directory, for its owner only."""
    place = settings.data_dir
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        free = shutil.disk_usage(place).free
    except OSError as error:
        raise Refused(
            f"The data directory {place} cannot be used ({error.strerror}). "
            "Set CODEACT_DATA_DIR to a directory that you may write to."
        ) from error
    if free < MIN_FREE_BYTES:
        raise Refused(
            f"The disk is nearly full: {free / 1e6:.0f} MB are free in {place}, {MIN_FREE_BYTES / 1e6:.0f} MB are needed. "
            "Free some space, or set CODEACT_DATA_DIR to a directory on another disk."
        )


@contextlib.contextmanager
def claim(data_dir: Path) -> Iterator[None]:
    """One server per data directory: a second one would close the first one's turns as abandoned."""
    with (data_dir / "serve.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Refused(
                f"Another server is running on {data_dir}. Stop that one first, or start this one with another "
                "directory and port, for example: CODEACT_DATA_DIR=~/codeact-2 CODEACT_PORT=8001 make run"
            ) from error
        yield


def bind(host: str, port: int, *, everywhere: bool = False) -> socket.socket:
    """A bound socket that does not listen yet, so that the port is ours before anything slow begins. Port 0: any.
    `everywhere`: also where others can reach it, since they have to sign in."""
    family, address = _any_address(host) if everywhere else _loopback(host)
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
    except OSError as error:
        listener.close()
        raise Refused(bind_words(error, host, port)) from error
    return listener


def _any_address(host: str) -> tuple[socket.AddressFamily, str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise Refused(f"CODEACT_HOST is {host}, which is no address of this machine ({error.strerror}).") from error
    return found[0][0], str(found[0][4][0])


def _loopback(host: str) -> tuple[socket.AddressFamily, str]:
    """The address of a host name that is this machine and nobody else's."""
    name = "127.0.0.1" if host == "localhost" else host
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        address = None
    if address is None or not address.is_loopback:
        raise Refused(
            f"CODEACT_HOST is {host}: that is not a loopback address, and without accounts whoever reached the port could "
            "run code. Leave it at 127.0.0.1 and go through ssh from another machine (ssh -L 8000:127.0.0.1:8000 "
            "THIS-MACHINE, then open http://127.0.0.1:8000 there), or set CODEACT_AUTH=accounts."
        )
    return (socket.AF_INET6 if address.version == 6 else socket.AF_INET), str(address)


def bind_words(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} on {host} is taken by another program. Choose another: CODEACT_PORT={port + 1} make run"
    if error.errno == errno.EACCES:
        return f"Port {port} is only for root. Choose one above 1023: CODEACT_PORT=8000 make run"
    return f"{host}:{port} cannot be used ({error.strerror}). Set CODEACT_HOST and CODEACT_PORT to others."


def memory_words(needed: int) -> str:
    """A warning when less than `needed` bytes of memory are free; empty otherwise."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:") and (free := int(line.split()[1]) * 1024) < needed:
            return (
                f"Little memory: {free / 1e9:.1f} GB are free and the embedded model wants {needed / 1e9:.1f} GB, so it "
                "may be slow. Close something, or set CODEACT_MODEL_URL to a model server elsewhere."
            )
    return ""
