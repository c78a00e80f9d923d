"""DynamicResources, as far as it goes without allocating: a pod goes where its ResourceClaims are allocated.

Who allocates a claim (resource.k8s.io/v1, `status.allocation`) says on which nodes its devices are. A pod waits,
unseen, until its claims are there; while one of them is not allocated no node will do. Before the pod is bound each
claim is reserved for it (`status.reservedFor`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kumo.api.objects import Object, controller_of, is_deleting, uid_of
from kumo.kubernetes.scheduler.cluster_events import Action, Happening, Interest, Resource
from kumo.kubernetes.scheduler.cycle import Cycle, Refusal
from kumo.kubernetes.scheduler.nodes import NodeInfo, PodInfo
from kumo.kubernetes.scheduler.plugins.base import SKIP, Plugin, Prefiltered
from kumo.kubernetes.scheduler.plugins.node_affinity import matches_terms

Find = Callable[[str, str], Object | None]
NAME = "DynamicResources"


@dataclass(frozen=True, slots=True)
class Claims:
    """A pod's claims, and what the allocated ones say of nodes (NodeSelectors)."""

    claims: tuple[Object, ...]
    selectors: tuple[Mapping[str, Any], ...]
    allocated: bool


def claim_names(pod: Object) -> list[tuple[str | None, bool]]:
    """The names of a pod's claims, and whether the pod must own them; None for one that is still to be made."""
    made = {s["name"]: s for s in (pod.get("status") or {}).get("resourceClaimStatuses") or ()}
    found: list[tuple[str | None, bool]] = []
    for entry in (pod.get("spec") or {}).get("resourceClaims") or ():
        if entry.get("resourceClaimName"):
            found.append((entry["resourceClaimName"], False))
        elif entry["name"] not in made:
            found.append((None, True))
        elif made[entry["name"]].get("resourceClaimName"):  # nothing had to be made where that is empty
            found.append((made[entry["name"]]["resourceClaimName"], True))
    return found


def find_claims(pod: PodInfo, find: Find) -> tuple[Object, ...] | str:
    """The pod's claims, or what it has to wait for."""
    found = []
    for name, own in claim_names(pod.pod):
        if name is None:
            return f'pod "{pod.namespace}/{pod.name}": ResourceClaim not created yet'
        claim = find(pod.namespace, name)
        if claim is None:
            return f'could not find resource claim "{pod.namespace}/{name}"'
        if is_deleting(claim):
            return f'resourceclaim "{name}" is being deleted'
        if own and (controller_of(claim) or {}).get("uid") != pod.uid:
            space = pod.namespace
            return f"ResourceClaim {space}/{name} was not created for Pod {space}/{pod.name} (Pod is not owner)"
        found.append(claim)
    return tuple(found)


class DynamicResources(Plugin):
    """Refuses nodes where the devices of the pod's claims can't be had."""

    name = NAME
    filters = True

    def pre_filter(self, cycle: Cycle) -> Prefiltered:
        """Collect what the pod's claims say."""
        found = find_claims(cycle.pod, cycle.world.resource_claim)
        if isinstance(found, str):
            return self.refuse(found, final=True)
        if not found:
            return SKIP
        allocations = [(c.get("status") or {}).get("allocation") for c in found]
        selectors = tuple(a["nodeSelector"] for a in allocations if a and a.get("nodeSelector"))
        cycle.states[self.name] = Claims(found, selectors, all(a is not None for a in allocations))
        return None

    def filter(self, cycle: Cycle, info: NodeInfo) -> Refusal | None:
        """Refuse a node that an allocation is not for, and all while one is missing."""
        state: Claims = cycle.states[self.name]
        if not all(matches_terms(s, info.name, info.labels) for s in state.selectors):
            return self.refuse("resourceclaim not available on the node", final=True)
        return None if state.allocated else self.refuse("cannot allocate all claims", final=True)

    def interests(self) -> Sequence[Interest]:
        """Claims that come or change, and the pod's own, once they are made; nodes and what is on them."""
        return (
            Interest(Resource.RESOURCE_CLAIM, Action.ADD | Action.UPDATE, _hint),
            Interest(Resource.POD, Action.POD_CLAIMS, lambda pod, event: uid_of(event.new or {}) == uid_of(pod)),
            Interest(Resource.NODE, Action.ADD | Action.NODE_LABEL),
        )


def _hint(pod: Object, event: Happening) -> bool:
    claim = (event.new or {}).get("metadata") or {}
    same = claim.get("namespace") == (pod.get("metadata") or {}).get("namespace")
    return same and any(name == claim.get("name") for name, _ in claim_names(pod))


def reservations(cycle: Cycle) -> tuple[Object, ...]:
    """The claims as they are to be written before the pod is bound: reserved for it."""
    state: Claims | None = cycle.states.get(NAME)
    if state is None:
        return ()
    pod, made = cycle.pod, []
    for claim in state.claims:
        status = claim.get("status") or {}
        holders = status.get("reservedFor") or []
        if not any(h.get("uid") == pod.uid for h in holders):
            mine = {"resource": "pods", "name": pod.name, "uid": pod.uid}
            made.append({**claim, "status": {**status, "reservedFor": [*holders, mine]}})
    return tuple(made)
