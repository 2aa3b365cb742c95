"""Run the measurements: all of them, or those of one name.

A measurement is a module here with `async def measure() -> None`; `NAMES` lists the figures that it reports.
"""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
import sys
import time
import traceback
from collections.abc import Iterator
from types import ModuleType

import tests.bench

LIMIT_S = 600.0


def measurements() -> Iterator[tuple[str, ModuleType]]:
    for found in pkgutil.iter_modules(tests.bench.__path__):
        if not found.name.startswith("_"):
            module = importlib.import_module(f"tests.bench.{found.name}")
            if hasattr(module, "measure"):
                yield found.name, module


def main(only: str = "") -> int:
    chosen = [(name, module) for name, module in measurements() if only in ("", name, *getattr(module, "NAMES", ()))]
    if not chosen:
        print(f"There is no measurement {only!r}.", file=sys.stderr)
        return 2
    failed = 0
    for name, module in chosen:
        begun = time.monotonic()
        try:
            asyncio.run(asyncio.wait_for(module.measure(), LIMIT_S))
        except Exception:
            failed += 1
            traceback.print_exc()
        print(f"# {name}: {time.monotonic() - begun:.0f} s", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:2]))
