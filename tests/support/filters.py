"""System call filters for tests: a compiled program run as the kernel runs it, a JSON profile read as its format says, and
what libseccomp, which container runtimes use, makes of such a profile."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import tempfile
from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]
LOAD, RETURN, JUMP, AND, EQUAL, GREATER, AT_LEAST, ANY_BIT = 0x20, 0x06, 0x05, 0x54, 0x15, 0x25, 0x35, 0x45
KILLS = (0, 0x80000000)  # the thread, the process
ALLOWS = 0x7FFF0000
ERRNO = 0x00050000


def verdict(program: bytes, audit: int, number: int, *args: int) -> str:
    """Runs classic BPF over a `struct seccomp_data`: "allow", "kill", or the name of an error."""
    data = struct.pack("=IIQ6Q", number, audit, 0, *(*args, *(0,) * (6 - len(args))))
    steps = list(struct.iter_unpack("=HBBI", program))
    accumulator = at = 0
    while True:
        code, true, false, value = steps[at]
        at += 1
        if code == LOAD:
            accumulator = struct.unpack_from("=I", data, value)[0]
        elif code == AND:
            accumulator &= value
        elif code == JUMP:
            at += value
        elif code == RETURN:
            return said(value)
        else:
            holds = {
                EQUAL: accumulator == value,
                GREATER: accumulator > value,
                AT_LEAST: accumulator >= value,
                ANY_BIT: bool(accumulator & value),
            }[code]
            at += true if holds else false


def said(value: int) -> str:
    if value == ALLOWS:
        return "allow"
    return "kill" if value in KILLS else errno.errorcode[value & 0xFFFF]


def read(profile: Json, name: str, args: Sequence[int]) -> set[str]:
    """What the entries of a JSON profile that fit a call say, each of them; the default where none fits."""
    found = {action(entry) for entry in profile["syscalls"] if name in entry["names"] and fits(entry["args"], args)}
    return found or {action({"action": profile["defaultAction"], "errnoRet": profile["defaultErrnoRet"]})}


def fits(conditions: list[Json], args: Sequence[int]) -> bool:
    assert all(each["op"] == "SCMP_CMP_MASKED_EQ" for each in conditions)
    return all(args[each["index"]] & each["value"] == each["valueTwo"] for each in conditions)


def action(entry: Json) -> str:
    return "allow" if entry["action"] == "SCMP_ACT_ALLOW" else errno.errorcode[entry["errnoRet"]]


class Compare(ctypes.Structure):
    """`struct scmp_arg_cmp`."""

    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("one", ctypes.c_uint64), ("two", ctypes.c_uint64))


MASKED_EQ = 7


class Libseccomp:
    """The library itself. Raises OSError where it is not installed."""

    def __init__(self) -> None:
        self._lib = ctypes.CDLL("libseccomp.so.2")
        self._lib.seccomp_init.restype = ctypes.c_void_p
        self._lib.seccomp_syscall_resolve_num_arch.restype = ctypes.c_char_p

    def name(self, audit: int, number: int) -> str:
        """What the library calls a number; empty when it knows none such."""
        found = self._lib.seccomp_syscall_resolve_num_arch(ctypes.c_uint32(audit), ctypes.c_int(number))
        return found.decode() if found else ""

    def compile(self, profile: Json, audit: int) -> bytes:
        """The program that a container runtime loads for `profile`, for another architecture, too."""
        context = ctypes.c_void_p(self._lib.seccomp_init(ctypes.c_uint32(ERRNO | profile["defaultErrnoRet"])))
        self._succeeded(self._lib.seccomp_arch_remove(context, ctypes.c_uint32(0)))  # 0: the machine's own
        self._succeeded(self._lib.seccomp_arch_add(context, ctypes.c_uint32(audit)))
        for entry in profile["syscalls"]:
            value = ALLOWS if entry["action"] == "SCMP_ACT_ALLOW" else ERRNO | entry["errnoRet"]
            if value != ERRNO | profile["defaultErrnoRet"]:  # a rule that says the default is refused, and needless
                for name in entry["names"]:
                    self._add(context, value, name, entry["args"])
        with tempfile.TemporaryFile() as file:
            self._succeeded(self._lib.seccomp_export_bpf(context, file.fileno()))
            self._lib.seccomp_release(context)
            file.seek(0)
            return file.read()

    def _add(self, context: ctypes.c_void_p, value: int, name: str, args: list[Json]) -> None:
        number = self._lib.seccomp_syscall_resolve_name(name.encode())
        if number == -1:
            return  # as runtimes do with a name they do not know
        compares = (Compare * len(args))(
            *(Compare(each["index"], MASKED_EQ, each["value"], each["valueTwo"]) for each in args)
        )
        self._succeeded(
            self._lib.seccomp_rule_add_array(context, ctypes.c_uint32(value), number, ctypes.c_uint(len(args)), compares)
        )

    @staticmethod
    def _succeeded(result: int) -> None:
        if result != 0:
            raise OSError(-result, os.strerror(-result))
