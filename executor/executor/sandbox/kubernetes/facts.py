"""What a pod's status says: where it is, whether it has ended and how, and what keeps it from starting. Pure.

What the server sends is taken as it comes: a field that is missing, or is not what it should be, says nothing.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any, NamedTuple

OPEN = 77  # as in executor/image/pod.py
KILLED = 137
NEVER = ("InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError", "CreateContainerError", "RunContainerError")
PULLING = ("ErrImagePull", "ImagePullBackOff")  # the kubelet tries again: a registry may have been away
POLICY = (
    "its network is open: no NetworkPolicy is in force in its namespace. Apply deploy/kubernetes, on a cluster whose "
    "network plug-in enforces policies (Calico, Cilium, …)"
)

Json = dict[str, Any]


class End(NamedTuple):
    """How a pod ended, as after "it"; whether that was for want of memory."""

    how: str
    out_of_memory: bool = False


def part(of: object, *path: str) -> Any:
    """What lies at `path`; None where nothing does."""
    for name in path:
        if not isinstance(of, dict):
            return None
        of = of.get(name)
    return of


def address(pod: Json) -> str:
    """Empty while it has none."""
    found = part(pod, "status", "podIP")
    try:
        return str(ip_address(found)) if isinstance(found, str) else ""
    except ValueError:
        return ""


def label(pod: Json, name: str) -> str:
    return str(part(pod, "metadata", "labels", name) or "")


def number(text: str) -> float:
    """0 for what is none."""
    try:
        return float(text)
    except ValueError:
        return 0.0


def _container(pod: Json) -> Json:
    found = part(pod, "status", "containerStatuses")
    return found[0] if isinstance(found, list) and found and isinstance(found[0], dict) else {}


def ended(pod: Json) -> End | None:
    """None while it lives, or has yet to begin."""
    terminated = part(_container(pod), "state", "terminated")
    reason = str(part(pod, "status", "reason") or "")
    if part(pod, "status", "phase") not in ("Succeeded", "Failed") and not isinstance(terminated, dict):
        return None
    if reason == "Evicted":
        message = str(part(pod, "status", "message") or "no reason given")
        return End(f"was evicted from its node: {message}", "memory" in message.lower())
    if reason == "DeadlineExceeded":
        return End("ended with its lifetime")
    if not isinstance(terminated, dict):
        return End(f"was ended by the cluster ({reason or 'no reason given'})")
    return _terminated(terminated)


def _terminated(state: Json) -> End:
    code, reason = state.get("exitCode"), str(state.get("reason") or "")
    if code == OPEN:
        return End(POLICY)
    if reason == "OOMKilled":
        return End(f"ended with status {KILLED}, out of memory", True)
    said = str(state.get("message") or "").strip().splitlines()
    words = f"ended by itself with status {code}"
    return End(f"{words}: {said[-1][:300]}" if said and code != KILLED else words)


def stuck(pod: Json) -> str:
    """Why it will never start; empty where it may."""
    waiting = part(_container(pod), "state", "waiting")
    return _said(waiting) if isinstance(waiting, dict) and waiting.get("reason") in NEVER else ""


def waits_for(pod: Json) -> str:
    """What it waits for, in words for whoever has waited too long."""
    waiting = part(_container(pod), "state", "waiting")
    if isinstance(waiting, dict) and waiting.get("reason") in PULLING:
        return f"its image cannot be fetched: {_said(waiting)}"
    for condition in part(pod, "status", "conditions") or []:
        if part(condition, "type") == "PodScheduled" and part(condition, "status") == "False":
            return f"no node takes it: {part(condition, 'message') or part(condition, 'reason')}"
    if not address(pod):
        return "its node has not started it (is the image large, or the volume slow?)"
    return "its gateway does not answer (is it reached? see the NetworkPolicies)"


def _said(waiting: Json) -> str:
    return f"{waiting.get('reason')}: {waiting.get('message') or 'no message'}"[:500]


def version(text: str) -> tuple[int, int] | None:
    """`v1.31.2+k3s1` is (1, 31). None for what is no version."""
    numbers = text.removeprefix("v").split(".")
    try:
        return int(numbers[0]), int(numbers[1])
    except (ValueError, IndexError):
        return None
