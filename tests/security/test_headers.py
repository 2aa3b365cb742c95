"""Headers of every kind of answer, and that nginx says the same of files as the backend of its answers."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from orchestrator.security import FRAME_POLICY, PAGE_POLICY
from tests.support.people import PASSWORD, Team, accounts_settings, team

in_one_loop = pytest.mark.asyncio(loop_scope="module")

NGINX = Path(__file__).parents[2] / "frontend" / "nginx"
HTTPS = "https://chat.example.org"
BEHIND_TLS = {"Host": "chat.example.org"}

EVERYWHERE = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
PATHS = ("/", "/c/abc", "/icon.svg", "/theme.js", "/assets/none.js", "/frame.html", "/healthz", "/api/auth/state",
         "/api/none", "/v1/models", "/api/conversations")  # fmt: skip


def ui(folder: Path) -> Path:
    """A page of the same file names as the built one."""
    folder.mkdir()
    for name in ("index.html", "frame.html", "icon.svg", "theme.js"):
        (folder / name).write_text("<!doctype html>")
    return folder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plain(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Team]:
    folder = tmp_path_factory.mktemp("plain")
    async with team(accounts_settings(folder / "data", ui_dir=ui(folder / "ui"))) as one:
        yield one


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def behind_tls(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Team]:
    folder = tmp_path_factory.mktemp("tls")
    async with team(accounts_settings(folder / "data", ui_dir=ui(folder / "ui"), public_url=HTTPS)) as one:
        yield one


def directives(policy: str) -> dict[str, list[str]]:
    return {name: sources for name, *sources in (part.split() for part in policy.split(";") if part.strip())}


def test_the_pages_policy_allows_nothing_inline() -> None:
    page = directives(PAGE_POLICY)
    assert "unsafe" not in PAGE_POLICY and "*" not in PAGE_POLICY
    assert page["script-src"] == page["style-src"] == ["'self'"] and "data:" not in page["default-src"]
    assert page["frame-ancestors"] == page["object-src"] == page["base-uri"] == page["form-action"] == ["'none'"]


def test_the_frame_of_outputs_has_no_origin_and_reaches_nothing() -> None:
    frame = directives(FRAME_POLICY)
    assert (
        frame["sandbox"] == ["allow-scripts"]
        and frame["default-src"] == ["'none'"]
        and frame["frame-ancestors"] == ["'self'"]
    )
    for name, sources in frame.items():
        assert name == "sandbox" or set(sources) <= {
            "'none'",
            "'self'",
            "'unsafe-inline'",
            "'unsafe-eval'",
            "data:",
            "blob:",
        }
    assert "'self'" not in {source for name in frame if name.endswith("-src") for source in frame[name]}
    assert "connect-src" not in frame, "nothing but the default, which is none"


@in_one_loop
@pytest.mark.parametrize("path", PATHS)
async def test_every_answer_has_them(plain: Team, path: str) -> None:
    _, _, headers = await plain.person("nobody").ask("GET", path)
    assert {name: headers.get(name) for name in EVERYWHERE} == EVERYWHERE
    assert headers.getall("Content-Security-Policy") == [FRAME_POLICY if path == "/frame.html" else PAGE_POLICY]
    assert "Strict-Transport-Security" not in headers, "nothing here is behind TLS"
    assert ("Cross-Origin-Opener-Policy" in headers) == (path in ("/", "/c/abc"))
    assert not [name for name in headers if name.lower().startswith("access-control")]


@in_one_loop
@pytest.mark.parametrize("path", PATHS)
async def test_behind_tls_browsers_are_told_to_stay_there(behind_tls: Team, path: str) -> None:
    _, _, headers = await behind_tls.person("nobody").ask("GET", path, headers=BEHIND_TLS)
    assert headers["Strict-Transport-Security"] == "max-age=31536000"


async def sign_up(here: Team, **headers: str) -> tuple[str, Any]:
    body = {"email": "ann@example.org", "name": "Ann", "password": PASSWORD}
    status, answer, told = await here.person("ann@example.org").ask("POST", "/api/auth/register", body, headers=headers)
    assert status == 200, answer
    [cookie] = told.getall("Set-Cookie")
    return cookie, told


@in_one_loop
async def test_the_session_is_out_of_reach_of_scripts_and_of_other_sites(plain: Team, behind_tls: Team) -> None:
    cookie, headers = await sign_up(plain)
    assert cookie.startswith("codeact_login=") and headers["Cache-Control"] == "no-store"
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; ")) and "Domain" not in cookie
    cookie, _ = await sign_up(behind_tls, Host="chat.example.org", Origin=HTTPS)
    assert cookie.startswith("__Host-codeact=") and "Domain" not in cookie
    assert {"HttpOnly", "SameSite=Strict", "Path=/", "Secure"} <= set(cookie.split("; "))


def said(name: str) -> dict[str, str]:
    """The headers that a file of nginx's adds, those it includes too."""
    text = (NGINX / name).read_text()
    found = {key: value.strip('"') for key, value in re.findall(r'^add_header (\S+) (".*?"|\S+) always;$', text, re.M)}
    for other in re.findall(r"^include /etc/nginx/codeact/(\S+);$", text, re.M):
        found |= said(other)
    return found


def test_nginx_says_the_same_of_files() -> None:
    tls = {"Strict-Transport-Security": "$hsts"}
    page = {"Content-Security-Policy": PAGE_POLICY, "Cross-Origin-Opener-Policy": "same-origin"}
    assert said("page-headers.conf") == {**page, **EVERYWHERE, **tls}
    assert said("frame-headers.conf") == {"Content-Security-Policy": FRAME_POLICY, **EVERYWHERE, **tls}
    assert 'map $forwarded_proto $hsts { https "max-age=31536000"; default ""; }' in (NGINX / "nginx.conf").read_text()


def test_no_place_of_nginxs_forgets_them() -> None:
    """`add_header` in a place silently drops what the places around it add: each has to include the set again."""
    for place in re.findall(r"location ([^{]+)\{(.*?)\n    \}", (NGINX / "site.conf").read_text(), re.S):
        assert (
            re.search(r"include /etc/nginx/codeact/(page-headers|frame-headers|backend)\.conf;", place[1])
            or "/proxyz" in place[0]
        )


def test_what_the_backend_says_of_tls_is_not_said_twice() -> None:
    assert "proxy_hide_header Strict-Transport-Security;" in (NGINX / "backend.conf").read_text()
