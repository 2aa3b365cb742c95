"""How many of ten everyday questions the embedded model answers right, through the whole system: the product is started
as a user starts it, with its own model, and asked over its public API. Each question's fate is told on stderr."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.bench.harness import product, report

NAMES = ("embedded_ten_questions",)
QUESTION_S = 180.0


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
            "which word occurs most often, and how many times?",
        ),
        lambda answer: answer.says("the") and (answer.gives(3) or answer.says("three")),
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
        (
            "I put 1200 euros into an account at 3.5 % interest per year, compounded monthly. "
            "How much is there after 7 years?",
        ),
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


async def measure() -> None:
    """`CODEACT_BENCH_URL` asks a product that is running already."""
    if running := os.environ.get("CODEACT_BENCH_URL"):
        await ask_all(running)
        return
    own_model = {"CODEACT_MODEL_NAME": "", "CODEACT_MODEL_PROFILE": ""}
    async with product("", **own_model) as served:
        await ask_all(served.url)


async def ask_all(url: str) -> None:
    right, seconds = 0, []
    timeout = aiohttp.ClientTimeout(total=QUESTION_S)
    async with aiohttp.ClientSession(timeout=timeout) as http:
        for question in QUESTIONS:
            begun = time.monotonic()
            answer = await ask(http, url, question)
            seconds.append(time.monotonic() - begun)
            well = answer.ran() and question.right(answer)
            right += well
            fate = "right" if well else "WRONG"
            print(f"# {question.name}: {fate}, {seconds[-1]:.0f} s: {answer.prose[-200:]!r}", file=sys.stderr, flush=True)
    report("embedded_ten_questions", right, "right answers", against="10 questions", ratio=right / 10, samples=())
    report("embedded_question_time", sorted(seconds)[5], "s", against="one question, start to answer", samples=seconds)


async def ask(http: aiohttp.ClientSession, url: str, question: Question) -> Answer:
    """The question's messages in one conversation; its last answer. What goes wrong is a wrong answer, not an end."""
    conversation, answer = "", Answer("")
    for text in question.messages:
        body: dict[str, Any] = {"model": "codeact", "messages": [{"role": "user", "content": text}]}
        if conversation:
            body["metadata"] = {"conversation_id": conversation}
        try:
            async with http.post(f"{url}/v1/chat/completions", json=body) as response:
                said = await response.json()
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            return Answer(f"({type(error).__name__}: {error})")
        if "choices" not in said:
            return Answer(f"({said})")
        conversation = said["codeact"]["conversation_id"]
        answer = Answer(closing_prose(said["choices"][0]["message"]["content"]), said["codeact"]["cells"])
    return answer


def closing_prose(content: str) -> str:
    """What the model said after its last output."""
    return content[content.rfind("```") + 3 :] if "```" in content else content
