"""The page's JavaScript time while an answer streams; measured by `ui_stream.mjs` in a real browser."""

from __future__ import annotations

import asyncio
from pathlib import Path

NAMES = ("ui_stream", "ui_stream_frame", "ui_stream_longest_task")
LIMIT_S = 300.0


async def measure() -> None:
    script = Path(__file__).with_suffix(".mjs")
    process = await asyncio.create_subprocess_exec("node", str(script))
    try:
        code = await asyncio.wait_for(process.wait(), LIMIT_S)
    finally:
        if process.returncode is None:
            process.kill()
    if code != 0:
        raise RuntimeError(f"{script.name} ended with {code}")


if __name__ == "__main__":
    asyncio.run(measure())
