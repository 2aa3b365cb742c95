"""The egress proxy, spoken to over its socket: what it passes on, exactly, and what it refuses, in words."""

import asyncio
import contextlib
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from executor.egress import reach
from executor.egress.account import Caps
from executor.egress.addresses import parse
from executor.egress.refusal import Refusal
from executor.egress.rules import Rules, entries, host
from tests.executor.egress_world import Names, answering, ask, dial, door, echo, listening, say, status

HERE = {"good.test": [["127.0.0.1"]]}
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


@pytest.fixture
def directory() -> Iterator[Path]:
    """A short path: a socket's name has 107 bytes at most."""
    made = Path(tempfile.mkdtemp(prefix="egress-"))
    yield made
    shutil.rmtree(made)


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    return [vars(record) for record in caplog.records if record.name == "executor.egress"]


async def test_a_tunnel_carries_bytes_both_ways_and_is_logged(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with listening(echo) as upstream, door(directory, Names(HERE), f"good.test:{upstream.port}") as (egress, made):
        reader, writer = await dial(made)
        writer.write(f"CONNECT good.test:{upstream.port} HTTP/1.1\r\nHost: x\r\nX-Secret: hunter2\r\n\r\nearly ".encode())
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 200 Connected\r\n\r\n"
        sent = os.urandom(3 * 1024**2)
        writer.write(sent)
        assert await reader.readexactly(6) == b"early " and await reader.readexactly(len(sent)) == sent
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
    assert bytes(upstream.heard[0]) == b"early " + sent
    [line] = lines(caplog)
    facts = {"conversation": "talk", "sandbox": "one", "host": "good.test", "port": upstream.port, "address": "127.0.0.1"}
    facts |= {"verdict": "allowed", "reason": "", "bytes_up": len(sent) + 6, "bytes_down": len(sent) + 6}
    assert {name: line[name] for name in facts} == facts and line["duration_ms"] >= 0
    assert "hunter2" not in str(line)
    counters = egress.counters
    assert counters.verdicts == {"allowed": 1, "refused": 0, "failed": 0} and counters.bytes_up == len(sent) + 6


async def test_a_plain_request_is_passed_on_without_what_is_between_sandbox_and_proxy(directory: Path) -> None:
    async with (
        listening(answering(OK)) as upstream,
        door(directory, Names(HERE), f"good.test:{upstream.port}") as (_, made),
    ):
        answer = await ask(
            made,
            f"POST HTTP://Good.TEST.:{upstream.port}/a%20b?q=1 HTTP/1.1\r\nHost: elsewhere.test\r\n"
            "Proxy-Authorization: Basic aHVudGVyMg==\r\nProxy-Connection: keep-alive\r\nConnection: keep-alive, X-Hop\r\n"
            "X-Hop: 1\r\nKeep-Alive: 300\r\nTE: trailers\r\nUpgrade: websocket\r\nAuthorization: Bearer mine\r\n"
            "Content-Length: 4\r\n\r\nbody".encode(),
        )
    assert answer == b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi"
    assert bytes(upstream.heard[0]) == (
        f"POST /a%20b?q=1 HTTP/1.1\r\nhost: good.test:{upstream.port}\r\nauthorization: Bearer mine\r\n"
        "content-length: 4\r\nconnection: close\r\n\r\nbody".encode()
    )


@pytest.mark.parametrize(
    ("upstreams", "wanted"),
    [
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Trailer: 1\r\n\r\n",
            b"3\r\nabc\r\n0\r\n\r\n",
        ),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", b"d\r\nuntil the end\r\n0\r\n\r\n"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 1\r\n\r\nx", b"x"),
        (b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged", b"hi"),
    ],
)
async def test_an_answer_is_framed_anew(directory: Path, upstreams: bytes, wanted: bytes) -> None:
    serve = answering(upstreams)
    async with listening(serve) as upstream, door(directory, Names(HERE), f"good.test:{upstream.port}") as (_, made):
        answer = await ask(made, f"GET http://good.test:{upstream.port}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert answer.partition(b"\r\n\r\n")[2] == wanted and b"forged" not in answer and b"Trailer" not in answer


@pytest.mark.parametrize(
    "upstreams",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 10**6,
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    ],
)
async def test_an_answer_that_is_none_is_told_in_words(directory: Path, upstreams: bytes) -> None:
    serve = answering(upstreams)
    async with listening(serve) as upstream, door(directory, Names(HERE), f"good.test:{upstream.port}") as (egress, made):
        answer = await ask(made, f"GET http://good.test:{upstream.port}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert status(answer) == 502 and b"good.test may be reached, but" in answer
    assert egress.counters.verdicts["failed"] + egress.counters.verdicts["allowed"] == 1


async def test_a_client_that_waits_to_be_told_to_go_on_is_told(directory: Path) -> None:
    async with (
        listening(answering(OK)) as upstream,
        door(directory, Names(HERE), f"good.test:{upstream.port}") as (_, made),
    ):
        reader, writer = await dial(made)
        head = f"PUT http://good.test:{upstream.port}/ HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
        writer.write(f"{head}Content-Length: 3\r\n\r\n".encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        writer.write(b"abc")
        assert status(await reader.read()) == 200
        writer.close()
    assert bytes(upstream.heard[0]).endswith(b"abc") and b"xpect" not in upstream.heard[0]


async def test_a_host_that_answers_before_it_has_heard_everything_is_heard(directory: Path) -> None:
    async def impatient(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async with listening(impatient) as upstream, door(directory, Names(HERE), f"good.test:{upstream.port}") as (_, made):
        reader, writer = await dial(made)
        head = f"PUT http://good.test:{upstream.port}/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n"
        writer.write(head.encode() + b"x" * 1000)
        async with asyncio.timeout(10):
            assert status(await reader.read()) == 413
        writer.close()


MALFORMED = [
    (b"GET / HTTP/1.1\r\nHost: good.test\r\n\r\n", 400),
    (b"GET good.test:PORT HTTP/1.1\r\nHost: good.test\r\n\r\n", 400),
    (b"GET https://good.test:PORT/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    (b"GET ftp://good.test:PORT/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    (b"GET http://good.test:PORT/#x HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    (b"GET http://user:pw@good.test:PORT/ HTTP/1.1\r\nHost: x\r\n\r\n", 403),
    (b"GET http://evil.test:1@good.test:PORT/ HTTP/1.1\r\nHost: x\r\n\r\n", 403),
    (b"GET http://evil.test\\@good.test:PORT/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    (b"GET http:///x HTTP/1.1\r\nHost: good.test:PORT\r\n\r\n", 400),
    (b"GET http://good%2etest:PORT/ HTTP/1.1\r\nHost: x\r\n\r\n", 403),
    (b"TRACE http://good.test:PORT/ HTTP/1.1\r\nHost: x\r\n\r\n", 405),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    (b"GET http://good.test:PORT/ HTTP/3.0\r\nHost: x\r\n\r\n", 400),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 100, 400),
    (b"CONNECT good.test HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    (b"CONNECT http://good.test:PORT HTTP/1.1\r\nHost: x\r\n\r\n", 403),
    (b"CONNECT good.test:PORT:443 HTTP/1.1\r\nHost: x\r\n\r\n", 403),
    (b"CONNECT good.test:PORT HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", 400),
    (b"CONNECT good.test:PORT HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (b"GET http://good.test:PORT/ HTTP/1.1\r\n\r\n", 400),
    (b"GET http://good.test:PORT/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    (b"GET http://good.test:PORT/ HTTP/1.1\r\nHost : x\r\n\r\n", 400),
    (b"GET http://good.test:PORT/ HTTP/1.1\r\nHost: x\r\nA: \0\r\n\r\n", 400),
    (b"GET http://good.test:PORT/\rx HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    (b"POST http://good.test:PORT/ HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde", 400),
    (b"POST http://good.test:PORT/ HTTP/1.1\r\nHost: x\r\nContent-Length: +4\r\n\r\nabcd", 400),
    (b"POST http://good.test:PORT/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    (b"POST http://good.test:PORT/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
    (
        b"POST http://good.test:PORT/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0",
        400,
    ),
    (b"GET http://good.test:PORT/ HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 10**6 + b"\r\n\r\n", 431),
    (b"GET http://good.test:PORT/" + b"x" * 10**6 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
    (b"GET http://good.test:PORT/ HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 10**5 + b"\r\n", 431),
    (b"x" * 10**6, 431),
]


@pytest.mark.parametrize(("request_", "wanted"), MALFORMED, ids=[f"{index}" for index in range(len(MALFORMED))])
async def test_t9_a_request_that_could_be_read_in_two_ways_reaches_nobody(
    directory: Path, request_: bytes, wanted: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with listening(answering(OK)) as upstream:
        async with door(directory, Names(HERE), f"good.test:{upstream.port},good.test") as (egress, made):
            answer = await ask(made, request_.replace(b"PORT", str(upstream.port).encode()))
            assert status(answer) == wanted and len(answer) < 2000
    assert upstream.heard == [] and egress.counters.verdicts["refused"] == 1
    [line] = lines(caplog)
    assert line["verdict"] == "refused" and len(str(line["host"])) < 64


async def test_t9_what_follows_a_request_is_not_another_one(directory: Path) -> None:
    """Neither in a body's place, nor in a chunk, nor behind the end."""
    second = b"GET http://good.test:PORT/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    bodies = [
        b"GET http://good.test:PORT/first HTTP/1.1\r\nHost: x\r\n\r\n" + second,
        b"POST http://good.test:PORT/first HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx" + second,
        b"POST http://good.test:PORT/first HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + second,
        b"POST http://good.test:PORT/first HTTP/1.1\r\nHost: x\r\nConnection: content-length\r\nContent-Length: 1\r\n\r\nx"
        + second,
    ]
    async with (
        listening(answering(OK)) as upstream,
        door(directory, Names(HERE), f"good.test:{upstream.port}") as (_, made),
    ):
        for body in bodies:
            answer = await ask(made, body.replace(b"PORT", str(upstream.port).encode()))
            assert answer.count(b"HTTP/1.1") == 1 and status(answer) == 200
    assert len(upstream.heard) == len(bodies)
    assert not any(b"smuggled" in heard for heard in upstream.heard)


async def test_t9_a_name_is_resolved_once_and_connected_to_what_was_looked_at(directory: Path) -> None:
    """A name that changes its mind between the look and the connection (DNS rebinding)."""
    names = Names({"flips.test": [["127.0.0.2"], ["127.0.0.1"]]})
    async with listening(answering(OK), "127.0.0.2") as wanted, listening(answering(OK), port=wanted.port) as trap:
        async with door(directory, names, f"flips.test:{wanted.port}") as (_, made):
            get = f"GET http://flips.test:{wanted.port}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode()
            assert status(await ask(made, get)) == 200
            assert (len(wanted.heard), len(trap.heard), names.asked) == (1, 0, ["flips.test"])


async def test_t9_a_name_that_was_public_and_turns_private_is_refused() -> None:
    names, rules = Names({"flips.test": [["8.8.8.8"], ["127.0.0.1"], ["169.254.169.254"]]}), Rules(())
    assert await reach.look_up(host("flips.test"), rules, names) == parse(["8.8.8.8"])
    with pytest.raises(Refusal, match="leads to a private address"):
        await reach.look_up(host("flips.test"), rules, names)
    with pytest.raises(Refusal, match="no sandbox may reach"):
        await reach.look_up(host("flips.test"), rules, names)


async def test_t9_of_several_answers_the_forbidden_ones_are_left_out() -> None:
    several = ["127.0.0.1", "8.8.8.8", "::ffff:10.0.0.1", "169.254.169.254", "2a04:4e42::1", "fe80::1%2", "nonsense"]
    names = Names({"many.test": [several], "meant.test": [several]})
    rules = Rules((), entries("meant.test"))
    assert await reach.look_up(host("many.test"), rules, names) == parse(["8.8.8.8", "2a04:4e42::1"])
    assert await reach.look_up(host("meant.test"), rules, names) == parse(["127.0.0.1", "8.8.8.8", "2a04:4e42::1"])


async def test_t9_private_and_metadata_addresses_behind_listed_names_are_refused(directory: Path) -> None:
    behind = [
        "127.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "fd00:ec2::254",
        "100.100.100.200",
        "::1",
        "::ffff:127.0.0.1",
        "0.0.0.0",
    ]
    names = Names({f"n{index}.example": [[address]] for index, address in enumerate(behind)})
    async with door(directory, names, "*.example") as (egress, made):
        for index in range(len(behind)):
            answer = await ask(made, f"CONNECT n{index}.example:443 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert status(answer) == 403 and b"address" in answer
            assert behind[index].encode() not in answer  # nor is told what an internal name leads to
    assert egress.counters.verdicts["refused"] == len(behind)


async def test_words_for_what_is_not_there(directory: Path) -> None:
    async with listening(echo) as gone:
        pass
    async with door(directory, Names(HERE), f"good.test:{gone.port},lost.test,empty.test") as (egress, made):
        answer = await ask(made, f"CONNECT good.test:{gone.port} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert status(answer) == 502 and f"nothing answers there on port {gone.port}".encode() in answer
        answer = await ask(made, b"CONNECT lost.test:443 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert status(answer) == 502 and b"could not be looked up" in answer
    assert egress.counters.verdicts["failed"] == 2


async def test_a_refusal_is_in_the_first_line_and_in_the_body(directory: Path) -> None:
    async with door(directory, Names(HERE), "good.test") as (_, made):
        answer = await ask(made, b"CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n")
    words = b"This sandbox may reach good.test. example.com is not among them: ask the operator to add it to "
    first, _, rest = answer.partition(b"\r\n")
    assert first.startswith(b"HTTP/1.1 403 " + words) and rest.partition(b"\r\n\r\n")[2].startswith(words)


async def test_one_after_the_other_and_after_the_next_life(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A door that is opened again is at the same place: the directory is mounted in a sandbox that lives on."""
    caplog.set_level(logging.INFO)
    async with listening(answering(OK)) as upstream:
        get = f"GET http://good.test:{upstream.port}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        async with door(directory, Names(HERE), f"good.test:{upstream.port}") as (first, made):
            assert status(await ask(made, get)) == 200
            held_reader, held = await dial(made)
            held.write(b"GET")
            before = made.path.parent.stat().st_ino
            await first.close(keep=True)
            with contextlib.suppress(ConnectionResetError):  # when it had not been accepted yet
                assert await held_reader.read() == b""
            held.close()
            with pytest.raises(OSError):
                await dial(made)
        async with door(directory, Names(HERE), f"good.test:{upstream.port}") as (second, again):
            assert again.path.parent.stat().st_ino == before
            assert stat.S_IMODE(again.path.stat().st_mode) == 0o666
            assert stat.S_IMODE(again.path.parent.stat().st_mode) == 0o755
            assert stat.S_IMODE(again.path.parent.parent.stat().st_mode) == 0o700
            again.of.conversation = "other"
            assert status(await ask(again, get)) == 200
            third = await second.open("one", again.path)  # once more in the same life
            assert status(await ask(third, get)) == 200
        assert not again.path.parent.exists()
    assert list(dict.fromkeys(line["conversation"] for line in lines(caplog))) == ["talk", "other", None]


async def test_a_door_that_is_closed_ends_its_tunnels(directory: Path) -> None:
    async with listening(echo) as upstream, door(directory, Names(HERE), f"good.test:{upstream.port}") as (_, made):
        reader, writer = await dial(made)
        writer.write(f"CONNECT good.test:{upstream.port} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        await made.close()
        assert await reader.read() == b"" and not made.path.exists()
        await made.close()
        writer.close()


# ---- what one sandbox may take ---------------------------------------------------------------------------------------


async def test_t9_a_request_that_comes_in_drops_is_given_up(directory: Path) -> None:
    async with door(directory, Names(HERE), "good.test", caps=Caps(head_s=0.3)) as (_, made):
        reader, writer = await dial(made)
        answer = asyncio.create_task(reader.read())
        for byte in b"GET http://good.test/ HTTP/1.1\r\n" * 100:
            if answer.done():
                break
            writer.write(bytes([byte]))
            await asyncio.sleep(0.01)
        assert status(await answer) == 408
        writer.close()


async def test_t9_more_connections_than_allowed_wait_their_turn(directory: Path) -> None:
    async with listening(echo) as upstream:
        async with door(directory, Names(HERE), f"good.test:{upstream.port}", caps=Caps(connections=3)) as (_, made):
            connect = f"CONNECT good.test:{upstream.port} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
            many = [await dial(made) for _ in range(20)]
            for _, writer in many:
                writer.write(connect)
            for reader, _ in many[:3]:
                await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(0.3)
            assert len(upstream.heard) == 3
            for reader, writer in many:  # each that leaves makes room for one
                writer.write(b"x")
                writer.write_eof()
                assert (await reader.read()).endswith(b"x")
                writer.close()
            assert len(upstream.heard) == 20


async def test_a_tunnel_in_which_nothing_moves_is_ended(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with listening(echo) as upstream:
        async with door(directory, Names(HERE), f"good.test:{upstream.port}", caps=Caps(idle_s=0.2)) as (_, made):
            answer = await ask(made, f"CONNECT good.test:{upstream.port} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert answer == b"HTTP/1.1 200 Connected\r\n\r\n"
    assert [line["reason"] for line in lines(caplog)] == ["idle"]


async def test_a_sandbox_that_has_moved_its_share_moves_no_more(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with listening(echo) as upstream:
        async with door(directory, Names(HERE), f"good.test:{upstream.port}", caps=Caps(total=2 * 1024**2)) as (_, made):
            connect = f"CONNECT good.test:{upstream.port} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
            reader, writer = await dial(made)
            said, received = asyncio.create_task(say(writer, connect + b"x" * 4 * 1024**2)), 0
            with contextlib.suppress(ConnectionResetError):  # it is still sending when it is cut off
                while data := await reader.read(65536):
                    received += len(data)
            await said
            assert received < 2 * 1024**2
            answer = await ask(made, connect)
            assert status(answer) == 403 and b"moved the 2 MB" in answer
    assert [line["reason"] for line in lines(caplog)] == ["budget", "budget"]


async def test_who_asks_too_fast_is_slowed_down(directory: Path) -> None:
    """Not refused: every refusal is a line in the log."""
    async with door(directory, Names(HERE), "good.test", caps=Caps(requests=5, per_second=10.0)) as (egress, made):
        loop = asyncio.get_running_loop()
        began = loop.time()
        for _ in range(10):
            assert status(await ask(made, b"CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n")) == 403
        assert loop.time() - began > 0.3
    assert egress.counters.verdicts["refused"] == 10


async def test_who_says_nothing_is_neither_counted_nor_kept(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with door(directory, Names(HERE), "good.test") as (egress, made):
        for _ in range(50):
            assert await asyncio.wait_for(_hang_up(made.path), 10) == b""
    assert lines(caplog) == [] and not any(egress.counters.verdicts.values())


async def _hang_up(path: Path) -> bytes:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write_eof()
    try:
        return await reader.read()
    finally:
        writer.close()
