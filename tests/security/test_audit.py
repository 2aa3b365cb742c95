"""`make audit`: what it says and how it ends, for each thing that can be known or not be known."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
_spec = importlib.util.spec_from_file_location("codeact_audit", ROOT / "deploy" / "local" / "audit.py")
assert _spec is not None and _spec.loader is not None
audit = importlib.util.module_from_spec(_spec)  # by its place: `deploy` is also what tests/deploy is called here
sys.modules[_spec.name] = audit
_spec.loader.exec_module(audit)
LOCKS, Checked, NotAsked = audit.LOCKS, audit.Checked, audit.NotAsked
checked, npm_known, pins, python_known, verdict = (
    audit.checked, audit.npm_known, audit.pins, audit.python_known, audit.verdict,
)  # fmt: skip

SOUND = Checked("a.lock", 2)
BAD = Checked("b.lock", 3, known=("old 1.0: OSV-1",))
UNKNOWN = Checked("c.lock", 4, not_asked="the service cannot be asked (no route)")


def test_it_fails_when_something_is_known_whatever_else_could_not_be_asked() -> None:
    lines, status = verdict([SOUND, BAD, UNKNOWN])
    assert status == 1
    assert any("old 1.0: OSV-1" in line for line in lines) and any("NOT CHECKED  c.lock" in line for line in lines)


def test_what_could_not_be_asked_is_said_and_never_called_sound() -> None:
    lines, status = verdict([SOUND, UNKNOWN])
    said = "\n".join(lines)
    assert status == 0
    assert "NOT CHECKED  c.lock (4 packages): the service cannot be asked (no route)" in said
    assert "1 of 2 could not be checked" in said and "Nothing is known" not in said


def test_all_sound() -> None:
    lines, status = verdict([SOUND, SOUND])
    assert status == 0 and lines[-1] == "Nothing is known against any of them."


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_of_the_locks_is_looked_up(lock: str) -> None:
    text = (ROOT / lock).read_text()
    found = pins(text)
    assert len(found) == sum("==" in line and not line.startswith((" ", "#")) for line in text.splitlines()) > 5
    assert all(version[0].isdigit() for _, version in found)


def test_every_lock_is_one_of_them() -> None:
    there = {str(path.relative_to(ROOT)) for top in ROOT.iterdir() if not top.name.startswith(".") and top.is_dir()
             for path in top.rglob("requirements*.lock") if "node_modules" not in path.parts}  # fmt: skip
    assert there == set(LOCKS)


def test_extras_and_markers_of_a_lock() -> None:
    assert pins("a[b,c]==1.2 ; python_version < '3' \\\n    --hash=sha256:x==\n# d==1\ne-f.g==2rc1 \\\n") == [
        ("a", "1.2"),
        ("e-f.g", "2rc1"),
    ]


def test_what_osv_says_is_told_of_the_right_package() -> None:
    def ask(queries: list[dict[str, Any]]) -> Any:
        bad = {"vulns": [{"id": "OSV-1"}, {"id": "OSV-2"}]}
        return {"results": [bad if query["package"]["name"] == "p700" else {} for query in queries]}

    many = [(f"p{number}", "1") for number in range(1201)]
    assert python_known(many, ask) == ("p700 1: OSV-1", "p700 1: OSV-2")


@pytest.mark.parametrize("answer", [{}, [], None, {"results": []}, {"results": None}, "<html>"])
def test_an_answer_that_is_none_is_no_clean_bill(answer: Any) -> None:
    one = checked("a", 1, lambda: python_known([("a", "1")], lambda queries: answer))
    assert one.not_asked and verdict([one])[1] == 0


@pytest.mark.parametrize("report", ["", "<html>", "[]", "null", json.dumps({"message": "405 Method Not Allowed"})])
def test_npm_that_cannot_ask_is_no_clean_bill(report: str) -> None:
    with pytest.raises(NotAsked, match=r"405|no report"):
        npm_known(report)


def test_what_npm_says() -> None:
    report = {"vulnerabilities": {"x": {"severity": "high", "range": "<2"}}}
    assert npm_known(json.dumps(report)) == ("x <2: high",)
    assert npm_known(json.dumps({"vulnerabilities": {}})) == ()
