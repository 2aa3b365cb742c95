"""The Model port over any server that speaks the OpenAI chat API: llama.cpp, vLLM, or a hosted one.

Its own client and its own reading of the stream, because libraries cost several times as much per request and per token as
everything else here together. What came in one read is one signal.
"""

from __future__ import annotations

import asyncio
import time
from base64 import b64encode
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

import orjson
from yarl import URL

from orchestrator.adapters import openai_words as words
from orchestrator.adapters.http_client import Client
from orchestrator.adapters.http_connection import Response
from orchestrator.adapters.openai_answer import Answer
from orchestrator.adapters.openai_words import Refused
from orchestrator.errors import BadSetting
from orchestrator.ports import Failed, ModelRequest, ModelSignal, Part

PAUSES_S = (0.2, 0.5, 1.0)
"""Before asking again where nothing had been answered yet: enough for a server that restarts, short enough to wait for."""

KEEP_ALIVE_S = 4.0
"""A connection unused for longer is not used again: llama.cpp closes them after five seconds."""
MOST_PAUSE_S = 10.0
"""A server that asks for more patience than this is reported instead."""

CHECK_S = 2.0
"""How long one check may take, and how long its result is good."""

WINDOW_S = 0.04
"""Between two reads while text flows: 25 pieces a second look as smooth as 50, and every piece costs a wake-up, an event
and a frame to every reader. The first piece and the end never wait."""

MOST_BODY = 4 * 1024 * 1024
"""Bytes read of an answer that is not a stream."""


NOT_STREAMS = frozenset({"application/json", "text/html"})
"""What comes from servers that do not stream, or from something that is no model server. All else is read as a stream."""


class Silence(Exception):
    """Nothing came for too long."""


class OpenAIModel:
    """`base_url` ends before `/chat/completions` (without any path, `/v1` is meant). An empty `name` becomes the first
    model that the server lists. `first_token_timeout_s` covers everything up to the first token, prefill included;
    `idle_timeout_s` is the longest silence after it."""

    def __init__(
        self, base_url: str, name: str = "", api_key: str = "", *, first_token_timeout_s: float, idle_timeout_s: float
    ) -> None:
        url = URL(base_url)
        if url.host is None:
            raise BadSetting(f"CODEACT_MODEL_URL is {base_url!r}: it names no host.")
        self._url = url.with_path("/v1") if url.path in ("", "/") else url
        self._where = f"{url.host}:{url.port}"
        self._key = api_key
        self._first_s = first_token_timeout_s
        self._idle_s = idle_timeout_s
        self._owner = ""  # who serves the model: "vllm", "llamacpp", …
        self._base = self._url.raw_path.rstrip("/")
        self._http = Client(self._url, _headers(self._url, api_key), KEEP_ALIVE_S)
        self._checking = asyncio.Lock()
        self._checked: tuple[float, Part] | None = None
        self.name = name

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelSignal, None]:
        """See `ports.Model`. Asks again, a few times, only while no answer has begun."""
        deadline = _now() + self._first_s
        try:
            async with asyncio.timeout_at(deadline):
                response = await self._ask(request, deadline)
        except TimeoutError:
            yield self._failed(words.silent(self._where, self._first_s, begun=False), retryable=True)
            return
        except Refused as refusal:
            yield self._failed(refusal.words, retryable=refusal.again)
            return
        strip = tuple(stop for stop in request.stop if not stop.startswith("</")) if self._leaves_stops_in else ()
        answer = Answer(limit=8 * request.max_tokens + 1024, strip=strip)
        patience = Patience(response, deadline, self._idle_s)
        try:
            try:
                if response.content_type in NOT_STREAMS:
                    for signal in answer.whole(await patience.read_all()):
                        yield signal
                while not answer.done:
                    data = await patience.read(answer.begun)
                    for signal in answer.feed(data) if data else answer.close():
                        yield signal
                    if answer.begun and not answer.done:
                        await patience.pause()
            except Silence:
                seconds = self._idle_s if answer.begun else self._first_s
                answer.fail(words.silent(self._where, seconds, begun=answer.begun), retryable=True)
            except OSError:
                answer.fail(words.broke_off(self._where), retryable=True)
            else:
                await patience.drain()
            for signal in answer.end():
                yield self._failed(signal.words, signal.retryable) if isinstance(signal, Failed) else signal
        finally:
            patience.end()
            response.release()

    async def check(self) -> Part:
        """Whether the server answers; good for two seconds, so that asking often costs nothing."""
        async with self._checking:
            if self._checked is None or _now() - self._checked[0] > CHECK_S:
                self._checked = (_now(), await self._look())
            return self._checked[1]

    async def close(self) -> None:
        self._http.close()

    # ---- asking ----------------------------------------------------------------------------------------------------

    async def _ask(self, request: ModelRequest, deadline: float) -> Response:
        """The response whose body is the answer. Raises Refused; not later than `deadline` if it is refused again."""
        for pause in (*PAUSES_S, None):
            try:
                if not self.name:
                    await self._discover()
                return await self._send("POST", f"{self._base}/chat/completions", orjson.dumps(self._body(request)))
            except Refused as refusal:
                if pause is None or not refusal.again:
                    raise
                wait = max(pause, refusal.after_s)
                if wait > MOST_PAUSE_S or _now() + wait >= deadline:
                    raise
                await asyncio.sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    async def _send(self, method: str, target: str, body: bytes = b"") -> Response:
        """A response with status 200, to be released. Raises Refused."""
        try:
            response = await self._http.request(method, target, body)
        except OSError as error:
            raise words.unreachable(self._where, error.strerror or words.in_short(str(error))) from error
        if response.status == 200:
            return response
        try:
            said = await response.read(64 * 1024)
        except OSError:
            said = b""
        finally:
            response.release()
        raise words.refused(self._where, self.name, response.status, response.headers, said, time.time())

    def _body(self, request: ModelRequest) -> dict[str, Any]:
        """Only what every server takes; `max_tokens` has another name at OpenAI itself."""
        hosted = (self._url.host or "").endswith("openai.com")
        body: dict[str, Any] = {
            "model": self.name,
            "messages": request.messages,
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_completion_tokens" if hosted else "max_tokens": request.max_tokens,
            "temperature": request.temperature,
        }
        if request.stop:
            body["stop"] = request.stop
        if request.tools:
            body["tools"] = request.tools
        if request.seed is not None:
            body["seed"] = request.seed
        if self._leaves_stops_in:
            body["include_stop_str_in_output"] = True
        return body

    @property
    def _leaves_stops_in(self) -> bool:
        """vLLM holds every character back until it cannot be part of a stop string, unless it may leave the stop string
        in. Others do not know the field, and some refuse it."""
        return self._owner == "vllm"

    # ---- who is there ----------------------------------------------------------------------------------------------

    async def _discover(self) -> None:
        """Learn the model's name, and whose server it is. Raises Refused."""
        response = await self._send("GET", f"{self._base}/models")
        try:
            listed = orjson.loads(await response.read(MOST_BODY))["data"]
            first = next((model for model in listed if model["id"] == self.name), listed[0])
            name, owner = str(first["id"]), str(first.get("owned_by") or "")
        except (ValueError, KeyError, TypeError, IndexError, OSError) as error:
            what = f"The server at {self._where} lists no models. Set CODEACT_MODEL_NAME, or correct CODEACT_MODEL_URL."
            raise Refused(what, again=False) from error
        finally:
            response.release()
        self.name = self.name or name
        self._owner = owner

    async def _look(self) -> Part:
        try:
            async with asyncio.timeout(CHECK_S):
                await self._discover()
                await self._loaded()
        except TimeoutError:
            return self._part(f"The model server at {self._where} does not answer within {CHECK_S:.0f} s. Look at its log.")
        except Refused as refusal:
            return self._part(refusal.words)
        return Part("model", ok=True, words="")

    async def _loaded(self) -> None:
        """llama.cpp lists its model while it still reads the file; only its health says so. Raises Refused."""
        if self._owner == "llamacpp":
            (await self._send("GET", f"{self._base.rpartition('/')[0]}/health")).release()

    def _part(self, text: str) -> Part:
        return Part("model", ok=False, words=words.without_key(text, self._key))

    def _failed(self, text: str, retryable: bool) -> Failed:
        return Failed(words.without_key(text, self._key), retryable)


class Patience:
    """Reads of one answer, each with a limit, at the price of one timer per answer instead of one per read.

    Time in which nobody reads does not count: a slow consumer is not a silent server.
    """

    def __init__(self, response: Response, first_deadline: float, idle_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._response = response
        self._idle_s = idle_s
        self._first = first_deadline
        self._deadline: float | None = None  # None: nobody is reading
        self._read_at = 0.0
        self._pausing: asyncio.Future[None] | None = None
        response.on_end(self._ended)
        self._timer = self._loop.call_at(min(first_deadline, self._loop.time() + idle_s), self._look)

    async def read(self, begun: bool) -> bytes:
        """Everything that is there, or comes next; empty at the end. Raises Silence."""
        self._deadline = self._loop.time() + self._idle_s if begun else self._first
        data = await self._response.read_some()
        self._deadline = None
        self._read_at = self._loop.time()
        return data

    async def pause(self) -> None:
        """Let the window pass in which more may come; the end of the body ends it."""
        due = self._read_at + WINDOW_S
        if self._loop.time() >= due or self._response.ended:
            return
        self._pausing = self._loop.create_future()
        timer = self._loop.call_at(due, self._ended)
        try:
            await self._pausing
        finally:
            timer.cancel()
            self._pausing = None

    def _ended(self) -> None:
        """The window or the body."""
        if self._pausing is not None and not self._pausing.done():
            self._pausing.set_result(None)

    async def read_all(self) -> bytes:
        """The whole body, up to MOST_BODY."""
        self._deadline = self._first
        return await self._response.read(MOST_BODY)

    async def drain(self) -> None:
        """The end of the body, so that the connection can be used again; it comes microseconds after the answer's end, or
        we do without."""
        if self._response.ended:
            return
        with suppress(OSError):
            async with asyncio.timeout(0.05):
                await self._response.read_some()

    def end(self) -> None:
        self._timer.cancel()

    def _look(self) -> None:
        now = self._loop.time()
        if self._deadline is not None and now >= self._deadline:
            self._response.fail(Silence())
            return
        deadline = now + self._idle_s if self._deadline is None else self._deadline
        self._timer = self._loop.call_at(min(deadline, now + self._idle_s), self._look)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _headers(url: URL, key: str) -> dict[str, str]:
    """What goes with every request. A user in the address is one for the server, unless there is a key."""
    headers = {"User-Agent": "codeact", "Accept-Encoding": "identity", "Accept": "*/*"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    elif url.user:
        headers["Authorization"] = "Basic " + b64encode(f"{url.user}:{url.password or ''}".encode()).decode()
    return headers
