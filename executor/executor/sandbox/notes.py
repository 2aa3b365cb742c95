"""What a sandbox's record says of it beside its name: all that its `Spec` was made of, and who it runs as."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from executor.sandbox.base import Limits, Profile, Spec
from executor.sandbox.record import Record


def new_record(spec: Spec, hash: str, created: float, deadline: float, uid: int | None) -> Record:
    """What has to be known to make the same `Spec` again. `uid` is None where all sandboxes run as one user."""
    facts: dict[str, Any] = {
        "uid": uid,
        "limits": asdict(spec.limits),
        "profile": str(spec.profile),
        "egress": None if spec.egress is None else str(spec.egress),
    }
    return Record(spec.id, spec.generation, hash, created, deadline, workspace=str(spec.workspace), facts=facts)


def spec_of(found: Record) -> Spec:
    """Raises KeyError, TypeError or ValueError when the record is of a backend or version that says other things."""
    facts = found.facts
    egress = facts["egress"]
    return Spec(
        id=found.id,
        workspace=Path(found.workspace),
        limits=Limits(**facts["limits"]),
        profile=Profile(facts["profile"]),
        lifetime_s=float(found.deadline - found.created),
        generation=found.generation,
        egress=None if egress is None else Path(egress),
    )
