"""Runs at the start of every Python in the sandbox but the gateway and the kernel's own start, which must see nothing of
the tenant's (kernel.py calls `add_packages` once it is up).

Packages that are installed here lie in the workspace, after the image's on sys.path: what the image brings cannot be
replaced, so no installation breaks the kernel. (`.pth` files in there are not executed.) `pip` is made to take that
directory for its environment: it installs and uninstalls there, counts what the image has as installed, and is held to the
image's versions. Without a network it says so at once.
"""

import os
import sys
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
    SourcelessFileLoader,
)

HOME = "/workspace/.local"  # as PACKAGES in executor.sandbox.argv
PACKAGES = f"{HOME}/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
EGRESS = "/run/egress"  # there when the sandbox may reach package indexes
BOOTSTRAP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100,PTH120 (quicker: every Python waits)
NEEDS_NETWORK = {"install", "download", "wheel", "index"}
NO_NETWORK = (
    "This sandbox has no network, so packages cannot be installed. "
    "`pip list` shows those that are there; anything else has to be written in Python.\n"
)


def is_pip(argv: list[str]) -> bool:
    """Whether `argv` is `pip …` or `python -m pip …` in any spelling."""
    names = [word.rpartition("/")[2] for word in argv[:3]]
    return any(name == "pip" or name.startswith("pip3") for name in names)


def is_ours(argv: list[str]) -> bool:
    return any(word in argv[1:2] for word in (f"{BOOTSTRAP}/gateway.py", f"{BOOTSTRAP}/kernel.py"))


def add_packages() -> None:
    """Makes installed packages importable, also those whose directory comes into being only later."""
    loaders = (
        (ExtensionFileLoader, EXTENSION_SUFFIXES),
        (SourceFileLoader, SOURCE_SUFFIXES),
        (SourcelessFileLoader, BYTECODE_SUFFIXES),
    )
    sys.path_importer_cache[PACKAGES] = FileFinder(PACKAGES, *loaders)
    sys.path.append(PACKAGES)


def no_way() -> str:
    """Why packages cannot be had; empty when they can."""
    if not os.path.ismount(EGRESS):
        return NO_NETWORK
    try:
        with open(f"{EGRESS}/notice") as words:  # noqa: PTH123
            return words.read()
    except FileNotFoundError:
        return ""


def hold_to_image() -> None:
    """Has pip keep the versions of the image. The list lies in memory, and is this process's alone."""
    from importlib.metadata import distributions

    shared = [path for path in sys.path if path.startswith(sys.prefix)]
    lines = [f"{found.name}=={found.version}\n" for found in distributions(path=shared) if found.name]
    fd = os.memfd_create("constraints")
    os.write(fd, "".join(lines).encode())
    os.environ["PIP_CONSTRAINT"] = f"/proc/{os.getpid()}/fd/{fd}"


def layer() -> None:
    """Has pip take HOME for its environment, and the workspace, which has room, for what it unpacks."""
    sys.modules.pop("sysconfig", None)
    sys.prefix = sys.exec_prefix = HOME
    unpacked = f"{HOME}/unpacked"
    try:
        os.makedirs(unpacked, exist_ok=True)  # noqa: PTH103
        os.environ["TMPDIR"] = unpacked
    except OSError:  # the workspace is full: pip will say it
        return


def start(argv: list[str]) -> None:
    if is_ours(argv):
        return
    add_packages()
    if argv[1:2] and argv[1].endswith("/__pip-runner__.py"):
        os.environ.pop("PIP_CONSTRAINT", None)  # a build's own tools may have any version
    if not is_pip(argv):
        return
    if not NEEDS_NETWORK.isdisjoint(argv):
        if words := no_way():
            sys.stderr.write(words)
            sys.stderr.flush()
            os._exit(1)
        hold_to_image()
        layer()
    elif "uninstall" in argv:
        layer()


start(sys.orig_argv)
