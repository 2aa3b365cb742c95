"""Scripted CodeAct turns with a real kernel: two requests to the model and one cell each, as a user of the product sees
them, against the bare loop (the same requests by hand, the same code straight to an ipykernel). And what a long history
costs."""

from __future__ import annotations

import time
from typing import Any

from jupyter_client.manager import AsyncKernelManager

from tests.bench.harness import Chat, Direct, child, middle, product, report

NAMES = ("turns", "turns_growth")
TURNS = 210
BLOCK = 10
BARE_TURNS = 100


class BareLoop:
    """The least that a CodeAct loop can be: no store, no browser, no sandbox."""

    def __init__(self, model: Direct, kernel: Any) -> None:
        self._model = model
        self._kernel = kernel
        self._messages: list[dict[str, str]] = [{"role": "system", "content": "Act by writing code."}]

    async def turn_ms(self) -> float:
        begun = time.perf_counter()
        self._messages.append({"role": "user", "content": "next"})
        said = await self._ask()
        code = said.partition("<execute>\n")[2]
        self._messages.append({"role": "user", "content": "Execution Output:\n" + await self._run(code)})
        await self._ask()
        return (time.perf_counter() - begun) * 1000

    async def _ask(self) -> str:
        self._model.ask(self._messages, stop=["</execute>"])
        said = await self._model.answer()
        self._messages.append({"role": "assistant", "content": said + ("</execute>" if "<execute>" in said else "")})
        return said

    async def _run(self, code: str) -> str:
        sent = self._kernel.execute(code)
        printed = ""
        while True:
            message = await self._kernel.get_iopub_msg(timeout=10)
            if message["parent_header"].get("msg_id") != sent:
                continue
            if message["msg_type"] == "stream":
                printed += message["content"]["text"]
            elif message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                return printed


async def turn_ms(chat: Chat) -> float:
    begun = time.perf_counter()
    chat.say("next")
    closed = await chat.closed()
    assert b'"answered"' in closed, closed
    return (time.perf_counter() - begun) * 1000


async def measure() -> None:
    manager = AsyncKernelManager()
    await manager.start_kernel()
    kernel = manager.client()
    kernel.start_channels()
    try:
        await kernel.wait_for_ready(timeout=60)
        await _measure(kernel)
    finally:
        kernel.stop_channels()
        await manager.shutdown_kernel(now=True)


async def _measure(kernel: Any) -> None:
    script = ("--script", "turns", "--style", "codeact", "--no-cache")
    async with (
        child("tests.support.model_server", *script) as (url, _),
        product(url, CODEACT_MODEL_CONTEXT_TOKENS="1000000") as served,
    ):
        model, chat = await Direct.connect(url), await Chat.open(served)
        await chat.warm()
        loop = BareLoop(model, kernel)
        ours: list[float] = []
        bare: list[float] = []
        while len(ours) < TURNS:
            ours += [await turn_ms(chat) for _ in range(BLOCK)]
            if len(bare) < BARE_TURNS:
                bare += [await loop.turn_ms() for _ in range(BLOCK)]
        model.close()
        chat.close()
    ours_warm, bare_warm = ours[BLOCK : BARE_TURNS + BLOCK], bare[BLOCK:]
    value, floor = middle(ours_warm), middle(bare_warm)
    report("turns_bare", floor, "ms/turn", samples=bare_warm)
    report("turns", value, "ms/turn", against="bare loop with jupyter_client", ratio=value / floor, samples=ours_warm)
    late, early = middle(ours[190:]), middle(ours[10:30])
    report("turns_growth", late, "ms/turn at turn 200", against="turn 20", ratio=late / early, samples=ours[190:])
