"""The end of a sandbox that nobody ends: after so many seconds its gateway is killed, and its pid namespace goes with it.

The kernel does it, by a timer whose signal is SIGKILL. A cell has the gateway's uid, so it may send the gateway signals,
starve it of the processor or stop it with SIGSTOP; but it can neither reach a timer of another process (which takes
ptrace: denied, and the gateway is not dumpable) nor withhold SIGKILL, which even a stopped process gets. What it can do is
end the sandbox sooner. The time that the machine sleeps counts.
"""

from __future__ import annotations

import ctypes
import math
import os
import signal

CLOCK_BOOTTIME = 7
SIGEV_SIGNAL = 0


class Event(ctypes.Structure):
    """`struct sigevent`."""

    _fields_ = (("value", ctypes.c_void_p), ("signo", ctypes.c_int), ("notify", ctypes.c_int), ("rest", ctypes.c_char * 48))


class Span(ctypes.Structure):
    """`struct itimerspec`."""

    _fields_ = tuple((name, ctypes.c_long) for name in ("every_s", "every_ns", "first_s", "first_ns"))


def end_after(seconds: float) -> None:
    """Kills this process then, for sure; never when `seconds` is 0. Raises OSError when that cannot be arranged."""
    if seconds == 0:
        return
    libc, timer = ctypes.CDLL(None, use_errno=True), ctypes.c_void_p()
    event = Event(signo=signal.SIGKILL, notify=SIGEV_SIGNAL)
    part, whole = math.modf(max(seconds, 0.001))
    span = Span(first_s=int(whole), first_ns=int(part * 1e9))
    if libc.timer_create(CLOCK_BOOTTIME, ctypes.byref(event), ctypes.byref(timer)) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "timer_create")
    if libc.timer_settime(timer, 0, ctypes.byref(span), None) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "timer_settime")
