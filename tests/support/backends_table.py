"""A pytest plugin: ends a run with the table of `make test-executor`: what each backend of the executor passed.

A row is an acceptance test of the executor's notes (`test_t7_…`, `test_t20_t35_…`) or the contract suite. A column is a
backend, known by the parameter in a test's id (`[docker]`, `[docker-name]`) or by the file's name. Of the others, those
marked `sandbox` ran on the default backend and count there alone; those that need no sandbox count for all.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field

import pytest

BACKENDS = ("bubblewrap", "docker", "kubernetes")
NUMBER = re.compile(r"_t(\d+)(?=_)")
CONTRACT = "contract"
TITLES = {
    1: "the gateway answers its executor alone",
    2: "the create body is built from a profile, never from input",
    3: "no archive, exec or copy call; engine versions",
    4: "dangerous system calls fail",
    5: "versions against the known floors",
    6: "symlinks planted in a workspace lead nowhere",
    7: "files: links, devices, odd names, swaps",
    8: "no service of the host can be reached",
    9: "no network, no name resolution, no metadata",
    10: "a warm sandbox equals a cold one",
    11: "the executor killed at any step leaves nothing",
    12: "nothing of a sandbox is left for the next",
    13: "out of memory, told",
    14: "floods of output, bounded",
    15: "the connection cut during a cell",
    16: "gateway killed, stopped, silent",
    17: "code that does not want to stop",
    18: "late output",
    19: "forged messages",
    20: "no secret and no file of the host inside",
    22: "disk, inode and log bombs",
    23: "fork bombs, thread storms, CPU shares",
    24: "a hundred sandboxes",
    25: "idle ones are culled, busy ones never",
    26: "input() is answered",
    27: "pip without a network answers at once",
    28: "a token opens its own sandbox only",
    29: "the gateway's socket cannot be replaced",
    30: "start-up within its budget",
    31: "two sandboxes share nothing",
    32: "the image: no setuid files, non-root, no clients",
    33: "what was created is what the policy says",
    34: "zip bombs and links",
    35: "tokens: compared in constant time, nowhere to be found",
    36: "Python dies in every way",
    37: "200 claims of 50 conversations: 50 sandboxes",
    38: "the lease store is away",
    39: "the executor restarts: variables intact",
    40: "the clock jumps",
    41: "draining",
    42: "many cycles, nothing leaked",
}


@dataclass
class Cell:
    counts: Counter[str] = field(default_factory=Counter)
    why: str = ""

    def words(self) -> str:
        if not self.counts:
            return "-"
        if self.counts["failed"]:
            return f"FAIL ({self.counts['failed']} of {sum(self.counts.values())})"
        if self.counts["passed"]:
            skipped = f", {self.counts['skipped']} unavailable" if self.counts["skipped"] else ""
            return f"pass ({self.counts['passed']}{skipped})"
        return f"unavailable: {self.why}"


class Table:
    def __init__(self) -> None:
        self.cells: dict[tuple[str, str], Cell] = defaultdict(Cell)

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and report.outcome == "passed":
            return
        for row in rows_of(report.nodeid):
            for column in columns_of(report.nodeid, "sandbox" in report.keywords):
                cell = self.cells[row, column]
                cell.counts[report.outcome] += 1
                if report.outcome == "skipped" and isinstance(report.longrepr, tuple | list):
                    cell.why = str(report.longrepr[2]).removeprefix("Skipped: ")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self.cells:
            return
        terminalreporter.section("the executor on its backends")
        terminalreporter.write_line(f"{'test':<64}{''.join(f'{name:<28}' for name in BACKENDS).rstrip()}")
        for row in sorted({row for row, _ in self.cells}, key=order):
            words = "".join(f"{self.cells[row, name].words():<28}" for name in BACKENDS)
            terminalreporter.write_line(f"{title(row):<64}{words.rstrip()}")


def rows_of(nodeid: str) -> list[str]:
    """`T7`, … for an acceptance test, the contract for its suites, nothing for others."""
    name = nodeid.partition("[")[0]
    if "contract/test_kernel" in name:
        return [CONTRACT]
    return [f"T{int(number)}" for number in NUMBER.findall(name.rpartition("::")[2])]


def columns_of(nodeid: str, makes_sandboxes: bool) -> list[str]:
    path, _, parameters = nodeid.partition("[")
    named = [name for name in BACKENDS if name in re.split(r"[-\]]", parameters)]
    named = named or [name for name in BACKENDS if name in path]
    return named or (["bubblewrap"] if makes_sandboxes else list(BACKENDS))


def order(row: str) -> int:
    return int(row[1:]) if row[1:].isdigit() else 0


def title(row: str) -> str:
    return "contract suite" if row == CONTRACT else f"{row:<5}{TITLES.get(order(row), '')}"


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Table(), "backends-table")
