"""Leases: one owner at a time, a fence that only grows, and a file that remembers both."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from executor.audit import Audit
from executor.leases import FORGET_S, Fenced, Leases
from executor.store import Store, StoreUnavailable


class Wall:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Desk:
    """Leases over a real file, and a wall clock to turn."""

    def __init__(self, path) -> None:
        self.path, self.wall = path, Wall()
        self.open()

    def open(self) -> None:
        self.store = Store(self.path)
        self.leases = Leases(self.store, self.wall)

    async def take(self, owner: str, conversation: str = "c", ttl_s: float = 60.0) -> int:
        return (await self.leases.acquire(conversation, owner, ttl_s, "", "standard")).fence

    def holds(self, fence: int, conversation: str = "c") -> bool:
        try:
            self.leases.check(conversation, fence)
        except Fenced:
            return False
        return True


@pytest.fixture
async def desk(tmp_path):
    desk = Desk(tmp_path / "executor.db")
    yield desk
    await desk.store.close()


async def test_an_owner_that_asks_again_keeps_its_fence(desk):
    assert [await desk.take("a"), await desk.take("a"), await desk.take("a")] == [1, 1, 1]


async def test_nobody_takes_a_lease_that_runs(desk):
    fence = await desk.take("a")
    desk.wall.now += 59
    with pytest.raises(Fenced, match="Another server"):
        await desk.take("b")
    assert desk.holds(fence)


async def test_after_its_end_another_may_take_over_and_the_old_fence_holds_no_more(desk):
    old = await desk.take("a")
    desk.wall.now += 61
    assert desk.holds(old)  # its end alone ends nothing
    new = await desk.take("b")
    assert new == old + 1 and desk.holds(new) and not desk.holds(old)
    with pytest.raises(Fenced):
        await desk.leases.renew("c", old, 60)
    with pytest.raises(Fenced):
        await desk.leases.release("c", old)
    with pytest.raises(Fenced):
        await desk.take("a")


async def test_an_owner_that_overslept_keeps_its_fence_when_nobody_came(desk):
    fence = await desk.take("a")
    desk.wall.now += 3600
    assert (await desk.leases.renew("c", fence, 60)).expires_at == desk.wall.now + 60
    assert await desk.take("a") == fence


async def test_a_released_lease_is_anybodys_at_once_and_its_fence_is_spent(desk):
    fence = await desk.take("a")
    await desk.leases.release("c", fence)
    assert not desk.holds(fence)
    with pytest.raises(Fenced):
        await desk.leases.renew("c", fence + 1, 60)
    assert await desk.take("b") > fence and not desk.holds(fence)


async def test_a_fence_that_never_was_holds_nothing(desk):
    assert not desk.holds(0) and not desk.holds(1) and not desk.holds(-1)
    await desk.take("a")
    assert not desk.holds(2) and not desk.holds(0) and not desk.holds(1, "other")


async def test_an_idle_owners_fence_does_not_hold_while_it_is_taken_from_it(desk):
    """A cell that began in that moment would be stopped as soon as the takeover is stored."""
    old = await desk.take("a")
    taking = asyncio.ensure_future(desk.leases.acquire("c", "b", 60, "", "standard", True))
    await asyncio.sleep(0)
    assert not desk.holds(old)
    new = (await taking).fence
    assert new == old + 1 and desk.holds(new) and not desk.holds(old)
    assert (await desk.leases.acquire("c", "b", 60, "", "standard", True)).fence == new


async def test_fifty_at_once_and_one_gets_it(desk):
    taken = await asyncio.gather(*(desk.take(f"owner-{number}") for number in range(50)), return_exceptions=True)
    assert [one for one in taken if not isinstance(one, Fenced)] == [1]


async def test_two_processes_at_one_file_agree(desk):
    """Two connections to the same file, as two executors by mistake would have: the database decides."""
    other = Desk(desk.path)
    taken = await asyncio.gather(desk.take("a"), other.take("b"), return_exceptions=True)
    assert sorted(isinstance(one, Fenced) for one in taken) == [False, True]
    await other.store.close()


async def test_t39_leases_and_fences_outlive_the_process(desk):
    fence = await desk.take("a")
    await desk.store.close()
    desk.open()
    assert not desk.holds(fence)  # not before they are loaded
    await desk.leases.load()
    assert desk.holds(fence)
    with pytest.raises(Fenced):
        await desk.take("b")


async def test_long_unused_leases_are_forgotten_and_others_are_not(desk):
    old = await desk.take("a", "old")
    desk.wall.now += FORGET_S + 61
    new = await desk.take("a", "new")
    await desk.leases.load()
    assert not desk.holds(old, "old") and desk.holds(new, "new")


async def test_t40_a_clock_that_jumps_lets_others_take_over_early_or_late_and_nothing_else(desk):
    fence = await desk.take("a")
    desk.wall.now -= 86_400
    assert desk.holds(fence) and await desk.take("a") == fence
    with pytest.raises(Fenced):
        await desk.take("b")
    desk.wall.now += 2 * 86_400
    assert desk.holds(fence) and await desk.take("b") == fence + 1


async def test_t38_without_its_database_nothing_is_granted_and_what_is_known_still_holds(desk):
    fence = await desk.take("a")
    lock = sqlite3.connect(desk.path, isolation_level=None)
    lock.execute("begin exclusive")
    try:
        with pytest.raises(StoreUnavailable, match="cannot be used"):
            await desk.take("a")
        assert desk.holds(fence)
    finally:
        lock.close()
    assert await desk.take("a") == fence


async def test_a_directory_in_the_databases_place_is_told(tmp_path):
    (tmp_path / "executor.db").mkdir()
    store = Store(tmp_path / "executor.db")
    with pytest.raises(StoreUnavailable):
        await store.do(lambda connection: None)
    await store.close()


async def test_the_file_is_closed_to_others_and_writing_never_happens_on_the_loop(desk):
    await desk.take("a")
    assert desk.path.stat().st_mode & 0o077 == 0
    assert await desk.store.do(lambda _: threading.current_thread() is not threading.main_thread())


async def test_the_audit_keeps_order_and_sqlite_refuses_to_change_it(desk):
    audit = Audit(desk.store, desk.wall)
    for number in range(5):
        audit.note("kill", {"conversation": "c", "sandbox": f"s{number}", "reason": "idle", "tenant": "", "none": None})
    entries = await audit.after(0)
    assert [entry.sandbox for entry in entries] == ["s0", "s1", "s2", "s3", "s4"]
    assert entries[0].facts == {"reason": "idle"} and entries[0].at == desk.wall.now
    assert [entry.sandbox for entry in await audit.after(entries[2].id)] == ["s3", "s4"]
    assert len(await audit.after(0, 2)) == 2 and await audit.after(entries[-1].id) == []
    for statement in ("update audit set action = 'x'", "delete from audit", "delete from audit where id = 1"):
        with pytest.raises(StoreUnavailable, match="append-only"):
            await desk.store.do(lambda connection, statement=statement: connection.execute(statement))
    assert await audit.after(0) == entries


class Owners(RuleBasedStateMachine):
    """Owners that come, go, sleep and crash, against the rule of the thing: who holds the newest fence drives, alone."""

    owners = st.sampled_from(["a", "b", "c"])

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()

    @initialize()
    def start(self):
        self.directory = tempfile.TemporaryDirectory()
        self.desk = Desk(Path(self.directory.name) / "executor.db")
        self.fences: dict[str, int] = {}  # what each believes to hold
        self.newest, self.holder, self.until = 0, "", 0.0

    def teardown(self):
        if hasattr(self, "desk"):
            self.loop.run_until_complete(self.desk.store.close())
            self.directory.cleanup()
        self.loop.close()

    def do(self, work):
        return self.loop.run_until_complete(work)

    @rule(owner=owners, ttl=st.sampled_from([1.0, 30.0, 300.0]))
    def acquire(self, owner, ttl):
        free = not self.holder or self.holder == owner or self.until <= self.desk.wall.now
        try:
            fence = self.do(self.desk.take(owner, ttl_s=ttl))
        except Fenced:
            assert not free
            return
        assert free
        assert fence == self.newest if self.holder == owner else fence > self.newest
        self.fences[owner] = self.newest = fence
        self.holder, self.until = owner, self.desk.wall.now + ttl

    @rule(owner=owners)
    def renew(self, owner):
        fence = self.fences.get(owner, 0)
        try:
            self.do(self.desk.leases.renew("c", fence, 30))
        except Fenced:
            assert owner != self.holder
            return
        assert owner == self.holder and fence == self.newest
        self.until = self.desk.wall.now + 30

    @rule(owner=owners)
    def release(self, owner):
        try:
            self.do(self.desk.leases.release("c", self.fences.get(owner, 0)))
        except Fenced:
            assert owner != self.holder
            return
        assert owner == self.holder
        self.newest, self.holder = self.newest + 1, ""

    @rule(seconds=st.sampled_from([0.5, 20.0, 400.0]))
    def sleep(self, seconds):
        self.desk.wall.now += seconds

    @rule()
    def crash(self):
        self.do(self.desk.store.close())
        self.desk.open()
        self.do(self.desk.leases.load())

    @invariant()
    def only_the_holder_drives(self):
        if hasattr(self, "fences"):
            driving = [owner for owner, fence in self.fences.items() if self.desk.holds(fence)]
            assert driving == ([self.holder] if self.holder else [])


TestOwners = Owners.TestCase
TestOwners.settings = settings(
    max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
