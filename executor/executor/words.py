"""What people (and the model) read about how a cell ended: the cause, what survived, and the next step. Pure."""

from __future__ import annotations

from executor.wire import Outcome, Rung

GONE = "Your variables are gone; files are kept."
KEPT = "Your variables are kept."
SMALLER = "Try it in smaller steps."
FREE = "Delete what is not needed any more, or work on smaller pieces."


def ended(outcome: Outcome, kept: bool, limit: int, timeout_s: float) -> str:
    """Words for a cell that ran. `kept`: whether the variables survived; `limit`: bytes of memory of the sandbox."""
    survived = KEPT if kept else GONE
    match outcome:
        case Outcome.OK | Outcome.ERROR | Outcome.UNAVAILABLE:
            return ""
        case Outcome.INTERRUPTED:
            how = "Stopped." if kept else "Stopped by ending Python, because the code did not react."
            return f"{how} {survived}"
        case Outcome.TIMED_OUT:
            return f"Stopped after {seconds(timeout_s)}, the longest a cell may run. {survived} {SMALLER}"
        case Outcome.OUT_OF_MEMORY:
            limits = f"the cell needed more than the {size_words(limit)} this sandbox has"
            return f"Ran out of memory: {limits}. {survived} {FREE if kept else SMALLER}"
        case Outcome.KERNEL_DIED:
            return f"Python crashed, or the code ended it. {survived} The next cell starts with a new Python."
        case Outcome.SANDBOX_LOST:
            return f"The sandbox stopped working and was removed. {survived} The next cell gets a new one."


def not_run(reason: str) -> str:
    """Words for a cell that never reached the kernel."""
    return f"The code did not run: {reason}"


def taken_away(cause: str, ran: bool, files_kept: bool) -> str:
    """Words for a cell whose sandbox was ended from outside. `ran`: whether the code had begun."""
    if not ran:
        return f"The code did not run, because {cause}."
    return f"Stopped, because {cause}. {GONE if files_kept else ALL_GONE}"


STOPPED_BEFORE = "Stopped before the code ran. Nothing was changed."
ALL_GONE = "Variables and files are gone."
RESTARTED = "Python was restarted"
REMOVED = "the conversation was removed"
FENCED = "Another server drives this conversation's Python now. Reload the page, or try again in a minute."
DRAINING = "The executor is about to be restarted and starts nothing new. Try again in a minute."
RELEASED = "the sandbox was given up"
ENDED = "the sandbox was ended, by an administrator or to make room for another one of yours"
RESET = "the sandbox was replaced by a fresh one"
TOO_OLD = "the sandbox has reached the age at which it is removed"
CLOSING = "the program is shutting down"


LOST = {
    "released": "they were given up",
    "idle": "the sandbox was not used for a long time",
    "max_lifetime": "the sandbox had reached the age at which it is replaced",
    "oom_container": "the sandbox ran out of memory",
    "kernel_crash_loop": "Python crashed and did not come back",
    "gateway_died": "the sandbox stopped working",
    "killed_by_user": "the sandbox was ended, because code did not react to being stopped",
    "evicted_capacity": "the sandbox was needed for another conversation",
    "image_retired": "the sandbox was replaced by a newer one",
    "spec_drift": "the sandbox was replaced by one with other settings",
    "host_lost": "the machine or the executor was restarted",
    "out_of_memory": "Python ran out of memory",
    "kernel_died": "Python crashed, or code ended it",
    "restarted": "Python was restarted",
    "did_not_stop": "Python was ended, because code did not react to being stopped",
}


def resumed(rung: Rung) -> str:
    """What became of a cell that ran while the executor was restarted; empty when none did."""
    match rung:
        case Rung.NONE:
            return ""
        case Rung.INTERRUPT | Rung.INTERRUPT_AGAIN:
            return f"The executor was restarted, and the code that ran was stopped. {KEPT}"
        case Rung.RESTART | Rung.KILL:
            return f"The executor was restarted, and Python was ended, because the code did not react. {GONE}"


def lost(reason: str) -> str:
    """Why the variables of before are gone."""
    return f"Variables of earlier cells are gone: {LOST.get(reason, 'the sandbox was replaced')}. Files are kept."


def starting_too_long(timeout_s: float) -> str:
    return f"The sandbox was not ready after {seconds(timeout_s)}. The machine may be overloaded; try again."


def all_taken(count: int) -> str:
    return (
        f"All {count} sandboxes are in use. Try again in a minute, when one of them is idle, "
        "or allow more with CODEACT_SANDBOX_MAX."
    )


def over_quota(limit: int) -> str:
    return f"All {limit} sandboxes that you may have at a time are in use. Wait for a cell to end, or close a conversation."


def no_workspace(cause: str) -> str:
    return f"The conversation's files cannot be made ready: {cause}."


def seconds(value: float) -> str:
    """`90 seconds`, `2 minutes`, `1.5 seconds`."""
    if value >= 120 and value % 60 == 0:
        return f"{value / 60:g} minutes"
    return f"{value:g} second" if value == 1 else f"{value:g} seconds"


def size_words(size: int) -> str:
    """`1 GB`, `512 MB`: binary units under the names that people use."""
    return f"{size / 1024**3:g} GB" if size >= 1024**3 else f"{size / 1024**2:.0f} MB"
