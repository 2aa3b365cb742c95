"""Run once by the sandbox's Python after its packages are installed: `python prepare.py`.

What no cell needs is removed (trim.py). And since sandboxes see the environment read-only, what Python and matplotlib would
cache on first use is made here: compiled modules (without them every start compiles half a second's worth again) and the
font list. `--whole` is for an image that is Python's alone: the standard library is compiled as well, and nothing looks
whether a source has changed since.
"""

from __future__ import annotations

import compileall
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from py_compile import PycInvalidationMode

from trim import trim

FONTS = Path(sys.prefix) / "share" / "codeact" / "matplotlib"  # kernel.py copies it into every sandbox


def compile_modules(whole: bool) -> None:
    """Compiles what is installed, and our own bootstrap."""
    paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), str(Path(__file__).parent)}
    mode = PycInvalidationMode.UNCHECKED_HASH if whole else None
    for path in paths | ({sysconfig.get_path("stdlib")} if whole else set()):
        compileall.compile_dir(path, quiet=2, workers=0, force=whole, invalidation_mode=mode)


def list_fonts() -> None:
    """Has matplotlib look for fonts, once."""
    FONTS.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "MPLCONFIGDIR": str(FONTS)}
    subprocess.run([sys.executable, "-c", "import matplotlib.font_manager"], env=environment, check=True)


if __name__ == "__main__":
    trim(Path(sysconfig.get_path("platlib")))
    compile_modules("--whole" in sys.argv)
    list_fonts()
