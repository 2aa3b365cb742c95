"""A scripted model server: real HTTP, the OpenAI chat API, and every way in which servers fail.

    async with ScriptedModel(["Hello"]) as model:
        ...  # model.base_url, model.exchanges, model.running

or as a process, which prints its base URL: `python -m tests.support.model_server --port 0 --script puppet`.

It behaves as real ones do: stop strings are stripped, max_tokens ends with finish_reason "length", usage comes in the last
chunk when asked for, a client that hangs up ends the generation. It writes HTTP by hand, so that faults can sit at any byte
and so that one core serves more than 100,000 tokens a second.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self, cast

import orjson
import uvloop

from tests.support import scripts
from tests.support.scripts import TOKEN, Call, Hold, Plan, Raw, Reply, Request, Script, Think, Wait

BLOCK = 16 * TOKEN
"""Characters of one block of the prefix cache: 16 tokens, as in vLLM."""

KNOWN_FIELDS = frozenset(
    {"model", "messages", "stream", "stream_options", "stop", "max_tokens", "max_completion_tokens"}
) | {*("temperature", "tools", "tool_choice", "seed", "top_p")}
"""What a strict server (OpenAI itself) takes; others ignore what they do not know."""


@dataclass
class Exchange:
    """One request and what became of it. `produced` counts tokens; `aborted`: the client hung up before the end."""

    request: Request
    reply: Reply
    prompt_tokens: int
    cached_tokens: int
    produced: int = 0
    parts: list[str] = field(default_factory=list)
    finished: bool = False
    aborted: bool = False
    learnt: int = 0  # characters of prompt and answer that the cache knows afterwards

    @property
    def text(self) -> str:
        return "".join(self.parts)


class PrefixCache:
    """Full blocks of what was read and written before, least recently used first out; costs nothing when hit."""

    def __init__(self, blocks: int = 100_000, prefill_us: float = 0.0) -> None:
        self.prefill_us = prefill_us  # per token that is not cached
        self._blocks: OrderedDict[int, None] = OrderedDict()
        self._most = blocks

    def cached(self, text: str) -> int:
        """Tokens of the longest known prefix."""
        known = 0
        for key in self._keys(text):
            if key not in self._blocks:
                break
            self._blocks.move_to_end(key)
            known += 1
        return known * BLOCK // TOKEN

    def learn(self, text: str) -> None:
        for key in self._keys(text):
            self._blocks[key] = None
            self._blocks.move_to_end(key)
        while len(self._blocks) > self._most:
            self._blocks.popitem(last=False)

    @staticmethod
    def _keys(text: str) -> Iterable[int]:
        key = 0
        for at in range(0, len(text) - BLOCK + 1, BLOCK):
            key = hash((key, text[at : at + BLOCK]))
            yield key


def render(body: Mapping[str, Any]) -> str:
    """The prompt as a chat template would write it, up to where the model goes on."""
    parts = [orjson.dumps(body["tools"]).decode()] if body.get("tools") else []
    for message in body.get("messages") or []:
        functions = [call["function"] for call in message.get("tool_calls") or ()]
        calls = "".join(f"<call>{function['name']}{function['arguments']}</call>" for function in functions)
        parts.append(f"<|im_start|>{message['role']}\n{message.get('content') or ''}{calls}<|im_end|>\n")
    return "".join(parts) + "<|im_start|>assistant\n"


def written(plan: Plan) -> str:
    """The model's message as the template would write it later."""
    calls: dict[int, list[str]] = {}
    for item in plan.items:
        if isinstance(item, Call):
            calls.setdefault(item.index, []).append(item.name + item.arguments)
    text = "".join(item for item in plan.items if isinstance(item, str)) + plan.hidden
    return text + "".join(f"<call>{''.join(call)}</call>" for call in calls.values())


class ScriptedModel:
    """The server. `cache`: simulate a prefix cache, `prefill_us` per token that it lacks. `exchanges` records
    every request for a completion; `running` counts those being answered."""

    def __init__(
        self,
        script: Script,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        models: tuple[str, ...] = ("scripted",),
        owned_by: str = "scripted",
        api_key: str = "",
        strict: bool = False,
        cache: bool = True,
        prefill_us: float = 0.0,
    ) -> None:
        self.script = script
        self.models = models
        self.owned_by = owned_by
        self.api_key = api_key
        self.strict = strict
        self.cache = PrefixCache(prefill_us=prefill_us) if cache else None
        self.exchanges: list[Exchange] = []
        self.running = 0
        self.connections: set[Connection] = set()
        self.accepted = 0  # connections, ever
        self.changed = asyncio.Event()
        self.asked = 0  # requests for a completion, ever
        self.host = host
        self.port = port
        self._server: asyncio.Server | None = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def start(self) -> None:
        """Listen; after `stop`, again on the same port."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), self.host, self.port, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Connections are refused from now on, and those that are open break."""
        if self._server is not None:
            self._server.close()
        for connection in tuple(self.connections):
            connection.abort()
        await self.quiet()

    async def quiet(self, timeout_s: float = 5.0) -> None:
        """Wait until no request is being answered."""
        await self._until(lambda: not self.running, timeout_s)

    async def seen(self, count: int, timeout_s: float = 5.0) -> Exchange:
        """Wait until so many requests have come; the last of these."""
        await self._until(lambda: len(self.exchanges) >= count, timeout_s)
        return self.exchanges[count - 1]

    async def _until(self, true: Callable[[], bool], timeout_s: float) -> None:
        async with asyncio.timeout(timeout_s):
            while not true():
                self.changed.clear()
                await self.changed.wait()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def open(self, raw: bytes, headers: Mapping[str, str]) -> Exchange:
        """Decide the answer to a request."""
        body = orjson.loads(raw)
        request = Request(self.asked, raw, body, headers)
        reply = self._refusal(body) or scripts.decide(self.script, request)
        prompt = render(body) if self.cache else ""
        known = self.cache.cached(prompt) if self.cache else 0
        exchange = Exchange(request, reply, -(-(len(prompt) or len(raw)) // TOKEN), known)
        self.exchanges.append(exchange)
        self.asked += 1
        self.changed.set()
        return exchange

    def _refusal(self, body: Mapping[str, Any]) -> Reply | None:
        unknown = sorted(set(body) - KNOWN_FIELDS)
        return scripts.failure(400, f"Unrecognized request argument: {unknown[0]}") if self.strict and unknown else None

    def prefill_s(self, exchange: Exchange) -> float:
        """How long reading the part of the prompt that is not cached takes."""
        per_token = self.cache.prefill_us / 1e6 if self.cache else 0.0
        return per_token * (exchange.prompt_tokens - exchange.cached_tokens)

    def learn(self, exchange: Exchange, plan: Plan) -> None:
        if self.cache:
            text = render(exchange.request.body) + written(plan)
            exchange.learnt = len(text)
            self.cache.learn(text)

    def models_body(self) -> bytes:
        listed = [{"id": name, "object": "model", "created": 0, "owned_by": self.owned_by} for name in self.models]
        return orjson.dumps({"object": "list", "data": listed})


class Broken(Exception):
    """The script says that the connection ends here."""


class Connection(asyncio.Protocol):
    """One client: requests one after the other, each answered by a task that ends when the client hangs up."""

    def __init__(self, model: ScriptedModel) -> None:
        self._model = model
        self._buffer = b""
        self._task: asyncio.Task[None] | None = None
        self._free = asyncio.Event()
        self._free.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._model.connections.add(self)
        self._model.accepted += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self._model.connections.discard(self)
        if self._task is not None:
            self._task.cancel()

    def abort(self) -> None:
        self.transport.abort()

    def pause_writing(self) -> None:
        self._free.clear()

    def resume_writing(self) -> None:
        self._free.set()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._task is None:
            self._next()

    def _next(self) -> None:
        """Begin to answer the next request, if the whole of it is here."""
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", "0"))
        if len(rest) < length:
            return
        self._buffer = rest[length:]
        self._task = asyncio.create_task(self._answer(first, headers, rest[:length]))
        self._task.add_done_callback(self._answered)

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            self.transport.close()
            if not isinstance(error, Broken):
                asyncio.get_running_loop().call_exception_handler({"message": "scripted model failed", "exception": error})
        elif not self.transport.is_closing():
            self._next()

    async def _answer(self, first: str, headers: Mapping[str, str], body: bytes) -> None:
        path = first.split(" ")[1]
        if self._model.api_key and headers.get("authorization") != f"Bearer {self._model.api_key}":
            self._whole(401, b'{"error":{"message":"Incorrect API key provided","code":"invalid_api_key"}}')
        elif path == "/v1/models":
            self._whole(200, self._model.models_body())
        elif path == "/v1/chat/completions":
            await self._complete(self._model.open(body, headers))
        else:
            self._whole(404, b'{"error":{"message":"no such path"}}')

    def _whole(self, status: int, body: bytes, content_type: str = "application/json", headers: str = "") -> None:
        head = f"HTTP/1.1 {status} x\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
        self.transport.write(head.encode() + body)

    async def _complete(self, exchange: Exchange) -> None:
        self._model.running += 1
        try:
            await self._speak(exchange)
            exchange.finished = True
        except asyncio.CancelledError:
            exchange.aborted = True
            raise
        finally:
            self._model.running -= 1
            self._model.changed.set()

    async def _speak(self, exchange: Exchange) -> None:
        reply, request = exchange.reply, exchange.request
        if reply.refuse:
            raise Broken
        if reply.hang:
            await asyncio.Event().wait()
        await asyncio.sleep(reply.ttft_s + self._model.prefill_s(exchange))
        extra = "".join(f"{name}: {value}\r\n" for name, value in reply.headers.items())
        if reply.body is not None:
            self._whole(reply.status, reply.body, reply.content_type or "application/json", extra)
            return
        plan = scripts.plan(reply, request.body)
        spoken = Spoken(self, exchange, plan, self._model.models[0])
        if request.body.get("stream"):
            await spoken.stream(extra)
        else:
            self._whole(reply.status, await spoken.whole(), reply.content_type or "application/json", extra)
        self._model.learn(exchange, plan)

    async def send(self, data: bytes) -> None:
        self.transport.write(data)
        await self._free.wait()


class Spoken:
    """One answer on its way."""

    def __init__(self, connection: Connection, exchange: Exchange, plan: Plan, model: str) -> None:
        self._connection = connection
        self._exchange = exchange
        self._reply = exchange.reply
        self._plan = plan
        name = exchange.request.body.get("model") or model
        self._about = {"id": f"chatcmpl-{exchange.request.n}", "created": int(time.time()), "model": name}
        head = orjson.dumps({**self._about, "object": "chat.completion.chunk"})[:-1]
        self._head = b"data: " + head + b',"choices":[{"index":0,"delta":'
        self._pending: list[bytes] = []
        self._size = 0
        self._sent = 0

    async def whole(self) -> bytes:
        """The answer that is not streamed."""
        calls: dict[int, dict[str, Any]] = {}
        for item in self._plan.items:
            await self._pause(item)
            self._count(item)
            if isinstance(item, Call):
                function = calls.setdefault(item.index, {"name": item.name, "arguments": ""})
                function["arguments"] += item.arguments
        if self._reply.rate:
            await asyncio.sleep(self._exchange.produced / self._reply.rate)
        message: dict[str, Any] = {"role": "assistant", "content": self._exchange.text}
        if calls:
            message["tool_calls"] = [
                {"id": f"call_{index}", "type": "function", "function": function} for index, function in calls.items()
            ]
        choice = {"index": 0, "message": message, "finish_reason": self._plan.finish}
        return orjson.dumps({**self._about, "object": "chat.completion", "choices": [choice], "usage": self._usage()})

    async def stream(self, extra: str) -> None:
        reply = self._reply
        framing = "transfer-encoding: chunked" if reply.chunked else "connection: close"
        kind = reply.content_type or "text/event-stream; charset=utf-8"
        await self._wire(f"HTTP/1.1 {reply.status} x\r\ncontent-type: {kind}\r\n{framing}\r\n{extra}\r\n".encode())
        self._put(self._head + b'{"role":"assistant","content":""},"finish_reason":null}]}\n\n')
        await self._items()
        if reply.finish != "":
            finish = orjson.dumps(self._plan.finish)
            self._put(self._head + b'{},"finish_reason":' + finish + b"}]}\n\n")
        if (self._exchange.request.body.get("stream_options") or {}).get("include_usage"):
            usage: dict[str, Any] = {
                **self._about,
                "object": "chat.completion.chunk",
                "choices": [],
                "usage": self._usage(),
            }
            self._put(b"data: " + orjson.dumps(usage) + b"\n\n")
        if reply.done:
            self._put(b"data: [DONE]\n\n")
        await self._flush()
        if reply.chunked:
            await self._wire(b"0\r\n\r\n")
        else:
            self._connection.transport.close()

    async def _items(self) -> None:
        begun, told = time.monotonic(), 0
        while True:
            for item in self._plan.items:
                if isinstance(item, Wait | Hold):
                    await self._flush()
                    await self._pause(item)
                    begun, told = time.monotonic(), 0
                    continue
                if self._reply.rate and told % self._reply.burst == 0:
                    await self._flush()
                    await asyncio.sleep(max(0.0, begun + told / self._reply.rate - time.monotonic()))
                told += 1
                self._put(item.data if isinstance(item, Raw) else self._event(item))
                self._count(item)
                if self._size > 32_768:
                    await self._flush()
            if not self._reply.endless or self._plan.stopped:
                return
            await self._flush()
            await asyncio.sleep(0)

    def _event(self, item: str | Think | Call) -> bytes:
        match item:
            case str(text):
                delta = b'{"content":' + orjson.dumps(text) + b"}"
            case Think(text):
                delta = orjson.dumps({"reasoning_content": text})
            case Call(arguments, name, index):
                call: dict[str, Any] = {"index": index, "function": {"arguments": arguments}}
                if name:
                    call |= {"id": f"call_{index}", "type": "function"}
                    call["function"]["name"] = name
                delta = orjson.dumps({"tool_calls": [call]})
        return self._head + delta + b',"finish_reason":null}]}\n\n'

    def _count(self, item: object) -> None:
        if isinstance(item, str | Think | Call):
            self._exchange.produced += 1
        if isinstance(item, str) and not self._reply.endless:
            self._exchange.parts.append(item)

    @staticmethod
    async def _pause(item: object) -> None:
        if isinstance(item, Wait):
            await asyncio.sleep(item.seconds)
        elif isinstance(item, Hold):
            await item.event.wait()

    def _usage(self) -> dict[str, Any]:
        prompt, completion = self._exchange.prompt_tokens, self._exchange.produced
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": self._exchange.cached_tokens},
        }

    def _put(self, data: bytes) -> None:
        self._pending.append(data)
        self._size += len(data)

    async def _flush(self) -> None:
        """What is pending, as one chunk of the body."""
        if not self._pending:
            return
        data = b"".join(self._pending)
        self._pending, self._size = [], 0
        await self._wire(b"%x\r\n%b\r\n" % (len(data), data) if self._reply.chunked else data)

    async def _wire(self, data: bytes) -> None:
        """Bytes to the socket, in pieces where the script wants pieces, up to the byte where it wants a fault."""
        reply = self._reply
        ends = [at for at in (reply.cut_at, reply.stall_at) if at is not None]
        end = min(ends) if ends else None
        allowed = data if end is None else data[: end - self._sent]
        step = reply.chunk or len(allowed) or 1
        for at in range(0, len(allowed), step):
            await self._connection.send(allowed[at : at + step])
            if reply.chunk:
                await asyncio.sleep(0)
        self._sent += len(allowed)
        if end is not None and self._sent >= end:
            if end == reply.cut_at:
                raise Broken
            await asyncio.Event().wait()


async def serve(options: argparse.Namespace) -> None:
    """Run until ended from outside."""
    named: dict[str, Script] = {
        "puppet": scripts.puppet(options.style),
        "turns": scripts.turns(options.style),
        "flat": scripts.flat(options.tokens),
    }
    chosen = named[options.script]

    def script(request: Request) -> Reply:
        reply = scripts.decide(chosen, request)
        return replace(reply, rate=options.rate, burst=options.burst, ttft_s=options.ttft_ms / 1000)

    async with ScriptedModel(
        script, port=options.port, models=(options.model,), cache=not options.no_cache, prefill_us=options.prefill_us
    ) as model:
        print(model.base_url, flush=True)
        while True:
            await asyncio.sleep(1)
            del model.exchanges[: -options.keep]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.support.model_server")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--script", choices=["puppet", "turns", "flat"], default="puppet")
    parser.add_argument("--style", choices=["codeact", "fenced", "tools"], default="fenced")
    parser.add_argument("--model", default="scripted")
    parser.add_argument("--tokens", type=int, default=200, help="of each answer of the script `flat`")
    parser.add_argument("--rate", type=float, default=None, help="tokens per second; without it, as fast as it goes")
    parser.add_argument("--burst", type=int, default=1)
    parser.add_argument("--ttft-ms", type=float, default=0.0)
    parser.add_argument("--prefill-us", type=float, default=0.0, help="per prompt token that is not cached")
    parser.add_argument("--no-cache", action="store_true", help="simulate none: answers cost the same after any history")
    parser.add_argument("--keep", type=int, default=1000, help="exchanges remembered")
    uvloop.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
