"""Server-sent events from raw bytes (WHATWG HTML, 9.2.6): only the data; event names and ids mean nothing here.

Lines end with LF or CRLF. A lone CR is not taken for a line end: no server of this API writes it, and JSON cannot hold it.
"""

from __future__ import annotations

MAX_EVENT = 4 * 1024 * 1024
"""Bytes that one event may have: far above any real one, and the most that a broken server can make us keep."""


class TooLong(Exception):
    """One event is longer than MAX_EVENT."""


class SseDecoder:
    """Bytes in, the data of complete events out; how the bytes were cut makes no difference."""

    def __init__(self) -> None:
        self._rest = b""  # of a line that is not complete
        self._data: list[bytes] = []  # of an event that is not complete
        self._size = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The data of every event that these bytes complete. Raises TooLong."""
        if not self._rest and not self._data and data[:6] == b"data: " and data[-2:] == b"\n\n":
            events = data[6:-2].split(b"\n\ndata: ")
            if data.count(b"\n") == 2 * len(events) and b"\r" not in data:
                return events  # whole events of one line each: nearly every read of a real stream
        return self._feed(data)

    def _feed(self, data: bytes) -> list[bytes]:
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        events: list[bytes] = []
        for line in lines:
            if line.startswith(b"data:"):
                self._add(line)
            elif self._data and line in (b"", b"\r"):
                events.append(self._take())
        if len(self._rest) + self._size > MAX_EVENT:
            raise TooLong
        return events

    def flush(self) -> list[bytes]:
        """The event at the very end, when its blank line is missing."""
        return [*self.feed(b"\n"), *([self._take()] if self._data else [])]

    def _add(self, line: bytes) -> None:
        value = line[5:].removesuffix(b"\r").removeprefix(b" ")
        self._data.append(value)
        self._size += len(value)

    def _take(self) -> bytes:
        event = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
        self._data, self._size = [], 0
        return event
