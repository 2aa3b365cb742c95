"""People at a server with accounts: each a browser with cookies of their own, and what they do with it."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from orchestrator.settings import Settings
from tests.support.app import App, serving, settings_for

PASSWORD = "three wise monkeys"
NO_MODEL = "http://127.0.0.1:9/v1"
NO_EXECUTOR = {"kernel_url": "http://127.0.0.1:9", "executor_token": "x" * 20}
"""Nobody listens there: what these tests ask needs neither."""


class Person:
    """A browser, signed in or not."""

    def __init__(self, url: str, email: str) -> None:
        self.url = url
        self.email = email
        self.http = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))

    async def ask(self, method: str, path: str, body: Any = None, **more: Any) -> tuple[int, Any, Any]:
        """Status, JSON (or text), headers."""
        if body is not None:
            more["json"] = body
        async with self.http.request(method, self.url + path, allow_redirects=False, **more) as answer:
            text = await answer.text()
            is_json = text and answer.content_type == "application/json"
            return answer.status, json.loads(text) if is_json else text, answer.headers

    async def ok(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        status, answer, _ = await self.ask(method, path, body, **more)
        assert status in (200, 204), (status, answer)
        return answer

    async def register(self, invite: str | None = None, password: str = PASSWORD) -> dict[str, Any]:
        body = {"email": self.email, "name": self.email.partition("@")[0], "password": password, "invite": invite}
        user: dict[str, Any] = (await self.ok("POST", "/api/auth/register", body))["user"]
        return user

    async def login(self, password: str = PASSWORD) -> tuple[int, Any, Any]:
        return await self.ask("POST", "/api/auth/login", {"email": self.email, "password": password})

    async def token(self, *scopes: str) -> str:
        made = await self.ok("POST", "/api/auth/tokens", {"label": "test", "scopes": list(scopes)})
        return str(made["token"])

    async def id(self) -> str:
        return str((await self.ok("GET", "/api/auth/state"))["user"]["id"])

    async def socket(self, **more: Any) -> aiohttp.ClientWebSocketResponse:
        """Connected, and greeted."""
        socket = await self.http.ws_connect(f"{self.url}/ws", headers={"Origin": self.url}, **more)
        assert (await socket.receive_json(timeout=20))["type"] == "hello"
        return socket

    def secret(self) -> str:
        """The session's cookie."""
        return next((cookie.value for cookie in self.http.cookie_jar if cookie.key == "codeact_login"), "")


class Team:
    """A running server with accounts. `admin` was the first to register."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.url = app.url
        self._people: list[Person] = []

    @property
    def people(self) -> Any:
        return self.app.app.state.people

    @property
    def accounts(self) -> Any:
        return self.app.app.state.parts.accounts

    def person(self, email: str) -> Person:
        person = Person(self.url, email)
        self._people.append(person)
        return person

    async def member(self, email: str, **more: Any) -> Person:
        """Registered and signed in."""
        person = self.person(email)
        await person.register(**more)
        return person

    async def close(self) -> None:
        for person in self._people:
            await person.http.close()


def accounts_settings(data_dir: Path, model_url: str = NO_MODEL, **more: Any) -> Settings:
    return settings_for(data_dir, model_url, **{"auth": "accounts", "registration": "open", **NO_EXECUTOR, **more})


@asynccontextmanager
async def team(settings: Settings) -> AsyncGenerator[Team, None]:
    async with serving(settings) as app:
        one = Team(app)
        try:
            yield one
        finally:
            await one.close()
