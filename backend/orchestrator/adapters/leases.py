"""This server's leases on sandboxes of an executor: who may drive a conversation's kernel, told by a fence that only grows.

A lease is taken when a conversation is first used, and renewed while a cell runs or by a request after half its time;
while nobody asks it may run out, which costs nothing: another server may then take over, and this one is refused.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import aiohttp

log = logging.getLogger(__name__)

TTL_S = 60.0
FENCED = "another server drives this conversation's Python at the moment. Try again in a minute."


class Fenced(Exception):
    """Another server drives this conversation's kernel."""


class Refused(Exception):
    """The executor does not grant a lease; the message is its reason, for people."""


@dataclass(frozen=True, slots=True)
class _Lease:
    fence: int
    taken: float  # on the monotonic clock


class Leases:
    """`owner` names this process and is never used again."""

    def __init__(self, http: aiohttp.ClientSession, url: str, owner: str) -> None:
        self._http = http
        self._url = url
        self._owner = owner
        self._leases: dict[str, _Lease] = {}
        self._taking: dict[str, asyncio.Task[_Lease]] = {}

    async def fence(self, conversation: str) -> int:
        """The fence to show. Raises Fenced, Refused, or what the connection raises."""
        lease = self._leases.get(conversation)
        if lease is not None and time.monotonic() < lease.taken + TTL_S / 2:
            return lease.fence
        taking = self._taking.get(conversation)
        if taking is None:
            taking = self._taking[conversation] = asyncio.create_task(self._take(conversation))
            taking.add_done_callback(lambda task: self._taken(conversation, task))
        return (await asyncio.shield(taking)).fence

    @contextmanager
    def renewed(self, conversation: str) -> Iterator[None]:
        """The lease does not run out during the block: whoever took over would stop the cell."""
        renewing = asyncio.create_task(self._renew(conversation))
        try:
            yield
        finally:
            renewing.cancel()

    def forget(self, conversation: str) -> None:
        """The lease is not to be relied on any more."""
        self._leases.pop(conversation, None)

    async def give_back(self) -> None:
        """Others need not wait for the leases to run out."""
        held, self._leases = self._leases, {}
        deleting = [self._delete(conversation, lease.fence) for conversation, lease in held.items()]
        await asyncio.gather(*deleting, return_exceptions=True)

    # ---- the executor's side -----------------------------------------------------------------------------------------

    async def _take(self, conversation: str) -> _Lease:
        body = {"owner": self._owner, "ttl_s": TTL_S}
        async with self._http.put(f"{self._url}/v1/conversations/{conversation}/lease", json=body) as answer:
            if answer.status == 409:
                raise Fenced(FENCED)
            if not answer.ok:
                raise Refused(await words_of(answer))
            return _Lease(int((await answer.json())["fence"]), time.monotonic())

    def _taken(self, conversation: str, task: asyncio.Task[_Lease]) -> None:
        """Kept, beside those that may still hold; a failure belongs to whoever waits."""
        del self._taking[conversation]
        if task.cancelled() or task.exception() is not None:
            return
        oldest = time.monotonic() - TTL_S
        self._leases = {name: lease for name, lease in self._leases.items() if lease.taken > oldest}
        self._leases[conversation] = task.result()

    async def _renew(self, conversation: str) -> None:
        while True:
            await asyncio.sleep(TTL_S / 4)
            try:
                await self.fence(conversation)
            except (aiohttp.ClientError, OSError, TimeoutError, Fenced, Refused) as error:  # the run itself will show it
                log.info("the lease of conversation %s was not renewed: %s", conversation, error)

    async def _delete(self, conversation: str, fence: int) -> None:
        url = f"{self._url}/v1/conversations/{conversation}/lease"
        async with self._http.delete(url, params={"fence": fence, "mode": "keep"}):
            pass


async def words_of(answer: aiohttp.ClientResponse) -> str:
    """What the executor says about a request that it refuses."""
    try:
        said = await answer.json()
        words = said.get("words") or said.get("detail")
    except (aiohttp.ClientError, ValueError, AttributeError):
        words = None
    return words if isinstance(words, str) else f"the executor answered {answer.status}."
