"""DynamicResources: pods go where the devices that their ResourceClaims ask for are to be had.

A pod waits, unseen, until its claims are there. Claims that have devices (resource.k8s.io/v1, `status.allocation`) say
on which nodes these are; for the others devices are looked for on each node. Before the pod is bound, its claims get
what was found and are reserved for it (`status.reservedFor`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kumo.api.objects import Object, controller_of, is_deleting, uid_of
from kumo.kubernetes.scheduler.cluster_events import Action, Happening, Interest, Resource
from kumo.kubernetes.scheduler.cycle import Cycle, CycleError, Refusal
from kumo.kubernetes.scheduler.devices.allocator import Allocator, NotHere, TooLong
from kumo.kubernetes.scheduler.devices.extended import UNMADE, Extended, extended_of, is_extended, on_node
from kumo.kubernetes.scheduler.devices.pools import Spot
from kumo.kubernetes.scheduler.devices.readiness import has_conditions, is_hopeless
from kumo.kubernetes.scheduler.devices.wishes import Impossible, alternatives, full_name, requests_of
from kumo.kubernetes.scheduler.devices.writing import Reservation
from kumo.kubernetes.scheduler.nodes import NodeInfo, PodInfo
from kumo.kubernetes.scheduler.plugins.base import SKIP, Plugin, Prefiltered, normalized
from kumo.kubernetes.scheduler.plugins.node_affinity import matches_terms
from kumo.kubernetes.scheduler.world import World

Find = Callable[[str, str], Object | None]
NAME = "DynamicResources"
_ASKED = f'running "{NAME}" filter plugin: '
_MOST_HOLDERS = 256
_MOST_ALTERNATIVES = 8


@dataclass(frozen=True, slots=True)
class Claims:
    """A pod's claims, and who allocates those that have no devices yet; what it finds is kept by node."""

    claims: tuple[Object, ...]
    allocator: Allocator | None = None
    found: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    extended: Extended | None = None
    unavailable: set[int] = field(default_factory=set)
    """Which of the claims have devices that some node can't reach."""

    @property
    def open(self) -> list[Object]:
        """The claims that are to be allocated."""
        return [c for c in self.claims if allocation_of(c) is None]


def allocation_of(claim: Object) -> Mapping[str, Any] | None:
    """The devices that a claim has."""
    found: Mapping[str, Any] | None = (claim.get("status") or {}).get("allocation")
    return found


def holders_of(claim: Object) -> list[Mapping[str, Any]]:
    """Who a claim is reserved for."""
    return (claim.get("status") or {}).get("reservedFor") or []


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
    """Refuses nodes where the devices of the pod's claims can't be had, prefers those with the first alternatives."""

    name = NAME
    filters = True
    scores = True

    def pre_filter(self, cycle: Cycle) -> Prefiltered:
        """Collect what the pod's claims say."""
        found = find_claims(cycle.pod, cycle.world.devices.claim)
        if isinstance(found, str):
            return self.refuse(found, final=True)
        devices = cycle.world.devices
        extended = None
        if any(is_extended(n) for n, v in cycle.pod.requests.items() if v):
            extended = extended_of(cycle.pod, devices.classes(), devices.claims(cycle.pod.uid))
        if not found and extended is None:
            return SKIP
        for claim in found:
            reason = _obstacle(claim, cycle.pod, cycle.world)
            if reason:
                return self.refuse(reason, final=True)
        allocator = None
        if extended is not None or any(allocation_of(c) is None for c in found):
            allocator = Allocator(devices.slices(), devices.taken(), devices.device_class, devices.selectors)
        cycle.states[self.name] = Claims(found, allocator, extended=extended)
        return None

    def filter(self, cycle: Cycle, info: NodeInfo) -> Refusal | None:
        """Refuse a node that an allocation is not for, and one without enough devices. Raises CycleError."""
        state: Claims = cycle.states[self.name]
        now = time.time()
        elsewhere = {
            i
            for i, claim in enumerate(state.claims)
            if (
                (selector := (allocation_of(claim) or {}).get("nodeSelector"))
                and not matches_terms(selector, info.name, info.labels)
            )
            or is_hopeless(claim, now)
        }
        special = None
        if state.extended is not None:
            if (state.extended.claim.get("spec") or {}).get("devices"):
                return self.refuse("cannot schedule extended resource claim")
            special = on_node(state.extended, cycle.pod, info)
            if isinstance(special, str):
                return self.refuse(special)
        wanted = [*state.open, *([special] if special is not None else ())]
        refusal = self._allocate(state, info, wanted) if state.allocator is not None and wanted else None
        if refusal is not None:
            return refusal
        if elsewhere:
            state.unavailable.update(elsewhere)
            return self.refuse("resourceclaim not available on the node", final=True)
        return None

    def _allocate(self, state: Claims, info: NodeInfo, wanted: Sequence[Object]) -> Refusal | None:
        assert state.allocator is not None
        try:
            found = state.allocator.allocate(Spot(info.name, info.labels), wanted)
        except NotHere as error:
            return self.refuse(str(error), final=True)
        except TooLong:
            raise CycleError(f"{_ASKED}node {info.name}: timed out trying to allocate devices") from None
        except Impossible as error:
            raise CycleError(f"{_ASKED}{error}") from error
        if found is None:
            return self.refuse("cannot allocate all claims", final=True)
        state.found[info.name] = found
        return None

    def score(self, cycle: Cycle, nodes: Sequence[NodeInfo]) -> list[int] | None:
        """More for the alternatives that requests name first."""
        state: Claims | None = cycle.states.get(self.name)
        if state is None or not any(r.get("firstAvailable") for c in state.claims for r in requests_of(c)):
            return None
        return normalized([_preference(state, info.name) for info in nodes])

    def interests(self) -> Sequence[Interest]:
        """Claims that come or change, and the pod's own, once they are made; devices and nodes."""
        changes = Action.ADD | Action.UPDATE
        return (
            Interest(Resource.RESOURCE_CLAIM, changes | Action.DELETE, _hint),
            Interest(Resource.POD, Action.POD_CLAIMS, lambda pod, event: uid_of(event.new or {}) == uid_of(pod)),
            Interest(Resource.DEVICE_CLASS, changes),
            Interest(Resource.RESOURCE_SLICE, changes),
            Interest(Resource.NODE, Action.ADD | Action.NODE_LABEL | Action.NODE_TAINT | Action.NODE_ALLOCATABLE),
        )


def _obstacle(claim: Object, pod: PodInfo, world: World) -> str:
    """Why no node will do for now."""
    if allocation_of(claim) is not None:
        holders = holders_of(claim)
        mine = any(h.get("uid") == pod.uid for h in holders)
        return "resourceclaim in use" if len(holders) >= _MOST_HOLDERS and not mine else ""
    if world.devices.is_pending(uid_of(claim)):
        return f"resource claim {full_name(claim)} is in the process of being allocated"
    for request in requests_of(claim):
        if request.get("exactly") is None and not request.get("firstAvailable"):
            return f"resource claim {full_name(claim)}, request {request['name']}: unknown request type"
        for name, spec in alternatives(request):
            wanted = spec.get("deviceClassName") or ""
            if wanted and world.devices.device_class(wanted) is None:
                return f"request {name}: device class {wanted} does not exist"
    return ""


def _preference(state: Claims, node: str) -> int:
    found = iter(state.found.get(node) or ())
    points = 0
    for claim in state.claims:
        allocation = allocation_of(claim) or next(found, {})
        taken = {r["request"] for r in (allocation.get("devices") or {}).get("results") or ()}
        for request in requests_of(claim):
            for i, (name, _) in enumerate(alternatives(request) if request.get("firstAvailable") else ()):
                points += _MOST_ALTERNATIVES - i if name in taken else 0
    return points


def _hint(pod: Object, event: Happening) -> bool:
    old, new = event.old or {}, event.new or {}
    if event.new is None:  # what was in the way of the pod's own claim for extended resources, or had its devices
        return (controller_of(old) or {}).get("uid") == uid_of(pod) or allocation_of(old) is not None
    if allocation_of(old) is not None and allocation_of(new) is None:
        return True  # devices that somebody else had
    claim = new.get("metadata") or {}
    same = claim.get("namespace") == (pod.get("metadata") or {}).get("namespace")
    if not same or not any(name == claim.get("name") for name, _ in claim_names(pod)):
        return False
    return not old or old.get("status") != new.get("status")


def reservations(cycle: Cycle, node: str) -> tuple[Reservation, ...]:
    """What is to be written into the claims before the pod is bound to the node."""
    state: Claims | None = cycle.states.get(NAME)
    if state is None:
        return ()
    found = iter(state.found.get(node) or ())
    made = []
    for claim in state.claims:
        if allocation_of(claim) is None:
            made.append(Reservation(claim, next(found)))
        elif has_conditions(claim) and any(h.get("uid") == cycle.pod.uid for h in holders_of(claim)):
            made.append(Reservation(claim, held=True))
        elif not any(h.get("uid") == cycle.pod.uid for h in holders_of(claim)):
            made.append(Reservation(claim))
    if state.extended is not None and node in state.extended.wishes:
        special, mappings = state.extended.wishes[node]
        made.append(Reservation(special, next(found), mappings=tuple(mappings)))
    return tuple(made)


def left_over(cycle: Cycle) -> Object | None:
    """A claim for extended resources that an earlier attempt left behind."""
    state: Claims | None = cycle.states.get(NAME)
    found = state.extended.claim if state is not None and state.extended is not None else None
    return found if found is not None and found["metadata"].get("name") != UNMADE else None


def unavailable(cycle: Cycle) -> list[Object]:
    """The claims that nobody (else) uses and whose devices are out of reach of some node."""
    state: Claims | None = cycle.states.get(NAME)
    claims = [state.claims[i] for i in sorted(state.unavailable)] if state is not None else []
    return [c for c in claims if not [h for h in holders_of(c) if h.get("uid") != cycle.pod.uid]]
