"""What the gateway does for its sandbox beside answering: its end, the hold on files, a cheap start."""

from __future__ import annotations

import ast
import asyncio
import os
import time
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

from executor.sandbox.base import Limits, Spec
from tests.executor import seen
from tests.executor.kernel_client import run

pytestmark = pytest.mark.sandbox

LIFETIME_S = 12.0
TICKS = os.sysconf("SC_CLK_TCK")


# ---- the end ---------------------------------------------------------------------------------------------------------


HINDER = """
import os, signal
for number in (1, 2, 15):
    signal.signal(number, signal.SIG_IGN)
os.kill(1, signal.SIGSTOP)
os.kill(os.getppid(), signal.SIGSTOP)
"""


async def test_t11_a_sandbox_ends_at_its_deadline_without_its_executor(backend: seen.AnyBackend, tmp_path: Path) -> None:
    """Nobody here ends it, and a tenant that stops the gateway changes nothing."""
    began = time.monotonic()
    sandbox = await backend.create(Spec("mortal", tmp_path / "workspace", Limits(), lifetime_s=LIFETIME_S))
    async with asyncio.timeout(60):
        await run(sandbox, CHILD)
        pids = seen.processes(sandbox)
        assert sandbox.alive() and len(pids) >= 3
        with suppress(ConnectionError):  # a gateway that stands still tells nothing until it hangs up
            await run(sandbox, HINDER)
        await sandbox.wait()
    assert time.monotonic() - began > LIFETIME_S - 1
    assert not [pid for pid in pids if running(pid)]


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


# ---- the hold on files -----------------------------------------------------------------------------------------------

WRITE = """
import errno
try:
    with open("/workspace/file", "wb") as file:
        file.write(bytes(20000))
    print("written")
except OSError as error:
    print(errno.errorcode[error.errno])
"""
CHILD = """
import subprocess, sys
child = subprocess.Popen(["sleep", "987"])
"""
CHILDS_LIMIT = "import resource; print(resource.prlimit(child.pid, resource.RLIMIT_FSIZE))"


async def test_t22_a_hold_binds_every_process_but_the_gateway_and_can_be_taken_back(sandbox: seen.Any) -> None:
    size = sandbox.limits.file_size
    await run(sandbox, CHILD)
    assert (await run(sandbox, WRITE)).stdout == "written\n"
    await sandbox.hold(4096)
    assert (await run(sandbox, WRITE)).stdout == "EFBIG\n"
    assert ast.literal_eval((await run(sandbox, CHILDS_LIMIT)).stdout) == (4096, size)
    assert file_limit(seen.gateway(sandbox)) == (str(size), str(size))
    await sandbox.hold(size)
    assert (await run(sandbox, WRITE)).stdout == "written\n"
    assert ast.literal_eval((await run(sandbox, CHILDS_LIMIT)).stdout) == (size, size)


def file_limit(pid: int) -> tuple[str, str]:
    [line] = [line for line in Path(f"/proc/{pid}/limits").read_text().splitlines() if line.startswith("Max file size")]
    soft, hard = line.split()[3:5]
    return soft, hard


async def test_t1_only_the_executor_may_hold_and_only_by_a_length(sandbox: seen.Any) -> None:
    good = {"Authorization": f"token {sandbox.token}"}
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(sandbox.dial_path())) as http:

        async def hold(body: bytes, headers: dict[str, str]) -> int:
            async with http.post("http://sandbox/hold", data=body, headers=headers) as answer:
                return answer.status

        for headers in ({}, {"Authorization": "token "}, {"Authorization": f"Bearer {sandbox.token}"}):
            assert await hold(b'{"length": 0}', headers) == 401
        assert (await run(sandbox, WRITE)).stdout == "written\n"
        for body in (b"", b"{", b"[]", b"null", b"5", b'{"length": -1}', b'{"length": "x"}', b'{"length": 1e400}',
                     b'{"length": 9223372036854775808}', b'{"length": null}', b'{"length": [1]}', b"\xff"):  # fmt: skip
            assert await hold(body, good) == 400, body
        assert (await run(sandbox, WRITE)).stdout == "written\n"
        async with http.get("http://sandbox/hold", headers=good) as answer:
            assert answer.status == 405
        assert await hold(b'{"length": 0}', good) == 204
    assert (await run(sandbox, WRITE)).stdout == "EFBIG\n"


# ---- the start -------------------------------------------------------------------------------------------------------

GATEWAY_CPU_S, KERNEL_CPU_S = 0.9, 1.3  # of an idle machine
PATIENCE = 2.0  # a busy one's caches are cold; the import this guards against costs several times as much


async def test_t30_gateway_and_kernel_start_within_their_budgets(sandbox: seen.Any) -> None:
    kernel = int((await run(sandbox, "import os; print(os.getpid())")).stdout)
    assert kernel > 1
    gateway = cpu_seconds(seen.gateway(sandbox))
    [started] = [pid for pid in seen.named(sandbox, "/kernel.py")]
    assert gateway < GATEWAY_CPU_S * PATIENCE
    assert cpu_seconds(started) < KERNEL_CPU_S * PATIENCE


async def test_t30_what_makes_the_start_dear_cannot_be_imported(sandbox: seen.Any) -> None:
    looked = "import importlib.util as u; print([n for n in ('rfc3987_syntax', 'lark') if u.find_spec(n) is not None])"
    assert (await run(sandbox, looked)).stdout == "[]\n"


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS
