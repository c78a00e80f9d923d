"""Volumes in scheduling: claims must exist and be bound, or be bound to what is reachable where the pod goes.

A claim whose class binds on `WaitForFirstConsumer` gets a free volume that the node can use; where there is none it is
handed to its provisioner by the annotation `volume.kubernetes.io/selected-node`, as upstream's VolumeBinding does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kumo.api import quantities, selectors
from kumo.api.objects import Object, annotations_of, controller_of, is_deleting, name_of
from kumo.api.volume_claims import (
    NO_PROVISIONER,
    SELECTED_NODE,
    class_of,
    is_delayed,
    is_fully_bound,
    match_on_node,
    on_node,
    volume_name,
    wanted,
)
from kumo.kubernetes.scheduler.nodes import NodeInfo, PodInfo
from kumo.kubernetes.scheduler.world import Volumes

NOT_REACHABLE = "node(s) didn't match PersistentVolume's node affinity"
NONE_TO_BIND = "node(s) didn't find available persistent volumes to bind"
NO_SPACE = "node(s) did not have enough free storage"
NO_VOLUME = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"


@dataclass(frozen=True, slots=True)
class PodVolumes:
    """What a pod's claims mean: `trouble` keeps it from every node, `bound` and `missing` from some or all.

    `delayed` claims are bound where the pod goes: to one of the `free` volumes of their class, or to a new one if
    their class (`classes`, by name) has a provisioner.
    """

    trouble: str = ""
    bound: tuple[Object, ...] = ()
    missing: bool = False
    delayed: tuple[Object, ...] = ()
    free: Mapping[str, tuple[Object, ...]] = field(default_factory=dict)
    classes: Mapping[str, Object] = field(default_factory=dict)
    capacities: Mapping[str, tuple[Object, ...]] = field(default_factory=dict)
    """By class: what drivers that publish it say is left; a class that is not in it is not limited."""


@dataclass(frozen=True, slots=True)
class NodeVolumes:
    """What one node means for a pod's volumes: reasons against it, or what to bind (volume, claim) and to provision."""

    reasons: tuple[str, ...] = ()
    bindings: tuple[tuple[Object, Object], ...] = ()
    provisions: tuple[Object, ...] = ()


def claims_of(pod: PodInfo) -> Iterable[tuple[str, bool]]:
    """The names of the claims that the pod's volumes use; an ephemeral one (true) is named after pod and volume."""
    for volume in pod.spec.get("volumes") or ():
        if volume.get("persistentVolumeClaim"):
            yield volume["persistentVolumeClaim"]["claimName"], False
        elif volume.get("ephemeral"):
            yield f"{pod.name}-{volume['name']}", True


def pod_volumes(pod: PodInfo, volumes: Volumes) -> PodVolumes:
    """Sort the pod's claims into bound ones and those that wait for a node, or say what is wrong with one."""
    claims: list[Object] = []
    for name, ephemeral in claims_of(pod):
        claim = volumes.claim(pod.namespace, name)
        trouble = _trouble(pod, name, claim, ephemeral)
        if trouble or claim is None:
            return PodVolumes(trouble=trouble)
        claims.append(claim)
    if not claims:
        return PodVolumes()
    return _sorted(claims, volumes)


def _trouble(pod: PodInfo, name: str, claim: Object | None, ephemeral: bool) -> str:
    """Why a claim keeps the pod from every node."""
    if claim is None:
        if ephemeral:
            return f'waiting for ephemeral volume controller to create the persistentvolumeclaim "{name}"'
        return f'persistentvolumeclaim "{name}" not found'
    if (claim.get("status") or {}).get("phase") == "Lost":
        return f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume "{volume_name(claim)}"'
    if is_deleting(claim):
        return f'persistentvolumeclaim "{name}" is being deleted'
    if ephemeral and (controller_of(claim) or {}).get("uid") != pod.uid:
        space = pod.namespace
        return f"PVC {space}/{name} was not created for pod {space}/{pod.name} (pod is not owner)"
    return ""


def _sorted(claims: Sequence[Object], volumes: Volumes) -> PodVolumes:
    bound: list[Object] = []
    delayed: list[Object] = []
    classes: dict[str, Object] = {}
    missing = False
    for claim in claims:
        if is_fully_bound(claim):
            volume = volumes.volume(volume_name(claim))
            missing = missing or volume is None
            bound += [] if volume is None else [volume]
            continue
        found = None if volume_name(claim) else volumes.storage_class(class_of(claim))
        if found is None or not is_delayed(found):
            return PodVolumes(trouble="pod has unbound immediate PersistentVolumeClaims")
        classes[class_of(claim)] = found
        delayed.append(claim)
    delayed.sort(key=wanted)
    free = {name: tuple(volumes.of_class(name)) for name in classes}
    limited = {name: _capacities(name, found, volumes) for name, found in classes.items()}
    known = {name: found for name, found in limited.items() if found is not None}
    return PodVolumes("", tuple(bound), missing, tuple(delayed), free, classes, known)


def _capacities(name: str, storage_class: Object, volumes: Volumes) -> tuple[Object, ...] | None:
    """The CSIStorageCapacity objects of a class whose driver publishes them; None if it does not."""
    driver = volumes.csi_driver(storage_class.get("provisioner") or "")
    if driver is None or not (driver.get("spec") or {}).get("storageCapacity"):
        return None
    return tuple(c for c in volumes.capacities() if c.get("storageClassName") == name)


def on(found: PodVolumes, info: NodeInfo) -> NodeVolumes:
    """What the node means for the pod's volumes."""
    if not found.bound and not found.delayed and not found.missing:
        return NodeVolumes()
    reasons = []
    if not all(on_node(volume, info.name, info.labels) for volume in found.bound):
        reasons.append(NOT_REACHABLE)
    chosen = _choose(found, info)
    if isinstance(chosen, str):
        reasons.append(chosen)
    if found.missing:
        reasons.append(NO_VOLUME)
    return NodeVolumes(tuple(reasons)) if reasons or isinstance(chosen, str) else chosen


def _choose(found: PodVolumes, info: NodeInfo) -> NodeVolumes | str:
    """What is bound and provisioned for the delayed claims on the node, or the reason why that can't be done."""
    bindings: list[tuple[Object, Object]] = []
    provisions: list[Object] = []
    for claim in found.delayed:
        selected = annotations_of(claim).get(SELECTED_NODE)
        volume = None
        if selected is None:
            taken = [name_of(other) for other, _ in bindings]
            volume = match_on_node(claim, found.free.get(class_of(claim), ()), info.name, info.labels, taken)
        if volume is not None:
            bindings.append((volume, claim))
        elif selected in (None, info.name) and _can_provision(found.classes.get(class_of(claim)) or {}, info):
            if not _has_space(found, claim, info):
                return NO_SPACE
            provisions.append(claim)
        else:
            return NONE_TO_BIND
    return NodeVolumes((), tuple(bindings), tuple(provisions))


def _has_space(found: PodVolumes, claim: Object, info: NodeInfo) -> bool:
    """Whether the driver of the claim's class says that a volume of this size can be had from the node."""
    capacities = found.capacities.get(class_of(claim))
    size = wanted(claim)
    if capacities is None or not size:
        return True
    for capacity in capacities:
        limit = capacity.get("maximumVolumeSize") or capacity.get("capacity")
        fits = limit is not None and quantities.parse(limit) >= size
        if fits and selectors.matches(capacity.get("nodeTopology"), info.labels):
            return True
    return False


def _can_provision(storage_class: Mapping[str, Any], info: NodeInfo) -> bool:
    """Whether the class has a provisioner and allows volumes in the node's topology."""
    if (storage_class.get("provisioner") or NO_PROVISIONER) == NO_PROVISIONER:
        return False
    terms = storage_class.get("allowedTopologies") or ()
    return not terms or any(_in_topology(term, info.labels) for term in terms)


def _in_topology(term: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    expressions = term.get("matchLabelExpressions") or ()
    return bool(expressions) and all(labels.get(e["key"]) in (e.get("values") or ()) for e in expressions)
