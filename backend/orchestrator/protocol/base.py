"""What every value of the protocol has in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
"""An id made by a client or by us: safe in URLs, file names and cgroup names."""


class Value(BaseModel):
    """Immutable, and strict about unknown fields, so that a typing error on either side is heard at once."""

    model_config = ConfigDict(frozen=True, extra="forbid")
