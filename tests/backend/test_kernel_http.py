"""The Kernel over HTTP against an executor that breaks its word: every run ends with one Closed whose words are true."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager

import pytest
from aiohttp import web

from executor.wire import Closed, Outcome, Started, Stream
from orchestrator.adapters.kernel_http import HttpKernel
from orchestrator.adapters.run_stream import MAX_LINE
from orchestrator.errors import BadSetting, KernelTaken, KernelUnavailable
from orchestrator.settings import Settings
from orchestrator.wiring import executor_token
from tests.support.kernels import gather

TOKEN = "the service token"
OK = Closed(
    outcome=Outcome.OK, execution_count=1, duration_s=0.1, variables_kept=True, files_kept=True, words=""
).model_dump_json()

Answer = Callable[[web.Request, web.StreamResponse], Awaitable[None]]


class Lying:
    """An executor's HTTP face. `answer` writes what a run says; leases are granted unless `refuse` gives a status."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.run_by: Callable[[web.Request], Awaitable[web.StreamResponse]] = self._run
        self.refuse: tuple[int, dict[str, str]] | None = None
        self.leases = 0
        self.renewed = 0
        self.renews = 200
        self.runs: list[dict[str, object]] = []
        self.other: tuple[int, dict[str, str]] | None = None  # what all else is answered with; None: never
        self.hung_up = 0
        self.given_back: list[str] = []

    async def lease(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == f"Bearer {TOKEN}"
        self.leases += 1
        if self.refuse is not None:
            status, body = self.refuse
            return web.json_response(body, status=status)
        return web.json_response({"fence": self.leases, "lease_expires_at": 0})

    async def renew(self, request: web.Request) -> web.Response:
        assert (await request.json())["fence"] == self.leases
        self.renewed += 1
        return web.json_response({"fence": self.leases, "lease_expires_at": 0}, status=self.renews)

    async def release(self, request: web.Request) -> web.Response:
        self.given_back.append(request.match_info["id"])
        return web.Response(status=204)

    async def run(self, request: web.Request) -> web.StreamResponse:
        return await self.run_by(request)

    async def _run(self, request: web.Request) -> web.StreamResponse:
        self.runs.append(await request.json())
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        try:
            await self.answer(request, response)
        except asyncio.CancelledError:
            self.hung_up += 1
            raise
        return response

    async def anything(self, _: web.Request) -> web.Response:
        if self.other is None:
            await asyncio.Event().wait()
        assert self.other is not None
        status, body = self.other
        return web.json_response(body, status=status)


@asynccontextmanager
async def lying(answer: Answer) -> AsyncIterator[tuple[Lying, HttpKernel]]:
    executor = Lying(answer)
    app = web.Application()
    app.router.add_put("/v1/conversations/{id}/lease", executor.lease)
    app.router.add_post("/v1/conversations/{id}/lease", executor.renew)
    app.router.add_delete("/v1/conversations/{id}/lease", executor.release)
    app.router.add_post("/v1/run", executor.run)
    app.router.add_route("*", "/v1/conversations/{id}{verb:.*}", executor.anything)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        await web.SockSite(runner, listener).start()
        kernel = HttpKernel(f"http://127.0.0.1:{listener.getsockname()[1]}", TOKEN, "me")
        try:
            yield executor, kernel
        finally:
            await kernel.close()
            await runner.cleanup()


def lines(*pieces: str | bytes) -> Answer:
    async def answer(_: web.Request, response: web.StreamResponse) -> None:
        for piece in pieces:
            await response.write(piece.encode() if isinstance(piece, str) else piece)
            await asyncio.sleep(0.01)

    return answer


async def run(kernel: HttpKernel, conversation: str = "c"):
    return await gather(kernel.run(conversation, "x", "1", 30))


async def test_events_come_as_they_are_however_they_are_cut():
    text = Stream(name="stdout", text="é" * 100).model_dump_json()
    whole = f"{text}\n{text}\n{OK}\n".encode()
    async with lying(lines(whole[:7], whole[7:120], whole[120:])) as (executor, kernel):
        ran = await run(kernel)
    assert ran.text() == "é" * 200 and ran.outcome is Outcome.OK
    assert executor.runs[0]["fence"] == 1


@pytest.mark.parametrize(
    "pieces",
    [
        (),
        ('{"type":"started","fresh":true}\n',),
        ('{"type":"stream","name":"stdout","text":"x"}\n', '{"type":"str'),
        ("no json\n",),
        ('{"type":"closed","outcome":"won"}\n',),
        ("[]\n",),
        (b"\xff\xfe\n",),
    ],
    ids=["nothing", "hangs up", "cut", "no json", "no outcome", "no event", "no text"],
)
async def test_an_answer_that_breaks_off_or_makes_no_sense_is_a_lost_sandbox(pieces):
    async with lying(lines(*pieces)) as (executor, kernel):
        ran = await run(kernel)
        assert ran.outcome is Outcome.SANDBOX_LOST and not ran.closed.variables_kept and ran.closed.files_kept
        assert "connection to the executor broke" in ran.closed.words
        assert len(executor.runs) == 1  # code is never sent twice
        await run(kernel)
        assert executor.leases == 2  # what it knew of the lease is asked anew


async def test_a_line_without_an_end_does_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr("orchestrator.adapters.run_stream.MAX_LINE", 1000)
    assert MAX_LINE > 2**24  # the largest event there is

    async def answer(_: web.Request, response: web.StreamResponse) -> None:
        for _ in range(100):
            await response.write(b"x" * 1000)

    async with lying(answer) as (_, kernel):
        assert (await run(kernel)).outcome is Outcome.SANDBOX_LOST


async def test_a_connection_that_is_reset_midway_is_told():
    heard = asyncio.Event()

    async def answer(request: web.Request, response: web.StreamResponse) -> None:
        await response.write(b'{"type":"started","fresh":true}\n')
        await heard.wait()
        assert request.transport is not None
        request.transport.abort()

    async with lying(answer) as (_, kernel), aclosing(kernel.run("c", "x", "1", 30)) as events:
        assert isinstance(await anext(events), Started)
        heard.set()
        closed = await anext(events)
        assert isinstance(closed, Closed) and closed.outcome is Outcome.SANDBOX_LOST


async def test_nobody_there_is_said_before_anything_ran():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    kernel = HttpKernel(f"http://127.0.0.1:{port}", TOKEN, "me")
    ran = await run(kernel)
    assert ran.outcome is Outcome.UNAVAILABLE and f"127.0.0.1:{port} cannot be reached" in ran.closed.words
    health = await kernel.check()
    assert not health.ok and "CODEACT_KERNEL_URL" in health.words
    await kernel.close()


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (409, {"words": "somebody has it"}, "another server"),
        (503, {"words": "All 8 sandboxes are in use."}, "All 8 sandboxes are in use."),
        (429, {"words": "Your share is used up."}, "Your share is used up."),
        (500, {}, "answered 500"),
        (401, {"detail": "The service token is missing or wrong."}, "token"),
    ],
)
async def test_a_lease_that_is_refused_says_why_and_nothing_runs(status, body, said):
    async with lying(lines(OK + "\n")) as (executor, kernel):
        executor.refuse = status, body
        ran = await run(kernel)
        assert ran.outcome is Outcome.UNAVAILABLE and said in ran.closed.words and executor.runs == []
        executor.refuse = None
        assert (await run(kernel)).outcome is Outcome.OK


async def test_a_run_that_waits_ends_with_words_when_the_program_ends():
    begun = asyncio.Event()

    async def answer(_: web.Request, response: web.StreamResponse) -> None:
        await response.write(b'{"type":"started","fresh":true}\n')
        begun.set()
        await asyncio.sleep(60)

    async with lying(answer) as (executor, kernel):
        running = asyncio.create_task(run(kernel))
        await begun.wait()
        await kernel.close()
        ran = await asyncio.wait_for(running, 5)
        assert ran.outcome is Outcome.INTERRUPTED and "shutting down" in ran.closed.words
        assert executor.given_back == ["c"]


async def test_a_lease_is_taken_once_and_shared():
    async with lying(lines(OK + "\n")) as (executor, kernel):
        await asyncio.gather(*(run(kernel) for _ in range(10)))
        assert executor.leases == 1 and len(executor.runs) == 10
        await run(kernel, "another")
        assert executor.leases == 2


async def forever(_: web.Request, response: web.StreamResponse) -> None:
    await response.write(b'{"type":"started","fresh":true}\n')
    await asyncio.Event().wait()


async def test_a_lease_does_not_run_out_while_a_cell_runs(monkeypatch):
    monkeypatch.setattr("orchestrator.adapters.leases.TTL_S", 0.4)
    over = asyncio.Event()

    async def answer(_: web.Request, response: web.StreamResponse) -> None:
        await over.wait()
        await response.write(f"{OK}\n".encode())

    async with lying(answer) as (executor, kernel):
        running = asyncio.create_task(run(kernel))
        async with asyncio.timeout(10):
            while executor.renewed < 4:
                await asyncio.sleep(0.01)
        over.set()
        assert (await running).outcome is Outcome.OK
        renewed = executor.renewed
        await asyncio.sleep(0.4)
        assert executor.renewed == renewed and executor.leases == 1  # only while a cell runs


async def claimed(kernel: HttpKernel) -> None:
    await kernel.claim("c")


async def test_a_kernel_that_another_server_has_claimed_is_not_used_before_it_is_claimed_again():
    """`run` refuses before anything ran; whoever still owns the turn claims the kernel, and only then runs the code."""
    taken = True

    async def run_or_409(request: web.Request) -> web.StreamResponse:
        executor.runs.append(await request.json())
        return web.json_response({"words": "fenced"}, status=409) if taken else await original(request)

    async with lying(lines(OK + "\n")) as (executor, kernel):
        original, executor.run_by = executor.run_by, run_or_409
        await claimed(kernel)
        with pytest.raises(KernelTaken):
            await run(kernel)
        with pytest.raises(KernelTaken):  # as long as it is not claimed, it is not even asked for
            await run(kernel)
        assert len(executor.runs) == 1
        taken = False
        await claimed(kernel)
        assert (await run(kernel)).outcome is Outcome.OK and executor.leases == 2
        assert executor.runs[-1]["fence"] == 2


async def test_a_lease_that_was_lost_while_a_cell_ran_is_not_taken_back(monkeypatch):
    monkeypatch.setattr("orchestrator.adapters.leases.TTL_S", 0.2)
    over = asyncio.Event()

    async def answer(_: web.Request, response: web.StreamResponse) -> None:
        await over.wait()
        await response.write(f"{OK}\n".encode())

    async with lying(answer) as (executor, kernel):
        executor.renews = 409
        running = asyncio.create_task(run(kernel))
        async with asyncio.timeout(10):
            while not executor.renewed:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        assert (executor.renewed, executor.leases) == (1, 1)
        over.set()
        await running
        with pytest.raises(KernelTaken):
            await run(kernel)


async def test_what_hinders_a_claim_is_told_by_the_cell(monkeypatch):
    async with lying(lines(OK + "\n")) as (executor, kernel):
        executor.refuse = 503, {"words": "All 8 sandboxes are in use."}
        await claimed(kernel)
        ran = await run(kernel)
        assert ran.outcome is Outcome.UNAVAILABLE and "All 8 sandboxes" in ran.closed.words and not executor.runs
        executor.refuse = None
        await claimed(kernel)
        assert (await run(kernel)).outcome is Outcome.OK


@pytest.mark.parametrize(
    "answered", [(500, {}), (409, {}), (503, {"words": "No."}), None], ids=["fails", "fenced", "refuses", "hangs"]
)
async def test_a_stop_that_cannot_be_delivered_hangs_up(answered, monkeypatch):
    monkeypatch.setattr("orchestrator.adapters.kernel_http.INTERRUPT_S", 0.2)
    async with lying(forever) as (executor, kernel):
        executor.other = answered
        async with aclosing(kernel.run("c", "x", "1", 30)) as events:
            assert isinstance(await anext(events), Started)
            await kernel.interrupt("c")
            closed = await asyncio.wait_for(anext(events), 5)
        assert isinstance(closed, Closed) and closed.outcome is Outcome.INTERRUPTED
        assert "hung up" in closed.words and not closed.variables_kept
        async with asyncio.timeout(5):
            while not executor.hung_up:  # which is what stops the code there
                await asyncio.sleep(0.01)


async def test_a_stop_ends_a_run_whose_executor_does_not_even_answer(monkeypatch):
    monkeypatch.setattr("orchestrator.adapters.kernel_http.INTERRUPT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:  # connections are made, nothing is said
        kernel = HttpKernel(f"http://127.0.0.1:{listener.getsockname()[1]}", TOKEN, "me")
        running = asyncio.create_task(run(kernel))
        await asyncio.sleep(0.1)
        await kernel.interrupt("c")
        ran = await asyncio.wait_for(running, 5)
        assert ran.outcome is Outcome.INTERRUPTED and "did not run" in ran.closed.words
        await kernel.close()


@pytest.mark.parametrize("asked", ["restart", "status", "remove"])
@pytest.mark.parametrize(
    ("answered", "said"),
    [
        ((503, {"words": "All 8 sandboxes are in use."}), "All 8 sandboxes are in use."),
        ((500, {}), "answered 500"),
        ((409, {}), "another server"),
        ((200, {"state": "what?"}), "cannot be reached"),
    ],
    ids=["refused", "failed", "fenced", "nonsense"],
)
async def test_what_the_executor_refuses_is_told_in_its_words(asked, answered, said):
    async with lying(forever) as (executor, kernel):
        executor.other = answered
        if asked != "status" and answered[0] == 200:
            return await getattr(kernel, asked)("c")
        with pytest.raises(KernelUnavailable, match=said):
            await getattr(kernel, asked)("c")
    return None


async def test_an_executor_that_is_not_there_is_told_and_stops_nothing():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    kernel = HttpKernel(f"http://127.0.0.1:{port}", TOKEN, "me")
    for asked in (kernel.restart, kernel.status, kernel.remove):
        with pytest.raises(KernelUnavailable, match="CODEACT_KERNEL_URL"):
            await asked("c")
    await kernel.interrupt("c")
    await kernel.prepare("c")
    await kernel.close()


def test_the_token_comes_from_a_file_and_a_missing_one_is_named(tmp_path):
    (tmp_path / "token").write_text("of-the-executor\n")
    settings = Settings(_env_file=None, executor_token_file=tmp_path / "token")
    assert executor_token(settings) == "of-the-executor" and "of-the-executor" not in repr(settings)
    with pytest.raises(BadSetting, match="CODEACT_EXECUTOR_TOKEN_FILE"):
        executor_token(Settings(_env_file=None, executor_token_file=tmp_path / "none"))


async def test_t35_the_token_is_in_no_representation_of_the_settings():
    settings = Settings(_env_file=None, executor_token="very-secret-indeed")
    assert "very-secret" not in repr(settings) and "very-secret" not in json.dumps(settings.model_dump(mode="json"))
    with pytest.raises(BadSetting, match="CODEACT_EXECUTOR_TOKEN"):
        HttpKernel("http://127.0.0.1:1", "", "me")
