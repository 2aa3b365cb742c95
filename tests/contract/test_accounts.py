"""What is kept of people: SQLite and PostgreSQL, one suite."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.accounts import (
    Accounts,
    Flow,
    Identity,
    InviteRecord,
    SessionRecord,
    TokenRecord,
    UserRecord,
)
from orchestrator.adapters import accounts as adapter
from orchestrator.adapters import store_sql


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/store.db"
    return str(request.getfixturevalue("postgres").database())


@pytest.fixture
async def store(url: str) -> AsyncIterator[store_sql.SqlStore]:
    store = store_sql.create(url)
    await store.migrate()
    yield store
    await store.close()


@pytest.fixture
def kept(store: store_sql.SqlStore) -> Accounts:
    return adapter.create(store.database)


def user(id: str, **more: Any) -> UserRecord:
    fields: dict[str, Any] = {
        "id": id, "email": f"{id}@example.org", "name": id.title(), "role": "user", "group": "", "password": f"hash {id}",
        "disabled": False, "created_at": 10.0,
    }  # fmt: skip
    return UserRecord(**(fields | more))


async def add(kept: Accounts, id: str, **more: Any) -> UserRecord:
    record = user(id, **more)
    assert await kept.users.add(record, founder=False, invite="", identity=None) == "added"
    return record


def session(id: str, of: str = "ann", **more: Any) -> SessionRecord:
    fields: dict[str, Any] = {
        "id": id, "user": of, "how": "password", "agent": "a browser", "address": "192.0.2.1", "created_at": 10.0,
        "seen_at": 10.0, "expires_at": 100.0,
    }  # fmt: skip
    return SessionRecord(**(fields | more))


def token(id: str, of: str = "ann", **more: Any) -> TokenRecord:
    fields: dict[str, Any] = {
        "id": id, "user": of, "label": "cli", "begins": "cat_abc", "scopes": "chat read", "created_at": 10.0,
        "used_at": None, "expires_at": None,
    }  # fmt: skip
    return TokenRecord(**(fields | more))


def invite(id: str, **more: Any) -> InviteRecord:
    fields: dict[str, Any] = {
        "id": id, "email": "", "role": "user", "group": "", "made_by": "ann", "created_at": 10.0, "expires_at": 100.0,
    }  # fmt: skip
    return InviteRecord(**(fields | more))


# ---- users -------------------------------------------------------------------------------------------------------------


async def test_a_user_is_found_by_id_address_and_identity(kept: Accounts) -> None:
    assert not await kept.users.any()
    record, identity = user("ann", password=None, group="lab"), Identity("oidc", "ann-1")
    assert await kept.users.add(record, founder=False, invite="", identity=identity) == "added"
    assert await kept.users.any()
    for found in (
        await kept.users.by_id("ann"), await kept.users.by_email("ann@example.org"), await kept.users.by_identity(identity),
    ):  # fmt: skip
        assert found == record and found.disabled is False
    assert await kept.users.by_identity(Identity("other", "ann-1")) is None
    assert await kept.users.by_email("Ann@example.org") is None, "addresses come normalised"
    assert await kept.users.all() == [(record, ["oidc"])]


async def test_there_is_one_founder_and_they_get_what_was_nobodys(kept: Accounts, store: store_sql.SqlStore) -> None:
    await store.create_conversation("local", "old", "", 1.0)
    results = await asyncio.gather(
        *(kept.users.add(user(f"u{n}", role="admin"), founder=True, invite="", identity=None) for n in range(8))
    )
    assert sorted(results) == ["added", *["not_first"] * 7]
    [(founder, _)] = await kept.users.all()
    assert await store.user_of("old") == founder.id


async def test_an_address_and_an_identity_are_taken_once_even_at_once(kept: Accounts) -> None:
    records = [user(f"u{n}", email="same@example.org") for n in range(6)]
    results = await asyncio.gather(*(kept.users.add(one, founder=False, invite="", identity=None) for one in records))
    assert sorted(results) == ["added", *["email_taken"] * 5]
    who = Identity("oidc", "x")
    others = [user(f"v{n}") for n in range(6)]
    results = await asyncio.gather(*(kept.users.add(one, founder=False, invite="", identity=who) for one in others))
    assert sorted(results) == ["added", *["identity_taken"] * 5]
    assert len(await kept.users.all()) == 2, "who is refused is not there by half"
    for one, _ in await kept.users.all():
        assert await kept.users.identify(one.id, who, 1.0) is (one.id == (await kept.users.by_identity(who)).id)


async def test_an_invitation_is_used_once_by_whom_it_is_for_and_in_time(kept: Accounts) -> None:
    await add(kept, "ann")
    await kept.users.invite(invite("i1"), "h1")
    await kept.users.invite(invite("i2", email="eve@example.org", role="admin", group="lab"), "h2")
    await kept.users.invite(invite("i3", expires_at=9.0), "h3")
    assert await kept.users.invitation("h2", 10.0) == invite("i2", email="eve@example.org", role="admin", group="lab")
    assert await kept.users.invitation("h3", 10.0) is None
    many = [user(f"u{n}") for n in range(6)]
    results = await asyncio.gather(*(kept.users.add(one, founder=False, invite="h1", identity=None) for one in many))
    assert sorted(results) == ["added", *["no_invite"] * 5]
    for hash in ("h1", "h2", "h3", "nobody's"):
        assert await kept.users.add(user("bob"), founder=False, invite=hash, identity=None) == "no_invite"
    assert await kept.users.add(user("eve"), founder=False, invite="h2", identity=None) == "added"
    lines = await kept.users.invitations(10.0)
    assert sorted((line.id, line.used_by is not None) for line in lines) == [("i1", True), ("i2", True)]
    assert not await kept.users.withdraw("i1"), "it is history"
    await kept.users.invite(invite("i4"), "h4")
    assert await kept.users.withdraw("i4") and not await kept.users.withdraw("i4")


async def test_a_user_is_changed_but_never_the_last_who_can_change_it_back(kept: Accounts) -> None:
    await add(kept, "ann", role="admin")
    await add(kept, "bob")
    assert (await kept.users.change("bob", None, None, "lab")) == user("bob", group="lab")
    assert (await kept.users.change("bob", None, True, None)) == user("bob", group="lab", disabled=True)
    assert await kept.users.change("ann", "user", None, None) is None
    assert await kept.users.change("ann", None, True, None) is None
    assert await kept.users.change("nobody", "admin", None, None) is None
    await kept.users.change("bob", "admin", None, None)
    assert await kept.users.change("ann", "user", None, None) is None, "a disabled administrator is none"
    await kept.users.change("bob", None, False, None)
    results = await asyncio.gather(kept.users.change("ann", "user", None, None), kept.users.change("bob", None, True, None))
    assert [result is None for result in results].count(True) == 1


async def test_a_password_is_set_over_the_one_that_was_checked_and_no_other(kept: Accounts) -> None:
    await add(kept, "ann")
    await add(kept, "ida", password=None)
    assert not await kept.users.set_password("ann", "another hash", "new")
    assert not await kept.users.set_password("ann", None, "new")
    assert await kept.users.set_password("ann", "hash ann", "new")
    assert await kept.users.set_password("ida", None, "first") and not await kept.users.set_password("ida", None, "second")
    results = await asyncio.gather(*(kept.users.set_password("ann", "new", f"new {n}") for n in range(6)))
    assert results.count(True) == 1


async def test_a_reset_works_once_in_time_and_only_the_newest(kept: Accounts) -> None:
    await add(kept, "ann")
    await kept.users.offer_reset("ann", "r1", 100.0)
    await kept.users.offer_reset("ann", "r2", 100.0)
    assert await kept.users.reset("r1", "new", 10.0) is None
    assert await kept.users.reset("r2", "new", 100.0) is None, "too late"
    results = await asyncio.gather(*(kept.users.reset("r2", "new", 10.0) for _ in range(6)))
    assert sorted(results, key=str) == [*[None] * 5, "ann"]
    assert (await kept.users.by_id("ann")).password == "new"
    await kept.users.offer_reset("ann", "r3", 100.0)
    assert await kept.users.set_password("ann", "new", "newer")
    assert await kept.users.reset("r3", "x", 10.0) is None, "whoever knows the password needs no link"


# ---- keys --------------------------------------------------------------------------------------------------------------


async def test_a_session_holds_until_it_ends_expires_or_its_user_is_disabled(kept: Accounts) -> None:
    await add(kept, "ann", role="admin")
    await add(kept, "bob", role="admin")
    await kept.keys.add_session(session("s1"), "h1")
    known = await kept.keys.session("h1", 50.0)
    assert (known.id, known.user, known.role, known.scopes, known.seen_at) == ("s1", "ann", "admin", "", 10.0)
    assert await kept.keys.session("h1", 100.0) is None and await kept.keys.session("h2", 50.0) is None
    await kept.keys.renew("s1", 50.0, 200.0)
    assert (await kept.keys.session("h1", 100.0)).seen_at == 50.0
    await kept.keys.rotate("s1", "h1'")
    assert await kept.keys.session("h1", 50.0) is None and await kept.keys.session("h1'", 50.0) is not None
    await kept.users.change("ann", None, True, None)
    assert await kept.keys.session("h1'", 50.0) is None
    await kept.users.change("ann", None, False, None)
    assert not await kept.keys.end_session("bob", "s1") and await kept.keys.end_session("ann", "s1")
    assert await kept.keys.session("h1'", 50.0) is None


async def test_sessions_are_listed_and_ended_per_user(kept: Accounts) -> None:
    await add(kept, "ann")
    await add(kept, "bob")
    for n in range(3):
        await kept.keys.add_session(session(f"a{n}", seen_at=10.0 + n), f"a{n}")
    await kept.keys.add_session(session("b", of="bob"), "b")
    await kept.keys.add_session(session("old", expires_at=20.0), "old")
    assert [line.id for line in await kept.keys.sessions("ann", 50.0)] == ["a2", "a1", "a0"]
    await kept.keys.end_sessions("ann", "a1")
    assert [line.id for line in await kept.keys.sessions("ann", 50.0)] == ["a1"]
    await kept.keys.end_sessions("ann", "")
    assert await kept.keys.sessions("ann", 50.0) == [] and len(await kept.keys.sessions("bob", 50.0)) == 1


async def test_tokens_hold_until_they_expire_or_are_removed(kept: Accounts) -> None:
    await add(kept, "ann")
    await add(kept, "bob")
    assert await kept.keys.add_token(token("t1"), "h1", 9)
    assert await kept.keys.add_token(token("t2", expires_at=100.0), "h2", 9)
    known = await kept.keys.token("h1", 1e9)
    assert (known.id, known.user, known.scopes, known.seen_at) == ("t1", "ann", "chat read", None)
    assert await kept.keys.token("h2", 99.0) is not None and await kept.keys.token("h2", 100.0) is None
    await kept.keys.used("t1", 60.0)
    assert {line.id: line.used_at for line in await kept.keys.tokens("ann")} == {"t1": 60.0, "t2": None}
    assert await kept.keys.tokens("bob") == [] and not await kept.keys.end_token("bob", "t1")
    assert await kept.keys.end_token("ann", "t1") and await kept.keys.token("h1", 50.0) is None


async def test_nobody_gets_more_tokens_than_one_may_by_asking_at_once(kept: Accounts) -> None:
    await add(kept, "ann")
    made = await asyncio.gather(*(kept.keys.add_token(token(f"t{n}"), f"h{n}", 5) for n in range(12)))
    assert made.count(True) == 5 and len(await kept.keys.tokens("ann")) == 5


async def test_which_of_many_keys_hold_is_one_question(kept: Accounts) -> None:
    for name in ("ann", "bob", "eve"):
        await add(kept, name, role="admin" if name == "eve" else "user")
    await kept.keys.add_session(session("s1"), "s1")
    await kept.keys.add_session(session("s2", of="bob"), "s2")
    await kept.keys.add_session(session("s3", expires_at=20.0), "s3")
    await kept.keys.add_token(token("t1", of="eve"), "t1", 9)
    await kept.users.change("bob", None, True, None)
    asked = ["s1", "s2", "s3", "t1", *(f"x{n}" for n in range(1200))]
    assert await kept.keys.holding(asked, 50.0) == {"s1": "user", "t1": "admin"}
    assert await kept.keys.holding([], 50.0) == {}


async def test_what_has_expired_is_forgotten_and_nothing_else(kept: Accounts) -> None:
    await add(kept, "ann")
    await kept.keys.add_session(session("old", expires_at=20.0), "old")
    await kept.keys.add_session(session("new"), "new")
    await kept.users.offer_reset("ann", "r", 100.0)
    await kept.attempts.count([("key", 1, 30.0)], 50.0)
    await kept.keys.tidy(50.0)
    assert [line.id for line in await kept.keys.sessions("ann", 0.0)] == ["new"]
    assert await kept.attempts.count([("key", 1, 30.0)], 51.0) > 0
    assert await kept.users.reset("r", "new", 60.0) == "ann"


# ---- attempts, flows, audit --------------------------------------------------------------------------------------------


async def test_tries_are_counted_in_windows_and_many_at_once_are_as_many(kept: Accounts) -> None:
    waits = await asyncio.gather(*(kept.attempts.count([("a", 5, 60.0), ("b", 100, 60.0)], 1000.0) for _ in range(12)))
    assert sorted(waits) == [0.0] * 5 + [60.0] * 7
    assert await kept.attempts.count([("a", 5, 60.0)], 1059.0) == 1.0
    assert await kept.attempts.count([("a", 5, 60.0)], 1060.0) == 0.0, "a new window"
    await kept.attempts.forgive(["a"], ["b"])
    assert await kept.attempts.count([("a", 1, 60.0)], 1061.0) == 0.0
    assert await kept.attempts.count([("b", 12, 60.0)], 1059.0) == 0.0, "one was given back: this is the twelfth again"
    assert await kept.attempts.count([("b", 12, 60.0)], 1059.0) == 1.0


async def test_a_visit_is_taken_up_once_and_in_time(kept: Accounts) -> None:
    flow = Flow("state", "browser", "oidc", "nonce", "verifier", "/", "", "", 100.0)
    await kept.flows.begin(flow)
    taken = await asyncio.gather(*(kept.flows.take("state", 50.0) for _ in range(6)))
    assert sorted(taken, key=str) == [flow, *[None] * 5]
    await kept.flows.begin(flow)
    assert await kept.flows.take("state", 100.0) is None and await kept.flows.take("state", 50.0) is None


async def test_the_audit_is_read_backwards_in_pages(kept: Accounts) -> None:
    for n in range(5):
        await kept.audit.write(float(n), "ann", f"did.{n}", "x\u2603", {"n": n, "why": None, "ok": True})
    lines = await kept.audit.read(None, 2)
    assert [line.action for line in lines] == ["did.4", "did.3"] and lines[0].details == {"n": 4, "why": None, "ok": True}
    assert [line.action for line in await kept.audit.read(lines[-1].id, 10)] == ["did.2", "did.1", "did.0"]
