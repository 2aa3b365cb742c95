"""Two servers at one executor: whose the kernel is, what the one that lost it hears, and what becomes of its cell."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from executor.wire import Outcome
from orchestrator.adapters import leases
from orchestrator.adapters.kernel_http import HttpKernel
from orchestrator.errors import KernelTaken, KernelUnavailable
from tests.support.executor_service import Executor, end
from tests.support.kernels import gather

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(120)]


@asynccontextmanager
async def two(place: Path) -> AsyncIterator[tuple[HttpKernel, HttpKernel]]:
    executor = await asyncio.to_thread(Executor, place, CODEACT_SANDBOX_WARM="0")
    kernels = [HttpKernel(executor.url, executor.token, f"server-{n}") for n in range(2)]
    try:
        yield kernels[0], kernels[1]
    finally:
        for kernel in kernels:
            await kernel.close()
        await end(executor)


async def run(kernel: HttpKernel, code: str, on=None):
    return await gather(kernel.run("c", "cell", code, 60), on)


async def test_who_lost_the_kernel_runs_nothing_before_it_has_claimed_it_again(tmp_path):
    async with two(tmp_path) as (old, new):
        await old.claim("c")
        assert (await run(old, "x = 1")).outcome is Outcome.OK
        assert await new.take_over("c")
        with pytest.raises(KernelTaken):
            await run(old, "x = 'never'")
        assert (await run(new, "print(x)")).text() == "1\n"
        await old.claim("c")  # still the turn's owner after all
        assert (await run(old, "print(x)")).text() == "1\n"
        await new.restart("c")  # a button, not a turn: it takes the lease that it needs
        assert (await new.status("c")).holds_variables is False
        with pytest.raises(KernelTaken):
            await run(old, "print(x)")


async def test_a_cell_that_is_seen_to_run_is_left_alone_and_one_of_a_silent_server_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "TTL_S", 3.0)
    async with two(tmp_path) as (old, new):
        begun = asyncio.Event()

        async def on(event) -> None:
            if event.type == "stream":
                begun.set()

        await run(old, "x = 1")
        running = asyncio.create_task(run(old, "print('begun', flush=True)\nimport time\ntime.sleep(60)", on))
        await begun.wait()
        await asyncio.sleep(4)  # longer than an unrenewed lease holds
        with pytest.raises(KernelUnavailable, match="another server runs this conversation's code"):
            await new.take_over("c")
        assert not running.done()

        for task in asyncio.all_tasks():  # the old server's heart stops, its connection stays: as one that is paused
            if "_renew" in repr(task):
                task.cancel()
        silent = time.monotonic()
        while True:
            try:
                assert await new.take_over("c"), "its variables are lost"
                break
            except KernelUnavailable:
                await asyncio.sleep(0.1)
        assert time.monotonic() - silent < 10
        ran = await running
        assert ran.outcome is Outcome.INTERRUPTED
        assert (await run(new, "print(x)")).text() == "1\n"
