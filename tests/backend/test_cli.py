"""The `codeact` command as a person runs it: a process, with and without a terminal, beside a running server."""

from __future__ import annotations

import asyncio
import codecs
import os
import pty
import re
import signal
import socket
import sys
from contextlib import asynccontextmanager, suppress

import pytest
import pytest_asyncio

from orchestrator import __version__
from tests.support.app import App
from tests.support.scripts import Reply

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.sandbox]

COMMAND = [sys.executable, "-m", "orchestrator.cli"]
WAIT_S = 30


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def sandboxes(app: App):
    """Every conversation that a command makes has a sandbox, and there are only so many."""
    yield
    parts = app.app.state.parts
    for summary in await parts.store.conversations("local", 100, None):
        await parts.kernel.remove(summary.id)


def environment(app: App | None, **more: str) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("CODEACT_")}
    if app is not None:
        own["CODEACT_DATA_DIR"] = str(app.app.state.settings.data_dir)
        own["CODEACT_PORT"] = app.url.rsplit(":", 1)[1]
    return own | {"TERM": "xterm"} | more


async def codeact(app: App | None, *arguments: str, stdin: str | None = None, **more: str):
    """Exit status, standard output and standard error of one run."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *arguments, env=environment(app, **more), stdin=asyncio.subprocess.PIPE if stdin is not None
        else asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(WAIT_S):
        out, err = await process.communicate(None if stdin is None else stdin.encode())
    return process.returncode, out.decode(), err.decode()


class Terminal:
    """A command on a terminal: what is on it so far, and keys to press."""

    def __init__(self, process: asyncio.subprocess.Process, keyboard: int) -> None:
        self.process = process
        self._keyboard = keyboard
        self.shown = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._more = asyncio.Event()
        asyncio.get_running_loop().add_reader(keyboard, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._keyboard, 65536)
        except OSError:  # the other side is closed
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._keyboard)
        self.shown += self._decoder.decode(data)
        self._more.set()

    def press(self, keys: str) -> None:
        os.write(self._keyboard, keys.encode())

    async def until(self, pattern: str, after: int = 0) -> int:
        """Wait until the terminal shows it; where that ends."""
        deadline = asyncio.get_running_loop().time() + WAIT_S
        while (found := re.compile(pattern).search(self.shown, after)) is None:
            self._more.clear()
            more = asyncio.ensure_future(self._more.wait())
            await asyncio.wait([more], timeout=1)
            assert asyncio.get_running_loop().time() < deadline, f"{pattern!r} is not in {self.shown[after:]!r}"
        return found.end()

    async def left(self) -> int:
        async with asyncio.timeout(WAIT_S):
            return await self.process.wait()


@asynccontextmanager
async def terminal(app: App, *arguments: str):
    keyboard, screen = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *arguments, env=environment(app), stdin=screen, stdout=screen, stderr=screen,
        preexec_fn=lambda: _own_terminal(screen),
    )  # fmt: skip
    os.close(screen)
    one = Terminal(process, keyboard)
    try:
        yield one
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        asyncio.get_running_loop().remove_reader(keyboard)
        with suppress(OSError):
            os.close(keyboard)


def _own_terminal(screen: int) -> None:
    """In the child: a session of its own whose terminal this is, so that Ctrl-C arrives as one."""
    import fcntl
    import termios

    os.setsid()
    fcntl.ioctl(screen, termios.TIOCSCTTY, 0)


def conversation_of(words: str) -> str:
    return re.search(r"--conversation (\w+)", words)[1]


async def test_it_says_its_version() -> None:
    assert await codeact(None, "--version") == (0, f"codeact {__version__}\n", "")


async def test_without_a_command_it_explains_itself() -> None:
    status, out, _ = await codeact(None)
    assert status == 2 and "serve" in out and "chat" in out


async def test_without_a_server_it_says_how_to_start_one(tmp_path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    status, out, err = await codeact(None, "chat", "hello", CODEACT_DATA_DIR=str(tmp_path), CODEACT_PORT=port)
    assert (status, out) == (1, "") and "make run" in err and port in err


async def test_a_setting_that_makes_no_sense_is_named() -> None:
    status, _, err = await codeact(None, "chat", "hello", CODEACT_PORT="many")
    assert status == 2 and err.startswith("CODEACT_PORT cannot be 'many'")


async def test_a_question_is_answered_with_code_and_output(app: App, tab) -> None:
    status, out, err = await codeact(app, "chat", "run print(6 * 7)")
    assert (status, out) == (0, "```python\nprint(6 * 7)\n```\n42\nDone.\n")
    page = await app.tab(conversation_of(err))
    assert page.view.turns[0].text == "run print(6 * 7)"


async def test_a_conversation_goes_on_with_its_variables(app: App, tab) -> None:
    _, _, err = await codeact(app, "chat", "run x = 41")
    _, out, _ = await codeact(app, "chat", "--conversation", conversation_of(err), "run print(x + 1)")
    assert "\n42\n" in out


async def test_each_line_of_the_input_is_a_message(app: App, tab) -> None:
    status, out, err = await codeact(app, "chat", stdin="Good morning\n\nrun print(2)\n/new\nAgain\n")
    assert (status, out) == (0, "Good morning\n```python\nprint(2)\n```\n2\nDone.\nAgain\n")
    page = await app.tab(conversation_of(err))
    assert [turn.text for turn in page.view.turns] == ["Again"]


async def test_a_dash_reads_one_message_from_the_input(app: App, tab) -> None:
    status, out, _ = await codeact(app, "chat", "-", stdin="Good\nmorning\n")
    assert (status, out) == (0, "Good\nmorning\n")


async def test_an_unknown_conversation_is_told(app: App) -> None:
    status, _, err = await codeact(app, "chat", "--conversation", "nobody", "hello")
    assert status == 1 and "no such conversation" in err


async def test_a_server_with_another_data_directory_is_told_apart(app: App, tmp_path) -> None:
    status, _, err = await codeact(app, "chat", "hello", CODEACT_DATA_DIR=str(tmp_path))
    assert status == 1 and "CODEACT_DATA_DIR" in err


async def test_a_failure_of_the_model_server_is_told_and_is_the_exit_status(app: App, tab, model) -> None:
    model.script = lambda _: Reply(status=400, body=b'{"error":{"message":"no such thing"}}')
    status, out, _ = await codeact(app, "chat", "hello")
    assert status == 1 and out.startswith("[")


async def test_ctrl_c_stops_the_turn_and_the_command_says_so(app: App, tab, model) -> None:
    model.script = lambda _: Reply(["More ", "and "], endless=True, rate=50)
    async with terminal(app, "chat", "go on and on") as one:
        await one.until("More and")
        one.process.send_signal(signal.SIGINT)
        await one.until("Stopping")
        assert await one.left() == 130
        page = await app.tab(conversation_of(one.shown))
    assert page.view.turns[0].outcome == "stopped"


async def test_a_conversation_at_a_terminal(app: App, tab, model) -> None:
    async with terminal(app, "chat") as one:
        at = await one.until("› ")
        one.press("run print(6 * 7)\r")
        at = await one.until(r"42\r\n.*Done\.\r\n\r\n› ", at)
        assert "\x1b[36mprint(6 * 7)" in one.shown
        model.script = lambda _: Reply(["More ", "and "], endless=True, rate=50)
        one.press("go on\r")
        at = await one.until("More and", at)
        one.press("\x03")
        at = await one.until("Stopping", at)
        at = await one.until("› ", at)
        model.reset()
        one.press("still there?\r")
        at = await one.until(r"still there\?\r\n\r\n› ", at)
        one.press("\x04")
        assert await one.left() == 0


async def test_a_second_ctrl_c_leaves_at_once(app: App, tab) -> None:
    stubborn = "run import time\nwhile True:\n try: time.sleep(9)\n except KeyboardInterrupt: pass"
    async with terminal(app, "chat", stubborn) as one:
        await one.until("KeyboardInterrupt")
        await tab_running(app)
        one.process.send_signal(signal.SIGINT)
        await one.until("Stopping")
        one.process.send_signal(signal.SIGINT)
        assert await one.left() == 130


async def tab_running(app: App) -> None:
    """Wait until a sandbox runs code."""
    parts = app.app.state.parts
    async with asyncio.timeout(WAIT_S):
        while True:
            [newest] = await parts.store.conversations("local", 1, None)
            if (await parts.kernel.status(newest.id)).state == "busy":
                return
            await asyncio.sleep(0.05)


async def test_a_lost_connection_loses_nothing(app: App, tab, model) -> None:
    """A relay between the command and the server drops the connection in the middle of an answer."""
    words = [f"word{n} " for n in range(60)]
    model.script = lambda _: Reply(words, rate=40)
    async with relay(app.url) as (url, drop):
        process = await asyncio.create_subprocess_exec(
            *COMMAND, "chat", "--url", url, "count", env=environment(app), stdout=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(WAIT_S):
            begun = await process.stdout.readuntil(b"word5 ")
            drop()
            rest = await process.stdout.read()
            assert await process.wait() == 0
    assert (begun + rest).decode() == "".join(words) + "\n"


@asynccontextmanager
async def relay(url: str):
    """A TCP relay to the server; `drop` cuts what is connected."""
    host, port = url.removeprefix("http://").split(":")
    writers: list[asyncio.StreamWriter] = []

    async def pump(reader, writer) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def connected(reader, writer) -> None:
        up_reader, up_writer = await asyncio.open_connection(host, int(port))
        writers.extend([writer, up_writer])
        await asyncio.gather(pump(reader, up_writer), pump(up_reader, writer))

    def drop() -> None:
        assert writers, "nothing was connected"
        for writer in writers:
            writer.transport.abort()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", drop
    finally:
        server.close()
