"""Hostile and clumsy cells through the whole app: memory stays bounded, the user reads what happened, the chat goes on."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from orchestrator.protocol.events import CellOutcome, TurnOutcome
from tests.support.app import Tab

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.sandbox, pytest.mark.timeout(180)]

GROWTH = 200 * 1024**2
"""What the server (and the test in the same process) may grow by while a cell floods it."""
PAGE = 20 * 1024**2


def resident() -> int:
    """Bytes of memory that this process, server included, has."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found.group(1)) * 1024


def peak() -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found.group(1)) * 1024


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


async def suffer(tab: Tab, code: str):
    """Run the code; its cell. Memory is bounded and the conversation goes on."""
    await tab.ask("run kept = 1")
    forget_peak()
    before = resident()
    turn = await tab.say(f"run {code}")
    await tab.until(lambda event: event.type == "turn.closed" and event.turn == turn, timeout_s=120)
    assert peak() - before < GROWTH, f"grew by {(peak() - before) >> 20} MB"
    cell = next(item for item in tab.view.turns[-1].items if item.kind == "cell")
    assert tab.view.turns[-1].outcome in (TurnOutcome.ANSWERED, TurnOutcome.REPEATING)
    assert not tab.view.gap
    view = await tab.ask("run print('kept' in globals())")
    assert view.turns[-1].items[0].outputs[0].text == f"{cell.variables_kept}\n", cell
    page = await tab.load()
    assert len(page.model_dump_json()) < PAGE
    return cell


def text(cell) -> str:
    return "".join(output.text for output in cell.outputs if output.kind == "text")


async def test_two_hundred_thousand_prints(tab: Tab) -> None:
    cell = await suffer(tab, "for i in range(200_000): print(i)")
    assert cell.outcome is CellOutcome.OK
    assert text(cell).startswith("0\n1\n") and text(cell).endswith("199999\n")
    left_out = sum(output.size for output in cell.outputs if output.kind == "omitted")
    assert left_out + len(text(cell)) == sum(len(str(i)) + 1 for i in range(200_000)), "every byte is accounted for"


async def test_a_line_of_fifty_megabytes(tab: Tab) -> None:
    cell = await suffer(tab, "print('x' * 50_000_000)")
    assert cell.outcome is CellOutcome.OK
    left_out = sum(output.size for output in cell.outputs if output.kind == "omitted")
    assert left_out + len(text(cell)) == 50_000_001


async def test_a_display_of_fifty_megabytes(tab: Tab) -> None:
    cell = await suffer(tab, "from IPython.display import display, HTML\ndisplay(HTML('x' * 50_000_000))\nprint('after')")
    assert cell.outcome is CellOutcome.OK and text(cell) == "after\n"
    assert any(output.kind == "omitted" and output.size >= 50_000_000 for output in cell.outputs)


async def test_ten_thousand_displays(tab: Tab) -> None:
    cell = await suffer(tab, "from IPython.display import display\nfor i in range(10_000): display({'n': i})")
    assert cell.outcome is CellOutcome.OK
    assert 0 < sum(output.kind == "rich" for output in cell.outputs) <= 300
    assert any(output.kind == "omitted" for output in cell.outputs)


async def test_binary_noise_on_stdout(tab: Tab) -> None:
    noise = (
        "import os, sys\nsys.stdout.write(os.urandom(200_000).decode('latin-1'))\nprint('\\ud800 \\x00 \\x1b]0;t\\x07end')"
    )
    cell = await suffer(tab, noise)
    assert cell.outcome in (CellOutcome.OK, CellOutcome.ERROR)


async def test_the_kernel_ends_itself(tab: Tab) -> None:
    cell = await suffer(tab, "import os\nprint('bye', flush=True)\nos._exit(1)")
    assert cell.outcome is CellOutcome.KERNEL_DIED and not cell.variables_kept and "gone" in cell.words


async def test_a_fork_bomb(tab: Tab) -> None:
    bomb = (
        "import os, time\nfor _ in range(5000):\n    try:\n        if os.fork() == 0: time.sleep(60)\n"
        "    except OSError as e:\n        print(e); break"
    )
    cell = await suffer(tab, bomb)
    assert "unavailable" in text(cell).lower() or cell.outcome is not CellOutcome.OK


async def test_a_memory_bomb(tab: Tab) -> None:
    cell = await suffer(tab, "hog = []\nwhile True: hog.append(bytearray(10_000_000))")
    assert cell.outcome is CellOutcome.OUT_OF_MEMORY and "memory" in cell.words.lower()
    view = await tab.ask("run del hog\nprint(len(bytearray(500_000_000)))")
    assert view.turns[-1].items[0].outputs[0].text == "500000000\n", "what was freed can be used again"


async def test_filling_the_disk(tab: Tab) -> None:
    fill = "with open('big', 'wb') as f:\n    for _ in range(4000): f.write(b'x' * 1_000_000)"
    cell = await suffer(tab, fill)
    assert cell.outcome is not CellOutcome.OK
    view = await tab.ask("run import os; os.remove('big'); open('small', 'w').write('ok')")
    assert view.turns[-1].items[0].outcome is CellOutcome.OK


async def test_input_is_refused_with_words(tab: Tab) -> None:
    cell = await suffer(tab, "name = input('who? ')")
    assert cell.outcome is CellOutcome.ERROR
    assert "input" in cell.outputs[-1].evalue.lower()


async def test_a_thread_that_prints_after_its_cell_has_ended(tab: Tab) -> None:
    code = (
        "import threading, time\ndef late():\n    time.sleep(0.3)\n    print('too late')\n"
        "threading.Thread(target=late).start()"
    )
    await tab.ask(f"run {code}")
    await asyncio.sleep(1.0)  # the thread prints while nothing runs
    view = await tab.ask("run print('next')")
    cell = view.turns[-1].items[0]
    shown = [(output.text, output.late) for output in cell.outputs if output.kind == "text"]
    assert ("too late\n", True) in shown and ("next\n", False) in shown


async def test_a_cell_that_runs_too_long_is_stopped_with_words(app, tab: Tab, monkeypatch) -> None:
    from dataclasses import replace

    agent = app.app.state.parts.turns._agent
    short = replace(agent, limits=replace(agent.limits, cell_seconds=1.0))
    monkeypatch.setattr(app.app.state.parts.turns, "_agent", short)
    view = await tab.ask("run while True: pass")
    cell = view.turns[-1].items[0]
    assert cell.outcome is CellOutcome.TIMED_OUT and "1" in cell.words
