"""Frames that no page sends, on a real websocket: answered with words or hung up on with our codes, while a neighbour's
websocket goes on as if nothing had happened."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.live.endpoint import MAX_MALFORMED
from orchestrator.protocol.frames import CloseCode, Refusal
from tests.security.nasty import replaced
from tests.security.scene import DATABASES, MARK, Scene, on

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLOSED = (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING)
TOO_BIG = 1009
OURS = {*CloseCode, TOO_BIG}
KINDS = (
    "subscribe",
    "unsubscribe",
    "message.send",
    "turn.continue",
    "turn.stop",
    "kernel.restart",
    "ping",
    "hello",
    "told",
    "",
)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=DATABASES)
async def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with on(request, tmp_path_factory.mktemp("data")) as one:
        yield one


async def told(scene: Scene, *frames: str | bytes) -> tuple[list[dict[str, Any]], int | None]:
    """What Bob is told when he sends these, and the code he is hung up on with, if he is."""
    socket = await scene.bob.socket(max_msg_size=0)
    try:
        for frame in frames:
            await (socket.send_bytes(frame) if isinstance(frame, bytes) else socket.send_str(frame))
        await socket.send_str('{"type":"ping"}')
    except ConnectionError:
        pass
    answers: list[dict[str, Any]] = []
    while (message := await socket.receive(timeout=30)).type not in CLOSED:
        answer = json.loads(message.data)
        if answer["type"] == "pong":
            await socket.close()
            return answers, None
        answers.append(answer)
    return answers, socket.close_code


async def sane(scene: Scene, answers: list[dict[str, Any]], code: int | None) -> None:
    assert code is None or code in OURS, code
    for answer in answers:
        assert answer["type"] in (
            "refused",
            "conversation.changed",
            "conversation.removed",
            "pong",
            "subscribed",
            "reset",
        ), answer
        if answer["type"] == "refused":
            assert answer["reason"] in set(Refusal) and answer["words"], answer
            assert answer["reason"] != Refusal.FAILED, answer
    assert not [secret for secret in scene.theirs - {scene.conversation} if secret in str(answers)]


def fuzzed(examples: int) -> Any:
    return settings(max_examples=examples, deadline=None, database=None, derandomize=True,
                    suppress_health_check=list(HealthCheck))  # fmt: skip


async def fuzz(scene: Scene, strategy: st.SearchStrategy[list[str | bytes]], examples: int) -> None:
    """Hypothesis has a thread; the sockets have this loop."""
    loop = asyncio.get_running_loop()

    @fuzzed(examples)
    @given(strategy)
    def each(frames: list[str | bytes]) -> None:
        async def one() -> None:
            await sane(scene, *await told(scene, *frames))

        asyncio.run_coroutine_threadsafe(one(), loop).result(60)

    await asyncio.to_thread(each)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def commands(scene: Scene) -> st.SearchStrategy[str]:
    """Nearly right: known types, ids of Ann's, fields of the wrong kind or too many. No kernel is there to be restarted."""
    some = st.sampled_from([scene.conversation, "t", "none", "", "../x", "a" * 65, "\x00", "\ud800"]) | JSON
    fields = st.fixed_dictionaries(
        {"type": st.sampled_from(KINDS) | JSON},
        optional={"conversation": some, "turn": some, "cursor": some, "text": some, "user": some, "via": JSON},
    )
    return fields.map(json.dumps)


async def test_nothing_that_is_sent_brings_the_server_or_a_neighbour_down(scene: Scene) -> None:
    before = await scene.page()
    neighbour = await scene.ann.socket()
    await scene.watch(neighbour)
    await fuzz(scene, st.lists(st.binary(max_size=200) | st.text(max_size=200), min_size=1, max_size=6), 40)
    await fuzz(scene, st.lists(JSON.map(json.dumps), min_size=1, max_size=6), 40)
    await fuzz(scene, st.lists(commands(scene), min_size=1, max_size=8), 80)
    await neighbour.send_json({"type": "ping"})
    assert (await neighbour.receive_json(timeout=30))["type"] == "pong", "Ann has heard nothing of it"
    assert await scene.page() == before


@pytest.mark.parametrize("kind", [kind for kind in KINDS[:5] if kind])
async def test_each_field_of_each_command_with_values_that_have_hurt(scene: Scene, kind: str) -> None:
    await scene.bob.ok("PUT", "/api/conversations/bobs", {})
    command = {"type": kind, "conversation": "bobs", "turn": "t", "text": "x", "cursor": "0-0"}
    wanted = {"subscribe": ("cursor",), "message.send": ("turn", "text"), "unsubscribe": ()}.get(kind, ("turn",))
    command = {name: value for name, value in command.items() if name in ("type", "conversation", *wanted)}
    for frame in (json.dumps(value) for value in replaced(command)):
        await sane(scene, *await told(scene, frame))


async def test_whoever_does_not_speak_the_protocol_is_hung_up_on(scene: Scene) -> None:
    answers, code = await told(scene, *["nonsense"] * (MAX_MALFORMED + 5))
    assert code == CloseCode.MISBEHAVED and len(answers) == MAX_MALFORMED
    assert {answer["reason"] for answer in answers} == {Refusal.MALFORMED}


@pytest.mark.parametrize("frame", ["[" * 300_000, '{"a":' * 100_000, "9" * 1_000_000, '"' + "\\u0000" * 150_000 + '"'])
async def test_depth_and_length_are_words_not_an_end(scene: Scene, frame: str) -> None:
    answers, code = await told(scene, frame)
    assert code is None and [answer["reason"] for answer in answers] == [Refusal.MALFORMED]
    assert len(json.dumps(answers)) < 2000, "what was sent is not said again"


async def test_a_frame_that_is_too_large_is_not_even_kept(scene: Scene) -> None:
    """Neither as one, nor in fragments that never end, nor by many at a time."""
    assert (await told(scene, b"x" * (2 << 20)))[1] == TOO_BIG
    before = resident()
    await asyncio.gather(*(endless(scene) for _ in range(8)))
    assert resident() - before < 100 << 20
    assert await told(scene) == ([], None)


def resident() -> int:
    """Bytes of memory of this process, which is the server too."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def endless(scene: Scene) -> None:
    """A text message of fragments of 64 KiB, up to 32 MiB; the server hangs up before."""
    reader, writer = await raw(scene)
    sent = 0
    try:
        while sent < 32 << 20:
            writer.write(fragment(0x1 if sent == 0 else 0x0, b"x" * 65536))
            await asyncio.wait_for(writer.drain(), 30)
            sent += 65536
    except ConnectionError:
        pass
    finally:
        rest = await asyncio.wait_for(_all(reader), 30)
        writer.close()
    assert sent < 32 << 20
    assert rest == b"" or TOO_BIG.to_bytes(2) in rest


async def _all(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionError:
        return b""


async def raw(scene: Scene) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A websocket of Bob's, upgraded, with nothing in between."""
    host, _, port = scene.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    headers = f"Host: {host}:{port}\r\nOrigin: {scene.url}\r\nCookie: codeact_login={scene.bob.secret()}\r\n"
    upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    writer.write(f"GET /ws HTTP/1.1\r\n{headers}{upgrade}Sec-WebSocket-Key: {'A' * 22}==\r\n\r\n".encode())
    assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)).startswith(b"HTTP/1.1 101")
    return reader, writer


def fragment(opcode: int, payload: bytes, *, last: bool = False, masked: bool = True, length: int | None = None) -> bytes:
    """A frame as RFC 6455 has it, with a mask of zeros; `length` lies about the payload's."""
    size = len(payload) if length is None else length
    bit = 0x80 if masked else 0
    head = bytes([(0x80 if last else 0) | opcode])
    head += bytes([bit | size]) if size < 126 else bytes([bit | 127]) + size.to_bytes(8)
    return head + (b"\0\0\0\0" if masked else b"") + payload


BROKEN = {
    "not masked": fragment(1, b"{}", last=True, masked=False),
    "an opcode that there is not": fragment(3, b"{}", last=True),
    "a continuation of nothing": fragment(0, b"{}", last=True),
    "a ping of 200 bytes": fragment(9, b"x" * 200, last=True),
    "a fragmented ping": fragment(9, b"x"),
    "not UTF-8": fragment(1, b"\xff\xfe", last=True),
    "a length of 2 to the 63": fragment(2, b"x", last=True, length=1 << 63),
    "a length of an exabyte": fragment(2, b"x", last=True, length=1 << 60),
    "a second message inside the first": fragment(1, b"{") + fragment(1, b"{}", last=True),
    "a close with half a code": fragment(8, b"\x03", last=True),
    "reserved bits": b"\xf1" + fragment(1, b"{}", last=True)[1:],
    "not websocket at all": b"GET / HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("broken", BROKEN)
async def test_what_is_not_the_websocket_protocol_ends_that_connection_alone(scene: Scene, broken: str) -> None:
    neighbour = await scene.ann.socket()
    reader, writer = await raw(scene)
    writer.write(BROKEN[broken])
    rest = await asyncio.wait_for(_all(reader), 30)
    assert b"hello" in rest or rest == b""
    writer.close()
    await neighbour.send_json({"type": "ping"})
    assert (await neighbour.receive_json(timeout=30))["type"] == "pong"
    await neighbour.close()


async def test_nothing_of_anns_was_ever_told(scene: Scene) -> None:
    """Bob subscribes to all that he could guess."""
    ids = [scene.conversation, scene.conversation[:-1], "local", "*", "list", f"{scene.conversation}-x"]
    answers, _ = await told(scene, *(json.dumps({"type": "subscribe", "conversation": id, "cursor": "0-0"}) for id in ids))
    assert len(answers) == len(ids) and {answer["type"] for answer in answers} == {"refused"}
    assert MARK not in str(answers)
