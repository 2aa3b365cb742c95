"""The directory of a sandbox's way out, seen inside at /run/egress, read-only: the socket, and beside it what programs in
there need to find their way: pip's settings, the certificate authorities, and a notice when no package can be installed."""

from __future__ import annotations

import os
import re
import shutil
import socket
import ssl
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from executor.egress.indexes import Indexes

BACKLOG = 64
NAMES = {"pip.conf", "ca.pem", "notice"}
CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----\s[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----\n?")
BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


@dataclass(frozen=True, slots=True)
class Beside:
    """File names and what is in them."""

    files: dict[str, bytes]


def contents(indexes: Indexes, authorities: bytes) -> Beside:
    """`authorities`: certificates in PEM; none: programs use what they bring themselves."""
    files = {"pip.conf": pip_conf(indexes).encode()}
    if authorities:
        files["ca.pem"] = authorities
    if indexes.notice:
        files["notice"] = indexes.notice.encode()
    return Beside(files)


def pip_conf(indexes: Indexes) -> str:
    """Few retries: what the proxy refuses, it refuses again."""
    lines = ["[global]", "retries = 1", "timeout = 20", "disable-pip-version-check = true"]
    lines += [f"index-url = {indexes.index}"] if indexes.index else ["no-index = true"] if not indexes.extra else []
    for name, values in (
        ("extra-index-url", indexes.extra),
        ("find-links", indexes.links),
        ("trusted-host", indexes.trusted),
    ):
        if values:
            lines += [f"{name} =", *(f"    {value}" for value in values)]
    return "\n".join(lines) + "\n"


def authorities(settings: Mapping[str, str], environ: Mapping[str, str]) -> bytes:
    """The certificate authorities that the operator's programs trust: pip's, those named in the environment, or the
    system's. Certificates alone: a bundle may hold a key as well."""
    named = (settings.get("cert"), environ.get("REQUESTS_CA_BUNDLE"), environ.get("SSL_CERT_FILE"))
    for name in (*named, ssl.get_default_verify_paths().cafile, *BUNDLES):
        if name:
            with suppress(OSError):
                found = CERTIFICATE.findall(Path(name).read_bytes())
                if found:
                    return b"".join(found)
    return b""


def place(data_dir: Path, sandbox_id: str) -> Path:
    """Where a sandbox's socket goes."""
    return data_dir / "egress" / sandbox_id / "proxy.sock"


def sweep(data_dir: Path, keep: Collection[str]) -> None:
    """Removes what an earlier life of the executor left for sandboxes that are no more. Blocks."""
    with suppress(FileNotFoundError):
        for directory in (data_dir / "egress").iterdir():
            if directory.name not in keep:
                shutil.rmtree(directory, ignore_errors=True)


def lay_out(directory: Path, what: Beside) -> None:
    """Makes the directory, or freshens it where it has been left to a sandbox that still lives (it must stay the same
    directory: it is mounted). The sandbox's user, who is another, may read it; on the way to it from outside lies one that
    is closed to everybody. Blocks for small files."""
    directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.mkdir(mode=0o755, exist_ok=True)
    directory.chmod(0o755)
    for name in NAMES - what.files.keys():
        (directory / name).unlink(missing_ok=True)
    for name, content in what.files.items():
        new = directory / f".{name}.new"
        new.write_bytes(content)
        new.chmod(0o444)
        new.replace(directory / name)


def listen(path: Path) -> socket.socket:
    """The socket at `path`, in the place of one that is there already, open to everybody who gets at it. Bound through a
    descriptor, because a socket's name may have 107 bytes and a path more."""
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    new = f".{path.name}.new"
    try:
        with suppress(FileNotFoundError):
            os.unlink(new, dir_fd=directory)
        listener.bind(f"/proc/self/fd/{directory}/{new}")
        os.chmod(new, 0o666, dir_fd=directory)  # noqa: S103 (what lies above it is closed to others)
        listener.listen(BACKLOG)
        os.replace(new, path.name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError:
        listener.close()
        raise
    finally:
        os.close(directory)
    return listener
