"""Tells an environment the name and version of a package whose code lies elsewhere on its path, as installing it would.

/opt/venv/bin/python metadata.py pyproject.toml
"""

from __future__ import annotations

import sys
import sysconfig
import tomllib
from pathlib import Path


def write(pyproject: Path, site: Path) -> Path:
    """The file that `importlib.metadata` reads, in `site`."""
    project = tomllib.loads(pyproject.read_text())["project"]
    name, version = project["name"], project["version"]
    directory = site / f"{name.replace('-', '_')}-{version}.dist-info"
    directory.mkdir(exist_ok=True)
    file = directory / "METADATA"
    file.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return file


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sysconfig.get_paths()["purelib"]))
