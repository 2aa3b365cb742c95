"""The events of one run on their way to whoever reads them: ordered, merged, and bounded whatever the reader does."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Literal

from executor.jupyter import Output, utf8_length
from executor.wire import KernelEvent, Raised, Stream

OVERHEAD = 256  # bytes charged for the objects around one event, so that a million empty ones are not free
ERRORS = 8  # tracebacks that are handed over whatever was put out before
MERGE = 256 * 1024  # characters after which a new Stream event begins


@dataclass(slots=True)
class _Text:
    """Consecutive text of one stream that nobody has read yet."""

    name: Literal["stdout", "stderr"]
    late: bool
    gap: int = 0
    parts: list[str] = field(default_factory=list)
    length: int = 0

    def event(self) -> Stream:
        text = self.parts[0] if len(self.parts) == 1 else "".join(self.parts)
        return Stream.model_construct(name=self.name, text=text, late=self.late, gap=self.gap)


class Outbox:
    """Holds at most `budget` bytes of one cell's output in all, first come first served; of the text after that the last
    `tail` bytes are kept and come at the end. `dropped` counts, exactly, the bytes that nobody will get."""

    def __init__(self, budget: int, tail: int) -> None:
        self.dropped = 0
        self._budget = self._left = budget
        self._tail_limit = tail
        self._tail: deque[tuple[Stream, int]] = deque()
        self._tail_size = 0
        self._tail_gap = 0
        self._errors_left = ERRORS
        self._queue: deque[KernelEvent | _Text] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def put(self, event: KernelEvent) -> None:
        """An event that is never left out."""
        self._queue.append(event)
        self._wake()

    def offer(self, event: Output, size: int) -> None:
        """Output of `size` bytes. Too large a text is cut, anything else is left out as a whole; but that the code raised
        is told even when nothing else can be."""
        if isinstance(event, Stream):
            self._offer_text(event, size)
        elif isinstance(event, Raised) and self._errors_left > 0:
            self._errors_left -= 1
            self.flush_tail()
            self._queue.append(event)
        elif size + OVERHEAD > self._left:
            self.dropped += size
        else:
            self._left -= size + OVERHEAD
            self._queue.append(event)
        self._wake()

    @property
    def used(self) -> int:
        """Bytes of the budget that output has taken, its objects' share included."""
        return self._budget - max(0, self._left)

    def leave_out(self, size: int) -> None:
        """So many bytes were left out before they came here."""
        self.dropped += size

    def flush_tail(self) -> None:
        """Hand over the end of a text whose middle was left out."""
        gap, self._tail_gap, self._tail_size = self._tail_gap, 0, 0
        while self._tail:
            stream, _ = self._tail.popleft()
            self._write(stream, gap)
            gap = 0
        self._wake()

    async def get(self) -> KernelEvent:
        """The next event; one reader at a time."""
        while not self._queue:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        item = self._queue.popleft()
        return item.event() if isinstance(item, _Text) else item

    def _write(self, event: Stream, gap: int = 0) -> None:
        last = self._queue[-1] if self._queue else None
        if not isinstance(last, _Text) or (last.name, last.late) != (event.name, event.late) or last.length > MERGE or gap:
            last = _Text(event.name, event.late, gap)
            self._queue.append(last)
            self._left -= OVERHEAD
        last.parts.append(event.text)
        last.length += len(event.text)

    def _offer_text(self, event: Stream, size: int) -> None:
        if size <= self._left:
            self._left -= size
            self._write(event)
            return
        if self._left > 0:
            event, size = self._split(event, size)
        self._left = 0  # nothing later may slip in before what is missing
        self._tail.append((event, size))
        self._tail_size += size
        while self._tail_size > self._tail_limit:
            self._shorten_tail()

    def _split(self, event: Stream, size: int) -> tuple[Stream, int]:
        """Hand over as much as the budget allows; the rest and its size."""
        data = event.text.encode("utf-8", "replace")
        head = data[: self._left].decode("utf-8", "ignore")
        used = utf8_length(head)
        if head:
            self._write(event.model_copy(update={"text": head}))
        return event.model_copy(update={"text": data[used:].decode("utf-8", "ignore")}), size - used

    def _shorten_tail(self) -> None:
        """Drop the oldest text of the tail, or its beginning where one text alone is longer than the tail may be."""
        event, size = self._tail.popleft()
        excess = self._tail_size - self._tail_limit
        if size > excess:
            kept = event.text.encode("utf-8", "replace")[excess:].decode("utf-8", "ignore")
            event = event.model_copy(update={"text": kept})
            left = utf8_length(kept)
            self._tail.appendleft((event, left))
            excess = size - left
        else:
            excess = size
        self._tail_size -= excess
        self._tail_gap += excess
        self.dropped += excess

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Late:
    """Output that nobody can be given yet: at most `limit` bytes, the first to come."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._events: list[tuple[Output, int]] = []
        self._size = 0
        self._dropped = 0

    def keep(self, event: Output, size: int) -> None:
        if self._size + size + OVERHEAD > self._limit:
            self._dropped += size
            return
        self._events.append((event, size))
        self._size += size + OVERHEAD

    def hand_over(self, outbox: Outbox) -> None:
        for event, size in self._events:
            outbox.offer(event, size)
        outbox.leave_out(self._dropped)
        self._events, self._size, self._dropped = [], 0, 0
