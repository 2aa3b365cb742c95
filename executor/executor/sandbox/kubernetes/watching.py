"""One watch for all pods of an executor: who each of them is told of, and nobody is asked twice."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from executor.sandbox.kubernetes import facts
from executor.sandbox.kubernetes.cluster import Cluster, ClusterError
from executor.sandbox.kubernetes.pod import Pod

log = logging.getLogger(__name__)

PATIENCE_S = (0.2, 5.0)  # between two watches: the first time, and the longest


async def follow(cluster: Cluster, selector: str, pods: Mapping[str, Pod]) -> None:
    """Tells the pods (by their names) how they are, until cancelled. What happened while the cluster could not be heard is
    made up for with a list."""
    patience = PATIENCE_S[0]
    while True:
        try:
            version = await tell_all(cluster, selector, pods)
            patience = PATIENCE_S[0]
            async for kind, pod in cluster.watch(selector, version):
                tell(pods, kind, pod)
        except ClusterError as error:
            if error.status != 410:  # too long ago to go on from: the list that follows says all
                log.warning("the cluster cannot be watched: %s", error)
            patience = min(2 * patience, PATIENCE_S[1])
        await asyncio.sleep(patience)  # also where watches end at once: the cluster has others to answer


async def tell_all(cluster: Cluster, selector: str, pods: Mapping[str, Pod]) -> str:
    """From a list; those that were made before it and are not in it are gone. The list's version."""
    made = [pod for pod in pods.values() if pod.made]
    found, version = await cluster.pods(selector)
    for pod in found:
        tell(pods, "ADDED", pod)
    there = {facts.part(pod, "metadata", "name") for pod in found}
    for missing in made:
        if missing.name not in there:
            missing.told_gone()
    return version


def tell(pods: Mapping[str, Pod], kind: str, pod: facts.Json) -> None:
    known = pods.get(str(facts.part(pod, "metadata", "name")))
    if known is None:
        return
    known.told(pod)
    if kind == "DELETED":
        known.told_gone()
