"""A sandbox's kernel gateway over HTTP: which kernel it has, the websocket to it, and the verbs beside it."""

from __future__ import annotations

import asyncio
import contextlib

import aiohttp

from executor import jupyter
from executor.sandbox.base import Sandbox, SandboxUnavailable

MAX_FRAME = 64 * 1024**2  # the gateway itself cuts messages far below that; a larger one ends the connection
CLOSE_S = 0.2
BASE = "http://sandbox/api/kernels"


class Gateway:
    """Connections are made to the sandbox itself only; the token travels in a header."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._http = aiohttp.ClientSession(
            connector=sandbox.connector(),
            headers={"Authorization": f"token {sandbox.token}"},
            timeout=aiohttp.ClientTimeout(total=None),
        )
        self._kernel = ""
        self._ws: aiohttp.ClientWebSocketResponse | None = None

    async def connect(self, session_id: str) -> aiohttp.ClientWebSocketResponse:
        """The websocket to the kernel. Raises SandboxUnavailable."""
        try:
            self._kernel = await self._find()
            self._ws = ws = await self._http.ws_connect(
                f"{BASE}/{self._kernel}/channels?session_id={session_id}",
                protocols=[jupyter.V1],
                max_msg_size=MAX_FRAME,
                autoping=False,
            )
        except (aiohttp.ClientError, OSError, LookupError, TypeError, ValueError) as error:
            raise SandboxUnavailable(f"The sandbox's kernel gateway cannot be reached: {error}") from error
        if ws.protocol != jupyter.V1:
            raise SandboxUnavailable(f"The sandbox's kernel gateway does not speak {jupyter.V1}.")
        return ws

    async def post(self, verb: str, timeout_s: float) -> bool:
        """`interrupt` or `restart` the kernel; whether that was done in time."""
        try:
            async with asyncio.timeout(timeout_s), self._http.post(f"{BASE}/{self._kernel}/{verb}") as answer:
                return answer.ok
        except (aiohttp.ClientError, OSError, TimeoutError, RuntimeError):  # RuntimeError: closed meanwhile
            return False

    async def close(self) -> None:
        """Without a closing handshake: the gateway may be stopped, and is about to be killed anyway."""
        await self._http.close()
        if self._ws is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    await self._ws.close()  # gives back what is left of the connection that has just been cut

    async def _find(self) -> str:
        async with self._http.get(BASE) as answer:
            answer.raise_for_status()
            return str((await answer.json())[0]["id"])
