"""The channel against a scripted gateway on a real Unix socket, which does what a broken or hostile one could."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from aiohttp import WSMsgType, web

from executor import cell as cells
from executor import channel as channels
from executor import jupyter
from executor.cell import Ending
from executor.channel import Channel
from executor.lifecycle import Step
from executor.outbox import Outbox
from executor.sandbox.base import SandboxUnavailable
from executor.wire import Started

KERNEL = "k"


def frame(kind: str, content: dict, parent: str, channel: str = "iopub") -> bytes:
    parts = [channel.encode()]
    parts += [json.dumps(part).encode() for part in ({"msg_type": kind}, {"msg_id": parent} if parent else {}, {}, content)]
    offsets = [8 * (len(parts) + 2)]
    for part in parts:
        offsets.append(offsets[-1] + len(part))
    return b"".join(number.to_bytes(8, "little") for number in (len(offsets), *offsets)) + b"".join(parts)


@dataclass
class Gateway:
    """Answers kernel_info unless `mute`; what it does with a cell is `on_cell(self, id)`."""

    path: Path
    token: str = "token"
    mute: int = 0  # kernel_info requests that are not answered
    protocols: tuple[str, ...] = (jupyter.V1,)
    on_cell: object = None
    asked: list[str] = field(default_factory=list)
    ws: web.WebSocketResponse | None = None

    def connector(self) -> aiohttp.BaseConnector:
        return aiohttp.UnixConnector(str(self.path))

    async def say(self, kind: str, content: dict, parent: str, channel: str = "iopub") -> None:
        await self.ws.send_bytes(frame(kind, content, parent, channel))

    async def state(self, state: str, parent: str) -> None:
        await self.say("status", {"execution_state": state}, parent)

    async def reply(self, parent: str) -> None:
        await self.say("execute_reply", {"status": "ok", "execution_count": 1}, parent, "shell")

    async def channels(self, request: web.Request) -> web.WebSocketResponse:
        self.ws = web.WebSocketResponse(protocols=self.protocols, max_msg_size=0)
        await self.ws.prepare(request)
        async for message in self.ws:
            if message.type is not WSMsgType.BINARY:
                continue
            header = json.loads(message.data[message.data.index(b'{"msg_id"') :].partition(b"}")[0] + b"}")
            self.asked.append(header["msg_type"])
            if header["msg_type"] == "kernel_info_request":
                await self._info(header["msg_id"])
            else:
                await self.on_cell(self, header["msg_id"])
        return self.ws

    async def _info(self, id: str) -> None:
        self.mute -= 1
        if self.mute < 0:
            await self.state("busy", id)
            await self.say("kernel_info_reply", {"status": "ok"}, id, "shell")

    async def kernels(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"token {self.token}":
            raise web.HTTPUnauthorized
        return web.json_response([{"id": KERNEL}])


@asynccontextmanager
async def gateway(tmp_path, **script):
    scripted = Gateway(tmp_path / "gateway.sock", **script)
    app = web.Application()
    app.router.add_get("/api/kernels", scripted.kernels)
    app.router.add_get(f"/api/kernels/{KERNEL}/channels", scripted.channels)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.UnixSite(runner, str(scripted.path)).start()
    try:
        yield scripted
    finally:
        await runner.cleanup()


@asynccontextmanager
async def connected(tmp_path, **script):
    async with gateway(tmp_path, **script) as scripted:
        channel = Channel(scripted)
        try:
            await channel.open()
            yield channel, scripted
        finally:
            await channel.close()


async def run(channel: Channel, within: float = 10) -> tuple[Ending, list, float]:
    outbox, began = Outbox(10**6, 10**4), time.monotonic()
    ending = await asyncio.wait_for(channel.execute("code", outbox).ended, within)
    took = time.monotonic() - began
    outbox.put(Started(fresh=False))
    events = []
    while not isinstance(event := await outbox.get(), Started):
        events.append(event)
    return ending, events, took


async def test_a_cell_ends_with_reply_and_idle_in_either_order(tmp_path):
    async def ends(gateway: Gateway, id: str) -> None:
        await gateway.say("stream", {"name": "stdout", "text": "x"}, id)
        for step in (gateway.reply(id), gateway.state("idle", id))[:: (-1) ** len(gateway.asked)]:
            await step

    async with connected(tmp_path, on_cell=ends) as (channel, _):
        for _ in range(4):
            ending, events, took = await run(channel)
            assert ending is Ending.REPLIED and events[0].text == "x" and took < 1


async def test_t16_a_reply_without_idle_ends_the_cell_after_a_grace(tmp_path, monkeypatch):
    monkeypatch.setattr(cells, "GRACE_S", 0.3)
    async with connected(tmp_path, on_cell=lambda gateway, id: gateway.reply(id)) as (channel, _):
        ending, _, took = await run(channel)
        assert ending is Ending.REPLIED and 0.25 < took < 2


async def test_t19_an_idle_without_reply_ends_the_cell_only_when_the_kernel_answers_again(tmp_path, monkeypatch):
    monkeypatch.setattr(cells, "GRACE_S", 0.2)

    async def idle(gateway: Gateway, id: str) -> None:
        await gateway.state("idle", id)

    async with connected(tmp_path, on_cell=idle) as (channel, scripted):
        scripted.mute = 100
        with pytest.raises(TimeoutError):
            await run(channel, within=1)
    async with connected(tmp_path, on_cell=idle) as (channel, _):
        ending, _, _ = await run(channel)
        assert ending is Ending.REPLIED


async def test_t19_what_belongs_to_nobody_ends_nothing(tmp_path):
    async def noise(gateway: Gateway, id: str) -> None:
        await gateway.ws.send_bytes(b"\xff" * 500)
        await gateway.ws.send_str("not json")
        await gateway.ws.ping()
        await gateway.reply("another")
        await gateway.state("idle", "another")
        await gateway.say("execute_reply", {"status": "ok"}, id, "control")
        await gateway.say("stream", {"name": "stdout", "text": "unknown parent"}, "another")
        await gateway.say("stream", {"name": "stdout", "text": "x"}, id)
        await gateway.reply(id)
        await gateway.state("idle", id)

    async with connected(tmp_path, on_cell=noise) as (channel, _):
        ending, events, _ = await run(channel)
        assert ending is Ending.REPLIED and [event.text for event in events] == ["x"]


@pytest.mark.parametrize("before", [0, 1, 2])
async def test_t15_a_socket_that_closes_ends_the_cell_at_once(tmp_path, before):
    async def hangs_up(gateway: Gateway, id: str) -> None:
        if before > 0:
            await gateway.state("busy", id)
        if before > 1:
            await gateway.say("stream", {"name": "stdout", "text": "x"}, id)
        gateway.ws._req.transport.abort()

    async with connected(tmp_path, on_cell=hangs_up) as (channel, _):
        told: list[Step] = []
        channel.tell = told.append
        ending, _, took = await run(channel)
        assert ending is Ending.LOST and took < 1 and channel.lost and told == [Step.GONE]
        assert (await run(channel))[0] is Ending.LOST


async def test_t16_a_gateway_that_falls_silent_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(channels, "PING_S", 0.1)

    async def stops(gateway: Gateway, id: str) -> None:
        gateway.ws._req.transport.pause_reading()

    async with connected(tmp_path, on_cell=stops) as (channel, _):
        ending, _, took = await run(channel)
        assert ending is Ending.LOST and took < 2


async def test_t16_a_busy_kernel_behind_a_live_gateway_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(channels, "PING_S", 0.1)

    async def works(gateway: Gateway, id: str) -> None:
        async def later() -> None:
            await asyncio.sleep(1.5)
            await gateway.reply(id)
            await gateway.state("idle", id)

        gateway.later = asyncio.create_task(later())

    async with connected(tmp_path, on_cell=works) as (channel, _):
        ending, _, took = await run(channel)
        assert ending is Ending.REPLIED and took > 1.4


async def test_the_death_notice_ends_the_cell_and_the_kernel_is_fresh_again(tmp_path):
    async def dies(gateway: Gateway, id: str) -> None:
        await gateway.state("busy", id)
        await gateway.state("restarting", "")

    async with connected(tmp_path, on_cell=dies) as (channel, _):
        ending, _, took = await run(channel)
        assert ending is Ending.DIED and took < 1 and channel.fresh and not channel.usable
        await asyncio.wait_for(channel.answering(), 5)
        assert channel.usable


async def test_a_kernel_that_is_heard_late_is_asked_again(tmp_path):
    async with connected(tmp_path, mute=3) as (channel, scripted):
        assert channel.usable and len(scripted.asked) == 4


async def test_a_wrong_token_or_protocol_is_said(tmp_path):
    async with gateway(tmp_path, protocols=()) as scripted:
        channel = Channel(scripted)
        with pytest.raises(SandboxUnavailable, match="does not speak"):
            await channel.open()
        await channel.close()
    async with gateway(tmp_path) as scripted:
        channel = Channel(scripted)
        scripted.token = "another"
        with pytest.raises(SandboxUnavailable, match="cannot be reached"):
            await channel.open()
        await channel.close()


async def test_t18_late_output_between_cells_is_bounded_and_counted(tmp_path):
    ids: list[str] = []

    async def ends(gateway: Gateway, id: str) -> None:
        ids.append(id)
        await gateway.reply(id)
        await gateway.state("idle", id)
        if len(ids) == 1:
            for _ in range(100):
                await gateway.say("stream", {"name": "stdout", "text": "y" * 10_000}, id)

    async with connected(tmp_path, on_cell=ends) as (channel, _):
        await run(channel)
        await asyncio.sleep(0.5)
        outbox = Outbox(10**7, 100)
        await channel.execute("code", outbox).ended
        stream = await outbox.get()
        assert stream.late and 40_000 < len(stream.text) <= channels.LATE_LIMIT
        assert outbox.dropped + len(stream.text) == 1_000_000
