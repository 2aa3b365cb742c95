"""What a fact costs its user, as statements that go into the transaction which stores it: counted once, or not stored.

The conversation's row is changed first and the user's count after it, always in this order, so that no two transactions
wait for each other.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

from orchestrator.adapters.databases import Change
from orchestrator.ports import Spent
from orchestrator.usage import MOST, day_of

MESSAGE = text(
    "INSERT INTO usage (day, user_id, messages, model_tokens, cpu_ms)"
    " SELECT CAST(:day AS INTEGER), user_id, 1, 0, 0 FROM conversations"
    " WHERE id = :conversation AND CAST(:most AS BIGINT) > 0"
    " ON CONFLICT (day, user_id) DO UPDATE SET messages = usage.messages + 1"
    " WHERE usage.messages < CAST(:most AS BIGINT)"
)
COST = text(
    "INSERT INTO usage (day, user_id, messages, model_tokens, cpu_ms)"
    " SELECT CAST(:day AS INTEGER), user_id, 0, CAST(:tokens AS BIGINT), CAST(:cpu_ms AS BIGINT)"
    " FROM conversations WHERE id = :conversation"
    " ON CONFLICT (day, user_id) DO UPDATE SET model_tokens = usage.model_tokens + excluded.model_tokens,"
    " cpu_ms = usage.cpu_ms + excluded.cpu_ms"
)
DISK = text("UPDATE conversations SET disk = CAST(:disk AS BIGINT) WHERE id = :conversation")
MESSAGES = text(
    "SELECT u.messages FROM conversations c JOIN usage u ON u.user_id = c.user_id AND u.day = :day"
    " WHERE c.id = :conversation"
)
LARGEST = 2**40
"""Of what one step or cell can cost: no server's or sandbox's word is worth more, and no count overflows."""


def message(conversation: str, at: float, most: int | None) -> Change:
    """Finds no row to change when the user has sent `most` messages that day."""
    return MESSAGE, {"conversation": conversation, "day": day_of(at), "most": MOST if most is None else min(most, MOST)}


def cost(conversation: str, spent: Spent) -> list[Change]:
    tokens, cpu_ms = _bounded(spent.tokens), _bounded(spent.cpu_ms)
    changes: list[Change] = []
    if spent.disk is not None:
        changes.append((DISK, {"conversation": conversation, "disk": _bounded(spent.disk)}))
    if tokens or cpu_ms:
        facts = {"conversation": conversation, "day": day_of(spent.at), "tokens": tokens, "cpu_ms": cpu_ms}
        changes.append((COST, facts))
    return changes


def messages(connection: Connection, conversation: str, at: float) -> int:
    """How many the conversation's user has sent that day."""
    found = connection.execute(MESSAGES, {"conversation": conversation, "day": day_of(at)}).scalar_one_or_none()
    return int(found or 0)


def _bounded(number: int) -> int:
    return min(max(0, number), LARGEST)
