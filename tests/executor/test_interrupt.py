"""Stop and timeouts in every phase, against code that does not want to stop."""

from __future__ import annotations

import asyncio
import time

import pytest
import pytest_asyncio

from executor.wire import Outcome, Rung, Started, Starting, Stream
from tests.support.kernels import Chat, managing

pytestmark = [pytest.mark.sandbox, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def manager(by, tmp_path_factory):
    async with managing(tmp_path_factory.mktemp("data"), **by) as manager:
        yield manager


@pytest_asyncio.fixture(loop_scope="module")
async def chat(manager):
    chat = Chat(manager)
    yield chat
    await manager.remove(chat.id)


class Stop:
    """Presses stop when the cell prints `go` (or, for code whose output cannot get out, some time after it started); says
    how long the cell took to end after that."""

    def __init__(self, chat: Chat, sign: type[Stream] | type[Started] = Stream) -> None:
        self.chat = chat
        self.sign = sign
        self.at = 0.0

    async def __call__(self, event) -> None:
        if isinstance(event, self.sign) and "go" in getattr(event, "text", "go") and not self.at:
            await asyncio.sleep(0.1 if self.sign is Stream else 1.0)  # for the code to get where it resists
            self.at = time.monotonic()
            await self.chat.manager.interrupt(self.chat.id)

    @property
    def took(self) -> float:
        return time.monotonic() - self.at


POLITE = {
    "loop": "while True: pass",
    "sleep": "import time; time.sleep(60)",
    "await": "import asyncio; await asyncio.sleep(60)",
    "output": "while True: print('x' * 100)",
    "subprocess": "import subprocess; subprocess.run(['sleep', '60'])",
    "shell": "!sleep 60",
    "matmul": "import numpy as np; a = np.ones((1500, 1500))\nwhile True: a @ a",
}

# Each says `go` by itself, once it resists.
RUDE = {
    "swallows": "import time\nwhile True:\n"
    "    try: print('go', flush=True); time.sleep(0.2)\n    except KeyboardInterrupt: pass",
    "ignores": "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\nprint('go', flush=True)\nwhile True: pass",
    "holds the GIL in C": "sum(range(10**13))",
    "swallows while awaiting": "import asyncio\nprint('go', flush=True)\nwhile True:\n"
    "    try: await asyncio.sleep(1)\n    except asyncio.CancelledError: pass",
}


LADDER = {  # the rung that each of the hard cases takes, and how many may be enough
    "SIG_IGN loop": ("import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass", {Rung.RESTART}),
    "shell loop": ("while True: get_ipython().system('sleep 1')", {Rung.RESTART}),  # IPython swallows each signal
    "numpy matmul": (
        "import numpy as np; a = np.ones((1500, 1500))\nwhile True: a @ a",
        {Rung.INTERRUPT, Rung.INTERRUPT_AGAIN},
    ),
    "setsid child": (
        "import subprocess; subprocess.run(['setsid', '--wait', 'sleep', '86399'])",
        {Rung.INTERRUPT, Rung.INTERRUPT_AGAIN},
    ),
    "except KeyboardInterrupt": (
        "import time\nwhile True:\n    try: time.sleep(0.1)\n    except KeyboardInterrupt: pass",
        {Rung.RESTART},
    ),
    "a stopped gateway": (
        "import os, signal; os.kill(os.getppid(), signal.SIGSTOP)\nwhile True: pass",
        {Rung.KILL, Rung.NONE},
    ),
}


@pytest.mark.parametrize("case", LADDER)
async def test_t17_the_rung_that_was_reached_is_told_and_so_is_what_survived(chat, case):
    code, expected = LADDER[case]
    await chat.run("kept = 1\nopen('f', 'w').write('x')")
    stop = Stop(chat, Started)
    ran = await chat.run(code, on=stop)
    assert ran.closed.rung in expected and stop.took < 12, ran.closed
    lost = ran.closed.rung in (Rung.RESTART, Rung.KILL) or ran.outcome is Outcome.SANDBOX_LOST
    assert ran.closed.variables_kept is not lost and ("variables are gone" in ran.closed.words) is lost
    after = await chat.run("print('kept' in globals(), open('f').read())")
    assert after.text() == f"{not lost} x\n" and after.fresh is lost


@pytest.mark.parametrize("code", POLITE.values(), ids=POLITE.keys())
async def test_t17_stop_ends_code_and_keeps_variables(chat, code):
    await chat.run("kept = 'kept'")
    stop = Stop(chat)
    ran = await chat.run(f"print('go', flush=True)\n{code}", on=stop)
    assert ran.outcome is Outcome.INTERRUPTED and stop.took < 4
    assert ran.closed.variables_kept and ran.closed.words == "Stopped. Your variables are kept."
    assert (await chat.run("print(kept)")).text() == "kept\n"


@pytest.mark.parametrize("code", RUDE.values(), ids=RUDE.keys())
async def test_t17_stop_ends_code_that_resists_and_says_what_it_cost(chat, code):
    await chat.run("open('f', 'w').write('x')\nlost = 1")
    stop = Stop(chat, Stream if "go" in code else Started)
    ran = await chat.run(code, on=stop)
    assert ran.outcome is Outcome.INTERRUPTED and stop.took < 10
    assert not ran.closed.variables_kept and ran.closed.files_kept
    assert "did not react" in ran.closed.words and "variables are gone" in ran.closed.words
    after = await chat.run("import os\nprint('lost' in globals(), os.listdir())")
    assert after.text() == "False ['f']\n" and after.fresh


async def test_t17_stop_while_the_sandbox_starts_ends_the_cell_unrun(chat):
    async def on(event):
        if isinstance(event, Starting):
            await chat.manager.interrupt(chat.id)

    ran = await chat.run("open('ran', 'w')", on=on)
    assert ran.outcome is Outcome.INTERRUPTED and not ran.began and ran.took < 1
    assert "before the code ran" in ran.closed.words
    assert (await chat.run("import os\nprint(os.listdir())")).text() == "[]\n"


async def test_t17_stop_as_the_cell_is_handed_over_ends_it(chat):
    await chat.run("1")

    async def on(event):
        if isinstance(event, Started):
            await chat.manager.interrupt(chat.id)

    ran = await chat.run("while True: pass", on=on)
    assert ran.outcome is Outcome.INTERRUPTED and ran.closed.variables_kept and ran.took < 4


async def test_t17_stop_ends_the_cells_that_wait_too(chat):
    await chat.run("n = 0")
    stop = Stop(chat)
    first, second = await asyncio.gather(chat.run("print('go', flush=True)\nwhile True: pass", on=stop), chat.run("n = 1"))
    assert first.outcome is second.outcome is Outcome.INTERRUPTED
    assert not second.began and second.closed.variables_kept
    assert (await chat.run("print(n)")).text() == "0\n"


async def test_t17_stop_without_a_cell_does_nothing(chat):
    await chat.manager.interrupt(chat.id)
    await chat.run("x = 1")
    await chat.manager.interrupt(chat.id)
    assert (await chat.run("print(x)")).text() == "1\n"


async def test_t17_stop_pressed_many_times_is_one_stop(chat):
    await chat.run("kept = 1")
    running = asyncio.create_task(chat.run("import time; time.sleep(60)"))
    await asyncio.sleep(0.5)
    for _ in range(20):
        await chat.manager.interrupt(chat.id)
    ran = await running
    assert ran.outcome is Outcome.INTERRUPTED and ran.closed.variables_kept
    assert (await chat.run("print(kept)")).text() == "1\n"


async def test_t17_a_cell_that_ends_as_stop_is_pressed_leaves_the_next_one_alone(chat):
    for pause in (0.0, 0.003, 0.006, 0.009, 0.012):
        running = asyncio.create_task(chat.run("x = 1"))
        await asyncio.sleep(pause)
        await chat.manager.interrupt(chat.id)
        await running
        assert (await chat.run("print('fine')")).text() == "fine\n"


async def test_t17_a_timeout_ends_the_cell_and_keeps_variables(chat):
    await chat.run("kept = 1")
    ran = await chat.run("while True: pass", timeout_s=1)
    assert ran.outcome is Outcome.TIMED_OUT and 1 <= ran.took < 3 and ran.closed.variables_kept
    assert ran.closed.words.startswith("Stopped after 1 second,")
    assert (await chat.run("print(kept)")).text() == "1\n"


async def test_t17_a_timeout_of_code_that_resists_costs_the_variables(chat):
    ran = await chat.run(RUDE["swallows"], timeout_s=1)
    assert ran.outcome is Outcome.TIMED_OUT and ran.took < 12 and not ran.closed.variables_kept
    assert (await chat.run("print(1)")).text(late=False) == "1\n"


async def test_starting_does_not_count_against_the_timeout(chat):
    ran = await chat.run("print(1)", timeout_s=0.3)
    assert ran.outcome is Outcome.OK


async def test_what_was_printed_before_a_stop_is_kept(chat):
    ran = await chat.run("print('before', 'go')\nwhile True: pass", on=Stop(chat))
    assert ran.text() == "before go\n"
