"""How many of ten everyday questions the embedded model answers right, through the whole system.

Talks to a running product over its public API (`/v1/chat/completions`), as any client would:

    python -m tests.bench.embedded_ten_questions [--url http://127.0.0.1:8000]

Without `--url` it starts the product itself, on a free port and an empty data directory. Prints each question's fate on
stderr and one line of JSON on stdout: `value` of `against`, p50 and p95 in seconds per question.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

TIMEOUT_S = 900.0


@dataclass(frozen=True)
class Answer:
    """What came of one question: the closing prose, and the cells that ran on the way."""

    prose: str
    cells: list[dict[str, Any]] = field(default_factory=list)

    def ran(self) -> bool:
        return any(cell["outcome"] == "ok" for cell in self.cells)

    def says(self, *words: str) -> bool:
        return all(word.lower() in self.prose.lower() for word in words)

    def gives(self, number: float, within: float = 0.0) -> bool:
        """Whether the prose names that number, written in any usual way."""
        plain = re.sub(r"(?<=\d)[,\u202f\u00a0 ](?=\d{3}\b)", "", self.prose).replace("−", "-")
        return any(abs(float(found) - number) <= within for found in re.findall(r"-?\d+(?:\.\d+)?", plain))

    def drew(self) -> bool:
        return any("image/png" in json.dumps(cell["outputs"]) or "![" in json.dumps(cell["outputs"]) for cell in self.cells)


@dataclass(frozen=True)
class Question:
    """Messages sent one after the other in one conversation; the last answer is judged. Code must have run."""

    name: str
    messages: tuple[str, ...]
    right: Callable[[Answer], bool]


SALES = """\
date,product,units,price
2025-01-03,lamp,4,24.50
2025-01-03,chair,2,89.00
2025-01-04,desk,1,240.00
2025-01-05,lamp,7,24.50
2025-01-06,chair,3,89.00
2025-01-07,desk,1,240.00
2025-01-08,lamp,6,23.00"""

QUESTIONS = (
    Question(
        "sum",
        ("What is the sum of all multiples of 7 between 1 and 1000?",),
        lambda answer: answer.gives(71071),
    ),
    Question(
        "dates",
        ("How many days lie between 14 March 2023 and 2 November 2025?",),
        lambda answer: answer.gives(964),
    ),
    Question(
        "csv",
        (f"Here are my sales:\n\n{SALES}\n\nWhich product brought in the most money in total, and how much?",),
        lambda answer: answer.says("desk") and answer.gives(480),
    ),
    Question(
        "plot",
        ("Draw a plot of sin(x) and cos(x) for x from 0 to 10, with a legend.",),
        lambda answer: answer.drew(),
    ),
    Question(
        "regression",
        (
            "I measured y = 2.1, 3.9, 6.2, 8.1, 9.8, 12.2 at x = 1, 2, 3, 4, 5, 6. "
            "Fit a straight line: what are its slope and its intercept?",
        ),
        lambda answer: answer.gives(2.0029, 0.0051) and answer.gives(0.04, 0.001),
    ),
    Question(
        "strings",
        (
            'In the sentence "the quick brown fox jumps over the lazy dog while the cat sleeps", '
            "which word occurs most often, and how many letters does the sentence have without the spaces?",
        ),
        lambda answer: answer.says("the") and answer.gives(52),
    ),
    Question(
        "error",
        (
            "Run this code, and if it fails, correct it so that it gives the sum that was meant:\n\n"
            "prices = ['3.50', 4, '12.25', 7]\nprint(sum(prices))",
        ),
        lambda answer: answer.gives(26.75),
    ),
    Question(
        "interest",
        ("I put 1200 euros into an account at 3.5 % interest per year, paid monthly. How much is it after 7 years?",),
        lambda answer: answer.gives(1532.60, 0.11),
    ),
    Question(
        "equation",
        ("Solve the equations 3x + 2y = 16 and x - y = 2 for x and y.",),
        lambda answer: answer.gives(4) and answer.gives(2),
    ),
    Question(
        "follow-up",
        (
            "My marathon times in minutes were 241, 236, 252, 229, 233, 247 and 230. What is the average?",
            "And what is the median of them?",
        ),
        lambda answer: answer.gives(236),
    ),
)
