"""Write figures down: `python -m tests.bench | python -m tests.bench._record`.

Reads the JSON lines, and replaces the rows of `docs/benchmarks.md` that they measure; other rows stay as they are.
"""

from __future__ import annotations

import datetime
import json
import platform
import re
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"


def machine() -> str:
    """Processor, cores and memory of this machine."""
    processor = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text(), re.MULTILINE)
    cores = len(re.findall(r"^processor", Path("/proc/cpuinfo").read_text(), re.MULTILINE))
    name = processor[1] if processor else platform.machine()
    return f"{cores} × {name}, {int(memory[1]) // 2**20 if memory else 0} GiB, Python {platform.python_version()}"


def row(line: str, figures: dict[str, dict[str, object]]) -> str:
    """A row of the table with its new figures: | `name` | what | target | ratio | p50 | p95 | n | date |."""
    cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
    figure = figures.get(cells[0].strip("`"))
    if figure is None:
        return line
    shown = [figure["ratio"], f"{figure['p50']} {figure['unit']}", figure["p95"], figure["n"]]
    told = ["–" if value is None else str(value) for value in shown]
    return "| " + " | ".join([*cells[:3], *told, datetime.date.today().isoformat()]) + " |"


def main() -> None:
    lines = [line for line in sys.stdin if line.startswith("{")]
    sys.stdout.writelines(lines)
    figures = {figure["name"]: figure for figure in map(json.loads, lines)}
    text = [row(line, figures) if line.startswith("| `") else line for line in PAGE.read_text().splitlines()]
    at = next(number for number, line in enumerate(text) if line.startswith("Machine: "))
    text[at] = f"Machine: {machine()}."
    PAGE.write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
