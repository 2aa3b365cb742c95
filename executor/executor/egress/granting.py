"""A backend that gives every sandbox of the profile `net` a door of its own, for as long as the sandbox lives: through the
next life of the executor, where that finds it alive."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from pathlib import Path

from executor.egress import beside
from executor.egress.door import Door, Egress
from executor.sandbox.base import Backend, Profile, Sandbox, SandboxUnavailable, Spec
from executor.wire import Feature, Health

log = logging.getLogger(__name__)

SHOWN = 12


class Granting:
    """`backend`, and what it makes, with `egress` beside it. Doors are kept in `<data_dir>/egress`."""

    def __init__(self, backend: Backend, egress: Egress, data_dir: Path) -> None:
        self.name = backend.name
        self.egress = egress
        self._backend = backend
        self._data_dir = data_dir.absolute()
        self._doors: dict[str, asyncio.Task[None]] = {}  # until the sandbox ends

    async def create(self, spec: Spec) -> Sandbox:
        if spec.profile is not Profile.NET:
            return await self._backend.create(spec)
        door = await self._open(spec.id, beside.place(self._data_dir, spec.id))
        try:
            sandbox = await self._backend.create(replace(spec, egress=door.path))
        except BaseException:
            await door.close()
            raise
        self._attend(door, sandbox)
        return sandbox

    async def adopt(self) -> list[Sandbox]:
        found = await self._backend.adopt()
        for sandbox in found:
            if sandbox.spec.egress is not None and sandbox.id not in self._doors:
                try:
                    self._attend(await self._open(sandbox.id, sandbox.spec.egress), sandbox)
                except SandboxUnavailable as error:  # it lives on, without a network
                    log.warning("%s", error, extra={"sandbox": sandbox.id, "conversation": sandbox.conversation})
        await asyncio.to_thread(beside.sweep, self._data_dir, set(self._doors))
        return found

    def give(self, workspace: Path, sandbox: Sandbox) -> None:
        self._backend.give(workspace, sandbox)

    async def check(self) -> Health:
        health = await self._backend.check()
        hosts = [str(entry) for entry in self.egress.rules.allowed]
        more = f" and {len(hosts) - SHOWN} more" if len(hosts) > SHOWN else ""
        reached = ", ".join(hosts[:SHOWN]) or "no host"
        detail = f"profile net reaches {reached}{more}, through a proxy that logs every request"
        detail += "".join(f"; left out: {words}" for words in self.egress.left_out)
        grants = Feature(name="network grants", state="on", detail=detail)
        return health.model_copy(update={"features": [*health.features, grants]}) if health.ok else health

    async def close(self, keep: bool = False) -> None:
        for attending in list(self._doors.values()):
            attending.cancel()
        await asyncio.gather(*self._doors.values(), return_exceptions=True)
        try:
            await self._backend.close(keep)
        finally:
            await self.egress.close(keep)

    async def _open(self, id: str, path: Path) -> Door:
        try:
            return await self.egress.open(id, path)
        except OSError as error:
            raise SandboxUnavailable(f"The sandbox's way to the network cannot be made: {error}.") from error

    def _attend(self, door: Door, sandbox: Sandbox) -> None:
        door.of = sandbox
        attending = self._doors[sandbox.id] = asyncio.create_task(self._until_gone(door, sandbox))
        attending.add_done_callback(lambda _: self._doors.pop(sandbox.id, None))

    async def _until_gone(self, door: Door, sandbox: Sandbox) -> None:
        await sandbox.wait()
        await door.close()
