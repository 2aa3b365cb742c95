"""The golden streams: fresh, and folded to the view they end with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from orchestrator.protocol.events import Event, Live
from orchestrator.protocol.fold import apply, apply_live, fold
from orchestrator.protocol.view import Kernel, View
from tests.streams import make

STREAMS = Path(make.__file__).parent
EVENTS = TypeAdapter(list[Event])


def read(name: str) -> tuple[list[Event], View]:
    *events, last = (json.loads(line) for line in (STREAMS / name).read_text(encoding="utf-8").splitlines())
    return EVENTS.validate_python([line["event"] for line in events]), View.model_validate(last["view"])


def test_the_golden_streams_are_fresh():
    made = make.files()
    for name, content in made.items():
        assert (STREAMS / name).read_text(encoding="utf-8") == content, f"run: python -m tests.streams.make ({name})"
    assert {path.name for path in STREAMS.glob("*.json*")} == set(made)


@pytest.mark.parametrize("name", sorted(path.name for path in STREAMS.glob("*.jsonl")))
def test_a_golden_stream_folds_to_its_view(name):
    events, view = read(name)
    assert fold(events) == view


@pytest.mark.parametrize(
    "join", json.loads((STREAMS / "joins.json").read_text()), ids=lambda j: f"{j['stream']}-{j['after']}"
)
def test_joining_a_golden_stream_gives_its_view(join):
    events, view = read(f"{join['stream']}.jsonl")
    seen = fold(event for event in events[: join["after"]] if hasattr(event, "seq"))
    if join["live"] is not None:
        seen = apply_live(seen, Live.model_validate(join["live"]))
    seen = seen.model_copy(update={"kernel": Kernel.model_validate(join["kernel"])})
    for event in events[join["after"] :]:
        seen = apply(seen, event)
    assert seen == view
