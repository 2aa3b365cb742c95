"""`make audit`: known vulnerabilities of the packages that the lock files name.

Python's are looked up at OSV (https://osv.dev), the page's by `npm audit`. Ends with 1 when something is known. A service
that cannot be asked is said to be so, in words, and no reason to fail: nothing is known, not nothing is wrong.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
OSV = "https://api.osv.dev/v1/querybatch"
LOCKS = ("deploy/requirements.lock", "executor/image/requirements.lock", "model-server/vllm_cpu/requirements.lock",
         "tests/requirements.lock")  # fmt: skip
BATCH = 500
WAIT_S = 30.0

Pin = tuple[str, str]
"""A package's name and version."""


class NotAsked(Exception):
    """The service could not be asked, or has not answered what was asked; says why."""


@dataclass(frozen=True)
class Checked:
    """`known`: a line for each advisory. `not_asked`: why nothing is known, where that is so."""

    what: str
    packages: int
    known: tuple[str, ...] = ()
    not_asked: str = ""


def pins(lock: str) -> list[Pin]:
    """What a lock file as uv writes them names."""
    return re.findall(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==([^\s;\\]+)", lock, re.M)


def ask_osv(queries: list[dict[str, Any]]) -> Any:
    """Raises `NotAsked`."""
    body = json.dumps({"queries": queries}).encode()
    request = urllib.request.Request(OSV, body, {"Content-Type": "application/json"})  # https, above
    try:
        with urllib.request.urlopen(request, timeout=WAIT_S) as answer:  # noqa: S310
            return json.load(answer)
    except (OSError, ValueError) as error:
        raise NotAsked(f"{OSV} cannot be asked ({error})") from error


def python_known(found: list[Pin], ask: Callable[[list[dict[str, Any]]], Any]) -> tuple[str, ...]:
    """Raises `NotAsked`."""
    known: list[str] = []
    for at in range(0, len(found), BATCH):
        part = found[at : at + BATCH]
        answer = ask([{"package": {"ecosystem": "PyPI", "name": name}, "version": version} for name, version in part])
        results = answer.get("results") if isinstance(answer, dict) else None
        if not isinstance(results, list) or len(results) != len(part):
            raise NotAsked(f"{OSV} has answered something else than was asked")
        for (name, version), result in zip(part, results, strict=True):
            known.extend(f"{name} {version}: {vulnerability['id']}" for vulnerability in (result or {}).get("vulns", []))
    return tuple(known)


def npm_known(report: str) -> tuple[str, ...]:
    """Of what `npm audit --json` prints. Raises `NotAsked`."""
    try:
        told = json.loads(report)
        vulnerable = told["vulnerabilities"]
        return tuple(f"{name} {line['range']}: {line['severity']}" for name, line in sorted(vulnerable.items()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        why = told.get("message", "no report") if isinstance(error, KeyError) and isinstance(told, dict) else "no report"
        raise NotAsked(f"npm audit could not ask its registry ({why})") from error


def npm_report(folder: Path) -> str:
    """Raises `NotAsked`."""
    command = ["npm", "audit", "--json", "--package-lock-only"]
    try:
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False).stdout  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotAsked(f"npm audit does not run ({error})") from error


def checked(what: str, packages: int, look: Callable[[], tuple[str, ...]]) -> Checked:
    try:
        return Checked(what, packages, known=look())
    except NotAsked as error:
        return Checked(what, packages, not_asked=str(error))


def verdict(all_checked: Iterable[Checked]) -> tuple[list[str], int]:
    """What to say, and the exit status."""
    lines: list[str] = []
    every = list(all_checked)
    for one in every:
        if one.not_asked:
            lines.append(f"NOT CHECKED  {one.what} ({one.packages} packages): {one.not_asked}")
        else:
            lines.append(f"{'VULNERABLE' if one.known else 'ok':<12} {one.what} ({one.packages} packages)")
            lines.extend(f"             {line}" for line in one.known)
    missing = sum(bool(one.not_asked) for one in every)
    if missing:
        lines.append(
            f"{missing} of {len(every)} could not be checked: run `make audit` again where the service can be reached."
        )
    if any(one.known for one in every):
        return [*lines, "Raise the versions above in the lock files, or say there why they do no harm."], 1
    return lines if missing else [*lines, "Nothing is known against any of them."], 0


def main() -> int:
    every = []
    for lock in LOCKS:
        found = pins((ROOT / lock).read_text())
        every.append(checked(lock, len(found), lambda found=found: python_known(found, ask_osv)))  # type: ignore[misc]
    page = ROOT / "frontend"
    packages = len(json.loads((page / "package-lock.json").read_text())["packages"]) - 1
    every.append(checked("frontend/package-lock.json", packages, lambda: npm_known(npm_report(page))))
    lines, status = verdict(every)
    print("\n".join(lines))
    return status


if __name__ == "__main__":
    sys.exit(main())
