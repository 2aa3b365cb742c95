"""The smoke test tells servers that do what CodeAct needs from those that do not. A stand-in plays both here; the real
llama.cpp is tried in test_serve.py, the real vLLM by `make test-vllm`."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from model_server import smoke_checks
from model_server.__main__ import main
from model_server.probe import Probe, Unreachable
from model_server.smoke import CHECKS, Row, row_of, smoke, tried
from model_server.smoke_checks import stop_word

KEY = "the-key-of-the-stand-in"
WORDS = [f"word{number} " for number in range(48)]


@dataclass
class StandIn:
    """A model server that speaks as vLLM does, or fails in one way."""

    fault: str = ""
    running: int = 0
    written: int = 0
    seen: set[str] = field(default_factory=set)

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/v1/models", self.models)
        app.router.add_post("/v1/chat/completions", self.chat)
        app.router.add_get("/metrics", self.metrics)
        app.router.add_post("/tokenize", self.tokenize)
        app.router.add_post("/detokenize", self.detokenize)
        return app

    async def models(self, _: web.Request) -> web.Response:
        entry = {"id": "stand-in", "owned_by": "vllm", "max_model_len": 4096}
        return web.json_response({"data": [] if self.fault == "no models" else [entry]})

    async def metrics(self, _: web.Request) -> web.Response:
        if self.fault == "no metrics":
            raise web.HTTPNotFound
        text = f'# HELP x\nvllm:num_requests_running{{engine="0"}} {self.running}.0\n'
        return web.Response(text=f"{text}vllm:generation_tokens_total {self.written}\n")

    def rendered(self, messages: list[dict[str, str]]) -> str:
        if self.fault == "no system":
            messages = [message for message in messages if message["role"] != "system"]
        text = "".join(f"<|{message['role']}|>{message['content']}" for message in messages) + "<|assistant|>"
        if self.fault == "restless":
            text = f"({len(messages)} messages) {text}"
        return "<s><s>" + text if self.fault == "twice" else text

    async def tokenize(self, request: web.Request) -> web.Response:
        if self.fault == "no rendering":
            raise web.HTTPNotFound
        text = self.rendered((await request.json())["messages"])
        count = len(text) - (1 if self.fault == "adds" else 0)
        return web.json_response({"count": count, "tokens": list(map(ord, text)), "token_strs": [text[:3], text[3:]]})

    async def detokenize(self, request: web.Request) -> web.Response:
        return web.json_response({"prompt": "".join(map(chr, (await request.json())["tokens"]))})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {KEY}" and self.fault != "open":
            raise web.HTTPUnauthorized
        if self.fault == "broken":
            raise web.HTTPInternalServerError(text="the engine is dead")
        body = await request.json()
        prompt = self.rendered(body["messages"])
        usage = {"prompt_tokens": len(prompt), "prompt_tokens_details": {"cached_tokens": self.cached(prompt)}}
        if self.fault == "silent cache":
            del usage["prompt_tokens_details"]
        if not body.get("stream"):
            choice = {"message": {"content": "" if self.fault == "empty" else "word"}, "finish_reason": "length"}
            tokens = 0 if self.fault == "empty" else 1
            return web.json_response({"choices": [choice], "usage": usage | {"completion_tokens": tokens}})
        return await self.stream(request, body, usage)

    def cached(self, prompt: str) -> int:
        found = max((len(old) for old in self.seen if prompt.startswith(old[:-13])), default=0)
        self.seen.add(prompt)
        return 0 if self.fault == "no cache" else found

    async def stream(self, request: web.Request, body: dict, usage: dict) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        self.running += 1
        pieces, finish, stop = self.pieces(body)
        try:
            held = b""
            for number, piece in enumerate(pieces, 1):
                data = self.event({"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]})
                held += data
                self.written += 1
                if self.fault != "buffers":
                    await response.write(held)
                    held = b""
                    await asyncio.sleep(0.0005)
                usage = usage | {"completion_tokens": number}
            end = self.event({"choices": [{"index": 0, "delta": {}, "finish_reason": finish, "stop_reason": stop}]})
            last = b"" if self.fault == "no usage" else self.event({"choices": [], "usage": usage})
            await response.write(held + end + last + (b"" if self.fault == "no end" else b"data: [DONE]\n\n"))
        finally:
            if self.fault != "goes on":
                self.running -= 1
        return response

    def pieces(self, body: dict) -> tuple[list[str], str, str | None]:
        words = (WORDS * 40)[: body["max_tokens"]]
        stop = next(iter(body.get("stop") or ()), None)
        text = "".join(words)
        if stop is None or self.fault == "no stop" or stop not in text:
            return words, "length", None
        leaves = body.get("include_stop_str_in_output") or self.fault == "leaves stop"
        text = text[: text.index(stop)] + (stop if leaves else "")
        return [text[at : at + 6] for at in range(0, len(text), 6)], "stop", stop

    @staticmethod
    def event(data: dict) -> bytes:
        return f"data: {json.dumps(data)}\n\n".encode()


@asynccontextmanager
async def serving(fault: str = "") -> AsyncIterator[tuple[str, StandIn]]:
    stand_in = StandIn(fault)
    runner = web.AppRunner(stand_in.app(), shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1", stand_in
    finally:
        await runner.cleanup()


async def one(fault: str, name: str) -> Row:
    """What one check says of a server with that fault."""
    async with serving(fault) as (url, _), Probe(url, KEY) as probe:
        await probe.discover()
        return await row_of(name, dict(CHECKS)[name], probe)


async def test_a_server_that_does_it_all_passes(capsys):
    async with serving() as (url, _):
        assert await smoke(url, KEY) == 0
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 9
    assert all(line.split("  ")[0] and " on " in line for line in shown), shown


@pytest.mark.parametrize(
    ("fault", "name", "words"),
    [
        ("open", "key", "whoever reaches the port"),
        ("empty", "answer", "an empty answer"),
        ("broken", "answer", "the engine is dead"),
        ("buffers", "streaming", "all at once"),
        ("no end", "streaming", r"\[DONE\]"),
        ("no usage", "usage", "include_usage"),
        ("no stop", "stop strings", "finish_reason is 'length'"),
        ("leaves stop", "stop strings", "stays in the text"),
        ("no system", "chat template", "system prompt is not in"),
        ("twice", "chat template", "<s> twice"),
        ("restless", "chat template", "prefix cache cannot be used"),
        ("adds", "chat template", "something is added"),
        ("no cache", "prefix cache", "only 0 came from the cache"),
        ("goes on", "abort", "is not 0"),
    ],
)
async def test_what_does_not_work_is_off_and_says_why(fault, name, words, monkeypatch):
    monkeypatch.setattr(smoke_checks, "ABORT_S", 0.3)
    row = await one(fault, name)
    assert row.state == "off", row
    assert re.search(words, row.why), row


@pytest.mark.parametrize(
    ("fault", "name"), [("no metrics", "abort"), ("no rendering", "chat template"), ("silent cache", "prefix cache")]
)
async def test_what_cannot_be_seen_is_unknown(fault, name):
    assert (await one(fault, name)).state == "unknown"


async def test_what_cannot_be_seen_is_no_failure():
    async with serving("no metrics") as (url, _):
        rows = {row.name: row.state for row in await tried(url, KEY)}
        assert rows.pop("abort") == "unknown"
        assert set(rows.values()) == {"on"}
        assert await smoke(url, KEY) == 0


async def test_a_wrong_key_is_named(capsys):
    async with serving() as (url, _):
        rows = {row.name: row for row in await tried(url, "wrong")}
    assert rows["answer"].state == "off"
    assert "CODEACT_MODEL_API_KEY" in rows["answer"].why


async def test_another_model_than_it_has_is_refused():
    async with serving() as (url, _):
        with pytest.raises(Unreachable, match="it serves stand-in"):
            await tried(url, KEY, "other")


async def test_what_is_no_model_server_is_said(capsys):
    async with serving("no models") as (url, _):
        assert await smoke(url, KEY) == 2
    assert "lists no models" in capsys.readouterr().err


def test_nobody_there_is_status_2(capsys):
    assert main(["smoke", "http://127.0.0.1:9/v1"]) == 2
    assert "does not answer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "word"),
    [("", ""), ("ab", ""), ("one two three", "two th"), ("� � � � ok then �", "ok the"), ("aaaaaaaaaaaa", "")],
)
def test_the_stop_string_is_taken_from_what_the_model_writes_anyway(text, word):
    assert stop_word(text) == word
