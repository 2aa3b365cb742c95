"""The table of seccomp.py as the JSON profile that container runtimes take, to the same effect as the compiled program.

The format has no ranges of numbers and its conditions no negation, so it is turned round: the calls that exist up to
`seccomp.NEWEST` are allowed by name, in full or for the arguments that no rule denies; what a rule denies fails with its
error; everything else (newer calls, and names that the runtime's libseccomp does not know yet) does not exist, ENOSYS.

Every condition is `MASKED_EQ`, at most one for each argument: runtimes take two conditions on one argument for
alternatives (moby#52501), and `GE` and its like compare 64 bits where the kernel looks at 32. So a range becomes the
aligned blocks it consists of, as a range of addresses becomes networks.

Where the two differ: a foreign ABI kills the process there and the thread here, since the format cannot say which; and
engines that do not read `defaultErrnoRet` yet (Docker 20.10) answer EPERM to the few calls that are not newer than what
their libseccomp knows and yet unknown to it.
"""

from __future__ import annotations

import errno
import json
import platform
from collections.abc import Iterator
from itertools import product
from typing import Any

from executor.sandbox.seccomp import MAX32, Between, Bit, Condition, Rule, rules
from executor.sandbox.seccomp_names import KNOWN

ARCHITECTURES = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}
BITS = 32

Masked = tuple[int, int]
"""Mask and value: the bits of an argument under the mask are those of the value."""
Box = dict[int, Between | frozenset[int]]
"""Arguments by their number: the range each lies in, or the bits it does not have set. All hold."""
Json = dict[str, Any]


def blocks(low: int, high: int) -> Iterator[Masked]:
    """The aligned blocks of 2^n numbers that low…high, both included, consist of."""
    while low <= high:
        size = (low & -low) or 1 << BITS
        while low + size - 1 > high:
            size >>= 1
        yield MAX32 & ~(size - 1), low
        low += size


def holds(what: Condition) -> list[Masked]:
    """Alternatives, one of which is true where `what` is."""
    match what:
        case Bit(_, bit):
            return [(bit, bit)]
        case Between(_, low, high):
            return list(blocks(low, high))


# ---- what no rule denies ---------------------------------------------------------------------------------------------


def outside(what: Condition) -> list[Box]:
    """Where `what` does not hold, in boxes that do not overlap."""
    match what:
        case Bit(arg, bit):
            return [{arg: frozenset({bit})}]
        case Between(arg, low, high):
            ranges = [Between(arg, 0, low - 1), Between(arg, high + 1, MAX32)]
            return [{arg: part} for part in ranges if part.low <= part.high]


def inside(what: Condition) -> Box:
    """Where `what` holds. Raises ValueError for a bit among several conditions, which no rule needs."""
    if isinstance(what, Bit):
        raise ValueError("a rule with a bit has this one condition")
    return {what.arg: what}


def overlap(one: Box, other: Box) -> Box | None:
    """Where both hold; None where they never do."""
    both = dict(one)
    for arg, part in other.items():
        had = both.get(arg, part)
        if isinstance(had, Between) and isinstance(part, Between):
            low, high = max(had.low, part.low), min(had.high, part.high)
            if low > high:
                return None
            both[arg] = Between(arg, low, high)
        elif isinstance(had, frozenset) and isinstance(part, frozenset):
            both[arg] = had | part
        else:
            raise ValueError("ranges and bits of one argument cannot be told together")
    return both


def escapes(rule: Rule) -> list[Box]:
    """Where `rule` does not hold: its first condition fails, or that one holds and the next fails, …"""
    found: list[Box] = []
    so_far: Box = {}
    for what in rule.when:
        found += [box for part in outside(what) if (box := overlap(so_far, part)) is not None]
        if what is not rule.when[-1]:
            so_far = overlap(so_far, inside(what)) or so_far
    return found


def allowed(denials: list[Rule]) -> list[Box]:
    """Where none of the rules for one call holds."""
    boxes: list[Box] = [{}]
    for rule in denials:
        pairs = product(boxes, escapes(rule))
        boxes = [both for box, way_out in pairs if (both := overlap(box, way_out)) is not None]
    return boxes


def alternatives(box: Box) -> Iterator[dict[int, Masked]]:
    """The box as conditions of which all hold, several times where it takes several."""
    choices = [[(sum(part), 0)] if isinstance(part, frozenset) else [*blocks(part.low, part.high)] for part in box.values()]
    for choice in product(*choices):
        yield {arg: masked for arg, masked in zip(box, choice, strict=True) if masked[0]}


# ---- the profile -----------------------------------------------------------------------------------------------------


def entry(names: list[str], error: int | None, when: dict[int, Masked]) -> Json:
    """One entry of the profile; `error` None allows."""
    verdict = {"action": "SCMP_ACT_ALLOW"} if error is None else {"action": "SCMP_ACT_ERRNO", "errnoRet": error}
    args = [
        {"index": arg, "op": "SCMP_CMP_MASKED_EQ", "value": mask, "valueTwo": value}
        for arg, (mask, value) in sorted(when.items())
    ]
    return {"names": names, **verdict, "args": args}


def conditional(name: str, denials: list[Rule]) -> Iterator[Json]:
    """The entries for a call that is denied for some arguments."""
    for rule in denials:
        for choice in product(*map(holds, rule.when)):
            yield entry([name], rule.error, {what.arg: part for what, part in zip(rule.when, choice, strict=True)})
    for box in allowed(denials):
        for when in alternatives(box):
            yield entry([name], None, when)


def by_error(denied: dict[str, int]) -> list[tuple[int, list[str]]]:
    """The calls that fail with each error."""
    return [(error, [name for name, its in denied.items() if its == error]) for error in sorted(set(denied.values()))]


def profile(machine: str) -> Json:
    """The profile for `machine` (as `uname -m` names it). Raises KeyError when unknown."""
    table: dict[str, list[Rule]] = {}
    for rule in rules():
        table.setdefault(rule.name, []).append(rule)
    always = {name: denials[0].error for name, denials in table.items() if not denials[0].when}
    entries = [
        entry(sorted(KNOWN - table.keys()), None, {}),
        *(entry(sorted(names), error, {}) for error, names in by_error(always)),
        *(part for name in sorted(table.keys() - always.keys()) for part in conditional(name, table[name])),
    ]
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": errno.ENOSYS,
        "architectures": [ARCHITECTURES[machine]],
        "syscalls": entries,
    }


def text(machine: str = "") -> str:
    """The profile as one line of JSON, the same every time; for this machine by default."""
    return json.dumps(profile(machine or platform.machine()), separators=(",", ":"))
