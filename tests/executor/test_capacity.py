"""Room: who gets a sandbox when there are not enough, in which order, and what the others are told."""

from __future__ import annotations

import asyncio
import time

import pytest

from executor import words
from executor.admission import Admission, Full, OverQuota
from executor.ledger import Ledger
from executor.lifecycle import Life, Reason, State, Step
from executor.settings import Settings
from executor.wire import KernelState, Outcome
from tests.executor.calling import calling
from tests.support.kernels import Chat, managing

# ---- the queue alone -------------------------------------------------------------------------------------------------


class Host:
    """An admission over a ledger, with sandboxes that are only lives."""

    def __init__(self, **settings) -> None:
        self.ledger = Ledger()
        self.idle: list[Life] = []
        chosen = Settings(_env_file=None, **{"max": 2, "queue_s": 30, **settings})
        self.admission = Admission(chosen, self.ledger, self.evict)
        self.ledger.changed = self.admission.pump
        self.granted: list[str] = []

    def evict(self, tenant: str | None) -> bool:
        for life in self.idle:
            if tenant in (None, life.tenant):
                self.idle.remove(life)
                life.kill(Reason.EVICTED_CAPACITY)
                return True
        return False

    def wish(self, id: str, tenant: str = "") -> Life:
        return self.ledger.wish(id, f"chat-{id}", tenant)

    async def admit(self, life: Life) -> Life:
        await self.admission.admit(life)
        self.granted.append(life.id)
        return life

    async def leased(self, id: str, tenant: str = "") -> Life:
        life = await self.admit(self.wish(id, tenant))
        life.step(Step.MADE)
        life.step(Step.READY)
        return life


def end(life: Life) -> None:
    life.kill(Reason.RELEASED)
    life.step(Step.END)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_those_that_wait_are_served_in_their_order():
    host = Host()
    one, two = await host.leased("1"), await host.leased("2")
    waiting = [asyncio.create_task(host.admit(host.wish(id))) for id in "345"]
    await settle()
    assert host.granted == ["1", "2"] and host.admission.spare == 0
    end(one)
    await settle()
    assert host.granted == ["1", "2", "3"]
    end(two)
    end(waiting[0].result())
    await settle()
    assert host.granted == ["1", "2", "3", "4", "5"]


async def test_whoever_gives_up_leaves_the_queue_to_the_next():
    host = Host(max=1)
    one = await host.leased("1")
    first, second = (asyncio.create_task(host.admit(host.wish(id))) for id in "23")
    await settle()
    first.cancel()
    await settle()
    end(one)
    await settle()
    assert host.granted == ["1", "3"] and second.done()


async def test_the_wait_has_an_end_and_its_words_say_what_to_do():
    host = Host(max=1, queue_s=0.3)
    await host.leased("1")
    began = time.monotonic()
    with pytest.raises(Full) as refused:
        await host.admit(host.wish("2"))
    assert 0.2 < time.monotonic() - began < 5 and str(refused.value) == words.all_taken(1)
    assert host.ledger.counts.refusals["capacity"] == 1


async def test_no_more_are_ended_than_are_waited_for():
    host = Host(max=3)
    host.idle = [await host.leased(id) for id in "123"]
    tasks = [asyncio.create_task(host.admit(host.wish(id))) for id in "45"]
    await settle()
    assert len(host.idle) == 1 and host.granted == ["1", "2", "3"]
    dying = [life for life in host.ledger._lives.values() if life.state is State.KILLING]
    for life in dying:
        life.step(Step.END)
    await settle()
    assert len(host.idle) == 1 and host.granted[3:] == ["4", "5"] and all(task.done() for task in tasks)


async def test_a_tenant_at_its_limit_loses_its_own_idle_one_or_is_refused():
    host = Host(max=10, per_tenant=2)
    mine = [await host.leased("1", "a"), await host.leased("2", "a")]
    await host.leased("3", "b")
    wish = host.wish("4", "a")
    with pytest.raises(OverQuota):
        host.admission.check_quota(wish)
    host.idle = [mine[0]]
    host.admission.check_quota(wish)
    assert mine[0].reason is Reason.EVICTED_CAPACITY
    host.admission.check_quota(host.wish("5", "b"))
    with pytest.raises(OverQuota):
        host.admission.check_quota(host.wish("6", "b"))  # three, the wish included


async def test_a_hundred_at_once_never_exceed_the_limit():
    host = Host(max=7)
    most = 0

    async def one(id: int) -> None:
        nonlocal most
        life = await host.leased(str(id))
        most = max(most, host.ledger.holding())
        await asyncio.sleep(0.001)
        end(life)

    await asyncio.gather(*(one(id) for id in range(100)))
    assert most == 7 and host.ledger.holding() == 0 and host.ledger._lives == {}


# ---- with real sandboxes ---------------------------------------------------------------------------------------------


@pytest.mark.sandbox
async def test_a_cell_waits_in_line_until_a_sandbox_is_idle_for_long_enough(tmp_path):
    async with managing(tmp_path, max=1, queue_s=60) as manager:
        busy, other = Chat(manager), Chat(manager)
        running = asyncio.create_task(busy.run("import time; time.sleep(1)"))
        while (await manager.status(busy.id)).state is not KernelState.BUSY:
            await asyncio.sleep(0.05)
        ran = await other.run("print('at last')")
        assert ran.text() == "at last\n" and (await running).outcome is Outcome.OK
        assert manager.counts.ends["evicted_capacity"] == 1
        back = await busy.run("1")
        assert "needed for another conversation" in back.started.lost


@pytest.mark.sandbox
async def test_a_cell_that_waits_in_line_can_be_stopped(tmp_path):
    async with managing(tmp_path, max=1, queue_s=60) as manager:
        busy, other = Chat(manager), Chat(manager)
        running = asyncio.create_task(busy.run("import time; time.sleep(30)"))
        while (await manager.status(busy.id)).state is not KernelState.BUSY:
            await asyncio.sleep(0.05)
        waiting = asyncio.create_task(other.run("1"))
        await asyncio.sleep(0.5)
        began = time.monotonic()
        await manager.interrupt(other.id)
        assert not (await waiting).began and time.monotonic() - began < 2
        await manager.interrupt(busy.id)
        await running


@pytest.mark.sandbox
async def test_over_http_no_room_is_503_and_a_quota_429_both_with_a_time_to_come_back(tmp_path):
    async with calling(tmp_path, max=2, per_tenant=1, queue_s=0) as (manager, caller):
        one = caller("one")
        _, held = await one.claim("a", tenant="team")
        running = asyncio.create_task(one.run("import time; time.sleep(3)", held["fence"], "a"))
        while (await manager.status("a")).state is not KernelState.BUSY:
            await asyncio.sleep(0.05)
        status, said = await one.claim("b", tenant="team")
        assert status == 429 and one.retry_after and "at a time" in said["words"]
        assert (await one.claim("c", tenant="other"))[0] == 201
        status, said = await one.claim("d", tenant="third")
        assert status == 503 and one.retry_after and said["words"] == words.all_taken(2)
        _, events = await one.run("1", conversation="e")
        assert events[-1].outcome is Outcome.UNAVAILABLE and words.all_taken(2) in events[-1].words
        assert (await running)[1][-1].outcome is Outcome.OK
        assert manager.counts.refusals["quota"] == 1 and manager.counts.refusals["capacity"] == 2
        assert manager.counts.outcomes["capacity"] == 1
