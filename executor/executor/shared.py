"""A task that several wait for, each of whom may give up."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from executor.sandbox.base import SandboxUnavailable

T = TypeVar("T")


async def result(making: asyncio.Task[T]) -> T:
    """Abandoning this does not end the task. Raises what the task raised, and SandboxUnavailable when it was cancelled."""
    await asyncio.wait([making])
    if making.cancelled():
        raise SandboxUnavailable("The sandbox was removed while it was being started.")
    return making.result()


def heard(task: asyncio.Task[T]) -> None:
    """A failure that nobody waited for (prepare) shows when a cell runs; it is no unretrieved exception."""
    if not task.cancelled():
        task.exception()
