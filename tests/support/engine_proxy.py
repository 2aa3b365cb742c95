"""Stands between a backend and the Docker engine: hears every request, and can be away for a while."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

REQUEST = re.compile(rb"(?:^|\r\n\r\n|\})(GET|HEAD|POST|PUT|PATCH|DELETE) (/[^ ]*) HTTP/1\.1\r\n")


class EngineProxy:
    """Listens at `path` and hands everything on to the engine at `engine`. `requests`: "METHOD /path", in order."""

    def __init__(self, path: Path, engine: Path) -> None:
        self.path, self.engine = path, engine
        self.requests: list[str] = []
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def up(self) -> None:
        self.path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def down(self) -> None:
        """As when the engine stops: nobody listens, and what was connected is cut."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.close()
        self.path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward, out = await asyncio.open_unix_connection(self.engine)
        self._writers |= {writer, out}
        try:
            await asyncio.gather(self._pass(reader, out, heard=True), self._pass(onward, writer))
        finally:
            self._writers -= {writer, out}

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heard: bool = False) -> None:
        with suppress(OSError):
            while chunk := await reader.read(65536):
                if heard:
                    self.requests += [f"{method.decode()} {path.decode()}" for method, path in REQUEST.findall(chunk)]
                writer.write(chunk)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def proxied(path: Path, engine: Path = Path("/var/run/docker.sock")) -> AsyncIterator[EngineProxy]:
    proxy = EngineProxy(path, engine)
    await proxy.up()
    try:
        yield proxy
    finally:
        await proxy.down()
