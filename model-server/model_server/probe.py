"""One model server, asked as the product asks it: streams with the time of every piece, and the server's own figures."""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import aiohttp

ANSWER_S = 300.0
Message = dict[str, str]


class Unreachable(Exception):
    """No answer, or one that is an error. The message says what was asked and what came."""


@dataclass(slots=True)
class Answer:
    """What came of one streamed request. `times`: seconds since it was sent, one per piece of text; `reads`: in how many
    reads of the connection those came."""

    text: str = ""
    finish: str = ""
    stop: object = None  # which stop string ended it, where the server tells
    usage: dict[str, Any] = field(default_factory=dict)
    times: list[float] = field(default_factory=list)
    reads: int = 0
    done: bool = False  # [DONE] came

    @property
    def cached(self) -> int | None:
        """Tokens of the prompt that the server had already; None where it does not say."""
        details = self.usage.get("prompt_tokens_details") or {}
        found = details.get("cached_tokens")
        return int(found) if found is not None else None


def _text(data: bytes, answer: Answer) -> str:
    """The text of one event; all else that it says goes into `answer`."""
    if data == b"[DONE]":
        answer.done = True
        return ""
    piece = json.loads(data)
    answer.usage = piece.get("usage") or answer.usage
    found = ""
    for choice in piece.get("choices") or ():
        found += (choice.get("delta") or {}).get("content") or ""
        answer.finish = choice.get("finish_reason") or answer.finish
        answer.stop = choice.get("stop_reason", answer.stop)
    return found


class Probe:
    """`async with Probe(url, key) as probe:` then `discover` before all else. `url` ends before `/chat/completions`."""

    def __init__(self, url: str, key: str) -> None:
        self.base = url.rstrip("/")
        self.root = self.base.removesuffix("/v1")
        self.key, self.model, self.owner = key, "", ""
        self.context = 0  # tokens; 0: the server does not say
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Probe:
        self._http = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=ANSWER_S), connector=aiohttp.TCPConnector(force_close=True)
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.http.close()

    @property
    def http(self) -> aiohttp.ClientSession:
        assert self._http is not None, "enter the probe first"
        return self._http

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}

    @property
    def words(self) -> str:
        served = f" by {self.owner}" if self.owner else ""
        return f"{self.model}{served}" + (f", {self.context} tokens of context" if self.context else "")

    async def discover(self, model: str = "") -> None:
        """Which model there is, and whose server. Raises Unreachable."""
        said = await self.get_json(f"{self.base}/models")
        try:
            listed = {str(entry["id"]): entry for entry in said["data"]}
            self.model = model or next(iter(listed))
            entry = listed.get(self.model)
        except (KeyError, TypeError, StopIteration) as error:
            raise Unreachable(f"{self.base}/models lists no models. Is this a model server?") from error
        if entry is None:
            raise Unreachable(f"{self.base} does not serve {model!r}; it serves {', '.join(listed)}.")
        self.owner = str(entry.get("owned_by") or "")
        meta = entry.get("meta") or {}
        self.context = int(entry.get("max_model_len") or meta.get("n_ctx") or 0)

    async def get_json(self, url: str) -> Any:
        """Raises Unreachable."""
        return json.loads(await self._body("GET", url))

    async def post_json(self, url: str, body: dict[str, Any]) -> Any:
        """Raises Unreachable."""
        return json.loads(await self._body("POST", url, body))

    async def status(self, url: str, body: dict[str, Any] | None, headers: dict[str, str]) -> int:
        """Raises Unreachable where nothing answers."""
        try:
            method = "POST" if body is not None else "GET"
            async with self.http.request(method, url, json=body, headers=headers) as answer:
                return answer.status
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unreachable(f"{url} does not answer: {error or type(error).__name__}") from error

    async def metrics(self) -> dict[str, float]:
        """The server's own figures by name, labels summed up; empty where it has none."""
        try:
            text = await self._body("GET", f"{self.root}/metrics")
        except Unreachable:
            return {}
        found: dict[str, float] = {}
        for name, value in re.findall(r"^([a-zA-Z_:][\w:]*)(?:\{[^\n]*\})? (\S+)$", text, re.MULTILINE):
            try:
                found[name] = found.get(name, 0.0) + float(value)
            except ValueError:
                continue
        return found

    async def ask(self, messages: list[Message], max_tokens: int, **more: Any) -> Answer:
        """One whole answer, streamed. Raises Unreachable."""
        answer = Answer()
        async with self.asking(messages, max_tokens, answer, **more) as pieces:
            async for _ in pieces:
                pass
        return answer

    @asynccontextmanager
    async def asking(
        self, messages: list[Message], max_tokens: int, answer: Answer, **more: Any
    ) -> AsyncIterator[AsyncIterator[str]]:
        """A streamed request whose connection is cut where the block ends; `answer` grows. Raises Unreachable."""
        body = {
            "model": self.model,
            "messages": messages,
            "max_tokens": max_tokens,
            "temperature": 0,
            "seed": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        } | more
        begun = time.monotonic()
        try:
            async with self.http.post(f"{self.base}/chat/completions", json=body, headers=self.headers) as response:
                if response.status != 200:
                    raise Unreachable(f"status {response.status}: {(await response.text())[:300]}")
                yield self._pieces(response, answer, begun)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unreachable(f"the answer broke off: {error or type(error).__name__}") from error

    async def _pieces(self, response: aiohttp.ClientResponse, answer: Answer, begun: float) -> AsyncIterator[str]:
        rest = b""
        async for read in response.content.iter_any():
            *lines, rest = (rest + read).split(b"\n")
            texts = [text for line in lines if line.startswith(b"data:") and (text := _text(line[5:].strip(), answer))]
            answer.reads += bool(texts)
            for text in texts:
                answer.text += text
                answer.times.append(time.monotonic() - begun)
                yield text
            if answer.done:
                return

    async def _body(self, method: str, url: str, body: dict[str, Any] | None = None) -> str:
        try:
            async with self.http.request(method, url, json=body, headers=self.headers) as answer:
                text = await answer.text()
                if answer.status == 200:
                    return text
        except (aiohttp.ClientError, TimeoutError, UnicodeDecodeError) as error:
            raise Unreachable(f"{url} does not answer: {error or type(error).__name__}") from error
        refused = ". Set CODEACT_MODEL_API_KEY to its key" if answer.status in (401, 403) else ""
        raise Unreachable(f"{url} answers with status {answer.status}{refused}: {text[:300]}")
