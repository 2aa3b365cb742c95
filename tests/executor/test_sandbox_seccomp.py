"""The system call filter, interpreted as the kernel would: every rule on every architecture, and nothing but the rules."""

import errno
import struct

import pytest

from executor.sandbox import seccomp
from executor.sandbox.seccomp import ARCHITECTURES, NUMBERS, Between, Bit, compile_for, rules

MACHINES = list(ARCHITECTURES)


def verdict(program: bytes, audit: int, number: int, *args: int) -> str:
    """Runs classic BPF over a `struct seccomp_data`."""
    data = struct.pack("=IIQ6Q", number, audit, 0, *(*args, *(0,) * (6 - len(args))))
    steps = list(struct.iter_unpack("=HBBI", program))
    accumulator = at = 0
    while True:
        code, true, false, value = steps[at]
        at += 1
        if code == seccomp.LOAD:
            accumulator = struct.unpack_from("=I", data, value)[0]
        elif code == seccomp.RETURN:
            names = {seccomp.ALLOW: "allow", seccomp.KILL: "kill"}
            return names.get(value) or errno.errorcode[value & 0xFFFF]
        else:
            holds = {
                seccomp.EQUAL: accumulator == value,
                seccomp.GREATER: accumulator > value,
                seccomp.AT_LEAST: accumulator >= value,
                seccomp.ANY_BIT: bool(accumulator & value),
            }[code]
            at += true if holds else false


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
