"""The Kernel port over an executor that runs by itself, on this machine or another.

A run is a `POST` answered by one event a line. Every run has a connection of its own: where a kept one had been closed by
the other side, nobody could say whether the code was received, and code is never sent twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import aiohttp
from pydantic import TypeAdapter, ValidationError

from executor.wire import Closed, Health, KernelEvent, Outcome, SandboxStatus
from orchestrator.adapters.leases import FENCED, Fenced, Leases, Refused, words_of
from orchestrator.adapters.remembered import RememberedHealth
from orchestrator.errors import BadSetting

log = logging.getLogger(__name__)

EVENT: TypeAdapter[KernelEvent] = TypeAdapter(KernelEvent)
CONNECT_S = 5.0
ANSWER_S = 30.0  # for everything but runs and restarts
RESTART_S = 90.0
MAX_LINE = 64 * 1024**2
UNREACHABLE = "The executor at {url} cannot be reached ({cause}). Is it running, and is CODEACT_KERNEL_URL right?"
REFUSED = "The executor refuses this server's token. Set CODEACT_EXECUTOR_TOKEN to the executor's."
CUT = (
    "The connection to the executor broke while the code ran, and the code was stopped. Files are kept; whether variables "
    "survived shows with the next cell."
)
CLOSING = "because the program is shutting down"


class HttpKernel:
    """See `orchestrator.ports.Kernel`. Make it inside a running event loop."""

    def __init__(self, url: str, token: str, owner: str) -> None:
        if not token:
            raise BadSetting("CODEACT_EXECUTOR_TOKEN is not set: the executor lets nobody in without its token.")
        self._url = url.rstrip("/")
        headers = {"Authorization": f"Bearer {token}"}
        timeout = aiohttp.ClientTimeout(total=ANSWER_S, sock_connect=CONNECT_S)
        self._http = aiohttp.ClientSession(headers=headers, timeout=timeout)
        self._runs = aiohttp.ClientSession(
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
            connector=aiohttp.TCPConnector(force_close=True, limit=0),
        )
        self._leases = Leases(self._http, self._url, owner)
        self._health = RememberedHealth(self._ask_health)
        self._closing: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self, conversation: str, cell: str, code: str, timeout_s: float) -> AsyncGenerator[KernelEvent, None]:
        if self._closing.done():
            yield _closed(Outcome.INTERRUPTED, f"The code did not run, {CLOSING}.")
            return
        try:
            fence = await self._leases.fence(conversation)
        except (aiohttp.ClientError, OSError, TimeoutError, Fenced, Refused) as error:
            yield _closed(Outcome.UNAVAILABLE, f"The code did not run: {self._why(error)}")
            return
        body = {"conversation": conversation, "cell": cell, "code": code, "timeout_s": timeout_s, "fence": fence}
        async with aclosing(self._stream(conversation, body)) as events:
            async for event in events:
                yield event

    async def _stream(self, conversation: str, body: dict[str, Any]) -> AsyncGenerator[KernelEvent, None]:
        """The events of one run; a Closed of our own when the executor's does not come."""
        try:
            async with self._runs.post(f"{self._url}/v1/run", json=body) as answer:
                if answer.status != 200:
                    refusal = await self._refusal(conversation, answer)
                    yield _closed(Outcome.UNAVAILABLE, f"The code did not run: {refusal}")
                    return
                async for line in _lines(answer.content, self._closing):
                    event = EVENT.validate_json(line)
                    yield event
                    if isinstance(event, Closed):
                        return
        except aiohttp.ClientConnectorError as error:
            yield _closed(Outcome.UNAVAILABLE, f"The code did not run: {self._why(error)}")
            return
        except (aiohttp.ClientError, OSError, TimeoutError, ValidationError) as error:
            log.warning("the executor's answer for conversation %s broke off: %s", conversation, error)
        if self._closing.done():
            yield _closed(Outcome.INTERRUPTED, f"Stopped, {CLOSING}.")
        else:
            self._leases.forget(conversation)
            yield _closed(Outcome.SANDBOX_LOST, CUT)

    async def interrupt(self, conversation: str) -> None:
        await self._post(conversation, "interrupt")

    async def prepare(self, conversation: str) -> None:
        try:
            await self._post(conversation, "prepare")
        except (aiohttp.ClientError, OSError, TimeoutError, Fenced, Refused) as error:
            log.info("the sandbox of conversation %s was not prepared: %s", conversation, error)

    async def restart(self, conversation: str) -> None:
        await self._post(conversation, "restart", RESTART_S)

    async def status(self, conversation: str) -> SandboxStatus:
        async with self._http.get(f"{self._url}/v1/conversations/{conversation}") as answer:
            answer.raise_for_status()
            return SandboxStatus.model_validate_json(await answer.read())

    async def remove(self, conversation: str) -> None:
        params = {"fence": await self._leases.fence(conversation)}
        async with self._http.delete(f"{self._url}/v1/conversations/{conversation}", params=params) as answer:
            answer.raise_for_status()
        self._leases.forget(conversation)

    async def check(self) -> Health:
        return await self._health.get()

    async def close(self) -> None:
        """Runs end with words, leases are given back; the sandboxes stay the executor's."""
        if self._closing.done():
            return
        self._closing.set_result(None)
        await self._leases.give_back()
        await self._runs.close()
        await self._http.close()

    # ---- plumbing ----------------------------------------------------------------------------------------------------

    async def _post(self, conversation: str, verb: str, timeout_s: float = ANSWER_S) -> None:
        """Raises aiohttp.ClientError, OSError, TimeoutError, Fenced or Refused."""
        params = {"fence": await self._leases.fence(conversation)}
        timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_S)
        url = f"{self._url}/v1/conversations/{conversation}/{verb}"
        async with self._http.post(url, params=params, timeout=timeout) as answer:
            if answer.status == 409:
                self._leases.forget(conversation)
                raise Fenced(FENCED)
            answer.raise_for_status()

    async def _refusal(self, conversation: str, answer: aiohttp.ClientResponse) -> str:
        if answer.status == 409:
            self._leases.forget(conversation)
        return await words_of(answer)

    def _why(self, error: BaseException) -> str:
        if isinstance(error, Fenced | Refused):
            return str(error)
        return UNREACHABLE.format(url=self._url, cause=str(error) or type(error).__name__)

    async def _ask_health(self) -> Health:
        try:
            async with self._http.get(f"{self._url}/readyz") as answer:
                if answer.status == 401:
                    return Health(ok=False, words=REFUSED)
                return Health.model_validate_json(await answer.read())
        except (aiohttp.ClientError, OSError, TimeoutError, ValidationError) as error:
            return Health(ok=False, words=self._why(error))


async def _lines(content: aiohttp.StreamReader, closing: asyncio.Future[None]) -> AsyncGenerator[bytes, None]:
    """Whole lines as they come, until the end or until `closing`. Raises ValueError for a line beyond MAX_LINE."""
    kept: list[bytes] = []
    size = 0
    while True:
        reading = asyncio.ensure_future(content.readany())
        try:
            await asyncio.wait((reading, closing), return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                return
        finally:
            reading.cancel()
        piece = reading.result()
        if not piece:
            return
        *whole, rest = piece.split(b"\n")
        for line in whole:
            yield b"".join((*kept, line))
            kept.clear()
            size = 0
        kept.append(rest)
        size += len(rest)
        if size > MAX_LINE:
            raise aiohttp.ClientPayloadError("a line of the executor's answer is too long")


def _closed(outcome: Outcome, text: str) -> Closed:
    """The end of a run as far as this side can tell: its variables may be gone, its files are kept."""
    return Closed(outcome=outcome, execution_count=None, duration_s=0.0, variables_kept=False, files_kept=True, words=text)
