"""A second life of the executor: conversations get their sandboxes back, variables and all; nothing else is left of the
first."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from executor.adoption import ORPHAN_S, Reconciliation
from executor.local import make_manager
from executor.manager import Manager
from executor.settings import Settings
from executor.wire import KernelState, Outcome
from executor.wire_claims import ClaimRequest
from tests.executor.calling import Caller
from tests.support.executor_service import Executor, end, remove_all
from tests.support.kernels import Chat

pytestmark = pytest.mark.sandbox


def manage(data_dir, **settings) -> Manager:
    return make_manager(data_dir, Settings(_env_file=None, **{"warm": 0, "drain_s": 0.5, **settings}), survive=True)


@asynccontextmanager
async def life(data_dir, by, keep=True, **settings):
    """One life of an executor whose sandboxes survive it, unless it is the last."""
    manager = manage(data_dir, **by, **settings)
    try:
        yield manager
    finally:
        await manager.close(keep)


async def test_t39_variables_files_and_generation_are_as_they_were(tmp_path, by):
    async with life(tmp_path, by) as manager:
        chat = Chat(manager, "c")
        await chat.run("x = 6 * 7\nopen('f', 'w').write('kept')")
        sandbox = chat.sandbox.id
    async with life(tmp_path, by, keep=False) as manager:
        chat = Chat(manager, "c")
        ran = await chat.run("print(x, open('f').read())")
        assert ran.text() == "42 kept\n" and not ran.fresh and ran.closed.execution_count == 2
        assert chat.sandbox.id == sandbox and manager.slot_of("c").history.generation == 1
        assert manager.counts.starts["adopted"] == 1 and manager.counts.starts["cold"] == 0
        assert ran.closed.files == []
        actions = [entry.action for entry in await manager.audit.after(0)]
        assert actions == ["grant", "adopt"]


async def test_a_drain_lets_a_short_cell_end_and_stops_a_long_one(tmp_path, by):
    async with life(tmp_path, by, drain_s=5) as manager:
        short, long = Chat(manager, "short"), Chat(manager, "long")
        await asyncio.gather(short.run("1"), long.run("x = 1"))
        running = [
            asyncio.create_task(short.run("import time; time.sleep(1); print('done')")),
            asyncio.create_task(long.run("while True: pass")),
        ]
        await asyncio.sleep(0.5)
    assert running[0].result().text() == "done\n" and running[0].result().outcome is Outcome.OK
    ended = running[1].result()
    assert ended.outcome is Outcome.INTERRUPTED and ended.closed.variables_kept
    async with life(tmp_path, by, keep=False) as manager:
        ran = await Chat(manager, "long").run("print(x)")
        assert ran.text() == "1\n", ran.events


async def test_what_was_warm_is_gone_and_its_directory_too(tmp_path, by):
    async with life(tmp_path, by, warm=1, preimport="") as manager:
        manager.begin()
        async with asyncio.timeout(60):
            while not manager.counts.depth:
                await asyncio.sleep(0.05)
        await Chat(manager, "c").run("x = 1")
    assert list((tmp_path / "workspaces" / ".warm").iterdir()) == []
    async with life(tmp_path, by, keep=False) as manager:
        assert (await Chat(manager, "c").run("print(x)")).text() == "1\n" and manager._ledger.holding() == 1


async def test_a_sandbox_that_did_not_survive_is_told_with_the_reason(tmp_path):
    async with life(tmp_path, {}) as manager:
        chat = Chat(manager, "c")
        await chat.run("x = 1")
        gateway = chat.sandbox.gateway_pid()
    os.kill(gateway, signal.SIGKILL)  # between the lives, as by a restart of the machine
    await asyncio.sleep(0.5)
    async with life(tmp_path, {}, keep=False) as manager:
        ran = await Chat(manager, "c").run("print('x' in globals())")
        assert ran.text() == "False\n" and ran.fresh and "the machine or the executor was restarted" in ran.started.lost
        assert manager.slot_of("c").history.generation == 2
        assert "lost" in [entry.action for entry in await manager.audit.after(0)]


async def test_a_kernel_that_died_while_nobody_looked_is_told(tmp_path, by):
    async with life(tmp_path, by) as manager:
        chat = Chat(manager, "c")
        await chat.run("import os, subprocess\nx = 1\npid = os.getpid()")
        await chat.run("subprocess.Popen(['sh', '-c', f'sleep 2; kill -9 {pid}'], start_new_session=True)")
    await asyncio.sleep(4)
    async with life(tmp_path, by, keep=False) as manager:
        ran = await Chat(manager, "c").run("print('x' in globals())")
        assert ran.text() == "False\n" and ran.fresh and "Python crashed" in ran.started.lost
        assert manager.slot_of("c").history.generation == 2 and manager.counts.starts["adopted"] == 1


async def test_a_sandbox_that_was_never_used_is_still_fresh(tmp_path, by):
    async with life(tmp_path, by) as manager:
        await manager.prepare("c")
        async with asyncio.timeout(60):
            while (await manager.status("c")).state is not KernelState.IDLE:
                await asyncio.sleep(0.05)
    async with life(tmp_path, by, keep=False) as manager:
        ran = await Chat(manager, "c").run("1")
        assert ran.fresh and ran.started.lost == "" and ran.closed.execution_count == 1
        assert manager.counts.starts["adopted"] == 1


@pytest.mark.parametrize("verb", ["remove", "restart", "fresh"])
async def test_what_is_asked_before_it_is_taken_up_is_done_to_the_old_sandbox(tmp_path, verb):
    """The first request of a new life, while it does not know yet what there is."""
    async with life(tmp_path, {}) as manager:
        chat = Chat(manager, "c")
        await chat.run("x = 1\nopen('f', 'w').write('x')")
        gateway = chat.sandbox.gateway_pid()
    async with life(tmp_path, {}, keep=False) as manager:
        if verb == "remove":
            await manager.remove("c")
            assert not manager.workspace_of("c").exists()
        elif verb == "restart":
            await manager.restart("c")
        else:
            await manager.claims.claim("c", ClaimRequest(owner="one", want="fresh"))
        if verb != "restart":
            assert not Path(f"/proc/{gateway}").exists()
        ran = await Chat(manager, "c").run("import os\nprint('x' in globals(), os.path.exists('f'))")
        assert ran.text() == f"False {verb != 'remove'}\n" and ran.fresh
        assert manager._ledger.holding() == 1


async def test_in_one_process_the_next_life_is_told_as_well(tmp_path):
    for first in (True, False):
        manager = make_manager(tmp_path, Settings(_env_file=None, warm=0))
        try:
            ran = await Chat(manager, "c").run("x = 1")
            assert ("restarted" in ran.started.lost) is not first and ran.fresh
        finally:
            await manager.close()


async def test_a_sandbox_that_belongs_to_nobody_is_ended_after_a_grace(tmp_path):
    now = [0.0]
    async with life(tmp_path, {}, keep=False) as manager:
        chat = Chat(manager, "c")
        await chat.run("1")
        slot = manager.slot_of("c")
        lost = slot.live
        reconciliation = Reconciliation(manager._ledger, manager._slots, lambda: now[0])
        await reconciliation.look()
        slot._live = slot.life = None  # by a mistake that must not happen
        for now[0], alive in ((100.0, True), (100.0 + ORPHAN_S - 1, True), (100.0 + ORPHAN_S, False)):
            await reconciliation.look()
            assert lost.sandbox.alive() is alive
        assert manager._ledger.holding() == 0


# ---- the service, killed ---------------------------------------------------------------------------------------------


@asynccontextmanager
async def service(data_dir, by, **settings):
    chosen = {f"CODEACT_SANDBOX_{name.upper()}": value for name, value in by.items()}
    executor = await asyncio.to_thread(Executor, data_dir, **{"CODEACT_SANDBOX_WARM": "0", **chosen, **settings})
    try:
        yield executor
        await remove_all(executor)
    finally:
        await end(executor)


@asynccontextmanager
async def caller_of(executor: Executor, owner: str = "one"):
    async with aiohttp.ClientSession(executor.url, headers={"Authorization": f"Bearer {executor.token}"}) as http:
        yield Caller(http, owner)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_t39_a_service_that_is_killed_comes_back_to_its_sandboxes_and_fences(tmp_path, by, how):
    async with service(tmp_path, by) as executor:
        async with caller_of(executor) as one:
            _, held = await one.claim(ttl_s=600)
            assert await one.text("x = 1", held["fence"]) == ""
        await asyncio.to_thread(executor.restart, how)
        async with caller_of(executor) as one, caller_of(executor, "two") as two:
            assert (await two.run("print(x)"))[0] == 409
            assert await one.text("x += 1\nprint(x)", held["fence"]) == "2\n"
            status, claim = await one.claim()
            assert status == 200 and claim["sandbox_id"] == held["sandbox_id"] and claim["fence"] == held["fence"]
            assert claim["generation"] == 1 and claim["previous"] is None and not claim["fresh"]


async def test_t39_a_cell_that_ran_when_the_service_was_killed_is_stopped_and_told(tmp_path, by):
    async with service(tmp_path, by) as executor:
        async with caller_of(executor) as one:
            _, held = await one.claim(ttl_s=600)
            await one.text("x = 1", held["fence"])
            running = asyncio.create_task(one.run("while True: pass", held["fence"]))
            async with asyncio.timeout(20):
                while (await one.send("GET", "c"))[1]["state"] != "busy":
                    await asyncio.sleep(0.05)
            await asyncio.sleep(0.5)
            await asyncio.to_thread(executor.restart, signal.SIGKILL)
            with pytest.raises(aiohttp.ClientError):
                await running
        async with caller_of(executor) as one:
            status, claim = await one.claim()
            assert status == 200 or claim["sandbox_id"] == held["sandbox_id"]
            assert claim["state"] == "idle" and "was stopped" in claim["note"] and "variables are kept" in claim["note"]
            assert await one.text("print(x)", held["fence"]) == "1\n"
            assert (await one.send("GET", "c"))[1]["note"] == ""


@pytest.mark.parametrize("after_s", [0.0, 0.1, 0.3, 0.6, 1.0, 1.5, 2.0, 3.0])
async def test_t11_killed_at_any_moment_it_adopts_or_clears_away(tmp_path, by, after_s):
    """The service is killed while it creates, claims and removes sandboxes; the next life has what is whole, no more."""
    async with service(tmp_path, by, CODEACT_SANDBOX_WARM="1", CODEACT_SANDBOX_PREIMPORT="") as executor:
        async with caller_of(executor) as one:
            work = asyncio.create_task(churn(one))
            await asyncio.sleep(after_s)
            await asyncio.to_thread(executor.restart, signal.SIGKILL)
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
        async with caller_of(executor) as one:
            began = time.monotonic()
            for name in ("a", "b", "c"):
                status, claim = await one.claim(name, ttl_s=600)
                assert status in (200, 201), claim
                assert await one.text("print('here')", claim["fence"]) == "here\n" if name == "c" else True
            assert time.monotonic() - began < 60
            assert files_of(tmp_path, "a") in ([], ["mine"]) and not list((tmp_path / "workspaces").glob(".warm/*.*"))


def files_of(data_dir, conversation: str) -> list[str]:
    return [path.name for path in (data_dir / "workspaces" / conversation).iterdir()]


async def churn(one: Caller) -> None:
    while True:
        for name in ("a", "b"):
            _, claim = await one.claim(name, ttl_s=600)
            await one.run("open('mine', 'w').write('x')", claim["fence"], name)
        await one.send("DELETE", "b", params={"fence": claim["fence"]})
        await one.send("DELETE", "a/lease", params={"fence": (await one.claim("a"))[1]["fence"], "mode": "destroy"})
