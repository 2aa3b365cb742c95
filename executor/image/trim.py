"""What an installed environment has and no cell needs: tests of libraries, pyarrow's clients for services that no sandbox
reaches and its C++ headers, JupyterLab extensions. Some 190 MB."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

PYARROW = (
    "include",
    "src",
    "flight.py",
    "_flight.*",
    "_s3fs.*",
    "libarrow_flight.*",
    "libarrow_python_flight.*",
    "libarrow_s3.*",
)
ELSEWHERE = ("plotly/labextension", "../../../share/jupyter", "../../../etc/jupyter")


def unneeded(packages: Path) -> Iterator[Path]:
    yield from (path for path in packages.rglob("tests") if path.is_dir())
    for pattern in PYARROW:
        yield from packages.glob(f"pyarrow/{pattern}")
    yield from (packages / name for name in ELSEWHERE)


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def link_copies(directory: Path) -> None:
    """A wheel cannot hold links, so libraries lie in it under each of their names. Keeps one and links the others."""
    first: dict[bytes, Path] = {}
    for path in sorted(directory.glob("lib*.so*"), key=lambda path: len(path.name)):
        kept = first.setdefault(path.read_bytes(), path)
        if kept is not path:
            path.unlink()
            path.symlink_to(kept.name)


def trim(packages: Path) -> None:
    """`packages` is the directory that packages are installed in."""
    for path in list(unneeded(packages)):
        remove(path)
    link_copies(packages / "pyarrow")
