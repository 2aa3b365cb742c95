"""The system call filter, interpreted as the kernel would: every rule on every architecture, and nothing but the rules.
Then the same table as a JSON profile, which must come to the same, read by the letter and compiled by libseccomp."""

import errno
import json
import struct
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.sandbox import seccomp, seccomp_json
from executor.sandbox.seccomp import ARCHITECTURES, MAX32, NUMBERS, Between, Bit, compile_for, rules
from executor.sandbox.seccomp_names import KNOWN
from tests.support.filters import Libseccomp, read, verdict

MACHINES = list(ARCHITECTURES)


@pytest.mark.parametrize("machine", MACHINES)
def test_every_rule_denies_what_it_names(machine: str) -> None:
    arch, program = ARCHITECTURES[machine], compile_for(machine)
    for rule in rules():
        number = NUMBERS[rule.name][arch.column]
        args = [0] * 6
        for condition in rule.when:
            args[condition.arg] = condition.bit if isinstance(condition, Bit) else condition.low
        if number is not None:
            assert verdict(program, arch.audit, number, *args) == errno.errorcode[rule.error], rule


@pytest.mark.parametrize("machine", MACHINES)
def test_everything_else_is_allowed(machine: str) -> None:
    arch, program = ARCHITECTURES[machine], compile_for(machine)
    named = {numbers[arch.column] for numbers in NUMBERS.values()}
    for number in set(range(seccomp.NEWEST + 1)) - named:
        assert verdict(program, arch.audit, number, 1, 2, 3) == "allow"
    for number in range(seccomp.NEWEST + 1, 1000):
        assert verdict(program, arch.audit, number) == "ENOSYS"


@pytest.mark.parametrize("machine", MACHINES)
def test_rules_with_conditions_let_the_rest_pass(machine: str) -> None:
    arch, program = ARCHITECTURES[machine], compile_for(machine)

    def of(name: str, *args: int) -> str:
        number = NUMBERS[name][arch.column]
        assert number is not None
        return verdict(program, arch.audit, number, *args)

    assert [of("socket", family) for family in (1, 2, 10, 16)] == ["allow"] * 4
    assert [of("socket", family) for family in (0, 3, 9, 11, 15, 17, 38, 40, 44, 0xFFFFFFFF)] == ["EAFNOSUPPORT"] * 10
    assert of("socket", 16, 3, 0) == "allow" and of("socket", 16, 3, 9) == "EAFNOSUPPORT"
    assert of("socketpair", 1) == "allow" and of("socketpair", 2) == "EAFNOSUPPORT"
    assert of("clone", 0x3D0F00) == "allow" and of("clone", 0x3D0F00 | 0x40000000) == "EPERM"
    assert of("personality", 0xFFFFFFFF) == "allow" and of("personality", 0) == "allow" and of("personality", 8) == "EPERM"
    assert of("ioctl", 0, 0x5413) == "allow" and of("ioctl", 0, 0x1_0000_5412) == "EPERM"


def test_foreign_abis_are_killed() -> None:
    program = compile_for("x86_64")
    assert verdict(program, 0x40000003, 20) == "kill"  # i386
    assert verdict(program, 0xC000003E, 0x40000000 + 39) == "kill"  # x32
    assert verdict(compile_for("aarch64"), 0x40000028, 20) == "kill"  # arm


def test_the_program_fits_the_kernel() -> None:
    for machine in MACHINES:
        steps = list(struct.iter_unpack("=HBBI", compile_for(machine)))
        assert len(steps) < 4096
        assert all(at + max(true, false) < len(steps) for at, (_, true, false, _) in enumerate(steps))
        assert steps[-1] == (seccomp.RETURN, 0, 0, seccomp.ALLOW)


def test_conditions_speak_of_the_low_half_of_an_argument() -> None:
    assert all(0 <= value <= seccomp.MAX32 for rule in rules() for value in bounds(rule))


def bounds(rule: seccomp.Rule) -> list[int]:
    return [
        number
        for condition in rule.when
        for number in ((condition.low, condition.high) if isinstance(condition, Between) else (condition.bit,))
    ]


# ---- the same table for container runtimes ---------------------------------------------------------------------------

compiled = cache(compile_for)
profiled = cache(seccomp_json.profile)
NAMED = sorted((name, machine) for name in NUMBERS for machine in MACHINES if NUMBERS[name][ARCHITECTURES[machine].column])
EDGES = sorted({edge + more for rule in rules() for edge in bounds(rule) for more in (-1, 0, 1)} - {-1, MAX32 + 1})
HALVES = st.sampled_from([0, 1, MAX32])  # the upper half of an argument, which must not matter
ARGUMENT = st.builds(lambda high, low: high << 32 | low, HALVES, st.sampled_from(EDGES) | st.integers(0, MAX32))
ARGUMENTS = st.lists(ARGUMENT, min_size=6, max_size=6)


@given(st.sampled_from(NAMED), ARGUMENTS)
def test_t4_program_and_profile_say_the_same(call: tuple[str, str], args: list[int]) -> None:
    """For every call of the table, and without two entries that contradict each other."""
    name, machine = call
    arch = ARCHITECTURES[machine]
    number = NUMBERS[name][arch.column]
    assert number is not None
    assert read(profiled(machine), name, args) == {verdict(compiled(machine), arch.audit, number, *args)}


def test_t4_the_profile_allows_what_the_table_does_not_name_and_nothing_newer() -> None:
    for machine in MACHINES:
        assert all(read(profiled(machine), name, [MAX32] * 6) == {"allow"} for name in KNOWN - NUMBERS.keys())
        assert read(profiled(machine), "made_up_tomorrow", [0] * 6) == {"ENOSYS"}


def test_the_profile_has_at_most_one_condition_on_an_argument() -> None:
    """Two would be taken for alternatives."""
    for machine in MACHINES:
        for entry in profiled(machine)["syscalls"]:
            indices = [condition["index"] for condition in entry["args"]]
            assert len(indices) == len(set(indices)) and len(entry["names"]) == len(set(entry["names"]))


def test_the_profile_is_the_same_text_every_time() -> None:
    assert seccomp_json.text("x86_64") == seccomp_json.text("x86_64")
    assert json.loads(seccomp_json.text()) == seccomp_json.profile(seccomp_json.platform.machine())


@given(st.integers(0, MAX32), st.integers(0, MAX32), st.lists(st.integers(0, MAX32), max_size=20))
def test_a_range_is_exactly_its_blocks(one: int, other: int, looked_at: list[int]) -> None:
    low, high = min(one, other), max(one, other)
    parts = list(seccomp_json.blocks(low, high))
    for number in (*looked_at, low, high, max(low - 1, 0), min(high + 1, MAX32), (low + high) // 2):
        assert sum(number & mask == value for mask, value in parts) == (low <= number <= high)


@pytest.fixture(scope="module")
def libseccomp() -> Libseccomp:
    try:
        return Libseccomp()
    except OSError:
        pytest.skip("libseccomp is not installed here")


def test_every_call_that_libseccomp_knows_is_in_the_names(libseccomp: Libseccomp) -> None:
    """One that is forgotten would be refused in containers alone."""
    for arch in ARCHITECTURES.values():
        found = {libseccomp.name(arch.audit, number) for number in range(seccomp.NEWEST + 1)} - {""}
        assert found <= KNOWN
        for name, numbers in NUMBERS.items():
            number = numbers[arch.column]
            assert number is None or libseccomp.name(arch.audit, number) == name


@pytest.mark.parametrize("machine", MACHINES)
def test_t4_libseccomp_makes_the_same_of_the_profile(libseccomp: Libseccomp, machine: str) -> None:
    """Its program against ours: all numbers, and the table's calls with all kinds of arguments."""
    arch = ARCHITECTURES[machine]
    theirs = libseccomp.compile(profiled(machine), arch.audit)
    ours = compiled(machine)
    for number in (*range(600), 1 << 20, 0x40000000 + 39, 0x40000000 + 512):
        known = number > seccomp.NEWEST or libseccomp.name(arch.audit, number)
        expected = verdict(ours, arch.audit, number, 16) if known else "ENOSYS"
        assert verdict(theirs, arch.audit, number, 16) == expected, number
    for audit in (0x40000003, 0x40000028, 0xC000003E, 0xC00000B7):
        assert verdict(theirs, audit, 20) == verdict(ours, audit, 20)

    @given(st.sampled_from([numbers[arch.column] for numbers in NUMBERS.values() if numbers[arch.column]]), ARGUMENTS)
    def same(number: int, args: list[int]) -> None:
        assert verdict(theirs, arch.audit, number, *args) == verdict(ours, arch.audit, number, *args)

    same()
