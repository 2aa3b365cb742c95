"""Code that breaks things: the cell ends in time, its words are true, memory stays bounded, and the next cell works."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import time
from contextlib import suppress

import psutil
import pytest
import pytest_asyncio

from executor.wire import Outcome, Started, Stream
from tests.executor import seen
from tests.support.kernels import Chat, managing

pytestmark = [pytest.mark.sandbox, pytest.mark.asyncio(loop_scope="module")]

MB = 1024**2


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def manager(by, tmp_path_factory):
    async with managing(tmp_path_factory.mktemp("data"), memory_mb=512, **by) as manager:
        yield manager


@pytest_asyncio.fixture(loop_scope="module")
async def chat(manager):
    chat = Chat(manager)
    await chat.run("kept = 'kept'\nopen('file', 'w').write('x')")
    yield chat
    await manager.remove(chat.id)


async def works(chat, variables: bool) -> None:
    """The conversation goes on, and what the words said of variables and files is so."""
    after = await chat.run("import os\nprint('kept' in globals(), 'file' in os.listdir())")
    assert after.text() == f"{variables} True\n" and after.fresh is not variables


class Memory:
    """How much this process's memory grew at most during a block."""

    async def __aenter__(self) -> Memory:
        gc.collect()
        self._process = psutil.Process()
        self._before = self.peak = self._process.memory_info().rss
        self._sampling = asyncio.create_task(self._sample())
        return self

    async def _sample(self) -> None:
        while True:
            self.peak = max(self.peak, self._process.memory_info().rss)
            await asyncio.sleep(0.01)

    async def __aexit__(self, *_) -> None:
        self._sampling.cancel()

    @property
    def grown(self) -> int:
        return self.peak - self._before


# ---- the end of Python -----------------------------------------------------------------------------------------------

DEATHS = {
    "os._exit": "import os; os._exit(1)",
    "os._exit later": "import os, time; time.sleep(0.3); os._exit(0)",
    "segfault": "import ctypes; ctypes.string_at(0)",
    "abort": "import os; os.abort()",
    "SIGKILL": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "in a thread": "import os, threading, time\nthreading.Timer(0.3, os._exit, [3]).start()\ntime.sleep(60)",
}


@pytest.mark.parametrize("code", DEATHS.values(), ids=DEATHS.keys())
async def test_t36_the_death_of_python_is_told_within_five_seconds(chat, code):
    ran = await chat.run(code)
    assert ran.outcome is Outcome.KERNEL_DIED and ran.took < 5
    assert not ran.closed.variables_kept and ran.closed.files_kept
    assert "Python crashed" in ran.closed.words and "variables are gone; files are kept" in ran.closed.words
    await works(chat, variables=False)


async def test_t36_sys_exit_ends_nothing(chat):
    ran = await chat.run("import sys; sys.exit(1)")
    assert ran.outcome in (Outcome.OK, Outcome.ERROR) and ran.closed.variables_kept
    await works(chat, variables=True)


async def test_t36_python_that_dies_between_cells_starts_the_next_one_fresh(chat):
    await chat.run("import os, threading\nthreading.Timer(0.3, os._exit, [3]).start()")
    await asyncio.sleep(1.5)
    await works(chat, variables=False)


async def test_t36_python_that_dies_again_and_again_is_started_again_and_again(chat):
    for _ in range(7):
        assert (await chat.run("import os, time; time.sleep(0.1); os._exit(1)")).outcome is Outcome.KERNEL_DIED
    await works(chat, variables=False)


# ---- the end of the sandbox ------------------------------------------------------------------------------------------


async def test_t16_a_killed_gateway_is_told_and_replaced(chat):
    async def on(event):
        if isinstance(event, Started):
            os.kill(seen.gateway(chat.sandbox), signal.SIGKILL)

    ran = await chat.run("import time; time.sleep(60)", on=on)
    assert ran.outcome is Outcome.SANDBOX_LOST and ran.took < 5 and not ran.closed.variables_kept
    assert "The sandbox stopped working" in ran.closed.words
    await works(chat, variables=False)


async def test_t16_a_gateway_that_is_stopped_is_told_and_replaced(chat):
    async def on(event):
        if isinstance(event, Started):
            os.kill(seen.gateway(chat.sandbox), signal.SIGSTOP)

    ran = await chat.run("import time; time.sleep(60)", on=on)
    assert ran.outcome is Outcome.SANDBOX_LOST and ran.took < 6.5
    await works(chat, variables=False)


async def test_t16_a_sandbox_killed_between_cells_is_replaced(chat):
    for pid in seen.processes(chat.sandbox):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    await asyncio.sleep(0.5)
    await works(chat, variables=False)


async def test_t16_a_cell_cannot_kill_the_gateway_without_being_told(chat):
    ran = await chat.run("import os, signal, time\nos.kill(os.getppid(), signal.SIGKILL)\ntime.sleep(60)")
    assert ran.outcome in (Outcome.SANDBOX_LOST, Outcome.ERROR) and ran.took < 5
    await works(chat, variables=ran.outcome is Outcome.ERROR)


# ---- memory, processes, disk -----------------------------------------------------------------------------------------


async def test_t13_a_memory_bomb_that_python_survives_keeps_variables(chat):
    ran = await chat.run("bomb = [bytearray(50_000_000) for _ in range(1000)]")
    assert ran.outcome is Outcome.OUT_OF_MEMORY and ran.closed.variables_kept
    assert "more than the 512 MB this sandbox has" in ran.closed.words and "variables are kept" in ran.closed.words
    await works(chat, variables=True)


async def test_t13_a_numpy_bomb_is_out_of_memory_too(chat):
    ran = await chat.run("import numpy as np\nnp.ones(10**10)")
    assert ran.outcome is Outcome.OUT_OF_MEMORY and ran.closed.variables_kept
    await works(chat, variables=True)


async def test_t13_a_memory_bomb_that_kills_python_is_told_as_what_it_is(chat):
    code = "import mmap\nm = mmap.mmap(-1, 2_000_000_000)\nfor n in range(0, 2_000_000_000, 4096): m[n] = 1"
    if chat.sandbox.usage().oom_kills is None:
        pytest.skip("this host has no memory cgroup")
    ran = await chat.run(code)
    assert ran.outcome is Outcome.OUT_OF_MEMORY and not ran.closed.variables_kept
    assert "Ran out of memory" in ran.closed.words and "variables are gone; files are kept" in ran.closed.words
    await works(chat, variables=False)


async def test_t23_a_fork_bomb_can_be_stopped_and_the_conversation_goes_on(chat):
    code = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass"
    ran = await chat.run(code, timeout_s=3)
    assert ran.outcome in (Outcome.TIMED_OUT, Outcome.KERNEL_DIED, Outcome.SANDBOX_LOST, Outcome.OUT_OF_MEMORY)
    assert ran.took < 15
    after = await chat.run("import os\nprint('file' in os.listdir())", timeout_s=30)
    assert after.text() == "True\n"


async def test_t23_a_thread_bomb_is_an_error(chat):
    ran = await chat.run(
        "import threading, time\nfor _ in range(10000): threading.Thread(target=time.sleep, args=(2,)).start()",
        timeout_s=20,
    )
    assert ran.outcome is Outcome.ERROR
    await works(chat, variables=True)


async def test_t22_a_full_disk_is_told_and_the_conversation_goes_on(chat):
    ran = await chat.run("with open('big', 'wb') as f:\n    for _ in range(4000): f.write(b'x' * 1_000_000)", timeout_s=60)
    assert ran.outcome is not Outcome.OK
    after = await chat.run("import os\nos.path.exists('big') and os.remove('big')\nprint('file' in os.listdir())")
    assert after.text() == "True\n"


# ---- floods ----------------------------------------------------------------------------------------------------------


def told(ran) -> int:
    return sum(len(event.text.encode()) for event in ran.events if isinstance(event, Stream))


async def test_t14_two_hundred_thousand_prints_are_all_accounted_for(chat):
    ran = await chat.run("for n in range(200_000): print(f'{n:06}')")
    assert ran.outcome is Outcome.OK
    assert ran.closed.dropped_bytes == 0 and ran.text() == "".join(f"{n:06}\n" for n in range(200_000))
    assert len(ran.events) < 20_000
    await works(chat, variables=True)


async def test_t14_a_hundred_megabytes_are_counted_to_the_byte_in_bounded_memory(chat):
    async with Memory() as memory:
        ran = await chat.run("line = 'x' * 99\nfor n in range(1_000_000): print(line)\nprint('the end')")
    assert ran.outcome is Outcome.OK
    assert told(ran) + ran.closed.dropped_bytes == 100_000_000 + len("the end\n")
    assert told(ran) < 9 * MB and ran.text().endswith("the end\n")
    assert sum(event.gap for event in ran.events if isinstance(event, Stream)) == ran.closed.dropped_bytes
    assert memory.grown < 120 * MB
    await works(chat, variables=True)


async def test_t14_one_line_of_fifty_megabytes(chat):
    async with Memory() as memory:
        ran = await chat.run("print('y' * 50_000_000)")
    assert ran.outcome is Outcome.OK and told(ran) + ran.closed.dropped_bytes == 50_000_001
    assert memory.grown < 400 * MB
    await works(chat, variables=True)


async def test_t14_a_display_of_fifty_megabytes_is_left_out_and_counted(chat):
    ran = await chat.run(
        "from IPython.display import display\ndisplay({'text/plain': 'z' * 50_000_000}, raw=True)\nprint('after')"
    )
    assert ran.outcome is Outcome.OK and ran.displays == [] and ran.text() == "after\n"
    assert ran.closed.dropped_bytes > 50_000_000
    await works(chat, variables=True)


async def test_t14_a_display_larger_than_any_frame_may_be_costs_nothing_but_itself(chat):
    ran = await chat.run(
        "from IPython.display import display\ndisplay({'text/plain': 'z' * 70_000_000}, raw=True)\nprint('after')"
    )
    assert ran.text() == "after\n" and ran.outcome is Outcome.OK
    assert ran.closed.dropped_bytes > 70_000_000
    await works(chat, variables=True)


async def test_t14_ten_thousand_displays_arrive(chat):
    ran = await chat.run("from IPython.display import display\nfor n in range(10_000): display(n)")
    assert ran.outcome is Outcome.OK and len(ran.displays) == 10_000
    await works(chat, variables=True)


async def test_t14_an_exception_of_megabytes_is_cut(chat):
    ran = await chat.run("raise ValueError('x' * 5_000_000)")
    assert ran.outcome is Outcome.ERROR and len(ran.raised.evalue) < 100_000
    await works(chat, variables=True)


async def test_t14_an_error_after_a_flood_is_still_shown(chat):
    ran = await chat.run("print('x' * 20_000_000)\nprint('the end')\n1/0")
    assert ran.outcome is Outcome.ERROR and ran.raised.ename == "ZeroDivisionError"
    assert ran.text().endswith("the end\n") and told(ran) + ran.closed.dropped_bytes == 20_000_001 + len("the end\n")
    await works(chat, variables=True)


async def test_t14_binary_noise_on_stdout_is_text_somehow(chat):
    ran = await chat.run(
        "import os, sys\nnoise = bytes(range(256)) * 100\n"
        "os.write(1, noise)\nprint(noise.decode('latin-1'))\nprint(noise.decode('utf-8', 'surrogateescape'))\n"
        "sys.stdout.buffer.write(noise) if hasattr(sys.stdout, 'buffer') else None"
    )
    assert ran.outcome in (Outcome.OK, Outcome.ERROR)
    ran.text().encode()
    await works(chat, variables=True)


async def test_t14_a_flood_does_not_hold_up_another_conversation(manager, chat):
    other = Chat(manager)
    await other.run("1")
    flood = asyncio.create_task(chat.run("while True: print('x' * 10_000)", timeout_s=3))
    slowest = 0.0
    while not flood.done():
        began = time.monotonic()
        await other.run("1")
        slowest = max(slowest, time.monotonic() - began)
    assert slowest < 1.0
    await manager.remove(other.id)


# ---- forgery ---------------------------------------------------------------------------------------------------------

FORGE = """
from ipykernel.kernelapp import IPKernelApp
kernel = IPKernelApp.instance().kernel
parent = kernel.get_parent()
def forge(kind, content, parent=parent):
    kernel.session.send(kernel.iopub_socket, kind, content, parent=parent, ident=b'x')
"""


async def test_t19_a_forged_idle_does_not_end_the_cell(chat):
    ran = await chat.run(
        FORGE
        + "import time\nfor _ in range(5):\n"
        + "    forge('status', {'execution_state': 'idle'})\n    time.sleep(1)\nprint('end')"
    )
    assert ran.outcome is Outcome.OK and ran.text() == "end\n" and ran.took > 4.5


async def test_t19_messages_of_any_shape_end_nothing_but_themselves(chat):
    ran = await chat.run(
        FORGE
        + "contents = {}, {'name': 1, 'text': []}, {'data': {'a': {'b': None}}}, {'ename': {}}, {'execution_state': 7}\n"
        "for content in contents:\n"
        "    for kind in ('stream', 'display_data', 'error', 'status', 'execute_input', 'clear_output', 'nonsense', ''):\n"
        "        for origin in (parent, {}, {'header': {'msg_id': 'other'}}):\n"
        "            forge(kind, content, origin)\nprint('end')"
    )
    assert ran.outcome is Outcome.OK and ran.text().endswith("end\n")
    await works(chat, variables=True)


async def test_t19_a_forged_death_costs_only_the_forger(chat):
    ran = await chat.run(FORGE + "import time\nforge('status', {'execution_state': 'restarting'}, {})\ntime.sleep(60)")
    assert ran.outcome in (Outcome.KERNEL_DIED, Outcome.OK)
    after = await chat.run("print('next')", timeout_s=20)
    assert after.text() == "next\n" and after.outcome is Outcome.OK and after.took < 20
