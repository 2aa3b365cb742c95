"""The TypeScript types are the protocol's own: generated, committed, and never behind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.protocol.schema import document
from orchestrator.schema import FEATURES, UNIONS

FRONTEND = Path(__file__).parents[2] / "frontend"


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node")
def test_the_generated_types_are_fresh() -> None:
    if not (FRONTEND / "node_modules").is_dir():
        pytest.skip("frontend packages are not installed (npm ci)")
    printed = subprocess.run(
        ["node", "scripts/types.mjs", "--print"],
        cwd=FRONTEND,
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    assert printed == (FRONTEND / "src/protocol/generated.ts").read_text(), "run `npm run types` in frontend/"


def test_the_document_is_the_same_every_time() -> None:
    assert json.dumps(document(FEATURES, UNIONS)) == json.dumps(document(FEATURES, UNIONS))


def test_every_field_of_every_model_is_required() -> None:
    for name, schema in document(FEATURES, UNIONS)["components"]["schemas"].items():
        assert set(schema.get("required", [])) == set(schema.get("properties", {})), name
