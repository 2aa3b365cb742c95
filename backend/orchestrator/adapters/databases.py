"""What the store asks of a database: pieces of work, each one transaction. `sqlite.py` and `postgres.py` do them.

Two ways, because one is too dear for what every turn does: a function of one SQLAlchemy connection can say anything;
statements and their values are all that a driver needs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, TextClause

from orchestrator.errors import StoreUnavailable
from orchestrator.observability.counts import counts

T = TypeVar("T")
Work = Callable[[Connection], T]
Values = dict[str, Any]
Change = tuple[TextClause, Values | list[Values]]
"""A statement, and its values; a list of values is one execution each."""


class Taken(Exception):
    """A row is there already that may be there only once, or one that it belongs to is not there. Nothing has changed."""


class Database(Protocol):
    """Raises `StoreUnavailable` and `Taken`. A write whose caller is cancelled still happens whole."""

    async def read(self, work: Work[T]) -> T:
        """Statements that only read."""
        ...

    async def write(self, work: Work[T]) -> T:
        """One transaction: committed when `work` returns, rolled back when it raises."""
        ...

    async def find(self, statement: TextClause, values: Values) -> Sequence[Sequence[Any]]:
        """The rows of one statement that finds few, at once."""
        ...

    async def change(self, changes: Sequence[Change], needed: int = 1) -> bool:
        """One transaction. False, and nothing has changed, when one of the `needed` first statements finds no row to
        change."""
        ...

    async def close(self) -> None: ...


def unavailable(error: Exception) -> StoreUnavailable:
    """Any driver's trouble, in our words."""
    counts.errors["store"] += 1
    cause = str(getattr(error, "orig", None) or error).strip().splitlines()
    return StoreUnavailable(
        f"The database does not answer ({cause[0] if cause else type(error).__name__})."
        " Check that it runs, that CODEACT_STORE_URL is right, and that its disk is not full."
    )
