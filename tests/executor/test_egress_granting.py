"""The network grant through the whole executor: who gets a door, for how long, and what is told of it."""

import asyncio
import logging
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from executor.egress.beside import Beside, place
from executor.egress.door import Egress
from executor.egress.granting import Granting
from executor.egress.rules import Rules, entries
from executor.sandbox.base import Profile, SandboxUnavailable, Spec
from executor.sandbox.bubblewrap import Bubblewrap
from executor.sandbox.programs import default_python
from executor.wire_claims import ClaimRequest
from tests.executor.egress_world import Host, Names, answering, listening
from tests.executor.kernel_client import run
from tests.executor.seen import Maker
from tests.support.kernels import Chat, managing

pytestmark = pytest.mark.sandbox

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
GET = """
import socket
try:
    s = socket.create_connection(("127.0.0.1", 3128), 5)
    s.settimeout(20)
    s.sendall(b"GET http://HOST:PORT/ HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
    print(s.recv(65536).partition(b"\\r\\n")[0].decode())
except OSError as error:
    print(type(error).__name__)
"""


@pytest.fixture
def directory() -> Iterator[Path]:
    """A short path: a socket's name has 107 bytes at most."""
    made = Path(tempfile.mkdtemp(prefix="egress-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
async def upstream() -> AsyncIterator[Host]:
    async with listening(answering(OK)) as made:
        yield made


def get(upstream: Host, host: str = "good.test") -> str:
    return GET.replace("HOST", host).replace("PORT", str(upstream.port))


def egress(upstream: Host) -> Egress:
    rules = Rules(entries(f"good.test:{upstream.port}"), entries("good.test"))
    return Egress(rules, Names({"good.test": [["127.0.0.1"]]}), Beside({}), left_out=("index-url: a directory",))


async def test_a_door_lives_as_long_as_its_sandbox(
    maker: Maker, directory: Path, upstream: Host, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    backend = Granting(maker(directory / "run"), egress(upstream), directory)
    try:
        plain = await backend.create(Spec("plain", directory / "ws1"))
        assert plain.spec.egress is None and not (directory / "egress").exists()
        sandbox = await backend.create(Spec("granted", directory / "ws2", profile=Profile.NET))
        assert sandbox.spec.egress == place(directory, "granted")
        assert (await run(sandbox, get(upstream))).stdout == "HTTP/1.1 200 OK\n"
        sandbox.assign("talk", directory / "ws2")
        assert (await run(sandbox, get(upstream))).stdout == "HTTP/1.1 200 OK\n"
        assert (await run(plain, get(upstream))).stdout == "ConnectionRefusedError\n"
        told = [vars(record)["conversation"] for record in caplog.records if record.message == "egress"]
        assert told == [None, "talk"] and "a directory" in caplog.text
        [feature] = [feature for feature in (await backend.check()).features if feature.name == "network grants"]
        assert f"good.test:{upstream.port}" in feature.detail and "left out: index-url" in feature.detail
        await sandbox.kill()
        await asyncio.gather(*backend._doors.values())  # the door closes once the end has been noticed
        assert list((directory / "egress").iterdir()) == []
    finally:
        await backend.close()


async def test_a_sandbox_that_cannot_be_made_leaves_no_door(maker: Maker, directory: Path, upstream: Host) -> None:
    backend = Granting(maker(directory / "run"), egress(upstream), directory)
    try:
        (directory / "ws").symlink_to("/etc")
        with pytest.raises(SandboxUnavailable):
            await backend.create(Spec("one", directory / "ws", profile=Profile.NET))
        assert list((directory / "egress").iterdir()) == []
        shutil.rmtree(directory / "egress")
        (directory / "egress").write_text("in the way")
        with pytest.raises(SandboxUnavailable, match="way to the network"):
            await backend.create(Spec("two", directory / "ws2", profile=Profile.NET))
    finally:
        await backend.close()


async def test_t39_a_door_is_opened_again_by_the_next_life(directory: Path, upstream: Host) -> None:
    def life() -> Granting:
        return Granting(Bubblewrap(directory / "run", default_python(), survive=True), egress(upstream), directory)

    first = life()
    sandbox = await first.create(Spec("one", directory / "ws", profile=Profile.NET))
    sandbox.assign("talk", directory / "ws")
    warm = await first.create(Spec("two", directory / "ws2", profile=Profile.NET))
    assert (await run(sandbox, "kept = 1\n" + get(upstream))).stdout == "HTTP/1.1 200 OK\n"
    await first.close(keep=True)
    second = life()
    try:
        [again] = await second.adopt()
        assert again.id == "one" and not warm.alive()
        assert [path.name for path in (directory / "egress").iterdir()] == ["one"]
        assert (await run(again, "print(kept)\n" + get(upstream))).stdout == "1\nHTTP/1.1 200 OK\n"
    finally:
        await second.close()
    assert list((directory / "egress").iterdir()) == []


async def test_a_claim_may_ask_for_the_network_and_may_not(directory: Path, upstream: Host) -> None:
    allow = {"egress_allow": f"localhost:{upstream.port}", "egress_private": "localhost"}
    async with managing(directory, **allow) as manager:
        chat = Chat(manager)
        code = get(upstream, "localhost")
        assert (await chat.run(code)).text() == "ConnectionRefusedError\n"
        claim, _ = await manager.claims.claim(chat.id, ClaimRequest(owner="me", profile="net"))
        assert (await chat.run(code)).text() == "HTTP/1.1 200 OK\n"
        assert manager.counts.egress.bytes_down >= len(OK)
        again, _ = await manager.claims.claim(chat.id, ClaimRequest(owner="me"))  # the operator's: standard
        assert again.sandbox_id != claim.sandbox_id
        assert (await chat.run(code)).text() == "ConnectionRefusedError\n"


async def test_the_operator_may_grant_it_to_all_and_the_warm_ones_have_it_too(directory: Path, upstream: Host) -> None:
    allow = {"egress_allow": f"localhost:{upstream.port}", "egress_private": "localhost", "profile": "net"}
    async with managing(directory, **allow, warm=1, preimport="") as manager:
        manager.begin()
        chat = Chat(manager)
        assert (await chat.run(get(upstream, "localhost"))).text() == "HTTP/1.1 200 OK\n"
        claim, _ = await manager.claims.claim(chat.id, ClaimRequest(owner="me", profile="standard"))
        assert (await chat.run(get(upstream, "localhost"))).text() == "ConnectionRefusedError\n"
