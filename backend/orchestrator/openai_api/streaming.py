"""A turn as server-sent events, written as it happens."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from orchestrator.openai_api.answers import Answer
from orchestrator.openai_api.service import Door, finished_before_gone
from orchestrator.protocol.events import Event

log = logging.getLogger(__name__)

KEEP_ALIVE_S = 15.0
"""A comment this often while a cell runs long, so that no proxy takes the silence for an end."""


class EventStream(Response):
    """Ends with the turn, or with the client's connection, which ends the turn."""

    def __init__(self, door: Door, answer: Answer, *, with_usage: bool) -> None:
        super().__init__(media_type="text/event-stream", headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._door = door
        self._answer = answer
        self._with_usage = with_usage

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await finished_before_gone(receive, self._write(send))
        finally:
            self._door.leave()

    async def _write(self, send: Send) -> None:
        try:
            async with aclosing(self._chunks()) as chunks:
                async for chunk in chunks:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except Exception:  # the status is long sent: the reader is told in the stream
            mark = secrets.token_hex(4)
            log.exception("the stream of turn %s broke [%s]", self._door.turn, mark)
            words = f"Something went wrong on the server (log mark {mark}). The conversation is kept."
            await send({"type": "http.response.body", "body": self._answer.broken(words), "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        yield self._answer.first()
        async with aclosing(_or_silence(self._door.events())) as batches:
            async for batch in batches:
                if batch is None:
                    yield b": still running\n\n"
                elif text := "".join(self._answer.text.feed(event) for event in batch):
                    yield self._answer.piece(text)
        yield self._answer.last(with_usage=self._with_usage)


async def _or_silence(batches: AsyncGenerator[list[Event], None]) -> AsyncGenerator[list[Event] | None, None]:
    """The batches, and None whenever there was none for a while."""
    async with aclosing(batches):
        waiting = asyncio.ensure_future(anext(batches))
        try:
            while True:
                done, _ = await asyncio.wait({waiting}, timeout=KEEP_ALIVE_S)
                if not done:
                    yield None
                    continue
                try:
                    batch = waiting.result()
                except StopAsyncIteration:
                    return
                waiting = asyncio.ensure_future(anext(batches))
                yield batch
        finally:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
