"""Who this executor is to the sandboxes it made, in this life and the ones before: a key that never leaves it.

A sandbox's token is derived from the key, the sandbox's id and its generation. So it need not be stored anywhere, an
executor that was restarted can still open the sandboxes it left running, and no token opens another sandbox, not even a
later one of the same name.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from base64 import urlsafe_b64encode
from pathlib import Path

KEY = "runner.key"
BYTES = 32


def runner_key(directory: Path) -> bytes:
    """The key kept in `directory`; made when there is none. Raises OSError, or ValueError when what lies there is no key
    or one that others may have read."""
    path = directory / KEY
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return new_key(path)
    with os.fdopen(fd, "rb") as file:
        status = os.fstat(fd)
        if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
            raise ValueError(f"{path} is open to others. Remove it; sandboxes that still run will be ended.")
        key = file.read(BYTES + 1)
    if len(key) != BYTES:
        raise ValueError(f"{path} holds no key of {BYTES} bytes. Remove it; sandboxes that still run will be ended.")
    return key


def new_key(path: Path) -> bytes:
    """Written whole before it has its name, so that no crash leaves half a key."""
    key = secrets.token_bytes(BYTES)
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(key)
        file.flush()
        os.fsync(fd)
    new.replace(path)
    return key


def token(key: bytes, id: str, generation: int) -> str:
    """43 characters that open sandbox `id` of that generation and nothing else."""
    digest = hmac.digest(key, f"{id}:{generation}".encode(), "sha256")
    return urlsafe_b64encode(digest).rstrip(b"=").decode()


def runner_id(run_dir: Path) -> str:
    """What tells this executor's things from those of another on the same machine."""
    return hashlib.sha256(os.fsencode(run_dir)).hexdigest()[:12]
