"""Which system calls a sandbox may not make: one table, compiled here to the program bubblewrap loads.

Everything is allowed but what the table names: calls no analysis needs and that have been ways out of containers before
(CVE-2026-31431 through AF_ALG, io_uring, userfaultfd, keyrings, nested user namespaces, …). Calls newer than the table do
not exist as far as the sandbox can tell. A rule holds when all its conditions hold; several rules for one call are
alternatives. Conditions are kept to what other runtimes' profiles can say too, so the same table can be rendered for them.
"""

from __future__ import annotations

import errno
import platform
import struct
from dataclasses import dataclass
from itertools import pairwise

NEWEST = 462  # mseal, Linux 6.10; the same number on every architecture
FAMILIES = (1, 2, 10, 16)  # AF_UNIX, AF_INET, AF_INET6, AF_NETLINK
NAMESPACE_FLAGS = (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)
MAX32 = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Between:
    """The low 32 bits of argument `arg` lie in low…high, both included."""

    arg: int
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Bit:
    """Argument `arg` has `bit` set."""

    arg: int
    bit: int


Condition = Between | Bit


@dataclass(frozen=True, slots=True)
class Rule:
    """The call `name` fails with `error` when all of `when` holds."""

    name: str
    error: int = errno.EPERM
    when: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class Architecture:
    """`audit` is the kernel's AUDIT_ARCH_*; `column` the place in NUMBERS; `foreign` the first number of an ABI that
    shares it (x32), None where there is none."""

    audit: int
    column: int
    foreign: int | None


ARCHITECTURES = {
    "x86_64": Architecture(0xC000003E, 0, 0x40000000),
    "aarch64": Architecture(0xC00000B7, 1, None),
}

# call: its numbers on x86_64 and aarch64 (None where it does not exist)
NUMBERS: dict[str, tuple[int | None, int | None]] = {
    # other ways to run code in the kernel, or to reach its memory
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "memfd_secret": (447, 447),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    # other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    # namespaces and mounts
    "clone": (56, 220),
    "clone3": (435, 435),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "mount_setattr": (442, 442),
    # files by handle, quotas, accounting, watching everybody
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "acct": (163, 89),
    "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263),
    "lookup_dcookie": (212, 18),
    # the machine
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "reboot": (169, 142),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "syslog": (103, 116),
    "vhangup": (153, 58),
    "nfsservctl": (180, 42),
    "personality": (135, 92),
    "iopl": (172, None),
    "ioperm": (173, None),
    "modify_ldt": (154, None),
    "uselib": (134, None),
    "ustat": (136, None),
    "sysfs": (139, None),
    "_sysctl": (156, None),
    "create_module": (174, None),
    "get_kernel_syms": (177, None),
    "query_module": (178, None),
    # allowed but for some arguments
    "ioctl": (16, 29),
    "socket": (41, 198),
    "socketpair": (53, 199),
}

# Libraries try these first and fall back on ENOSYS, but give up on EPERM.
ABSENT = ("clone3", "io_uring_setup", "io_uring_enter", "io_uring_register")
PARTLY = ("clone", "ioctl", "socket", "socketpair", "personality")


def gaps(allowed: tuple[int, ...]) -> list[tuple[int, int]]:
    """The ranges of 32-bit numbers between the allowed ones."""
    edges = [-1, *sorted(allowed), MAX32 + 1]
    return [(low + 1, high - 1) for low, high in pairwise(edges) if high - low > 1]


def rules() -> list[Rule]:
    """The table: what is denied, and how."""
    return [
        *(Rule(name) for name in NUMBERS if name not in ABSENT + PARTLY),
        *(Rule(name, errno.ENOSYS) for name in ABSENT),
        *(Rule("clone", when=(Bit(0, flag),)) for flag in NAMESPACE_FLAGS),
        *(Rule("socket", errno.EAFNOSUPPORT, (Between(0, *gap),)) for gap in gaps(FAMILIES)),
        Rule("socket", errno.EAFNOSUPPORT, (Between(0, 16, 16), Between(2, 1, MAX32))),  # netlink but for ROUTE
        *(Rule("socketpair", errno.EAFNOSUPPORT, (Between(0, *gap),)) for gap in gaps((1,))),
        Rule("personality", when=(Between(0, 1, MAX32 - 1),)),  # all ones only asks
        Rule("ioctl", when=(Between(1, 0x5412, 0x5412),)),  # TIOCSTI, CVE-2017-5226
        Rule("ioctl", when=(Between(1, 0x541C, 0x541C),)),  # TIOCLINUX
    ]


# Classic BPF: (code, jump if true, jump if false, value), over `struct seccomp_data`.
LOAD, EQUAL, GREATER, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x25, 0x35, 0x45, 0x06
ALLOW, FAIL, KILL = 0x7FFF0000, 0x00050000, 0x80000000
NUMBER_AT, ARCH_AT, ARGS_AT = 0, 4, 16

Step = tuple[int, int, int, int]


def condition(what: Condition, skip: int) -> list[Step]:
    """Steps that fall through when `what` holds and else jump `skip` steps beyond their own end."""
    load = (LOAD, 0, 0, ARGS_AT + 8 * what.arg)
    match what:
        case Bit(_, bit):
            return [load, (ANY_BIT, 0, skip, bit)]
        case Between(_, low, high):
            return [load, (AT_LEAST, 0, skip + 1, low), (GREATER, skip, 0, high)]


def deny(rule: Rule, number: int) -> list[Step]:
    """Steps for one rule; the accumulator holds the call's number before and after."""
    verdict = (RETURN, 0, 0, FAIL | rule.error)
    if not rule.when:
        return [(EQUAL, 0, 1, number), verdict]
    body: list[Step] = [verdict]
    for what in reversed(rule.when):
        body = condition(what, len(body)) + body
    return [(EQUAL, 0, len(body) + 1, number), *body, (LOAD, 0, 0, NUMBER_AT)]


def compile_for(machine: str) -> bytes:
    """The filter for `machine` (as `uname -m` names it), an array of `struct sock_filter`. Raises KeyError when unknown."""
    arch = ARCHITECTURES[machine]
    steps: list[Step] = [(LOAD, 0, 0, ARCH_AT), (EQUAL, 1, 0, arch.audit), (RETURN, 0, 0, KILL), (LOAD, 0, 0, NUMBER_AT)]
    if arch.foreign is not None:
        steps += [(AT_LEAST, 0, 1, arch.foreign), (RETURN, 0, 0, KILL)]
    steps += [(GREATER, 0, 1, NEWEST), (RETURN, 0, 0, FAIL | errno.ENOSYS)]
    for rule in rules():
        number = NUMBERS[rule.name][arch.column]
        if number is not None:
            steps += deny(rule, number)
    steps.append((RETURN, 0, 0, ALLOW))
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def supported() -> bool:
    return platform.machine() in ARCHITECTURES


def program() -> bytes:
    """The filter for this machine."""
    return compile_for(platform.machine())
