"""Two servers with one database: what is revoked at one is revoked at the other, with news and without."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from orchestrator.adapters.bus_memory import MemoryBus
from orchestrator.users import watch
from tests.support.people import PASSWORD, Person, Team, accounts_settings, team


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[Team, Team]]:
    """Each with a bus of its own, so that neither hears of the other."""
    url = f"sqlite+aiosqlite:///{tmp_path}/shared.db"
    async with (
        team(accounts_settings(tmp_path / "a", store_url=url)) as one,
        team(accounts_settings(tmp_path / "b", store_url=url)) as two,
    ):
        yield one, two


async def both(pair: tuple[Team, Team]) -> tuple[Person, Person]:
    """The same person, signed in once, at each."""
    here = await pair[0].member("ann@example.org")
    there = pair[1].person("ann@example.org")
    there.http.cookie_jar.update_cookies({"codeact_login": here.secret()})
    assert (await there.ok("GET", "/api/auth/state"))["user"] == (await here.ok("GET", "/api/auth/state"))["user"]
    return here, there


async def test_a_session_of_one_server_is_one_of_the_other_and_ends_there_too(pair: tuple[Team, Team]) -> None:
    here, there = await both(pair)
    socket = await there.socket()
    await here.ok("POST", "/api/auth/logout")
    pair[1].people.sessions.forget_all()  # KNOWN_S later
    assert (await there.ask("GET", "/api/conversations"))[0] == 401
    await pair[1].people.watch.look()  # LOOK_S later
    assert (await socket.receive(timeout=10)).data == 4401


async def test_what_is_remembered_is_read_anew_after_a_moment(
    pair: tuple[Team, Team], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = await both(pair)
    monkeypatch.setattr("orchestrator.users.sessions.KNOWN_S", 0.0)
    pair[1].people.sessions.forget_all()
    assert (await there.ask("GET", "/api/conversations"))[0] == 200
    await here.ok("POST", "/api/auth/logout")
    assert (await there.ask("GET", "/api/conversations"))[0] == 401


async def test_looking_hangs_up_on_nobody_whose_session_holds(pair: tuple[Team, Team]) -> None:
    _, there = await both(pair)
    token = {"Authorization": f"Bearer {await there.token('read')}"}
    sockets = [await there.socket(), await pair[1].person("x").http.ws_connect(f"{there.url}/ws", headers=token)]
    await sockets[1].receive_json(timeout=10)
    await pair[1].people.watch.look()
    for socket in sockets:
        await socket.send_json({"type": "ping"})
        assert (await socket.receive_json(timeout=10))["type"] == "pong"


async def test_looking_goes_on_by_itself(pair: tuple[Team, Team], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "LOOK_S", 0.05)
    here, there = await both(pair)
    people = pair[1].people
    restarted = watch.Watch(
        people.sessions, pair[1].app.app.state.presence, pair[1].accounts.keys, MemoryBus(), lambda: 1.0
    )
    restarted._clock = people.watch._clock
    restarted.start()
    socket = await there.socket()
    await here.ok("POST", "/api/auth/logout")
    assert (await socket.receive(timeout=20)).data == 4401
    await restarted.close()


async def test_news_is_heard_over_a_bus_that_both_have(tmp_path: Path) -> None:
    """The bus is what replicas share; here it is one object in one process."""
    url = f"sqlite+aiosqlite:///{tmp_path}/shared.db"
    async with (
        team(accounts_settings(tmp_path / "a", store_url=url)) as one,
        team(accounts_settings(tmp_path / "b", store_url=url)) as two,
    ):
        shared = one.app.app.state.parts.bus
        people = two.people
        listening = watch.Watch(people.sessions, two.app.app.state.presence, two.accounts.keys, shared, time.time)
        listening.start()
        here, there = await both((one, two))
        socket = await there.socket()
        again = one.person("ann@example.org")
        await again.login()
        await again.ok("POST", "/api/auth/password", {"old": PASSWORD, "new": "a new password"})
        assert (await socket.receive(timeout=20)).data == 4401
        assert (await there.ask("GET", "/api/conversations"))[0] == 401
        assert (await here.ask("GET", "/api/conversations"))[0] == 401
        await listening.close()


async def test_tries_at_either_server_are_one_count(pair: tuple[Team, Team]) -> None:
    here, there = await both(pair)
    answers = await asyncio.gather(*(person.login("wrong password") for person in (here, there) for _ in range(4)))
    assert sorted(status for status, _, _ in answers) == [401] * 5 + [429] * 3


@pytest.mark.postgres
async def test_over_redis_and_postgresql_whoever_is_shut_out_at_one_is_out_at_the_other_at_once(
    tmp_path: Path, postgres: Any, redis: Any
) -> None:
    shared = {"store_url": postgres.database(), "bus_url": redis.url()}
    async with (
        team(accounts_settings(tmp_path / "a", **shared)) as one,
        team(accounts_settings(tmp_path / "b", **shared)) as two,
    ):
        admin = await one.member("admin@example.org")
        ann, there = await both((one, two))
        socket = await there.socket()
        assert (await there.ask("GET", "/api/conversations"))[0] == 200, "and remembered"
        await admin.ok("PATCH", f"/api/admin/users/{await ann.id()}", {"disabled": True})
        closing = await socket.receive(timeout=watch.LOOK_S - 5)  # told, not found out by looking
        while closing.type is aiohttp.WSMsgType.TEXT:
            closing = await socket.receive(timeout=watch.LOOK_S - 5)
        assert closing.data == 4401
        assert (await there.ask("GET", "/api/conversations"))[0] == 401
