"""`/ws`: commands come up, frames go down. One connection per browser tab, any number of conversations on it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator

from fastapi import APIRouter, Response, WebSocket, WebSocketDisconnect
from pydantic import TypeAdapter, ValidationError

from orchestrator.journal import encode, list_channel
from orchestrator.live.commands import Connection, refusal, serve_command
from orchestrator.live.reach import Reach
from orchestrator.live.subscriptions import Subscriptions, send_text
from orchestrator.ports import TooOld
from orchestrator.protocol import PROTOCOL_VERSION
from orchestrator.protocol.commands import Command
from orchestrator.protocol.events import Via
from orchestrator.protocol.frames import CloseCode, ConversationRemoved, Delivery, Hello, Refusal, Refused
from orchestrator.users.principal import who
from orchestrator.wiring import Parts

log = logging.getLogger(__name__)
router = APIRouter()

_COMMAND: TypeAdapter[Command] = TypeAdapter(Command)
_REMOVED = b'{"type":"conversation.removed"'  # as our own encoder begins it
CLOSE_S = 2.0  # for the farewell to somebody who reads nothing
MAX_MALFORMED = 20
"""Frames that are not commands before we hang up: a client that does not speak our protocol never will."""


@router.websocket("/ws")
async def live(socket: WebSocket) -> None:
    """Serve one connection until either side closes it."""
    parts: Parts = socket.app.state.parts
    principal = who(socket)
    if parts.turns.draining:
        await socket.send_denial_response(Response("This server is about to end. Connect again.", 503))
        return
    await socket.accept()
    subscriptions = Subscriptions(socket, parts.bus)
    via = Via.BROWSER if "origin" in socket.headers else Via.TERMINAL  # browsers always name their page's origin
    connection = Connection(principal, via, Reach(parts.store, principal.user), subscriptions)
    beside = [asyncio.create_task(_tell_list(socket, parts, connection))]
    try:
        with _until_hung_up(socket, connection):
            await send_text(socket, encode(Hello(protocol=PROTOCOL_VERSION, model=parts.model.name)))
            beside.append(asyncio.create_task(_tell_delivery(socket, parts)))
            await _listen(socket, parts, connection)
    except (WebSocketDisconnect, RuntimeError, OSError):
        pass  # gone; nothing of a turn depends on a connection
    finally:
        for task in beside:
            task.cancel()
        await subscriptions.close()
    if connection.ending.is_set():
        with contextlib.suppress(WebSocketDisconnect, RuntimeError, OSError, TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                if parts.turns.draining:
                    await socket.close(CloseCode.GOING_AWAY, "This server is being restarted. Connect again.")
                else:
                    await socket.close(CloseCode.SIGNED_OUT, "Your session has ended. Sign in again.")


@contextlib.contextmanager
def _until_hung_up(socket: WebSocket, connection: Connection) -> Iterator[None]:
    """The block ends at once when whoever is connected may not be any more; a command that has begun is finished first."""
    task = asyncio.current_task()
    assert task is not None

    def hang_up() -> None:
        if not connection.ending.is_set():
            connection.ending.set()
            if not connection.working.is_set():
                task.cancel()

    try:
        with socket.app.state.presence.connected(connection.principal, hang_up):
            yield
    except asyncio.CancelledError:
        if not connection.ending.is_set() or task.uncancel() > 0:
            raise


async def _listen(socket: WebSocket, parts: Parts, connection: Connection) -> None:
    malformed = 0
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return
        data = message.get("text") or message.get("bytes") or b""
        try:
            command = _COMMAND.validate_json(data)
        except ValidationError as error:
            malformed += 1
            await send_text(socket, encode(refusal(Refusal.MALFORMED, _what_is_wrong(error))))
            if malformed >= MAX_MALFORMED:
                await socket.close(CloseCode.MISBEHAVED)
                return
            continue
        connection.working.set()
        answer = await serve_command(command, parts, connection)
        connection.working.clear()
        if connection.ending.is_set():
            return
        if parts.turns.draining and isinstance(answer, Refused):
            connection.ending.set()  # unanswered, it is sent again to whoever the page connects to next
            return
        if answer is not None:
            await send_text(socket, encode(answer))


def _what_is_wrong(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "the frame"
    return f"That was not understood: {where}: {first['msg']}. Reload the page if this goes on."


async def _tell_delivery(socket: WebSocket, parts: Parts) -> None:
    """Say when the bus is away and when it is back; a connection that has heard nothing takes it to be there."""
    live = True
    with contextlib.suppress(WebSocketDisconnect, RuntimeError, OSError):
        async with contextlib.aclosing(parts.bus.reach()) as reach:
            async for arrives in reach:
                if arrives != live:
                    live = arrives
                    await send_text(socket, encode(Delivery(live=live)))


async def _tell_list(socket: WebSocket, parts: Parts, connection: Connection) -> None:
    """Frames about the user's conversation list, for as long as the connection lives."""
    channel = list_channel(connection.principal.user)
    with contextlib.suppress(WebSocketDisconnect, RuntimeError, OSError):
        while True:
            cursor = await parts.bus.head(channel)
            try:
                async for batch in parts.bus.follow(channel, cursor):
                    for entry in batch:
                        if entry.data.startswith(_REMOVED):
                            await connection.forget(ConversationRemoved.model_validate_json(entry.data).conversation)
                        await send_text(socket, entry.data, may_wait=True)
            except TooOld:
                continue  # the list is loaded with every page; only the newest lines matter here
