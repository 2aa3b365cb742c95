"""The conversation list and one conversation's page; every change is told to all connections."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from executor.wire import KernelState
from orchestrator.conversations.removals import Removals
from orchestrator.errors import NotFound, TurnIsOpen
from orchestrator.journal import channel, encode, tell_list
from orchestrator.ports import Bus, Kernel, PageJson, Store
from orchestrator.protocol import view
from orchestrator.protocol.frames import ConversationChanged, ConversationRemoved, ConversationSummary
from orchestrator.protocol.page import ConversationList

log = logging.getLogger(__name__)


class Sessions(Protocol):
    """What is kept of a conversation between its turns (`Turns`)."""

    async def forget(self, conversation: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Conversations:
    """Those of `user`. `clock` gives Unix seconds. Methods raise `NotFound`, `TurnIsOpen`, `StoreUnavailable`."""

    user: str
    store: Store
    bus: Bus
    kernel: Kernel
    turns: Sessions
    removals: Removals
    clock: Callable[[], float]

    async def list(self, limit: int, before: float | None) -> ConversationList:
        return ConversationList(conversations=await self.store.conversations(self.user, limit, before))

    async def create(self, id: str, title: str) -> ConversationSummary:
        """Idempotent: the conversation as it is when the id exists."""
        now = self.clock()
        summary = await self.store.create_conversation(self.user, id, title, now)
        if summary is None:
            raise NotFound
        if summary.created_at == now:
            await tell_list(self.bus, self.user, ConversationChanged(summary=summary))
        return summary

    async def rename(self, id: str, title: str) -> ConversationSummary:
        summary = await self.store.rename(self.user, id, title, self.clock())
        if summary is None:
            raise NotFound
        await tell_list(self.bus, self.user, ConversationChanged(summary=summary))
        return summary

    async def delete(self, id: str) -> None:
        """With its sandbox and files; refused while a turn is open."""
        if not await self.store.delete(self.user, id):
            raise TurnIsOpen if await self.store.summary(self.user, id) else NotFound
        await self.turns.forget(id)
        await tell_list(self.bus, self.user, ConversationRemoved(conversation=id))
        await self.removals.remove(id)

    async def page(self, id: str) -> bytes:
        """A `ConversationPage` as JSON. Its cursor was taken before the facts were read, so that whatever happens in
        between is told again rather than missed; an open turn's checkpoint says itself where to go on from."""
        head = await self.bus.head(channel(id))
        page = await self.store.page_json(self.user, id)
        if page is None:
            raise NotFound
        return _join(page, head, await self._kernel(id))

    async def _kernel(self, id: str) -> view.Kernel:
        try:
            status = await self.kernel.status(id)
        except Exception:  # history can be read without an executor; running code will say what is wrong
            log.warning("the kernel's state of conversation %s is not known", id, exc_info=True)
            return view.Kernel(state=KernelState.NONE, words="", memory_used=None, memory_limit=None)
        return view.Kernel(state=status.state, words="", memory_used=status.memory_used, memory_limit=status.memory_limit)


def _join(page: PageJson, head: str, kernel: view.Kernel) -> bytes:
    """Stored texts side by side: a thousand events cost what their bytes cost."""
    cursor = head if page.cursor is None else page.cursor
    return b"".join(
        (
            b'{"summary":',
            encode(page.summary),
            b',"events":[',
            ",".join(page.events).encode(),
            b'],"live":',
            (page.live or "null").encode(),
            b',"cursor":"',
            cursor.encode(),  # ours: letters, digits and a dash
            b'","kernel":',
            encode(kernel),
            b"}",
        )
    )
