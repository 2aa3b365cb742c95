"""What is particular to SQLite under the store: what is written on the spot, what waits in a thread, and its log."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from orchestrator.adapters import store_sql
from orchestrator.errors import StoreUnavailable
from orchestrator.protocol.events import StepClosed, StepFinish, TurnOpened, Via


def step(seq: int, prose: str = "x") -> StepClosed:
    return StepClosed(seq=seq, turn="t", step=0, prose=prose, code=None, finish=StepFinish.ANSWER, error="", usage=None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
async def store(path: Path):
    """With one conversation and its open turn, whose event is the first."""
    store = store_sql.create(f"sqlite+aiosqlite:///{path}")
    await store.migrate()
    await store.create_conversation("local", "c", "", 1.0)
    opened = TurnOpened(seq=1, turn="t", at=1.0, text="hello", via=Via.BROWSER)
    assert await store.open_turn("c", opened, "me", "x-0", None) == "opened"
    yield store
    await store.close()


@pytest.fixture
def beside(path: Path, store):
    """Another program that has the same file open."""
    other = sqlite3.connect(path, isolation_level=None)
    yield other
    other.close()


async def seqs(store) -> list[int]:
    return [event.seq for event in await store.events("c")]


async def test_another_programs_lock_is_waited_for_without_holding_anybody_up(store, beside):
    beside.execute("BEGIN IMMEDIATE")
    writing = [asyncio.create_task(store.append("c", [step(seq)])) for seq in (2, 3, 4)]
    async with asyncio.timeout(2):  # far less than the lock is waited for
        for _ in range(20):
            await asyncio.sleep(0.005)
            assert (await store.summary("local", "c")).running
    assert not any(task.done() for task in writing)
    beside.execute("COMMIT")
    async with asyncio.timeout(4):
        await asyncio.gather(*writing)
    assert await seqs(store) == [1, 2, 3, 4]


async def test_a_lock_that_is_never_given_back_is_told_and_nothing_is_half_written(store, beside, monkeypatch):
    monkeypatch.setattr("orchestrator.adapters.sqlite.WAIT_MS", 50)
    beside.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked"):
        await store.append("c", [step(2), step(3)])
    beside.execute("COMMIT")
    await store.append("c", [step(2)])
    assert await seqs(store) == [1, 2]


async def test_large_and_small_writes_keep_their_order(store):
    writes = [[step(seq, "x" * (300_000 if seq % 3 == 0 else 10))] for seq in range(2, 32)]
    await asyncio.gather(*(store.append("c", events) for events in writes))
    assert await seqs(store) == list(range(1, 32))


async def test_a_write_that_fails_in_its_middle_leaves_nothing_and_the_next_one_works(store, beside):
    beside.execute("ALTER TABLE events RENAME TO elsewhere")
    with pytest.raises(StoreUnavailable, match="no such table"):
        await store.append("c", [step(2)])
    beside.execute("ALTER TABLE elsewhere RENAME TO events")
    await store.append("c", [step(2)])
    assert await seqs(store) == [1, 2]


@pytest.mark.parametrize("slow_s", [3600.0, 0.0], ids=["on the spot", "in the thread"])
async def test_the_log_is_moved_into_the_file_again_and_again(store, path, monkeypatch, slow_s):
    monkeypatch.setattr("orchestrator.adapters.sqlite.SLOW_S", slow_s)
    for seq in range(2, 2500):
        await store.append("c", [step(seq, "x" * 2000)])
        await asyncio.sleep(0)  # so that the loop sees that a move has ended
    log = path.with_name(path.name + "-wal").stat().st_size
    assert log < 16 * 2**20 < 2500 * 5 * 4096  # what all pages that were written would take


async def test_what_was_stored_on_the_spot_is_there_after_a_sudden_end(store, path, tmp_path):
    """The files as a killed process leaves them, opened by another."""
    await store.append("c", [step(2), step(3)])
    for suffix in ("", "-wal"):
        (tmp_path / f"copy{suffix}").write_bytes(path.with_name(path.name + suffix).read_bytes())
    copy = sqlite3.connect(tmp_path / "copy")
    assert [row[0] for row in copy.execute("SELECT seq FROM events ORDER BY seq")] == [1, 2, 3]
    copy.close()
