"""The gateway's kernel manager: one kernel, over Unix sockets, restarted when it dies, noticed at once."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

import zmq.asyncio
from jupyter_client.ioloop import AsyncIOLoopKernelManager
from jupyter_client.ioloop.restarter import AsyncIOLoopKernelRestarter
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager

KERNEL = Path(__file__).with_name("kernel.py")
NAME = "python3"


class OneSpec(KernelSpecManager):
    """Knows our kernel alone; searches no directory."""

    data_limit = 0

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        argv = [sys.executable, str(KERNEL), str(self.data_limit), "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name="Python 3", language="python", interrupt_mode="signal")


class Restarter(AsyncIOLoopKernelRestarter):
    """Restarts on the same sockets: the websocket's ZMQ connections then find the new kernel by themselves. Gives up on a
    kernel that dies while it starts, five times over; one that has run for a second or two may die as often as it likes."""

    random_ports_until_alive = False
    time_to_dead = 1.0
    stable_start_time = 1.0


class Kernel(AsyncIOLoopKernelManager):
    """One kernel process. Its messages are not signed: its sockets lie in a directory of the tenant's own sandbox, and the
    tenant, being the kernel, would hold the key anyway."""

    restarter_class = Restarter
    transport = "ipc"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.session.key = b""

    async def _async_launch_kernel(self, kernel_cmd: list[str], **kw: Any) -> None:
        kill_strays()
        await super()._async_launch_kernel(kernel_cmd, **kw)
        self._watch()

    def _watch(self) -> None:
        """Has the restarter look the moment the process ends, instead of up to three seconds later."""
        fd = os.pidfd_open(self.provisioner.process.pid)
        loop = asyncio.get_running_loop()

        def ended() -> None:
            loop.remove_reader(fd)
            os.close(fd)
            if self._restarter is not None and not self.shutting_down:
                self._poll = loop.create_task(self._restarter.poll())

        loop.add_reader(fd, ended)


def kill_strays() -> None:
    """Ends whatever an earlier kernel of this sandbox started and left running. -1 is everything in the pid namespace
    but its init and the caller."""
    try:
        os.kill(-1, signal.SIGKILL)
    except ProcessLookupError:
        return


class Manager(AsyncMappingKernelManager):
    """jupyter_server's manager, without what costs time and serves nobody here: reading every output message a second time
    to note activity, and buffering output for a client that is away."""

    buffer_offline_messages = False
    shared_context = True

    def start_watching_activity(self, kernel_id: str) -> None:
        return

    def stop_watching_activity(self, kernel_id: str) -> None:
        return

    async def restart(self, kernel_id: str) -> None:
        """A new kernel in the place of the running one. Every connection hears `restarting`, as when it dies by itself."""
        kernel = self.get_kernel(kernel_id)
        kernel._restarter._fire_callbacks("restart")
        await kernel.restart_kernel(now=True)

    def kernel_model(self, kernel_id: str) -> dict[str, Any]:
        self._check_kernel_id(kernel_id)
        return {"id": kernel_id, "name": NAME, "connections": self._kernel_connections.get(kernel_id, 0)}


def make_manager(state: Path, data_limit: int) -> Manager:
    """A manager whose connection file and sockets lie in `state`; the kernel may use `data_limit` bytes of memory."""
    specs = OneSpec()
    specs.data_limit = data_limit
    context = zmq.asyncio.Context()
    context.rcvhwm = 32  # messages; what a slow client leaves unread waits in the kernel, whose memory is limited
    context.reconnect_ivl = 10  # ms; a kernel that starts is found at once, not within the default tenth of a second
    with warnings.catch_warnings():
        # jupyter_server would rather have its own kernel manager, which checks every action against a JSON schema.
        warnings.simplefilter("ignore", FutureWarning)
        return Manager(
            kernel_manager_class=f"{Kernel.__module__}.{Kernel.__qualname__}",
            kernel_spec_manager=specs,
            connection_dir=str(state),
            default_kernel_name=NAME,
            root_dir=str(Path.cwd()),
            context=context,
        )
