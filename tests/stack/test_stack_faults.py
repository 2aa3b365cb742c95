"""Any one plug pulled, in any phase of a turn: nothing stored is lost, nothing runs twice, what is open closes with true
words, and the next message works."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import pytest

from tests.support.docker import docker
from tests.support.stack import Stack
from tests.support.stack_scene import (
    RUNNING,
    WRITTEN,
    Guest,
    Scene,
    closed,
    goes_on,
    nothing_stored_is_lost,
    scene_of,
    true_words,
)

pytestmark = pytest.mark.timeout(600)

SERVICES = ("backend", "executor", "postgres", "redis", "model")
PHASES = ("idle", "asking", "writing", "running")
FAULTS = ("crash", "pause", "restart")
PAUSE_S = 6.0
UNTOUCHED = {
    # what does not take part in a phase may not disturb it
    ("executor", "asking"), ("executor", "writing"),
    ("redis", "asking"), ("redis", "writing"), ("redis", "running"),
    ("model", "running"),
}  # fmt: skip


async def idle(_: Scene) -> None:
    pass


async def asking(scene: Scene) -> None:
    """The model has been asked, and takes its time."""
    scene.turn = await scene.tab.say("later")
    await scene.tab.until_type("turn.opened")


async def writing(scene: Scene) -> None:
    """The model is in the middle of its answer."""
    scene.turn = await scene.tab.say(f"slowly {WRITTEN}")
    await scene.tab.until_type("text.delta")


async def running(scene: Scene) -> None:
    """A cell runs, has written a mark, and will write another."""
    scene.turn = await scene.tab.say(f"run {RUNNING}")
    await scene.tab.until_type("cell.output")


async def crash(stack: Stack, container: str) -> None:
    await asyncio.to_thread(stack.crash, container)


async def pause(_: Stack, container: str) -> None:
    """As a machine that swaps, or a virtual one that is moved."""
    assert docker("pause", container).returncode == 0
    await asyncio.sleep(PAUSE_S)
    assert docker("unpause", container).returncode == 0


async def restart(_: Stack, container: str) -> None:
    done = await asyncio.to_thread(docker, "restart", container)
    assert done.returncode == 0, done.stderr


BEGIN: dict[str, Callable[[Scene], Awaitable[None]]] = {
    "idle": idle,
    "asking": asking,
    "writing": writing,
    "running": running,
}
BREAK: dict[str, Callable[[Stack, str], Awaitable[None]]] = {"crash": crash, "pause": pause, "restart": restart}


@pytest.mark.parametrize(
    ("service", "phase", "fault"), list(itertools.product(SERVICES, PHASES, FAULTS)), ids=lambda value: str(value)
)
async def test_a_plug_is_pulled(stack: Stack, guest: Guest, service: str, phase: str, fault: str) -> None:
    scene = await scene_of(stack, guest)
    await BEGIN[phase](scene)
    await BREAK[fault](stack, stack.container(service))
    if service != "model":
        await asyncio.to_thread(stack.healthy, service)
    await nothing_stored_is_lost(scene)
    if scene.turn:
        turn = await closed(scene)
        true_words(turn, (service, phase) in UNTOUCHED or (fault == "pause" and service != "postgres"))
    await goes_on(scene, phase, variables=service != "executor" or fault == "pause")
