"""`codeact chat`: one question, or a conversation at a prompt. Ctrl-C stops the turn; again, it leaves."""

from __future__ import annotations

import asyncio
import contextlib
import io
import signal
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from orchestrator.cli.client import Client, Trouble, new_id
from orchestrator.cli.printer import Printer
from orchestrator.protocol.commands import MAX_TEXT
from orchestrator.protocol.events import TurnClosed, TurnOutcome
from orchestrator.security import LOOPBACK
from orchestrator.settings import Settings

INTERRUPTED = 130
HELP = "Type a message. /continue goes on where an answer ended early, /new begins again, /quit (or Ctrl-D) leaves."
PROMPT = "\n› "

T = TypeVar("T")


def run(settings: Settings, url: str | None, conversation: str | None, question: str | None) -> int:
    """The exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that cannot show a character shows a question mark
    try:
        if question == "-":
            question = sys.stdin.read()
        with asyncio.Runner() as runner:
            address = url or _address(settings)
            chat = Chat(runner, lambda id: Client(address, _token(settings, address), id))
            try:
                chat.open(conversation)
                return chat.once(question) if question is not None else chat.converse(settings.data_dir / "history")
            finally:
                chat.close()
    except Trouble as trouble:
        print(trouble, file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        return INTERRUPTED
    except BrokenPipeError:  # the reader has seen enough, as with `| head`
        sys.stderr.close()
        return 1


class Chat:
    """The terminal's side of a conversation."""

    def __init__(self, runner: asyncio.Runner, connect: Callable[[str | None], Client]) -> None:
        self._run = runner.run
        self._connect = connect
        self._client = connect(None)

    def open(self, conversation: str | None) -> None:
        """Raises `Trouble` when there is no server, or no such conversation."""
        self.close()
        self._client = self._connect(conversation)
        self._run(self._client.open())

    def close(self) -> None:
        self._run(self._client.close())

    def once(self, question: str) -> int:
        """Ask, print the answer, leave."""
        outcome = self._ask(question)
        self._tell_how_to_go_on()
        if outcome is TurnOutcome.STOPPED:
            return INTERRUPTED
        return 0 if outcome is TurnOutcome.ANSWERED else 1

    def converse(self, history: Path) -> int:
        """A prompt until the end of the input. Without a terminal each line of the input is a message."""
        with _remembered(history) if sys.stdin.isatty() else contextlib.nullcontext():
            if sys.stdin.isatty():
                print(HELP)
            while (line := self._line()) is not None:
                if line in ("/quit", "/exit"):
                    break
                self._answer(line)
        self._tell_how_to_go_on()
        return 0

    def _line(self) -> str | None:
        """The next line that says something; None at the end."""
        while True:
            try:
                line = input(PROMPT if sys.stdin.isatty() else "").strip()
            except EOFError:
                return None
            except KeyboardInterrupt:
                print()
                return None
            if line:
                return line

    def _answer(self, line: str) -> None:
        try:
            if line == "/help":
                print(HELP)
            elif line == "/new":
                self.open(None)
            else:
                self._ask(None if line == "/continue" else line)
        except Trouble as trouble:
            print(trouble, file=sys.stderr)

    def _ask(self, text: str | None) -> TurnOutcome | None:
        if text is not None and not 0 < len(text.strip()) <= MAX_TEXT:
            raise Trouble(f"A message has 1 to {MAX_TEXT:,} characters; this one has {len(text.strip()):,}.")
        return self._run(self._turn(text))

    async def _turn(self, text: str | None) -> TurnOutcome | None:
        """One turn, printed as it happens; how it ended."""
        turn, outcome = new_id(), None
        printer = Printer(tty=sys.stdout.isatty())
        async with _interrupts(self._client, turn), aclosing(self._client.ask(turn, text)) as events:
            async for event in events:
                _write(printer.feed(event))
                if isinstance(event, TurnClosed):
                    outcome = event.outcome
        return outcome

    def _tell_how_to_go_on(self) -> None:
        print(f"(go on: codeact chat --conversation {self._client.conversation})", file=sys.stderr)


@contextlib.asynccontextmanager
async def _interrupts(client: Client, turn: str) -> AsyncGenerator[None, None]:
    """The first Ctrl-C stops the turn, the second leaves."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    stopping: list[asyncio.Task[None]] = []

    def interrupted() -> None:
        if stopping:
            task.cancel()
        stopping.append(loop.create_task(client.stop(turn)))

    loop.add_signal_handler(signal.SIGINT, interrupted)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        for one in stopping:
            one.cancel()


@contextlib.contextmanager
def _remembered(history: Path) -> Any:
    """Line editing, and what was typed before."""
    try:
        import readline
    except ImportError:  # a Python without it: no history, everything else works
        yield
        return
    with contextlib.suppress(OSError):
        readline.read_history_file(history)
    readline.set_history_length(1000)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            readline.write_history_file(history)
            history.chmod(0o600)


def _write(text: str) -> None:
    if text:
        sys.stdout.write(text)
        sys.stdout.flush()


def _address(settings: Settings) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 (asked, not bound)
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def _token(settings: Settings, address: str) -> str:
    """CODEACT_TOKEN, or what the server on this machine keeps, which goes to no other one. Without any the server says who
    we are not."""
    if token := settings.token.get_secret_value():
        return token
    if urlsplit(address).hostname not in LOOPBACK:
        return ""
    try:
        return (settings.data_dir / "session.token").read_text().strip()
    except OSError:
        return ""
