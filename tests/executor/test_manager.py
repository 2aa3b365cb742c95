"""Runs in a real sandbox: what a cell puts out, how it ends, and what a conversation keeps."""

from __future__ import annotations

import asyncio
import time

import pytest
import pytest_asyncio

from executor.wire import Clear, Closed, KernelState, Outcome, Started, Starting, Stream
from tests.support.kernels import Chat, gather, managing

pytestmark = [pytest.mark.sandbox, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def manager(tmp_path_factory):
    async with managing(tmp_path_factory.mktemp("data")) as manager:
        yield manager


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chat(manager):
    """One conversation for all tests that leave the kernel as it was."""
    return Chat(manager)


# ---- outputs ---------------------------------------------------------------------------------------------------------


async def test_a_cell_is_told_from_start_to_end(chat):
    ran = await chat.run("x = 6 * 7\nprint('hello')\nx")
    assert ran.text() == "hello\n"
    assert [display.data for display in ran.displays] == [{"text/plain": "42"}]
    assert ran.outcome is Outcome.OK and ran.closed.words == ""
    assert ran.closed.variables_kept and ran.closed.files_kept and ran.closed.execution_count >= 1


async def test_variables_live_on_and_only_the_first_cell_is_fresh(manager):
    chat = Chat(manager)
    first = await chat.run("x = 1")
    second = await chat.run("print(x)")
    assert (first.fresh, second.fresh) == (True, False)
    assert any(isinstance(event, Starting) for event in first.events)
    assert second.text() == "1\n" and second.closed.execution_count == 2
    await manager.remove(chat.id)


async def test_an_error_is_told_with_its_traceback_and_keeps_variables(chat):
    ran = await chat.run("kept = 1\n1/0")
    assert ran.outcome is Outcome.ERROR and ran.raised.ename == "ZeroDivisionError"
    assert any("1/0" in line or "1" in line for line in ran.raised.traceback)
    assert ran.closed.variables_kept and (await chat.run("print(kept)")).text() == "1\n"


async def test_stdout_and_stderr_keep_their_order(chat):
    ran = await chat.run("import sys\nfor n in range(50):\n    print(n, file=[sys.stdout, sys.stderr][n % 2], flush=True)")
    numbers = [int(line) for event in ran.events if isinstance(event, Stream) for line in event.text.split()]
    assert numbers == list(range(50))


async def test_output_arrives_while_the_cell_runs(chat):
    seen: list[float] = []

    async def on(event):
        if isinstance(event, Stream):
            seen.append(time.monotonic())

    ran = await chat.run("import time\nprint('early')\ntime.sleep(0.6)\nprint('late')", on=on)
    assert ran.text() == "early\nlate\n" and seen[-1] - seen[0] > 0.4


async def test_a_display_is_updated_in_place_and_cleared(chat):
    ran = await chat.run(
        "from IPython.display import display, clear_output\n"
        "handle = display('one', display_id='d')\nhandle.update('two')\nclear_output(wait=True)\nprint('end')"
    )
    first, second = ran.displays
    assert (first.display_id, first.update, second.display_id, second.update) == ("d", False, "d", True)
    assert [event.wait for event in ran.events if isinstance(event, Clear)] == [True]


async def test_mime_bundles_are_kept_whole(chat):
    ran = await chat.run(
        "from IPython.display import HTML, display\ndisplay(HTML('<b>x</b>'))\ndisplay({'a/b': {'n': [1]}}, raw=True)"
    )
    assert ran.displays[0].data["text/html"] == "<b>x</b>" and "text/plain" in ran.displays[0].data
    assert ran.displays[1].data == {"a/b": {"n": [1]}}


async def test_a_plot_is_a_png(chat):
    ran = await chat.run("import matplotlib.pyplot as plt\n_ = plt.plot([1, 2])")
    assert ran.outcome is Outcome.OK
    assert any(display.data.get("image/png", "").startswith("iVBOR") for display in ran.displays)


async def test_t26_asking_for_input_is_an_error_with_a_hint(chat):
    ran = await chat.run("input('name?')", timeout_s=10)
    assert ran.outcome is Outcome.ERROR and ran.raised.ename == "StdinNotImplementedError"
    assert "keyboard" in ran.raised.evalue and ran.took < 5


async def test_files_that_a_cell_made_changed_and_deleted_are_told(chat):
    await chat.run("open('a.txt', 'w').write('1'); open('b.txt', 'w').write('1')")
    ran = await chat.run("import os\nopen('a.txt', 'w').write('22'); os.remove('b.txt'); open('c.txt', 'w').write('333')")
    assert [(f.path, f.change, f.size) for f in ran.closed.files] == [
        ("a.txt", "changed", 2),
        ("b.txt", "deleted", 0),
        ("c.txt", "new", 3),
    ]
    assert (await chat.run("1")).closed.files == []


async def test_files_of_a_workspace_that_is_no_small_one_are_told_too(chat):
    ran = await chat.run("for n in range(500):\n    open(f'f{n}', 'w').write('1')")
    assert {(f.path, f.change) for f in ran.closed.files} == {(f"f{n}", "new") for n in range(500)}
    ran = await chat.run("import os\nos.remove('f7'); open('f8', 'w').write('22')")
    assert [(f.path, f.change) for f in ran.closed.files] == [("f7", "deleted"), ("f8", "changed")]


async def test_t18_what_a_thread_prints_after_its_cell_comes_marked_with_the_next(chat):
    first = await chat.run(
        "import threading, time\n"
        "def later():\n    time.sleep(0.5)\n    print('from the thread')\n"
        "threading.Thread(target=later).start()\nprint('now')"
    )
    await asyncio.sleep(1)
    second = await chat.run("print('next')")
    assert first.text() == "now\n"
    assert second.text(late=True) == "from the thread\n" and second.text(late=False) == "next\n"


async def test_t18_what_a_thread_prints_during_a_later_cell_is_shown_there(chat):
    await chat.run(
        "import threading, time\n"
        "def later():\n    time.sleep(0.5)\n    print('from the thread')\n"
        "threading.Thread(target=later).start()"
    )
    second = await chat.run("time.sleep(1)\nprint('next')")
    assert sorted(second.text().split("\n")) == ["", "from the thread", "next"]


# ---- conversations ---------------------------------------------------------------------------------------------------


async def test_two_conversations_run_at_the_same_time_and_apart(manager):
    one, two = Chat(manager), Chat(manager)
    await asyncio.gather(one.run("name = 'one'"), two.run("name = 'two'"))
    began = time.monotonic()
    code = "import time\ntime.sleep(1)\nprint(name)"
    first, second = await asyncio.gather(one.run(code), two.run(code))
    assert (first.text(), second.text()) == ("one\n", "two\n") and time.monotonic() - began < 1.9
    await asyncio.gather(manager.remove(one.id), manager.remove(two.id))


async def test_cells_of_one_conversation_wait_their_turn(chat):
    first, second, third = await asyncio.gather(
        chat.run("import time\norder = ['a']\ntime.sleep(0.5)\norder.append('b')"),
        chat.run("order.append('c')"),
        chat.run("print(''.join(order))"),
    )
    assert third.text() == "abc\n"


async def test_a_second_cell_joins_the_sandbox_that_is_being_made(manager):
    chat = Chat(manager)
    first, second = await asyncio.gather(chat.run("x = 1"), chat.run("print(x)"))
    assert second.text() == "1\n" and first.fresh and not second.fresh
    await manager.remove(chat.id)


async def test_prepare_returns_at_once_and_the_first_cell_need_not_wait(manager):
    chat = Chat(manager)
    began = time.monotonic()
    await manager.prepare(chat.id)
    assert time.monotonic() - began < 0.1
    async with asyncio.timeout(20):
        while (await manager.status(chat.id)).state is not KernelState.IDLE:
            await asyncio.sleep(0.05)
    ran = await chat.run("1")
    assert ran.took < 1 and ran.fresh and isinstance(ran.events[0], Started)
    await manager.remove(chat.id)


async def test_status_says_what_there_is(manager):
    chat = Chat(manager)
    assert (await manager.status(chat.id)).state is KernelState.NONE
    running = asyncio.create_task(chat.run("import time\ntime.sleep(2)"))
    states = set()
    while not running.done():
        states.add((await manager.status(chat.id)).state)
        await asyncio.sleep(0.02)
    states.add((await manager.status(chat.id)).state)
    assert {KernelState.STARTING, KernelState.BUSY, KernelState.IDLE} <= states
    status = await manager.status(chat.id)
    assert status.memory_limit == 1024**3
    if status.memory_used is not None:
        assert 10 * 1024**2 < status.memory_used < status.memory_limit
    await manager.remove(chat.id)


async def test_restart_empties_the_kernel_and_keeps_files(manager):
    chat = Chat(manager)
    await chat.run("x = 1\nopen('f', 'w').write('1')")
    await manager.restart(chat.id)
    assert (await manager.status(chat.id)).state is KernelState.IDLE
    ran = await chat.run("print('x' in globals(), open('f').read())")
    assert ran.text() == "False 1\n" and ran.fresh
    await manager.remove(chat.id)


async def test_restart_stops_what_runs(manager):
    chat = Chat(manager)
    running = asyncio.create_task(chat.run("print('go')\nwhile True: pass", on=go))
    async with asyncio.timeout(20):
        while not started(chat):
            await asyncio.sleep(0.05)
    await manager.restart(chat.id)
    ran = await running
    assert ran.outcome is Outcome.INTERRUPTED and not ran.closed.variables_kept and "restarted" in ran.closed.words
    assert (await chat.run("print(1)")).text() == "1\n"
    await manager.remove(chat.id)


async def go(event):
    """Nothing to do: the run is read."""


def started(chat) -> bool:
    slot = chat.manager._slots.get(chat.id)
    return slot is not None and slot.state is KernelState.BUSY


async def test_remove_takes_the_sandbox_and_the_files(manager):
    chat = Chat(manager)
    await chat.run("open('f', 'w').write('1')")
    sandbox, workspace = chat.sandbox, chat.workspace
    assert (workspace / "f").exists()
    await manager.remove(chat.id)
    assert not workspace.exists() and not sandbox.alive()
    assert (await manager.status(chat.id)).state is KernelState.NONE
    assert (await chat.run("import os\nprint(os.listdir())")).text() == "[]\n"
    await manager.remove(chat.id)


@pytest.mark.parametrize("id", ["", "a b", "../x", "x" * 65, "a/b", "ü"])
async def test_an_id_that_is_none_is_refused(manager, id):
    with pytest.raises(ValueError, match="An id has"):
        await gather(manager.run(id, "cell", "1", 1))
    with pytest.raises(ValueError, match="An id has"):
        await gather(manager.run("chat", id, "1", 1))


async def test_closing_the_reader_early_stops_the_cell(manager):
    chat = Chat(manager)
    events = manager.run(chat.id, "cell", "while True: pass", 60)
    async for event in events:
        if isinstance(event, Started):
            break
    await events.aclose()
    began = time.monotonic()
    ran = await chat.run("print('next')")
    assert ran.text() == "next\n" and time.monotonic() - began < 3
    assert not any(isinstance(event, Closed) and event is not ran.closed for event in ran.events)
    await manager.remove(chat.id)
