"""The gateway's HTTP side: kernel_gateway's handlers behind our token check, for one kernel that nobody can add to."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from typing import Any

from counters import usage
from hold import hold
from jupyter_server.auth.authorizer import AllowAllAuthorizer
from jupyter_server.auth.identity import IdentityProvider, User
from jupyter_server.services.kernels.handlers import KernelActionHandler, KernelHandler, MainKernelHandler
from jupyter_server.services.kernels.websocket import KernelWebsocketHandler
from manager import Manager
from relay import SUBPROTOCOL, Relay
from tornado.web import Application, HTTPError, RequestHandler

ID = r"(?P<kernel_id>[0-9a-f-]{36})"
MAX_MESSAGE = 64 * 1024**2  # bytes of one message from the executor


class Executor(IdentityProvider):
    """Whoever holds the token is the executor; there is nobody else."""

    def get_user(self, handler: RequestHandler) -> User:
        return User("executor")

    def is_token_authenticated(self, handler: RequestHandler) -> bool:
        return True


class Authorised:
    """Refuses a request without the token before anything else looks at it."""

    async def prepare(self, *args: Any, **kwargs: Any) -> None:
        sent = hashlib.sha256(self.request.headers.get("Authorization", "").encode()).hexdigest()
        if not hmac.compare_digest(sent, self.settings["authorization"]):
            raise HTTPError(401)
        if (prepared := super().prepare(*args, **kwargs)) is not None:
            await prepared

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        self.set_status(status_code)
        self.finish({"message": self._reason})


class Kernels(Authorised, MainKernelHandler):
    SUPPORTED_METHODS = ("GET",)


class OneKernel(Authorised, KernelHandler):
    SUPPORTED_METHODS = ("GET",)


class Action(Authorised, KernelActionHandler):
    async def post(self, kernel_id: str, action: str) -> None:
        if action == "restart":
            await self.kernel_manager.restart(kernel_id)
            self.finish(self.kernel_manager.kernel_model(kernel_id))
        else:
            await super().post(kernel_id, action)


class Channels(Authorised, KernelWebsocketHandler):
    def select_subprotocol(self, subprotocols: list[str]) -> str:
        if SUBPROTOCOL not in subprotocols:
            raise HTTPError(400, reason=f"Only {SUBPROTOCOL} is spoken here")
        return SUBPROTOCOL


class Hold(Authorised, RequestHandler):
    def post(self) -> None:
        try:
            length = int(json.loads(self.request.body)["length"])
        except (ValueError, KeyError, TypeError, OverflowError):
            length = -1
        if not 0 <= length < 2**63:
            raise HTTPError(400)
        hold(length)
        self.set_status(204)


class Usage(Authorised, RequestHandler):
    def get(self) -> None:
        self.finish(usage())


class Nothing(RequestHandler):
    """Every other path. It answers alike with and without a token."""

    def prepare(self) -> None:
        raise HTTPError(404)


def make_app(manager: Manager, authorization: str) -> Application:
    """The application for `manager`'s kernel, open alone to those whose header `Authorization` has the SHA-256
    `authorization`, in hexadecimal."""
    identity = Executor(token=os.urandom(32).hex())  # its own way of looking at tokens is never asked
    return Application(
        [
            (r"/api/kernels", Kernels),
            (rf"/api/kernels/{ID}", OneKernel),
            (rf"/api/kernels/{ID}/(?P<action>restart|interrupt)", Action),
            (rf"/api/kernels/{ID}/channels", Channels),
            (r"/hold", Hold),
            (r"/usage", Usage),
            (r".*", Nothing),
        ],
        authorization=authorization,
        kernel_manager=manager,
        identity_provider=identity,
        authorizer=AllowAllAuthorizer(identity_provider=identity),
        kernel_websocket_connection_class=Relay,
        cookie_secret=os.urandom(32),
        base_url="/",
        allow_remote_access=True,
        ws_ping_interval=0,  # a busy machine is no reason to hang up; the executor sees the socket close when we die
        websocket_max_message_size=MAX_MESSAGE,
        log_function=lambda handler: None,
    )
