"""Whether sandboxes can be made on this machine, tried for real, and what isolates them."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from executor.sandbox.base import Limits, SandboxUnavailable
from executor.wire import Feature, Health

if TYPE_CHECKING:
    from executor.sandbox.bubblewrap import Bubblewrap


async def examine(backend: Bubblewrap) -> Health:
    """Makes a sandbox, and says what came of it."""
    directory = Path(tempfile.mkdtemp(prefix="codeact-check-"))
    try:
        sandbox = await backend.create(f"check-{directory.name[-8:]}", directory, Limits())
        await sandbox.kill()
    except SandboxUnavailable as error:
        return Health(ok=False, words=str(error))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return Health(ok=True, words="Sandboxes can be made.", features=[Feature(name="namespaces", state="on")])
