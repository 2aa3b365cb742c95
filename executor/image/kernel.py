"""Starts the Python kernel: `kernel.py DATA_LIMIT -f CONNECTION_FILE`. Limits first, then ipykernel as we want it."""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import sitecustomize
import zmq
from ipykernel.ipkernel import IPythonKernel
from ipykernel.kernelapp import IPKernelApp
from memory import DataLimit
from prompt_output import PromptOutput
from questions import ask
from services import Services
from traitlets.config import Config

HERE = Path(__file__).parent


class Kernel(IPythonKernel):
    """ipykernel's kernel, with answers of our own for code that asks for input, and for an editor that asks for names."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        services = Services(self.shell)

        def variables_request(stream: Any, ident: Any, parent: Any) -> None:
            self.session.send(stream, "variables_reply", services.variables(), parent, ident)

        self.control_handlers["variables_request"] = variables_request
        self._services = services

    async def do_complete(self, code: str, cursor_pos: int | None) -> dict[str, Any]:
        return self._services.complete(code, len(code) if cursor_pos is None else cursor_pos)

    async def do_inspect(
        self, code: str, cursor_pos: int, detail_level: int = 0, omit_sections: Any = ()
    ) -> dict[str, Any]:
        return self._services.inspect(code, cursor_pos, detail_level)

    def raw_input(self, prompt: str = "") -> str:
        return ask(self, prompt, password=False)

    def getpass(self, prompt: str = "Password: ", stream: Any = None, **_: Any) -> str:
        return ask(self, prompt, password=True)

    def _restore_input(self) -> None:
        super()._restore_input()
        self._allow_stdin = False  # nor may a thread ask that the cell left behind


class App(IPKernelApp):
    """ipykernel's application, which never drops output and keeps no history file."""

    def init_iopub(self, context: zmq.Context[Any]) -> None:
        """Never drops output for a slow reader; and greets every subscriber, where the default is to greet only the first
        of several with the same wish (the gateway sends no code before it was greeted)."""
        context.setsockopt(zmq.XPUB_NODROP, 1)
        context.setsockopt(zmq.XPUB_VERBOSE, 1)
        super().init_iopub(context)

    def init_io(self) -> None:
        """Whatever is written to the original stdout and stderr from here on goes nowhere: the tenant could flood it."""
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        os.close(null)
        super().init_io()


def config() -> Config:
    c = Config()
    c.IPKernelApp.kernel_class = Kernel
    c.IPKernelApp.outstream_class = f"{PromptOutput.__module__}.{PromptOutput.__qualname__}"
    c.IPythonKernel._execute_sleep = 0
    c.HistoryManager.enabled = False
    c.InlineBackend.figure_formats = {"png"}
    c.InlineBackend.rc = {"figure.dpi": 110}
    return c


def limit(data: int) -> DataLimit:
    """A memory bomb gets MemoryError at `data` bytes; when that fails, this process is the one to be killed."""
    Path("/proc/self/oom_score_adj").write_text("800")
    return DataLimit(data)


def lay_out_fonts() -> None:
    """matplotlib wants a directory it can write, and its font list in there (see prepare.py)."""
    ready, wanted = Path(sys.prefix) / "share" / "codeact" / "matplotlib", Path(os.environ["MPLCONFIGDIR"])
    with suppress(OSError):  # it only makes the first plot slower
        shutil.copytree(ready, wanted, dirs_exist_ok=True)


def hide_modules() -> None:
    """A cell's `import memory` means the tenant's, not ours, which go on by what they have imported already."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None) or ""
        if file.rpartition("/")[0] == str(HERE) and name != "__main__":
            del sys.modules[name]


def main() -> None:
    sys.path.remove(str(HERE))  # a cell's `import app` means the tenant's
    lay_out_fonts()
    data_limit = limit(int(sys.argv.pop(1)))
    app = App.instance(config=config())
    app.initialize(sys.argv[1:])
    hide_modules()
    data_limit.watch(app.shell)
    sitecustomize.add_packages()
    app.start()


if __name__ == "__main__":
    main()
