"""What every Kernel adapter keeps, whatever runs the code. Add an adapter to KERNELS and it is held to this."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from functools import partial

import pytest
import pytest_asyncio

from executor.wire import Closed, KernelState, Outcome, Started
from orchestrator.adapters import kernel_local
from orchestrator.ports import Kernel
from tests.support.cluster import served as on_cluster
from tests.support.executor_service import served
from tests.support.kernels import gather

pytestmark = [pytest.mark.sandbox, pytest.mark.asyncio(loop_scope="module")]

KERNELS = {
    "local": kernel_local.create,
    "http-bubblewrap": served(backend="bubblewrap"),
    "http-docker": served(backend="docker"),
    "http-kubernetes": None,
}
_number = iter(range(10**6))


@pytest.fixture(scope="module", params=KERNELS)
def create(request):
    if "docker" in request.param:
        request.getfixturevalue("sandbox_image")
    if "kubernetes" in request.param:
        return partial(on_cluster, request.getfixturevalue("cluster"))
    return KERNELS[request.param]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kernel(create, tmp_path_factory):
    kernel: Kernel = create(tmp_path_factory.mktemp("data"))
    yield kernel
    await kernel.close()


@pytest_asyncio.fixture(loop_scope="module")
async def conversation(kernel):
    id = f"contract-{next(_number)}"
    yield id
    await kernel.remove(id)


async def run(kernel: Kernel, conversation: str, code: str, timeout_s: float = 30, on=None):
    return await gather(kernel.run(conversation, "cell", code, timeout_s), on)


async def test_a_run_is_starting_started_outputs_closed(kernel, conversation):
    ran = await run(kernel, conversation, "print('hi')")
    kinds = [event.type for event in ran.events]
    assert [kind for kind in kinds if kind != "starting"] == ["started", "stream", "closed"]
    assert ran.text() == "hi\n" and ran.closed.outcome is Outcome.OK and ran.closed.execution_count == 1


@pytest.mark.parametrize(
    ("code", "outcome", "kept"),
    [
        ("x = 1", Outcome.OK, True),
        ("1/0", Outcome.ERROR, True),
        ("this is no Python", Outcome.ERROR, True),
        ("raise KeyboardInterrupt", Outcome.ERROR, True),
        ("raise MemoryError", Outcome.OUT_OF_MEMORY, True),
        ("while True: pass", Outcome.TIMED_OUT, True),
        ("import os; os._exit(1)", Outcome.KERNEL_DIED, False),
        ("", Outcome.OK, True),
    ],
)
async def test_every_end_is_one_closed_with_its_outcome(kernel, conversation, code, outcome, kept):
    ran = await run(kernel, conversation, code, timeout_s=1)
    assert (ran.outcome, ran.closed.variables_kept, ran.closed.files_kept) == (outcome, kept, True)
    assert bool(ran.closed.words) is (outcome not in (Outcome.OK, Outcome.ERROR))
    assert (await run(kernel, conversation, "print(2)")).text() == "2\n"


async def test_state_is_kept_between_cells_and_lost_with_a_restart(kernel, conversation):
    assert (await run(kernel, conversation, "x = 5; open('f', 'w').close()")).fresh
    assert not (await run(kernel, conversation, "x")).fresh
    await kernel.restart(conversation)
    ran = await run(kernel, conversation, "import os; print('x' in globals(), os.listdir())")
    assert ran.fresh and ran.text() == "False ['f']\n"


async def test_interrupt_ends_the_cell_and_means_nothing_without_one(kernel, conversation):
    await kernel.interrupt(conversation)

    async def on(event):
        if isinstance(event, Started):
            await kernel.interrupt(conversation)

    ran = await run(kernel, conversation, "import time; time.sleep(60)", on=on)
    assert ran.outcome is Outcome.INTERRUPTED and ran.closed.variables_kept and ran.took < 10


async def test_closing_the_run_interrupts_it(kernel, conversation):
    async with aclosing(kernel.run(conversation, "cell", "import time; time.sleep(60)", 60)) as events:
        async for event in events:
            if isinstance(event, Started):
                break
    began = time.monotonic()
    assert (await run(kernel, conversation, "print(1)")).text() == "1\n" and time.monotonic() - began < 10


async def test_cells_of_one_conversation_run_one_after_the_other(kernel, conversation):
    await run(kernel, conversation, "log = []")
    code = "import time\nlog.append(1); time.sleep(0.2); log.append(2)"
    await asyncio.gather(*(run(kernel, conversation, code) for _ in range(3)))
    assert (await run(kernel, conversation, "print(log)")).text() == "[1, 2, 1, 2, 1, 2]\n"


async def test_prepare_and_status_tell_how_it_stands(kernel, conversation):
    assert (await kernel.status(conversation)).state is KernelState.NONE
    await kernel.prepare(conversation)
    async with asyncio.timeout(30):
        while (await kernel.status(conversation)).state is not KernelState.IDLE:
            await asyncio.sleep(0.05)
    await kernel.remove(conversation)
    assert (await kernel.status(conversation)).state is KernelState.NONE


async def test_remove_leaves_no_file(kernel, conversation):
    await run(kernel, conversation, "open('f', 'w').close()")
    await kernel.remove(conversation)
    assert (await run(kernel, conversation, "import os; print(os.listdir())")).text() == "[]\n"
    await kernel.remove(conversation)
    await kernel.remove("contract-never-seen")


async def test_check_says_whether_code_can_run(kernel):
    health = await kernel.check()
    assert health.ok and health.features


async def test_after_close_a_run_still_ends_with_words(create, tmp_path):
    kernel = create(tmp_path / "data")
    running = asyncio.create_task(run(kernel, "closing", "import time; time.sleep(60)", 60))
    await asyncio.sleep(0.3)
    began = time.monotonic()
    await kernel.close()
    assert time.monotonic() - began < 10
    for ran in (await running, await run(kernel, "closing", "1")):
        assert isinstance(ran.events[-1], Closed) and ran.outcome is Outcome.INTERRUPTED
        assert "shutting down" in ran.closed.words


async def test_all_sandboxes_are_told_and_one_that_is_ended_keeps_its_files(kernel, conversation):
    assert conversation not in [line.conversation for line in await kernel.sandboxes()]
    ran = await run(kernel, conversation, "open('kept', 'w').write('x'); sum(range(10**6))")
    assert ran.closed.cpu_s is not None and 0 < ran.closed.cpu_s < 30
    (line,) = [line for line in await kernel.sandboxes() if line.conversation == conversation]
    assert line.state is KernelState.IDLE and line.memory_used
    assert all(0 <= one.cpu_s < 30 for one in await kernel.settle())
    await kernel.end(conversation)
    assert conversation not in [line.conversation for line in await kernel.sandboxes()]
    ran = await run(kernel, conversation, "print(open('kept').read())")
    assert ran.text() == "x\n" and ran.started.fresh


async def claimed(kernel: Kernel, conversation: str) -> None:
    if claiming := kernel.claim(conversation):
        await claiming


async def test_a_kernel_is_claimed_as_often_as_one_likes_and_taken_over_with_its_variables(kernel, conversation):
    for n in range(3):
        await claimed(kernel, conversation)
        assert (await run(kernel, conversation, f"x = {n}\nprint(x)")).text() == f"{n}\n"
    assert await kernel.take_over(conversation)
    assert (await run(kernel, conversation, "print(x)")).text() == "2\n"
    await kernel.restart(conversation)
    assert not await kernel.take_over(conversation)


async def test_a_conversation_without_a_sandbox_is_taken_over_without_one(kernel, conversation):
    assert not await kernel.take_over(conversation)
    assert (await kernel.status(conversation)).state is KernelState.NONE
