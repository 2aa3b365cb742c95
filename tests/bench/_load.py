"""What the measurements of many people at once share."""

from __future__ import annotations

import asyncio
import resource
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import aiohttp

from tests.bench._stamped import delays_ms
from tests.bench.harness import Chat, product
from tests.support.process import Served

T = TypeVar("T")
AT_ONCE = 20


def cpu_us(pid: int) -> float:
    """CPU microseconds that a process has used, all its threads; finer than the ticks of /proc/PID/stat."""
    return sum(int(task.read_text().split()[0]) for task in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1000


def memory_kib(pid: int) -> int:
    """Memory that is the process's own share (PSS), KiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def many_files(most: int = 8192) -> None:
    """A thousand sockets are more than a shell's usual limit; children inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, hard), hard))


async def in_groups(count: int, work: Callable[[], Awaitable[T]], at_once: int = AT_ONCE) -> list[T]:
    """Do it so many times, a few beside each other."""
    done: list[T] = []
    while len(done) < count:
        done += await asyncio.gather(*(work() for _ in range(min(at_once, count - len(done)))))
    return done


@asynccontextmanager
async def relay(model_url: str, **settings: str) -> AsyncIterator[Served]:
    """The product without sandboxes."""
    many_files()
    async with product(model_url, module="tests.bench._relay_only", CODEACT_KERNEL_URL="none://", **settings) as served:
        yield served


@asynccontextmanager
async def team(model_url: str, people: int) -> AsyncIterator[tuple[Served, list[str]]]:
    """The product without sandboxes, and the sessions of so many people: a page hears of its own user's chats alone, so a
    crowd is not one user with a crowd's pages."""
    settings = {"CODEACT_AUTH": "accounts", "CODEACT_REGISTRATION": "open"}
    async with relay(model_url, **settings) as served:
        yield served, [await signed_up(served, number) for number in range(people)]


async def signed_up(served: Served, number: int) -> str:
    """A new user's session."""
    who = {"email": f"person{number}@example.org", "name": f"Person {number}", "password": secrets.token_hex(12)}
    jar = aiohttp.CookieJar(unsafe=True)
    async with (
        aiohttp.ClientSession(cookie_jar=jar, headers={"Origin": served.url}) as http,
        http.post(f"{served.url}/api/auth/register", json=who) as answer,
    ):
        assert answer.status == 200, await answer.text()
        return str(answer.cookies["codeact_login"].value)


async def streamed(chat: Chat) -> list[float]:
    """One answer of a stamping model: how long each of its tokens was on its way, in milliseconds."""
    chat.say("go")
    found: list[float] = []
    while True:
        frame = await chat.socket.frame()
        found += delays_ms(frame)
        if b'"type":"turn.closed"' in frame:
            assert b'"answered"' in frame, frame
            return found
        assert b'"type":"refused"' not in frame, frame
