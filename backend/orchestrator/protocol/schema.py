"""The protocol as one OpenAPI 3.1 document, from which the TypeScript types are generated.

OpenAPI has no word for websockets, so the unions ride among the components. `python -m orchestrator.protocol.schema`
prints the document; the same classes always give the same bytes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import TypeAdapter
from pydantic.json_schema import models_json_schema

from orchestrator.protocol import PROTOCOL_VERSION
from orchestrator.protocol.base import Value
from orchestrator.protocol.commands import Command
from orchestrator.protocol.events import DurableEvent, Event, Live, LiveEvent
from orchestrator.protocol.frames import CloseCode, ConversationSummary, Frame
from orchestrator.protocol.outputs import Output, OutputOp
from orchestrator.protocol.page import ConversationList, ConversationPage
from orchestrator.protocol.view import Item, View

REF = "#/components/schemas/{model}"
MODELS = (View, Live, ConversationSummary, ConversationPage, ConversationList)
UNIONS: dict[str, Any] = {
    "CloseCode": CloseCode,
    "Command": Command,
    "DurableEvent": DurableEvent,
    "Event": Event,
    "Frame": Frame,
    "Item": Item,
    "LiveEvent": LiveEvent,
    "Output": Output,
    "OutputOp": OutputOp,
    "ProtocolVersion": Literal[PROTOCOL_VERSION],
}


def document(models: Sequence[type[Value]] = (), unions: Mapping[str, Any] = UNIONS) -> dict[str, Any]:
    """The whole protocol, as it is on the wire, and what else is named."""
    schemas: dict[str, Any] = {}
    all_models: list[type[Value]] = [*MODELS, *models]
    _, of_models = models_json_schema([(model, "serialization") for model in all_models], ref_template=REF)
    schemas.update(of_models.get("$defs", {}))
    for name, union in {**UNIONS, **unions}.items():
        schema = TypeAdapter[Any](union).json_schema(mode="serialization", ref_template=REF)
        schemas.update(schema.pop("$defs", {}))
        schemas[name] = schema
    return {
        "openapi": "3.1.0",
        "info": {"title": "CodeAct Chat protocol", "version": str(PROTOCOL_VERSION)},
        "paths": {},
        "components": {"schemas": _tidied(schemas)},
    }


def _tidied(node: Any) -> Any:
    """Every property required, since defaults here are only tags; no titles, which just repeat the field names."""
    if isinstance(node, list):
        return [_tidied(item) for item in node]
    if not isinstance(node, dict):
        return node
    tidy = {k: _tidied(v) for k, v in node.items() if not (k == "title" and isinstance(v, str))}
    if "properties" in tidy:
        tidy["required"] = sorted(tidy["properties"])
    return tidy


def main() -> None:
    json.dump(document(), sys.stdout, indent=1, sort_keys=True)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
