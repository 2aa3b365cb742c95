"""Who may reach whom: the NetworkPolicies as they are rendered, evaluated as a cluster would, against this table."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from executor.sandbox.kubernetes.body import APP, NAME
from tests.support.rendered import name, of_kind, pods

APPS, BOXES = "codeact", "codeact-sandboxes"


@dataclass(frozen=True)
class Party:
    """A pod, or with an `address` something outside."""

    name: str
    namespace: str = ""
    labels: dict[str, str] = field(default_factory=dict, hash=False)
    space: dict[str, str] = field(default_factory=dict, hash=False)
    address: str = ""


OUTSIDERS = (
    Party("ingress", "ingress-nginx", {}, {"codeact.ingress": "true"}),
    Party("prometheus", "monitoring", {}, {"codeact.monitoring": "true"}),
    Party("dns", "kube-system", {"k8s-app": "kube-dns"}),
    Party("stranger", "default", {APP: "codeact-backend"}),
    Party("api server", address="10.96.0.1"),
    Party("world", address="93.184.216.34"),
    Party("metadata", address="169.254.169.254"),
    Party("neighbour", address="192.168.1.5"),
)
PORTS = (22, 53, 80, 443, 5432, 6379, 6443, 8000, 8080, 8081, 8100, 8101, 8888, 9464, 10250)
NAMES = {(who, "dns", 53) for who in ("backend", "frontend", "migrate", "executor", "model-server")}
TABLE = NAMES | {
    ("ingress", "frontend", 8080),
    ("frontend", "backend", 8000),
    ("prometheus", "backend", 9464),
    ("prometheus", "executor", 8100),
    ("backend", "executor", 8100),
    ("backend", "model-server", 8000),
    ("executor", "sandbox", 8888),
    *(("executor", where, port) for where in ("api server", "world", "neighbour") for port in (443, 6443)),
    ("model-server", "world", 443),
}
OWN = {
    (who, there, port)
    for who, there, port in (
        ("backend", "postgres", 5432),
        ("migrate", "postgres", 5432),
        ("backend", "redis", 6379),
        ("postgres", "dns", 53),
        ("redis", "dns", 53),
    )
}
THEIRS = {(who, "api server", port) for who in ("backend", "migrate") for port in (5432, 6379)}  # all that is 10.0.0.0/8
OUTSIDE = {("backend", "world", 443)}
EXPECTED = {
    "dev": TABLE | OWN,
    "single-gpu": TABLE | OWN | OUTSIDE,
    "cluster": TABLE | OUTSIDE | THEIRS,
    "cluster-ray": TABLE | OUTSIDE | THEIRS | {("model-server", "model-server", port) for port in PORTS},
}


def parties(overlay: str) -> list[Party]:
    spaces = {found["metadata"]["name"]: found["metadata"]["labels"] for found in of_kind(overlay, "Namespace")}
    found = [
        Party(name(workload)[1], name(workload)[0], pod["metadata"]["labels"], spaces[name(workload)[0]])
        for workload, pod in pods(overlay)
    ]
    return [*found, Party("sandbox", BOXES, {APP: NAME}, spaces[BOXES]), *OUTSIDERS]


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    said = selector.get("matchLabels", {}).items() <= labels.items()
    expressions = selector.get("matchExpressions", [])
    assert all(expression["operator"] == "In" for expression in expressions)
    return said and all(labels.get(expression["key"]) in expression["values"] for expression in expressions)


def meant(peer: dict[str, Any], other: Party, namespace: str) -> bool:
    if "ipBlock" in peer:
        block = peer["ipBlock"]
        if not other.address:  # a cluster's pods have addresses of their own range, which a block may hold
            return False
        address = ip_address(other.address)
        return address in ip_network(block["cidr"]) and not any(
            address in ip_network(net) for net in block.get("except", [])
        )
    if other.address:
        return False
    if "namespaceSelector" in peer:
        return selects(peer["namespaceSelector"], other.space) and selects(peer.get("podSelector", {}), other.labels)
    return other.namespace == namespace and selects(peer["podSelector"], other.labels)


def lets(overlay: str, way: str, of: Party, other: Party, port: int) -> bool:
    """Whether the policies let `of` do so; whom none selects may do everything."""
    mine = [
        policy["spec"]
        for policy in of_kind(overlay, "NetworkPolicy")
        if name(policy)[0] == of.namespace and way in policy["spec"]["policyTypes"]
        if selects(policy["spec"]["podSelector"], of.labels)
    ]
    if not mine or of.address:
        return True
    peers = "from" if way == "Ingress" else "to"
    return any(
        any(meant(peer, other, of.namespace) for peer in rule[peers])
        and (not rule.get("ports") or port in {allowed["port"] for allowed in rule["ports"]})
        for policy in mine
        for rule in policy.get(way.lower()) or []
    )


@pytest.mark.parametrize("overlay", EXPECTED)
def test_everybody_reaches_exactly_whom_the_table_says(overlay):
    everybody = parties(overlay)
    ours = [party for party in everybody if party not in OUTSIDERS]
    reached = {
        (one.name, other.name, port)
        for one in everybody
        for other in everybody
        for port in PORTS
        if (one in ours or other in ours)
        if lets(overlay, "Egress", one, other, port) and lets(overlay, "Ingress", other, one, port)
    }
    assert reached == EXPECTED[overlay]


@pytest.mark.parametrize("overlay", EXPECTED)
def test_a_sandbox_is_kept_from_the_executors_door_by_its_own_side_alone(overlay):
    """Else that it cannot be reached would say nothing of the sandbox's policy."""
    by_name = {party.name: party for party in parties(overlay)}
    assert lets(overlay, "Ingress", by_name["executor"], by_name["sandbox"], 8101)
    assert not any(lets(overlay, "Egress", by_name["sandbox"], other, port) for other in by_name.values() for port in PORTS)


def test_the_table_would_tell_of_a_policy_that_is_missing(monkeypatch):
    kept = [found for found in of_kind("cluster", "NetworkPolicy") if name(found)[1] not in ("nobody-anybody", "sandbox")]
    monkeypatch.setitem(globals(), "of_kind", lambda overlay, kind: kept)
    sandbox = Party("sandbox", BOXES, {APP: NAME}, {})
    assert lets("cluster", "Egress", sandbox, Party("world", address="93.184.216.34"), 443)
