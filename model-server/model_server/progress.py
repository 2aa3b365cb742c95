"""How a long download shows itself: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

LINE_EVERY_S = 5.0


class Shown(Protocol):
    """Where a download tells how far it is."""

    def at(self, done: int) -> None:
        """`done` bytes of the file are here."""
        ...

    def say(self, words: str) -> None: ...


class Bar:
    """A bar with size, speed and time left."""

    def __init__(self, progress: Progress, title: str, total: int, done: int) -> None:
        self._progress = progress
        self._task = progress.add_task(title, total=total, completed=done)

    def at(self, done: int) -> None:
        self._progress.update(self._task, completed=done)

    def say(self, words: str) -> None:
        self._progress.console.print(words)


class Lines:
    """The same for logs: plain lines, one every few seconds."""

    def __init__(self, out: TextIO, title: str, total: int, done: int) -> None:
        self._out, self._title, self._total = out, title, total
        self._begun, self._from, self._told = time.monotonic(), done, time.monotonic()

    def at(self, done: int) -> None:
        now = time.monotonic()
        if now - self._told >= LINE_EVERY_S:
            self._told = now
            self.say(self._line(done, now))

    def _line(self, done: int, now: float) -> str:
        speed = max(done - self._from, 0) / max(now - self._begun, 0.1)
        left = f", {(self._total - done) / speed:.0f} s left" if speed > 0 else ""
        return f"{self._title}: {done / 1e6:.0f} of {self._total / 1e6:.0f} MB, {speed / 1e6:.1f} MB/s{left}"

    def say(self, words: str) -> None:
        print(words, file=self._out, flush=True)


@contextmanager
def shown(title: str, total: int, done: int, out: TextIO | None = None) -> Iterator[Shown]:
    """A bar when `out` (stderr unless told) is a terminal, lines otherwise."""
    out = out or sys.stderr
    console = Console(file=out)
    if not console.is_terminal:
        yield Lines(out, title, total, done)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        yield Bar(progress, title, total, done)
