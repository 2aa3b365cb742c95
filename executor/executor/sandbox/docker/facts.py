"""What this engine is: its versions against those with the known holes mended, and what it can isolate with. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from executor.wire import Feature

Json = dict[str, Any]
Version = tuple[int, int, int]

# The oldest version of each line that has the fixes; a line older than the first is below the floor, a newer one above it.
# Engine: CVE-2026-41567 and CVE-2026-42306 (archive). runc: CVE-2025-31133, CVE-2025-52565, CVE-2025-52881.
ENGINE: tuple[Version, ...] = ((29, 5, 1),)
RUNC: tuple[Version, ...] = ((1, 2, 8), (1, 3, 3), (1, 4, 0))
# Kernel: CVE-2026-31431. Distributions mend older lines under their own numbers, so nothing is said of those.
KERNEL: tuple[Version, ...] = ((6, 12, 85), (6, 18, 22), (7, 0, 0))


@dataclass(frozen=True, slots=True)
class Facts:
    """`remapped` is the host's user id of the containers' user 0 where the engine maps user ids, else 0. `runtimes` are
    the names that a body may give. Empty strings where the engine does not say."""

    engine: str
    runc: str
    kernel: str
    runtimes: tuple[str, ...]
    cgroups: str
    driver: str
    seccomp: bool
    apparmor: bool
    remapped: int
    rootless: bool
    live_restore: bool
    storage: str


def facts(version: Json, info: Json) -> Facts:
    """From what the engine answers to /version and /info."""
    options = {option.partition(",")[0].removeprefix("name=") for option in info.get("SecurityOptions") or []}
    return Facts(
        engine=str(version.get("Version", "")),
        runc=component(version, "runc"),
        kernel=str(version.get("KernelVersion", "")),
        runtimes=tuple(sorted(info.get("Runtimes") or {})),
        cgroups=str(info.get("CgroupVersion", "1")),
        driver=str(info.get("CgroupDriver", "")),
        seccomp="seccomp" in options,
        apparmor="apparmor" in options,
        remapped=remapped(str(info.get("DockerRootDir", ""))) if "userns" in options else 0,
        rootless="rootless" in options,
        live_restore=bool(info.get("LiveRestoreEnabled")),
        storage=f"{info.get('Driver', '')} on {backing(info)}",
    )


def component(version: Json, name: str) -> str:
    found = [part for part in version.get("Components") or [] if part.get("Name") == name]
    return str(found[0].get("Version", "")) if found else ""


def remapped(root: str) -> int:
    """With mapped user ids the engine keeps its data in a directory named after them: /var/lib/docker/165536.165536."""
    found = re.search(r"/(\d+)\.\d+$", root)
    return int(found.group(1)) if found else 0


def backing(info: Json) -> str:
    return str(dict(info.get("DriverStatus") or []).get("Backing Filesystem", "an unknown file system"))


def parsed(version: str) -> Version | None:
    """The first three numbers; None where there are none. A release candidate counts as what it is a candidate of."""
    found = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", version)
    return (int(found[1]), int(found[2]), int(found[3] or 0)) if found else None


def meets(version: str, floors: tuple[Version, ...]) -> bool:
    """Whether `version` is at or above the floor of its line (its first two numbers); lines between two floors count by the
    nearest older one. A version that cannot be read does not meet any."""
    number = parsed(version)
    if number is None:
        return False
    lines = [floor for floor in floors if floor[:2] <= number[:2]]
    return bool(lines) and number >= lines[-1]


def versions(found: Facts) -> list[Feature]:
    """T5: each version beside its floor."""
    return [against("Docker engine", found.engine, ENGINE), against("runc", found.runc, RUNC), kernel(found.kernel)]


def against(name: str, version: str, floors: tuple[Version, ...]) -> Feature:
    known = " or ".join(".".join(str(number) for number in floor) for floor in floors)
    if parsed(version) is None:
        return Feature(name=name, state="unavailable", detail=f"says no version; {known} is the oldest without known holes")
    good = meets(version, floors)
    detail = version if good else f"{version} is below {known}, the oldest without known ways out of containers: upgrade it"
    return Feature(name=name, state="on" if good else "off", detail=detail)


def kernel(version: str) -> Feature:
    good = meets(version, KERNEL)
    detail = f"{version}: ask the distribution whether it has the fix of CVE-2026-31431 (our filter denies AF_ALG anyway)"
    return told("kernel", good, version, detail)


def options(found: Facts) -> list[Feature]:
    """What the engine isolates with, besides what every body asks for."""
    return [
        on("seccomp", found.seccomp, "our own profile", "the engine was built without: the system call filter is missing"),
        told("AppArmor", found.apparmor, "the engine's profile", "this kernel has none; seccomp and capabilities hold"),
        told(
            "user namespace",
            bool(found.remapped),
            f"user 0 is {found.remapped} on the host",
            "user ids in containers are the host's",
        ),
        told("live restore", found.live_restore, "", "sandboxes end when the engine restarts"),
        Feature(name="cgroups", state="on", detail=f"version {found.cgroups}, by {found.driver or 'an unknown driver'}"),
        Feature(name="storage", state="on", detail=f"{found.storage}; roots are read-only, workspaces are watched"),
    ]


def on(name: str, yes: bool, detail: str, otherwise: str) -> Feature:
    return Feature(name=name, state="on" if yes else "off", detail=detail if yes else otherwise)


def told(name: str, yes: bool, detail: str, otherwise: str) -> Feature:
    """Something a host may lack without being wrong."""
    return Feature(name=name, state="on" if yes else "unavailable", detail=detail if yes else otherwise)
