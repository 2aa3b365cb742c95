"""What the gateway does without, although a library imports it: jupyter_events, which jupyter_server keeps for loggers that
nothing here makes. It brings JSON Schema, YAML and dates, a third of the gateway's start and 6 MB of its memory."""

from __future__ import annotations

import sys
from types import ModuleType


class EventLogger:
    """Named in annotations and traits of jupyter_server; never made."""


class SchemaRegistryException(Exception):
    """Named in an `except` of jupyter_server; never raised."""


def leave_out() -> None:
    """Before jupyter_server is imported."""
    events, registry = ModuleType("jupyter_events"), ModuleType("jupyter_events.schema_registry")
    events.__dict__.update(EventLogger=EventLogger, __path__=[])
    registry.__dict__.update(SchemaRegistryException=SchemaRegistryException)
    sys.modules.update({events.__name__: events, registry.__name__: registry})
