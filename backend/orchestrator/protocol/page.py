"""What a browser loads over HTTP before it follows a conversation on its websocket."""

from __future__ import annotations

from orchestrator.protocol.base import Value
from orchestrator.protocol.events import DurableEvent, Live
from orchestrator.protocol.frames import ConversationSummary
from orchestrator.protocol.view import Kernel


class ConversationPage(Value):
    """Everything known of one conversation at `cursor`: fold `events`, apply `live`, then subscribe with `cursor`."""

    summary: ConversationSummary
    events: list[DurableEvent]
    live: Live | None
    cursor: str
    kernel: Kernel


class ConversationList(Value):
    """Newest first. `GET /api/conversations?limit=&before=` answers with the lines that follow `before`."""

    conversations: list[ConversationSummary]
