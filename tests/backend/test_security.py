"""Only you: what other pages, other names and strangers get from a server without accounts is 403."""

from __future__ import annotations

import logging
import stat
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from orchestrator.security import COOKIE, OnlyYou, session_token

TOKEN = "t" * 43


def make() -> TestClient:
    async def index(_: Request) -> HTMLResponse:
        return HTMLResponse("<p>hi")

    async def data(_: Request) -> JSONResponse:
        return JSONResponse({"secret": 1})

    async def live(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text("hi")

    app = Starlette(
        routes=[
            Route("/", index),
            Route("/frame.html", index),
            Route("/api/x", data, methods=["GET", "POST"]),
            Route("/v1/models", data, methods=["GET", "POST"]),
            WebSocketRoute("/ws", live),
        ]
    )
    return TestClient(OnlyYou(app, token=TOKEN, hosts=["chat.example"]), base_url="http://localhost:8000")


@pytest.fixture
def client() -> TestClient:
    return make()


@pytest.fixture
def page(client: TestClient) -> TestClient:
    client.get("/")
    return client


def test_the_page_gives_the_session_and_the_session_opens_the_api(page: TestClient) -> None:
    assert page.get("/api/x").status_code == 200
    with page.websocket_connect("ws://localhost:8000/ws") as socket:
        assert socket.receive_text() == "hi"


def test_without_the_session_the_api_is_closed(client: TestClient) -> None:
    assert client.get("/api/x").status_code == 403
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("ws://localhost:8000/ws"):
        pass


def test_a_wrong_session_is_no_session(client: TestClient) -> None:
    assert client.get("/api/x", headers={"cookie": f"{COOKIE}=guess"}).status_code == 403
    assert client.get("/api/x", headers={"authorization": "Bearer guess"}).status_code == 403


def test_programs_use_the_token_as_a_bearer(client: TestClient) -> None:
    assert client.get("/api/x", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_the_cookie_is_same_site_and_out_of_reach_of_scripts(client: TestClient) -> None:
    cookie = client.get("/").headers["set-cookie"].lower()
    assert "samesite=strict" in cookie and "httponly" in cookie


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "", "a@localhost"])
def test_another_name_is_refused_so_that_rebinding_a_name_gains_nothing(page: TestClient, host: str) -> None:
    for path in ("/", "/api/x", "/v1/models"):
        assert page.get(path, headers={"host": host}).status_code == 403


@pytest.mark.parametrize("host", ["localhost:9000", "127.0.0.1:8000", "[::1]:8000", "chat.example", "LOCALHOST"])
def test_our_names_are_answered_on_any_port(page: TestClient, host: str) -> None:
    assert page.get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:9999", "https://localhost", "file://", "http://[", "x"]
)
def test_pages_of_another_origin_are_refused_everywhere(page: TestClient, origin: str) -> None:
    for path in ("/api/x", "/v1/models"):
        assert page.post(path, headers={"origin": origin}).status_code == 403
    with pytest.raises(WebSocketDisconnect), page.websocket_connect("ws://localhost:8000/ws", headers={"origin": origin}):
        pass


def test_our_own_page_is_let_in(page: TestClient) -> None:
    assert page.post("/api/x", headers={"origin": "http://localhost:8000"}).status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_request_that_another_site_made_the_browser_send_is_refused(page: TestClient, site: str) -> None:
    assert page.get("/v1/models", headers={"sec-fetch-site": site, "sec-fetch-mode": "no-cors"}).status_code == 403


def test_a_link_on_another_site_may_open_the_page_itself(client: TestClient) -> None:
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert client.get("/", headers=link).status_code == 200
    assert client.get("/", headers={**link, "sec-fetch-dest": "iframe"}).status_code == 403
    assert client.get("/v1/models", headers=link).status_code == 403


def test_the_openai_door_needs_no_session_from_programs(client: TestClient) -> None:
    assert client.get("/v1/models").status_code == 200


def test_refusals_are_logged_without_the_session(page: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        page.post("/api/x", headers={"origin": "http://evil.example"})
    assert "evil.example" in caplog.text and TOKEN not in caplog.text


def test_no_cors_header_is_ever_sent(page: TestClient) -> None:
    answer = page.options("/api/x", headers={"origin": "http://evil.example", "access-control-request-method": "GET"})
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_outputs_are_shown_in_a_page_that_can_reach_nothing(client: TestClient) -> None:
    framed = client.get("/frame.html").headers
    assert framed["content-security-policy"].startswith("sandbox allow-scripts; default-src 'none'")
    assert "allow-same-origin" not in framed["content-security-policy"] and "set-cookie" not in framed
    assert "script-src 'self';" in client.get("/").headers["content-security-policy"]


def test_the_token_is_kept_private_and_outlives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "session.token"
    token = session_token(path)
    assert len(token) >= 32 and session_token(path) == token
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
