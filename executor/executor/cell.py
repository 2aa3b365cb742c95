"""One execute_request from sending to its end: when it is over, and what it put out.

A cell is over when its reply and its idle have come, or the reply and a grace of two seconds, or when the kernel or the
connection is gone. An idle alone proves nothing, because code can forge it: after the grace the kernel is asked something
on the shell channel, which it answers only once the cell has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum
from typing import Any

from executor.jupyter import Message, output, size_of
from executor.outbox import Outbox
from executor.questions import Questions

GRACE_S = 2.0


class Ending(Enum):
    REPLIED = "replied"  # the kernel says that it has finished
    DIED = "died"  # the kernel's process ended; a new one is being started
    LOST = "lost"  # the gateway or the whole sandbox is gone


class Cell:
    """Feed it the messages whose parent is `id`; wait for `ended`. `probe` is called when an idle came without reply.
    `questions`, where it may ask any, hears of them."""

    def __init__(self, id: str, outbox: Outbox, probe: Callable[[], None], questions: Questions | None = None) -> None:
        loop = asyncio.get_running_loop()
        self.id = id
        self.ended: asyncio.Future[Ending] = loop.create_future()
        self.begun: asyncio.Future[None] = loop.create_future()  # the kernel is executing it
        self.reply: dict[str, Any] | None = None
        self._idle = False
        self.outbox = outbox
        self._probe = probe
        self._questions = questions
        self._timer: asyncio.TimerHandle | None = None

    def feed(self, message: Message) -> None:
        if message.channel == "iopub":
            self._on_iopub(message)
        elif message.channel == "shell" and message.kind == "execute_reply" and self.reply is None:
            self.reply = message.content
            self._settle()
        elif message.channel == "stdin" and self._questions is not None:
            self._questions.heard(message)

    def end(self, ending: Ending) -> None:
        """It is over, whatever else may come."""
        if self._timer is not None:
            self._timer.cancel()
        if self._questions is not None:
            self._questions.end()
        if not self.ended.done():
            self.ended.set_result(ending)

    def _on_iopub(self, message: Message) -> None:
        if message.kind == "status":
            if message.content.get("execution_state") == "idle":
                self._idle = True
                self._settle()
        elif message.kind == "execute_input":
            if not self.begun.done():
                self.begun.set_result(None)
        else:
            if message.left_out:
                self.outbox.leave_out(message.left_out)
            if (event := output(message)) is not None:
                self.outbox.offer(event, size_of(event, message))

    def _settle(self) -> None:
        if self.reply is not None and self._idle:
            self.end(Ending.REPLIED)
        elif self.reply is not None:
            self._after_grace(lambda: self.end(Ending.REPLIED))
        else:
            self._after_grace(self._probe)

    def _after_grace(self, act: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(GRACE_S, act)
