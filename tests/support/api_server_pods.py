"""The node of the API server stand-in: it starts a pod as a local sandbox of bubblewrap, to the letter of its spec.

Command, environment, user, mounts, sizes and limits are those of the pod; the image is this checkout's `.venv-sandbox` at
/opt/venv and `executor/image` at /opt/sandbox, as the real one has them. Of our own isolation nothing is added: no system
call filter, no limit on user namespaces. What protects is what the pod brings along. Needs root: a pod's address is a
loopback address here, behind which connections are carried into the pod's own network namespace.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

from executor.sandbox import argv, cgroups, place, starting
from executor.sandbox.base import Limits
from executor.sandbox.bubblewrap import IMAGE
from executor.sandbox.programs import Bwrap, Python
from executor.sandbox.tree import Tree

CLONE_NEWNET = 0x40000000
LOOK_S = 0.02
CLUSTER = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443", "HOSTNAME": "sandbox"}
libc = ctypes.CDLL(None, use_errno=True)


class LocalPod:
    """One pod's only container. `address` is where its port is reached; `open_door` lets it reach its door."""

    def __init__(self, spec: dict[str, Any], mark: str, volumes: dict[str, Path], address: str) -> None:
        self.spec = spec
        self.container = spec["containers"][0]
        self.mark = mark
        self.address = address
        self.tree: Tree | None = None
        self.group: cgroups.Group | None = None
        self._volumes = volumes
        self._server: asyncio.Server | None = None
        self._inner: set[socket.socket] = set()

    async def start(self, bwrap: Bwrap, python: Python, etc: Path) -> None:
        found = place.find()
        limits = self.container["resources"]["limits"]
        if found is not None:
            asked = Limits(memory=int(limits["memory"]), pids=4096, cpus=int(limits["cpu"].removesuffix("m")) / 1000)
            self.group = cgroups.Group(found, self.mark, asked)
        sources = argv.Sources(staged=True)
        program, told, tell = sources.name(bwrap.path.parent), *os.pipe2(os.O_CLOEXEC)
        libraries = sources.name(bwrap.libraries) if bwrap.libraries else None
        command = [
            f"codeact-test-{self.mark}",
            *("--unshare-all", "--unshare-user", "--new-session", "--die-with-parent", "--as-pid-1"),
            *("--cap-drop", "ALL", "--uid", str(self.user), "--gid", str(self.user), "--hostname", "sandbox", "--clearenv"),
            *argv.settings(CLUSTER | {pair["name"]: pair["value"] for pair in self.container["env"]}),
            *self._mounts(sources, python, etc),
            *("--chdir", self.container["workingDir"], "--remount-ro", "/", "--info-fd", str(tell)),
            *("--", *self.container["command"], *self.container["args"]),
        ]
        plan = {
            "parent": os.getpid(),
            "cgroups": self.group.procs_files() if self.group else [],
            "uid": self.user,
            "stage": sources.stage,
            "keep": [tell],
            "program": f"{program}/{bwrap.path.name}",
            "libraries": libraries,
            "argv": command,
        }
        self.tree = starting.launch(f"codeact-test-{self.mark}", plan, self._nothing(), [tell])
        os.close(tell)
        pid = await asyncio.to_thread(starting.init_pid, told)
        if pid is not None:
            self.tree.attach_init(pid)

    @property
    def user(self) -> int:
        return int(self.container["securityContext"]["runAsUser"])

    @property
    def port(self) -> int:
        return int(self.container["ports"][0]["containerPort"])

    @property
    def door(self) -> str:
        return str(json.loads(self.container["args"][0])["pod"]["door"])

    def _nothing(self) -> int:
        return os.open(os.devnull, os.O_RDONLY)

    def _mounts(self, sources: argv.Sources, python: Python, etc: Path) -> list[str]:
        args = [word for pair in argv.links() for word in ("--symlink", *pair)]
        for source, where in (*argv.read_only(list(python.needs)), (etc, Path("/etc")), (IMAGE, Path(argv.BOOTSTRAP))):
            args += ["--ro-bind", sources.name(source), str(where)]
        args += ["--ro-bind", sources.name(python.path.parent.parent), "/opt/venv", "--proc", "/proc", "--dev", "/dev"]
        for controller, path in (self.group.paths if self.group else {}).items():
            args += ["--ro-bind", sources.name(path), f"/sys/fs/cgroup{'' if controller == 'all' else f'/{controller}'}"]
        volumes = {volume["name"]: volume for volume in self.spec["volumes"]}
        for mount in sorted(self.container["volumeMounts"], key=lambda mount: mount["name"] == "workspace"):
            volume = volumes[mount["name"]]
            if "emptyDir" in volume:
                args += ["--perms", "1777", "--size", volume["emptyDir"]["sizeLimit"], "--tmpfs", mount["mountPath"]]
            else:
                files = self._volumes[volume["persistentVolumeClaim"]["claimName"]] / mount["subPath"]
                args += ["--bind", sources.name(files), mount["mountPath"]]
        return args

    # ---- its network -------------------------------------------------------------------------------------------------

    async def open_door(self) -> None:
        """As if no policy kept it from its door."""
        listener = await asyncio.to_thread(self._socket)
        host, _, port = self.door.rpartition(":")
        listener.bind((host, int(port)))
        listener.listen()
        self._inner.add(listener)

    async def listen(self) -> None:
        """Reachable from now on, once its gateway listens."""
        while self.alive():
            with suppress(OSError):
                (await self._dial()).close()
                self._server = await asyncio.start_server(self._carry, self.address, self.port)
                return
            await asyncio.sleep(LOOK_S)

    def alive(self) -> bool:
        return self.tree is not None and self.tree.alive()

    def _socket(self) -> socket.socket:
        """A socket in the pod's network namespace. Raises OSError when it has none (any more)."""
        assert self.tree is not None
        if self.tree.init is None:
            raise OSError("the pod has ended")
        with Path(f"/proc/{self.tree.init.pid}/ns/net").open() as inside, Path("/proc/thread-self/ns/net").open() as here:
            if libc.setns(inside.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
            try:
                made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            finally:
                assert libc.setns(here.fileno(), CLONE_NEWNET) == 0
        made.setblocking(False)
        return made

    async def _dial(self) -> socket.socket:
        made = await asyncio.to_thread(self._socket)
        try:
            await asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", self.port))
        except BaseException:
            made.close()
            raise
        return made

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner: asyncio.StreamWriter | None = None
        try:
            back, inner = await asyncio.open_connection(sock=await self._dial())
            done, pending = await asyncio.wait(
                [asyncio.create_task(copy(reader, inner)), asyncio.create_task(copy(back, writer))],
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in pending:
                task.cancel()
            await asyncio.gather(*done, *pending, return_exceptions=True)
        except OSError:
            writer.transport.abort()
        finally:
            for end in (writer, inner):
                if end is not None:
                    end.close()

    # ---- its end -----------------------------------------------------------------------------------------------------

    async def ended(self) -> tuple[int, str, str]:
        """Its exit status, the cluster's word for it, and the last of what it wrote."""
        assert self.tree is not None
        code = await self.tree.outer.ended()
        kills = self.group.usage().oom_kills if self.group else 0
        status = 0 if code is None else code if code >= 0 else 128 - code
        reason = "OOMKilled" if kills and status == 137 else "Completed" if status == 0 else "Error"
        return status, reason, self.tree.complaint()

    def kill(self) -> None:
        if self.tree is not None:
            self.tree.kill()
            self.tree.outer.kill()

    async def clear(self) -> None:
        if self._server is not None:
            self._server.close()
        for listener in self._inner:
            listener.close()
        if self.group is not None:
            await asyncio.to_thread(self.group.remove, 5.0)
        if self.tree is not None:
            self.tree.close()


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
