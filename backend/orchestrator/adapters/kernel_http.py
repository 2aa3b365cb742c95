"""The Kernel port over an executor that runs by itself, on this machine or another.

A run is a `POST` answered by one event a line. Every run has a connection of its own: where a kept one had been closed by
the other side, nobody could say whether the code was received, and code is never sent twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from typing import Any

import aiohttp
from pydantic import TypeAdapter, ValidationError

from executor import tracing
from executor.wire import Closed, Health, KernelEvent, Outcome, SandboxLine, SandboxStatus, Settled
from orchestrator.adapters.leases import FENCED, UNREACHED, Fenced, Leases, Refused, words_of
from orchestrator.adapters.remembered import RememberedHealth
from orchestrator.adapters.run_stream import HungUp, Runs, lines, unless
from orchestrator.errors import BadSetting, KernelTaken, KernelUnavailable

log = logging.getLogger(__name__)

EVENT: TypeAdapter[KernelEvent] = TypeAdapter(KernelEvent)
SANDBOXES: TypeAdapter[list[SandboxLine]] = TypeAdapter(list[SandboxLine])
SETTLED: TypeAdapter[list[Settled]] = TypeAdapter(list[Settled])
CONNECT_S = 5.0
ANSWER_S = 30.0  # for everything but runs and restarts
RESTART_S = 90.0
INTERRUPT_S = 5.0  # a run that cannot be reached ends within 10 s all the same
UNREACHABLE = "The executor at {url} cannot be reached ({cause}). Is it running, and is CODEACT_KERNEL_URL right?"
REFUSED = "The executor refuses this server's token. Set CODEACT_EXECUTOR_TOKEN to the executor's."
CUT = (
    "The connection to the executor broke while the code ran, and the code was stopped. Files are kept; whether "
    "variables survived shows with the next cell."
)
HUNG_UP = (
    "Stopped: {why}, so the connection to the executor was hung up, which stops the code. Files are kept; whether "
    "variables survived shows with the next cell."
)
CLOSING = "the program is shutting down"


class HttpKernel:
    """See `orchestrator.ports.Kernel`. Make it inside a running event loop."""

    def __init__(self, url: str, token: str, owner: str) -> None:
        if not token:
            raise BadSetting("CODEACT_EXECUTOR_TOKEN is not set: the executor lets nobody in without its token.")
        self._url = url.rstrip("/")
        headers = {"Authorization": f"Bearer {token}"}
        timeout = aiohttp.ClientTimeout(total=ANSWER_S, sock_connect=CONNECT_S)
        self._http = aiohttp.ClientSession(headers=headers, timeout=timeout)
        self._run_http = aiohttp.ClientSession(
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
            connector=aiohttp.TCPConnector(force_close=True, limit=0),
        )
        self._leases = Leases(self._http, self._url, owner)
        self._health = RememberedHealth(self._ask_health)
        self._runs = Runs()

    async def run(self, conversation: str, cell: str, code: str, timeout_s: float) -> AsyncGenerator[KernelEvent, None]:
        body = {"conversation": conversation, "cell": cell, "code": code, "timeout_s": timeout_s}
        with self._runs.open(conversation) as line:
            if (why_not := self._leases.unclaimed(conversation)) is not None:
                yield _closed(Outcome.UNAVAILABLE, f"The code did not run: {self._why(why_not)}")
                return
            if self._leases.lost(conversation):
                raise KernelTaken(FENCED)
            try:
                fence = await unless(line, self._leases.held(conversation))
            except HungUp as why:
                yield _closed(Outcome.INTERRUPTED, f"The code did not run: {why}.")
                return
            except UNREACHED as error:
                yield _closed(Outcome.UNAVAILABLE, f"The code did not run: {self._why(error)}")
                return
            with self._leases.renewed(conversation, fence):
                async with aclosing(self._stream(conversation, {**body, "fence": fence}, line)) as events:
                    async for event in events:
                        yield event

    async def _stream(
        self, conversation: str, body: dict[str, Any], line: asyncio.Future[str]
    ) -> AsyncGenerator[KernelEvent, None]:
        """The events of one run; a Closed of our own when the executor's does not come."""
        try:
            async with await unless(line, self._send(body)) as answer:
                if answer.status == 409:
                    self._leases.lose(conversation)
                    raise KernelTaken(FENCED)
                if answer.status != 200:
                    refusal = await words_of(answer)
                    yield _closed(Outcome.UNAVAILABLE, f"The code did not run: {refusal}")
                    return
                async for text in lines(answer.content, line):
                    event = EVENT.validate_json(text)
                    yield event
                    if isinstance(event, Closed):
                        return
        except HungUp as why:
            yield _closed(Outcome.INTERRUPTED, HUNG_UP.format(why=why))
            return
        except aiohttp.ClientConnectorError as error:
            yield _closed(Outcome.UNAVAILABLE, f"The code did not run: {self._why(error)}")
            return
        except (*UNREACHED, ValidationError) as error:
            log.warning("the executor's answer for conversation %s broke off: %s", conversation, error)
        self._leases.forget(conversation)
        yield _closed(Outcome.SANDBOX_LOST, CUT)

    async def _send(self, body: dict[str, Any]) -> aiohttp.ClientResponse:
        return await self._run_http.post(f"{self._url}/v1/run", json=body, headers=_traced())

    def claim(self, conversation: str) -> asyncio.Future[None]:
        return asyncio.ensure_future(self._leases.claim(conversation))

    async def take_over(self, conversation: str) -> bool:
        with self._telling("The sandbox is not to be had"):
            self._leases.forget(conversation)
            params: dict[str, str | int] = {"fence": await self._leases.fence(conversation), "wait": "true"}
            url = f"{self._url}/v1/conversations/{conversation}/interrupt"
            async with self._http.post(url, params=params) as answer:
                await self._check(conversation, answer)
        return (await self.status(conversation)).holds_variables

    async def interrupt(self, conversation: str) -> None:
        try:
            if self._leases.lost(conversation):
                raise Fenced(FENCED)
            async with asyncio.timeout(INTERRUPT_S):  # the lease included
                fence = await self._leases.held(conversation)
                await self._ask_with(fence, "POST", conversation, "/interrupt", INTERRUPT_S)
        except UNREACHED as error:
            log.warning("the cell of conversation %s is stopped by hanging up: %s", conversation, error)
            self._runs.hang_up(conversation, "the executor could not be told to stop it")

    async def prepare(self, conversation: str) -> None:
        try:
            await self._ask("POST", conversation, "/prepare")
        except UNREACHED as error:
            log.info("the sandbox of conversation %s was not prepared: %s", conversation, error)

    async def restart(self, conversation: str) -> None:
        with self._telling("Python could not be restarted"):
            await self._ask("POST", conversation, "/restart", RESTART_S)

    async def status(self, conversation: str) -> SandboxStatus:
        with self._telling("The state of Python is not known"):
            async with self._http.get(f"{self._url}/v1/conversations/{conversation}") as answer:
                await self._check(conversation, answer)
                return SandboxStatus.model_validate_json(await answer.read())

    async def sandboxes(self) -> list[SandboxLine]:
        with self._telling("Which sandboxes there are is not known"):
            async with self._http.get(f"{self._url}/v1/sandboxes") as answer:
                await self._check("", answer)
                return SANDBOXES.validate_json(await answer.read())

    async def settle(self) -> list[Settled]:
        with self._telling("What sandboxes have used is not known"):
            async with self._http.post(f"{self._url}/v1/sandboxes/settle") as answer:
                await self._check("", answer)
                return SETTLED.validate_json(await answer.read())

    async def end(self, conversation: str) -> None:
        with self._telling("The sandbox could not be ended"):
            async with self._http.delete(f"{self._url}/v1/sandboxes/{conversation}") as answer:
                await self._check(conversation, answer)

    async def remove(self, conversation: str) -> None:
        with self._telling("The sandbox could not be removed"):
            await self._ask("DELETE", conversation, "")
        self._leases.forget(conversation)

    async def check(self) -> Health:
        return await self._health.get()

    async def close(self) -> None:
        """Runs end with words, leases are given back; the sandboxes stay the executor's."""
        if self._http.closed:
            return
        self._runs.close(CLOSING)
        await self._leases.give_back()
        await self._run_http.close()
        await self._http.close()

    # ---- plumbing ----------------------------------------------------------------------------------------------------

    async def _ask(self, method: str, conversation: str, verb: str, timeout_s: float = ANSWER_S) -> None:
        """Once more with a new lease when another server has had the sandbox since this one's last use of it. Raises what
        UNREACHED names."""
        async with asyncio.timeout(timeout_s):  # the lease included
            fence = await self._leases.fence(conversation)
            try:
                await self._ask_with(fence, method, conversation, verb, timeout_s)
            except Fenced:
                fence = await self._leases.fence(conversation)
                await self._ask_with(fence, method, conversation, verb, timeout_s)

    async def _ask_with(self, fence: int, method: str, conversation: str, verb: str, timeout_s: float) -> None:
        url = f"{self._url}/v1/conversations/{conversation}{verb}"
        whole = aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_S)
        params = {"fence": fence}
        async with self._http.request(method, url, params=params, timeout=whole, headers=_traced()) as answer:
            await self._check(conversation, answer)

    async def _check(self, conversation: str, answer: aiohttp.ClientResponse) -> None:
        """Raises Fenced or Refused for an answer that is none."""
        if answer.status == 409:
            self._leases.lose(conversation)
            raise Fenced(FENCED)
        if not answer.ok:
            raise Refused(await words_of(answer))

    @contextmanager
    def _telling(self, what: str) -> Iterator[None]:
        """Raises KernelUnavailable instead of what the connection or the executor says."""
        try:
            yield
        except (*UNREACHED, ValidationError) as error:
            raise KernelUnavailable(f"{what}: {self._why(error)}") from error

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


def _traced() -> dict[str, str]:
    """What is asked is part of the trace that the caller is part of."""
    header = tracing.current().header
    return {tracing.HEADER: header} if header else {}


def _closed(outcome: Outcome, text: str) -> Closed:
    """The end of a run as far as this side can tell: its variables may be gone, its files are kept."""
    return Closed(outcome=outcome, execution_count=None, duration_s=0.0, variables_kept=False, files_kept=True, words=text)
