"""`input()` and `getpass()`: a question goes out on the stdin channel, and the code waits until its own reply comes.

ipykernel's version waits for ever and takes whatever reply comes first, which may be meant for a question that was broken
off. Here a reply names its question, may be a refusal with words, and asking from several threads at once is one after
another.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

from IPython.core.error import StdinNotImplementedError

PROMPT = 2000  # characters of it that go out
LOOK_MS = 50
NO_INPUT = (
    "This code runs without a keyboard, so {what} cannot ask for a value. "
    "Put the value in the code, or read it from a file in the workspace."
)
END_OF_FILE = "\x04"
_one_at_a_time = threading.Lock()


def ask(kernel: Any, prompt: object, password: bool) -> str:
    """The reply. Raises StdinNotImplementedError when nobody may be asked or nobody answers, EOFError for ^D, and
    KeyboardInterrupt when the cell is stopped meanwhile."""
    what = "getpass()" if password else "input()"
    with _one_at_a_time:
        if not kernel._allow_stdin:
            raise StdinNotImplementedError(NO_INPUT.format(what=what))
        sys.stdout.flush()
        sys.stderr.flush()
        id = _send(kernel, prompt, password)
        content = _reply(kernel, id)
    if content is None:
        raise StdinNotImplementedError(NO_INPUT.format(what=what))
    if content.get("status") == "error":
        raise StdinNotImplementedError(f"{content.get('evalue')}")
    value = str(content.get("value", ""))
    if value == END_OF_FILE:
        raise EOFError
    return value


def _send(kernel: Any, prompt: object, password: bool) -> str:
    text = str(prompt)[:PROMPT].encode("utf-8", "replace").decode()
    sent = kernel.session.send(
        kernel.stdin_socket,
        "input_request",
        {"prompt": text, "password": password},
        kernel.get_parent("shell"),
        ident=kernel._get_shell_context_var(kernel._shell_parent_ident),
    )
    return str(sent["header"]["msg_id"])


def _reply(kernel: Any, id: str) -> dict[str, Any] | None:
    """Waits in short pieces, so that a signal is noticed. None when the cell ended first (a thread asked)."""
    while kernel._allow_stdin:
        if not kernel.stdin_socket.poll(LOOK_MS):
            continue
        _, reply = kernel.session.recv(kernel.stdin_socket)
        if reply is not None and reply["parent_header"].get("msg_id") == id:
            content: dict[str, Any] = reply["content"]
            return content
    return None
