"""Why a sandbox could not be made, and how to mend it, from what bubblewrap or the launcher complained of."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

ROOT_HINT = (
    "This process is root but lacks the right to make namespaces, as in most containers. Run it outside the container, or "
    "give the container CAP_SYS_ADMIN and no seccomp profile."
)
NO_NAMESPACES = (
    "User namespaces are switched off. Switch them on: `sudo sysctl -w {setting}` (and put it in /etc/sysctl.d)."
)
APPARMOR = (
    "AppArmor lets no unprivileged program make user namespaces (Ubuntu 23.10 and later). Either "
    "`sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`, or give bubblewrap a profile with `userns,` "
    "for {bwrap}."
)
MASKED_PROC = "/proc is partly masked here, as in most containers, so no new one can be mounted. Run outside the container."
PACKAGES = "The sandboxes' Python lacks packages. Install them with `make setup`."
UNREADABLE = "The sandboxes' Python cannot be read by other users. Make it readable: `chmod -R go+rX` on its directories."
OUT_OF_MEMORY = "The machine is out of memory, processes or disk."

# A sysctl, the value that forbids what is needed, and the words.
SETTINGS: tuple[tuple[str, str, str], ...] = (
    ("kernel/unprivileged_userns_clone", "0", NO_NAMESPACES.format(setting="kernel.unprivileged_userns_clone=1")),
    ("user/max_user_namespaces", "0", NO_NAMESPACES.format(setting="user.max_user_namespaces=15000")),
    ("kernel/apparmor_restrict_unprivileged_userns", "1", APPARMOR),
)

# Part of a complaint, and what it means; the first that fits is taken, after the settings.
COMPLAINTS: tuple[tuple[str, str], ...] = (
    ("'unshare'", ROOT_HINT),
    ("Can't mount proc", MASKED_PROC),
    ("ModuleNotFoundError", PACKAGES),
    ("ImportError", PACKAGES),
    ("execvp", UNREADABLE),
    ("Cannot allocate memory", OUT_OF_MEMORY),
    ("No space left", OUT_OF_MEMORY),
)
NAMESPACE_COMPLAINTS = ("namespace", "uid map", "RTM_NEWADDR", "uid_map")


def sysctl(name: str) -> str:
    """The value of a kernel setting; empty where the kernel does not know it."""
    with suppress(OSError):
        return (Path("/proc/sys") / name).read_text().strip()
    return ""


def advise(complaint: str, bwrap: Path, setting: Callable[[str], str] = sysctl) -> str:
    """A sentence on what to do about `complaint`; empty when it is none we know."""
    if any(part in complaint for part in NAMESPACE_COMPLAINTS):
        for name, forbidding, words in SETTINGS:
            if setting(name) == forbidding:
                return words.format(bwrap=bwrap)
    return next((words for part, words in COMPLAINTS if part in complaint), "")
