"""Runs at the start of every Python in the sandbox, and answers `pip install` at once: there is no network to ask."""

import os
import sys

NEEDS_NETWORK = {"install", "download", "wheel", "index"}
WORDS = (
    "This sandbox has no network, so packages cannot be installed. "
    "`pip list` shows those that are there; anything else has to be written in Python.\n"
)


def asks_pip_for_network(argv: list[str]) -> bool:
    """Whether `argv` is `pip install …` or `python -m pip install …` in any spelling."""
    names = [word.rpartition("/")[2] for word in argv[:3]]
    return any(name.startswith("pip") for name in names) and not NEEDS_NETWORK.isdisjoint(argv)


if asks_pip_for_network(sys.orig_argv):
    sys.stderr.write(WORDS)
    sys.stderr.flush()
    os._exit(1)
