"""System calls that no sandbox may make, tried for real: a program for the inside, and what it must print."""

from __future__ import annotations

PROBE = """
import ctypes, errno, platform, socket
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *args):
    ctypes.set_errno(0)
    return errno.errorcode.get(ctypes.get_errno(), "ok") if libc.syscall(number, *args) < 0 else "allowed"
def family(number, protocol=0):
    try:
        socket.socket(number, socket.SOCK_RAW if number == 16 else socket.SOCK_STREAM, protocol).close()
        return "allowed"
    except OSError as error:
        return errno.errorcode[error.errno]
x86 = platform.machine() == "x86_64"
print({
    "AF_ALG": family(38), "AF_VSOCK": family(40), "AF_PACKET": family(17), "AF_CAN": family(29), "AF_XDP": family(44),
    "AF_TIPC": family(30), "AF_RDS": family(21), "AF_BLUETOOTH": family(31),
    "NETLINK_AUDIT": family(16, 9), "NETLINK_ROUTE": family(16, 0), "AF_INET": family(2), "AF_UNIX": family(1),
    "io_uring_setup": call(425, 8, 0), "keyctl": call(250 if x86 else 219, 0, -3, 1),
    "add_key": call(248 if x86 else 217, 0, 0, 0, 0, 0), "bpf": call(321 if x86 else 280, 0, 0, 0),
    "userfaultfd": call(323 if x86 else 282, 0), "perf_event_open": call(298 if x86 else 241, 0, 0, -1, -1, 0),
    "unshare": call(272 if x86 else 97, 0x10000000), "setns": call(308 if x86 else 268, 0, 0),
    "mount": call(165 if x86 else 40, 0, 0, 0, 0, 0), "fsopen": call(430, 0, 0), "move_mount": call(429, 0, 0, 0, 0, 0),
    "ptrace": call(101 if x86 else 117, 0, 0, 0, 0), "open_tree": call(428, -100, 0, 0), "pidfd_getfd": call(438, 0, 0, 0),
    "process_vm_readv": call(310 if x86 else 270, 0, 0, 0, 0, 0, 0), "kexec_load": call(246 if x86 else 104, 0, 0, 0, 0),
    "open_by_handle_at": call(304 if x86 else 265, 0, 0, 0), "finit_module": call(313 if x86 else 273, 0, 0, 0),
    "clone NEWUSER": call(56 if x86 else 220, 0x10000011, 0, 0, 0, 0), "clone3": call(435, 0, 0),
    "personality": call(135 if x86 else 92, 0x0040000), "asks for personality": call(135 if x86 else 92, 0xFFFFFFFF),
    "memfd_secret": call(447, 0), "newer than the table": call(999),
    "TIOCSTI": call(16 if x86 else 29, 0, 0x5412, 0), "TIOCSTI high": call(16 if x86 else 29, 0, 0x100005412, 0),
    "TIOCLINUX": call(16 if x86 else 29, 0, 0x541C, 0),
})
"""

FAMILIES = {"AF_ALG", "AF_VSOCK", "AF_PACKET", "AF_CAN", "AF_XDP", "AF_TIPC", "AF_RDS", "AF_BLUETOOTH", "NETLINK_AUDIT"}
ALLOWED = {"AF_INET", "AF_UNIX", "NETLINK_ROUTE", "asks for personality"}
ABSENT = {"io_uring_setup", "clone3", "newer than the table"}

FOREIGN = """
import subprocess, sys
code = "import ctypes; ctypes.CDLL(None).syscall(0x40000000 + 39)"
print(subprocess.run([sys.executable, "-c", code]).returncode)
"""
"""Calls getpid by x32's number, in a process of its own (x86-64 only)."""
KILLED = "-31"  # SIGSYS


def expected(name: str) -> str:
    """What PROBE must say of a call."""
    if name in ALLOWED:
        return "allowed"
    if name in FAMILIES:
        return "EAFNOSUPPORT"
    return "ENOSYS" if name in ABSENT else "EPERM"
