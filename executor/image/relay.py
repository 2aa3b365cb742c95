"""One websocket to the kernel: messages pass through as the bytes they are.

In place of jupyter_server's connection, which parses every header to throttle output, opens only after polling the kernel
with requests, and stalls each small answer behind Nagle's algorithm.
"""

from __future__ import annotations

import asyncio
from typing import Any

import oversized
from jupyter_server.services.kernels.connection.base import deserialize_msg_from_ws_v1, serialize_msg_to_ws_v1
from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection

SUBPROTOCOL = "v1.kernel.websocket.jupyter.org"
DELIMITER = b"<IDS|MSG>"
QUEUE_BYTES = 32 * 1024**2  # output held for a client that reads slowly; beyond it the kernel has to wait


class Relay(ZMQChannelsWebsocketConnection):
    """Passes messages both ways. What the client sends is held while the kernel's output cannot be heard yet (it starts
    or restarts): otherwise a cell could run before anybody listens, and its output be lost."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.limit_rate = False
        self._heard = False
        self._held: list[bytes] = []

    async def prepare(self) -> None:
        """Nothing to wait for: what comes too early is held."""
        await self._register_session()

    def connect(self) -> asyncio.Future[None]:
        self.websocket_handler.set_nodelay(True)
        self.session.key = self.kernel_manager.session.key
        self.multi_kernel_manager.notify_connect(self.kernel_id)
        self.create_stream()
        self.multi_kernel_manager.add_restart_callback(self.kernel_id, self.on_kernel_restarted)
        self.multi_kernel_manager.add_restart_callback(self.kernel_id, self.on_restart_failed, "dead")
        for stream in self.channels.values():
            stream.on_recv_stream(self.handle_outgoing_message)
        self._open_sockets.add(self)
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    def on_kernel_restarted(self) -> None:
        super().on_kernel_restarted()
        self._heard = False

    def handle_incoming_message(self, incoming_msg: bytes) -> None:
        if not self._heard:
            self._held.append(incoming_msg)
        elif self.channels:
            channel, parts = deserialize_msg_from_ws_v1(incoming_msg)
            if channel in self.channels:
                self.session.send_raw(self.channels[channel], parts)

    def handle_outgoing_message(self, stream: Any, outgoing_msg: list[bytes]) -> None:
        parts = outgoing_msg[outgoing_msg.index(DELIMITER) + 2 :]  # after the identities, the delimiter and the signature
        for fitting in oversized.fitting(parts):
            self.write_message(serialize_msg_to_ws_v1(fitting, stream.channel), binary=True)
        if stream.channel == "iopub":
            if not self._heard:
                self._release()
            self._hold_back(stream)

    def _hold_back(self, iopub: Any) -> None:
        """Takes no more output from the kernel until the client has read what it was sent, when that is much."""
        connection = self.websocket_handler.ws_connection
        if connection is None or len(connection.stream._write_buffer) < QUEUE_BYTES:
            return
        iopub.stop_on_recv()
        written = connection.stream.write(b"")
        written.add_done_callback(
            lambda done: done.exception() or iopub.closed() or iopub.on_recv_stream(self.handle_outgoing_message)
        )

    def _release(self) -> None:
        """The kernel can be heard: hand over what was held."""
        self._heard = True
        held, self._held = self._held, []
        for message in held:
            self.handle_incoming_message(message)
