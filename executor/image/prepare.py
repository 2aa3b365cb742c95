"""Run once by the sandbox's Python after its packages are installed: `python prepare.py`.

Sandboxes see the environment read-only, so what Python and matplotlib would cache on first use is made here: compiled
modules (without them every start compiles half a second's worth again) and the font list.
"""

from __future__ import annotations

import compileall
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

FONTS = Path(sys.prefix) / "share" / "codeact" / "matplotlib"  # kernel.py copies it into every sandbox


def compile_modules() -> None:
    """Compiles what is installed, and our own bootstrap."""
    for path in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), str(Path(__file__).parent)}:
        compileall.compile_dir(path, quiet=2, workers=0)


def list_fonts() -> None:
    """Has matplotlib look for fonts, once."""
    FONTS.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "MPLCONFIGDIR": str(FONTS)}
    subprocess.run([sys.executable, "-c", "import matplotlib.font_manager"], env=environment, check=True)


if __name__ == "__main__":
    compile_modules()
    list_fonts()
