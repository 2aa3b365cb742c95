"""What the conversation endpoints are sent. What they answer is part of the protocol (`protocol/page.py`)."""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints

from orchestrator.protocol.base import Value

Title = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200)]


class Create(Value):
    """The body of a PUT; an empty title is filled by the first message."""

    title: Title = ""


class Rename(Value):
    title: Annotated[Title, StringConstraints(min_length=1)]
