"""Claims over HTTP: asking twice changes nothing, and two callers never drive one kernel."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time

import aiohttp
import pytest

from executor.wire import Closed, Outcome, Started
from executor.wire_claims import Claim
from tests.executor.calling import calling

pytestmark = pytest.mark.sandbox


async def test_a_claim_says_all_there_is_and_asking_again_changes_nothing(tmp_path, by):
    async with calling(tmp_path, **by) as (manager, caller):
        one, now = caller("one"), time.time()
        status, first = await one.claim(ttl_s=30)
        assert status == 201 and Claim.model_validate(first)
        assert (first["state"], first["fresh"], first["previous"], first["fence"], first["generation"]) == (
            ("idle", True, None, 1, 1)
        )
        assert now + 25 < first["lease_expires_at"] < time.time() + 31
        assert abs(first["idle_deadline"] - now - 3600) < 60 and abs(first["hard_deadline"] - now - 8.25 * 3600) < 60
        assert first["limits"]["memory"] == 1024**3
        status, again = await one.claim(ttl_s=30)
        assert status == 200 and again["sandbox_id"] == first["sandbox_id"] and again["fence"] == 1
        assert await one.text("x = 1\nprint(x)", again["fence"]) == "1\n"
        status, used = await one.claim()
        assert (status, used["fresh"], used["generation"]) == (200, False, 1)


async def test_existing_never_makes_one_and_fresh_always_does(tmp_path):
    async with calling(tmp_path) as (manager, caller):
        one = caller("one")
        status, said = await one.claim(want="existing")
        assert status == 404 and "no sandbox" in said["words"]
        _, first = await one.claim()
        await one.run("x = 1\nopen('f', 'w').write('kept')", first["fence"])
        status, same = await one.claim(want="existing")
        assert status == 200 and same["sandbox_id"] == first["sandbox_id"]
        status, fresh = await one.claim(want="fresh")
        assert status == 201 and fresh["sandbox_id"] != first["sandbox_id"] and fresh["fresh"]
        assert fresh["generation"] == 2 and fresh["previous"]["reason"] == "released"
        assert await one.text("print('x' in globals(), open('f').read())", fresh["fence"]) == "False kept\n"


async def test_two_orchestrators_never_drive_one_kernel(tmp_path, by):
    """The old owner is paused in the middle of a cell, loses its lease, and wakes up believing that it has it."""
    async with calling(tmp_path, **by) as (manager, caller):
        old, new = caller("old"), caller("new")
        _, held = await old.claim(ttl_s=10)
        assert await old.text("x = 'kept'", held["fence"]) == ""
        running = asyncio.create_task(old.run("print('go')\nwhile True: pass", held["fence"]))
        waiting = asyncio.create_task(old.run("x = 'driven by the old one'", held["fence"]))
        while not manager.runs_any("c"):
            await asyncio.sleep(0.01)
        status, said = await new.claim()
        assert status == 409 and "Another server" in said["words"]
        await old.send("POST", "c/lease", json={"fence": held["fence"], "ttl_s": 0.1})
        await asyncio.sleep(0.2)
        status, taken = await new.claim()
        assert status == 200 and taken["sandbox_id"] == held["sandbox_id"] and taken["fence"] == held["fence"] + 1
        for task in (running, waiting):
            _, events = await task
            assert events[-1].outcome is Outcome.INTERRUPTED and events[-1].variables_kept
        for method, path in (
            ("POST", "c/interrupt"),
            ("POST", "c/restart"),
            ("POST", "c/prepare"),
            ("DELETE", "c"),
            ("DELETE", "c/lease"),
        ):
            assert (await old.send(method, path, params={"fence": held["fence"]}))[0] == 409, path
            if path != "c/lease":
                assert (await old.send(method, path, headers={"X-Owner": "old"}))[0] == 409, path
        assert (await old.send("POST", "c/lease", json={"fence": held["fence"]}))[0] == 409
        assert (await old.run("x = 'old'", held["fence"]))[0] == 409 and (await old.run("x = 'old'"))[0] == 409
        assert await new.text("print(x)", taken["fence"]) == "kept\n"
        assert manager.counts.takeovers == 1
        actions = [entry.action for entry in await manager.audit.after(0)]
        assert actions.count("takeover") == 1 and actions.count("claim") == 1 and actions.count("grant") == 1


async def test_without_a_fence_a_lease_is_taken_in_the_callers_name(tmp_path):
    async with calling(tmp_path) as (manager, caller):
        one, two = caller("one"), caller("two")
        assert await one.text("x = 1\nprint(x)") == "1\n"
        assert manager.claims.leases.of("c").owner == "one"
        assert (await two.run("print(x)"))[0] == 409
        assert await one.text("print(x)") == "1\n" and manager.claims.leases.of("c").fence == 1
        status, renewed = await one.send("POST", "c/lease", json={"fence": 1, "ttl_s": 100})
        assert status == 200 and renewed["fence"] == 1 and renewed["lease_expires_at"] > time.time() + 90
        assert (await one.send("DELETE", "c/lease", params={"fence": 1}))[0] == 204
        assert await two.text("print(x)") == "1\n"


async def test_an_owner_who_runs_nothing_is_followed_at_once_and_one_who_does_is_not(tmp_path, by):
    """Somebody's messages go through one orchestrator and then another: neither waits for the other's lease to end."""
    async with calling(tmp_path, **by) as (manager, caller):
        one, two = caller("one"), caller("two")
        fence = 0
        for caller_now in (one, two, one):
            status, lease = await caller_now.send("PUT", "c/lease", json={"owner": caller_now.owner})
            assert (status, lease["fence"]) == (200, fence + 1)
            fence += 1
            assert await caller_now.text(f"x = {fence}\nprint(x)", fence) == f"{fence}\n"
        running = asyncio.create_task(one.run("import time\ntime.sleep(60)", fence))
        while not manager.runs_any("c"):
            await asyncio.sleep(0.01)
        assert (await two.send("PUT", "c/lease", json={"owner": "two"}))[0] == 409
        assert (await one.send("POST", "c/interrupt", params={"fence": fence, "wait": "true"}))[0] == 200
        await running
        status, lease = await two.send("PUT", "c/lease", json={"owner": "two"})
        assert (status, lease["fence"]) == (200, fence + 1)
        assert (await one.run("x = 'late'", fence))[0] == 409
        assert await two.text("print(x)", fence + 1) == "3\n"


async def test_a_caller_that_is_killed_in_a_cell_is_followed_as_soon_as_its_cell_is_stopped(tmp_path, by):
    async with calling(tmp_path, **by) as (manager, caller):
        one, two = caller("one"), caller("two")
        _, lease = await one.send("PUT", "c/lease", json={"owner": "one"})
        await one.run("x = 1", lease["fence"])
        running = asyncio.create_task(one.run("import time\ntime.sleep(60)", lease["fence"]))
        while not manager.runs_any("c"):
            await asyncio.sleep(0.01)
        running.cancel()  # its connection is gone, as that of a process that was killed
        await asyncio.wait([running])
        async with asyncio.timeout(10):
            while (await two.send("PUT", "c/lease", json={"owner": "two"}))[0] == 409:
                await asyncio.sleep(0.05)
        assert await two.text("print(x)", lease["fence"] + 1) == "1\n"


async def test_a_lease_alone_makes_no_sandbox_and_destroy_takes_it_along(tmp_path):
    async with calling(tmp_path) as (manager, caller):
        one = caller("one")
        status, lease = await one.send("PUT", "c/lease", json={"owner": "one"})
        assert status == 200 and lease["fence"] == 1 and manager._ledger.holding() == 0
        await one.run("open('f', 'w').write('x')", lease["fence"])
        assert (await one.send("DELETE", "c/lease", params={"fence": 1, "mode": "destroy"}))[0] == 204
        assert manager._ledger.holding() == 0 and (tmp_path / "workspaces" / "c" / "f").exists()


async def test_the_end_of_a_lease_ends_nothing(tmp_path):
    async with calling(tmp_path) as (manager, caller):
        one = caller("one")
        _, held = await one.claim(ttl_s=0.2)
        await one.run("x = 1", held["fence"])
        await asyncio.sleep(0.5)
        await manager.cull()
        assert await one.text("print(x)", held["fence"]) == "1\n"


async def test_another_profile_is_another_sandbox(tmp_path):
    async with calling(tmp_path) as (manager, caller):
        one = caller("one")
        _, first = await one.claim()
        await one.run("x = 1", first["fence"])
        status, second = await one.claim(profile="net")
        if status == 503:  # no way out is configured here
            assert "words" in second
        else:
            assert status == 201 and second["previous"]["reason"] == "spec_drift"
        assert manager.counts.ends["spec_drift"] == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"owner": ""},
        {"owner": "a b"},
        {"owner": "x" * 129},
        {"owner": None},
        {"ttl_s": 0},
        {"ttl_s": -1},
        {"ttl_s": 1e9},
        {"ttl_s": "NaN"},
        {"want": "all"},
        {"profile": "hostile"},
        {"tenant": "../x"},
        {"tenant": "a\nb"},
        {"more": 1},
    ],
)
async def test_a_malformed_claim_is_refused_and_takes_nothing(tmp_path, wrong):
    async with calling(tmp_path) as (manager, caller):
        one = caller("one")
        assert (await one.claim(**wrong))[0] == 422
        assert (await one.claim("a b"))[0] in (404, 422) and (await one.claim("x" * 65))[0] == 422
        assert manager._ledger.holding() == 0 and manager.claims.leases.of("c") is None


@pytest.mark.parametrize("fence", [0, -1, 2, 2**63, "1; drop table leases", "x"])
async def test_a_fence_that_is_none_is_refused(tmp_path, fence):
    async with calling(tmp_path) as (manager, caller):
        one = caller("one")
        await one.send("PUT", "c/lease", json={"owner": "one"})
        assert (await one.send("POST", "c/interrupt", params={"fence": fence}))[0] in (409, 422)
        assert (await one.send("DELETE", "c/lease", params={"fence": fence}))[0] in (409, 422)
        assert manager.claims.leases.of("c").owner == "one"


async def test_claims_and_the_audit_want_the_token(tmp_path):
    async with calling(tmp_path) as (manager, caller):
        base = caller("one").http._base_url
        async with aiohttp.ClientSession(base, headers={"Authorization": "Bearer wrong"}) as http:
            for method, path in (
                ("PUT", "/v1/conversations/c/sandbox"),
                ("PUT", "/v1/conversations/c/lease"),
                ("POST", "/v1/conversations/c/lease"),
                ("DELETE", "/v1/conversations/c/lease?fence=1"),
                ("GET", "/v1/audit"),
                ("POST", "/v1/admin/drain"),
            ):
                async with http.request(method, path, json={"owner": "one"}) as answer:
                    assert answer.status == 401, path
        assert not manager.draining


async def test_the_audit_tells_in_order_what_was_done_and_holds_no_code(tmp_path):
    async with calling(tmp_path) as (manager, caller):
        one = caller("one")
        _, held = await one.claim(tenant="team-a")
        await one.run("secret = 'hunter2'", held["fence"])
        await one.send("DELETE", "c", params={"fence": held["fence"]})
        async with one.http.get("/v1/audit") as answer:
            entries = await answer.json()
        assert [entry["action"] for entry in entries] == ["claim", "grant", "kill"]
        assert entries[0]["facts"]["owner"] == "one" and entries[1]["sandbox"] == held["sandbox_id"]
        assert entries[2]["facts"]["reason"] == "released" and "hunter2" not in json.dumps(entries)
        async with one.http.get("/v1/audit", params={"after": entries[1]["id"]}) as answer:
            assert [entry["id"] for entry in await answer.json()] == [entries[2]["id"]]
        for query in ("after=x", "limit=0", "limit=1000000"):
            async with one.http.get(f"/v1/audit?{query}") as answer:
                assert answer.status == 422


async def test_t41_drain_takes_no_claim_and_lets_cells_end(tmp_path, by):
    async with calling(tmp_path, **by) as (manager, caller):
        one, two = caller("one"), caller("two")
        _, held = await one.claim()
        running = asyncio.create_task(one.run("import time; time.sleep(1.5); print('done')", held["fence"]))
        await asyncio.sleep(0.5)
        async with one.http.post("/v1/admin/drain") as answer:
            assert answer.status == 204
        status, said = await two.claim("other")
        assert status == 503 and "restarted" in said["words"] and two.retry_after
        assert (await two.send("PUT", "other/lease", json={"owner": "two"}))[0] == 503
        _, refused = await two.run("1", conversation="other")
        assert isinstance(refused[-1], Closed) and refused[-1].outcome is Outcome.UNAVAILABLE
        _, events = await running
        assert events[-1].outcome is Outcome.OK


async def test_t38_while_the_database_is_away_cells_go_on_and_claims_are_refused(tmp_path):
    async with calling(tmp_path) as (manager, caller):
        one = caller("one")
        _, held = await one.claim(ttl_s=600)
        await one.text("x = 1", held["fence"])
        lock = sqlite3.connect(tmp_path / "executor.db", isolation_level=None)
        lock.execute("begin exclusive")
        try:
            assert await one.text("print(x)", held["fence"]) == "1\n"
            running = asyncio.create_task(one.run("import time; time.sleep(2); print('done')", held["fence"]))
            status, said = await one.claim("other")
            assert status == 503 and one.retry_after and "cannot be used" in said["words"]
            assert (await running)[1][-1].outcome is Outcome.OK and manager._ledger.holding() == 1
        finally:
            lock.close()
        assert (await one.claim("other"))[0] == 201


async def test_an_interrupt_can_be_waited_for_and_says_how_far_it_had_to_go(tmp_path):
    async with calling(tmp_path) as (manager, caller):
        one = caller("one")
        _, held = await one.claim()
        wait = {"fence": held["fence"], "wait": "true"}
        assert await one.send("POST", "c/interrupt", params=wait) == (200, {"rung": "none", "variables_kept": True})
        for code, rung, kept in (
            ("import time; time.sleep(60)", "interrupt", True),
            ("import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass", "restart", False),
        ):
            running = asyncio.create_task(one.run(code, held["fence"]))
            async with asyncio.timeout(20):
                while (await one.send("GET", "c"))[1]["state"] != "busy":
                    await asyncio.sleep(0.05)
            await asyncio.sleep(1)
            assert await one.send("POST", "c/interrupt", params=wait) == (200, {"rung": rung, "variables_kept": kept})
            _, events = await running
            assert events[-1].rung == rung and events[-1].outcome is Outcome.INTERRUPTED


async def test_t37_two_clients_and_two_hundred_claims_make_one_sandbox_a_conversation(tmp_path, by):
    """Twelve conversations here; fifty are in the measurements (leak_cycles), where nothing else runs beside them."""
    count = 12
    async with calling(tmp_path, **by, max=count + 4, memory_mb=256) as (manager, caller):
        clients = [caller("one"), caller("two")]
        asking = [clients[number // count % 2].claim(f"c{number % count}", ttl_s=600) for number in range(count * 8)]
        answers = await asyncio.gather(*asking)
        sandboxes: dict[str, set[str]] = {}
        for number, (status, said) in enumerate(answers):
            assert status in (200, 201, 409), said
            if status != 409:
                sandboxes.setdefault(f"c{number % count}", set()).add(said["sandbox_id"])
        assert len(sandboxes) == count and all(len(ids) == 1 for ids in sandboxes.values())
        assert manager._ledger.holding() == count and manager.counts.starts["cold"] == count
        assert sum(status == 201 for status, _ in answers) >= count
        owners = {manager.claims.leases.of(f"c{number}").owner for number in range(count)}
        assert owners <= {"one", "two"}


async def test_a_cell_after_a_loss_is_told_why_its_variables_are_gone(tmp_path):
    async with calling(tmp_path) as (manager, caller):
        one = caller("one")
        _, held = await one.claim()
        await one.run("x = 1", held["fence"])
        await one.run("import os; os._exit(1)", held["fence"])
        _, events = await one.run("print('x' in globals())", held["fence"])
        [started] = [event for event in events if isinstance(event, Started)]
        assert started.fresh and started.lost == ""  # the cell that it happened in has said so
        _, claim = await one.claim()
        assert claim["generation"] == 2 and claim["previous"]["reason"] == "kernel_died"
        manager._slots["c"].used -= 10**6
        await manager.cull()
        _, events = await one.run("1", held["fence"])
        [started] = [event for event in events if isinstance(event, Started)]
        assert started.fresh and "not used for a long time" in started.lost and "Files are kept" in started.lost
        _, events = await one.run("1", held["fence"])
        [started] = [event for event in events if isinstance(event, Started)]
        assert not started.fresh and started.lost == ""
