"""The executor's first word with a new sandbox's gateway."""

from __future__ import annotations

import asyncio
import json

REQUEST = "GET /api/kernels HTTP/1.1\r\nHost: sandbox\r\nAuthorization: token {token}\r\nConnection: close\r\n\r\n"
LONGEST = 64 * 1024  # bytes of an answer that names one kernel


async def answered(path: str, token: str) -> str:
    """Waits until the gateway behind the socket at `path` answers; the id of its kernel. The socket listens from the start,
    so the request simply waits in its queue. Raises OSError or ValueError when what comes back is no such answer."""
    return await greeted(*await asyncio.open_unix_connection(path, limit=LONGEST), token)


async def answered_at(address: str, port: int, token: str) -> str:
    """The same, where the gateway is reached over the network."""
    return await greeted(*await asyncio.open_connection(address, port, limit=LONGEST), token)


async def greeted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token: str) -> str:
    try:
        writer.write(REQUEST.format(token=token).encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 "):
            raise ValueError(f"the gateway answered {head[:80]!r}")
        [kernel] = json.loads(await reader.read(LONGEST))
        return str(kernel["id"])
    except (EOFError, TypeError, KeyError) as error:
        raise ValueError("the gateway hung up") from error
    finally:
        writer.close()
