"""A door that stands open to everybody and that no sandbox must reach: who comes in there shows that no policy holds it.

A sandbox's gateway knocks before it starts its kernel (executor/image/pod.py). The door says nothing and lets nobody in; it
only has to be there, so that a connection that fails means a policy and not an empty room.
"""

from __future__ import annotations

import asyncio
import logging

log = logging.getLogger(__name__)


class Door:
    """`address:port`, of this executor as pods reach it."""

    def __init__(self, at: str) -> None:
        self.at = at
        self.knocks = 0
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Raises OSError where it cannot listen, ValueError for what is no address."""
        host, _, port = self.at.rpartition(":")
        self._server = await asyncio.start_server(self._knock, host.strip("[]"), int(port))

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _knock(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.knocks += 1
        log.warning("a sandbox has reached the executor: its NetworkPolicy is not in force (yet)")
        writer.close()
