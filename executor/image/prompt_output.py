"""stdout and stderr of the kernel. ipykernel waits 200 ms before it sends what was printed; here the first line after a
silence leaves at once, as a whole, and what follows closely is gathered for `FLUSH_S`. A flood leaves in messages of
bounded size: whoever passes them on holds some of them, and need not hold much."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from ipykernel.iostream import OutStream

FLUSH_S = 0.005
PIECE = 1024**2  # characters of one message


class PromptOutput(OutStream):
    flush_interval = FLUSH_S
    _sent = 0.0
    _asked = False

    def write(self, string: str) -> int | None:
        written: int | None = super().write(string)
        if string.endswith("\n") and not self._asked and time.monotonic() - self._sent > FLUSH_S:
            self._asked = True
            self.pub_thread.schedule(self._flush)
        return written

    def _flush(self) -> None:
        self._asked = False
        self._sent = time.monotonic()
        super()._flush()

    def _flush_buffers(self) -> Iterator[tuple[dict[str, Any], str]]:
        for parent, data in super()._flush_buffers():
            for start in range(0, len(data), PIECE):
                yield parent, data[start : start + PIECE]
