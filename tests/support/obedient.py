"""A model that does what the message says; with it, a test in a browser or at the far end of a network says what happens.

    hang            waits for ever
    later           waits LATER_S seconds, then answers
    fail            the server answers 500
    cut             its message ends at the token limit, in code
    slowly TEXT     TEXT, at a pace that can be watched
    run CODE        runs the code, then says Done
    anything else   is said back

`python -m tests.support.obedient PORT KEY_FILE` serves it on every address, for a container.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

from tests.support.model_server import ScriptedModel
from tests.support.scripts import Reply, Request, failure, puppet

WORDS_PER_S = 60.0
LATER_S = 8.0
LATE = "Here it is."


def obedient(request: Request) -> Reply:
    text = request.text
    last = text.rpartition("\n\n")[2]  # a message that was never answered, or a note, may stand before it
    text = last if last in ("hang", "later", "fail", "cut") or last.startswith(("slowly ", "run ")) else text
    if text == "hang":
        return Reply(hang=True)
    if text == "later":
        return Reply(LATE, ttft_s=LATER_S)
    if text == "fail":
        return failure(500)
    if text == "cut":
        return Reply("Wait.\n\n```python\nx = 1\ny = ", finish="length")
    if text.startswith("slowly "):
        return Reply(text.removeprefix("slowly "), rate=WORDS_PER_S)
    return replace(puppet("fenced")(request), rate=400.0)


async def serve(port: int, key: str) -> None:
    async with ScriptedModel(obedient, host="0.0.0.0", port=port, api_key=key):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), Path(sys.argv[2]).read_text().strip()))
