"""What a conversation's sandbox has used is told with every cell, and cannot be had cheaper by tricks."""

from __future__ import annotations

import asyncio

import pytest

from executor.wire import KernelState, Outcome
from tests.support.kernels import Chat

pytestmark = pytest.mark.sandbox

BURN = """
import time
end = time.process_time() + {seconds}
while time.process_time() < end: pass
"""


async def test_a_cell_tells_the_cpu_time_that_it_took_and_only_its_own(manager):
    chat = Chat(manager)
    await chat.run("1")  # making the sandbox, and importing in it, is nobody's
    burnt = (await chat.run(BURN.format(seconds=0.5))).closed.cpu_s
    slept = (await chat.run("import time; time.sleep(0.5)")).closed.cpu_s
    assert burnt is not None and slept is not None
    assert 0.5 <= burnt < 5 and slept < 0.5


async def test_what_threads_use_between_cells_is_the_next_ones(manager):
    chat = Chat(manager)
    code = "import threading\ndef burn():" + BURN.format(seconds=0.6).replace("\n", "\n    ").replace("process", "thread")
    started = await chat.run(f"{code}\nthread = threading.Thread(target=burn); thread.start()")
    joined = await chat.run("thread.join()")
    assert started.closed.cpu_s + joined.closed.cpu_s >= 0.6


async def test_code_that_ends_its_own_sandbox_pays_for_all_that_it_could_have_used(manager):
    chat = Chat(manager)
    ran = await chat.run(
        BURN.format(seconds=0.5) + "import os, signal; os.kill(os.getppid(), signal.SIGKILL); time.sleep(60)"
    )
    assert ran.outcome in (Outcome.SANDBOX_LOST, Outcome.KERNEL_DIED)
    assert ran.closed.cpu_s >= 0.5
    assert (await chat.run("1")).closed.cpu_s < 0.5  # the next sandbox begins at nothing


async def test_all_sandboxes_are_told_and_any_can_be_ended_with_its_files_kept(manager):
    idle, busy = Chat(manager), Chat(manager)
    await idle.run("open('kept', 'w').write('x')")
    running = asyncio.create_task(busy.run("import time; time.sleep(60)"))
    while (await manager.status(busy.id)).state is not KernelState.BUSY:
        await asyncio.sleep(0.05)
    lines = {line.conversation: line for line in manager.sandboxes()}
    assert lines[idle.id].state is KernelState.IDLE and lines[idle.id].idle_s > 0 and lines[idle.id].memory_used
    assert lines[busy.id].state is KernelState.BUSY and lines[busy.id].idle_s == 0
    for chat in (idle, busy):
        await manager.end_sandbox(chat.id)
    ended = await running
    assert ended.outcome is Outcome.INTERRUPTED and "administrator" in ended.closed.words and ended.closed.files_kept
    assert manager.sandboxes() == []
    assert (await idle.run("print(open('kept').read())")).text() == "x\n"


async def test_ending_what_is_not_there_is_nothing_and_an_id_that_is_none_is_refused(manager):
    await manager.end_sandbox("never-seen")
    assert manager.sandboxes() == []
    with pytest.raises(ValueError, match="id"):
        await manager.end_sandbox("../etc")


async def test_threads_that_go_on_are_settled_once_and_not_told_again_with_the_next_cell(manager):
    chat = Chat(manager)
    code = "import threading\ndef burn():" + BURN.format(seconds=0.6).replace("\n", "\n    ").replace("process", "thread")
    started = await chat.run(f"{code}\nthread = threading.Thread(target=burn); thread.start()")
    settled = 0.0
    while started.closed.cpu_s + settled < 0.6:
        (one,) = manager.settle()
        settled += one.cpu_s
        await asyncio.sleep(0.05)
    assert (await chat.run("thread.join()")).closed.cpu_s < 0.3
    assert sum(one.cpu_s for one in manager.settle()) < 0.3


async def test_what_a_running_cell_uses_is_left_to_the_cell(manager):
    chat = Chat(manager)
    running = asyncio.create_task(chat.run(BURN.format(seconds=0.5)))
    while (await manager.status(chat.id)).state is not KernelState.BUSY:
        await asyncio.sleep(0.05)
    assert sum(one.cpu_s for one in manager.settle()) == 0
    assert (await running).closed.cpu_s >= 0.5
