"""Volumes in scheduling: claims must exist and be bound, or be bound to what is reachable where the pod goes.

A claim whose class binds on `WaitForFirstConsumer` gets a free volume that the node can use; where there is none it is
handed to its provisioner by the annotation `volume.kubernetes.io/selected-node`, as upstream's VolumeBinding does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

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
IN_USE = (
    "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod"
)
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
    exclusive: frozenset[str] = frozenset()
    """The claims that one pod at a time may use (ReadWriteOncePod), by name."""


@dataclass(frozen=True, slots=True)
class NodeVolumes:
    """What one node means for a pod's volumes: reasons against it, or what to bind (volume, claim) and to provision."""

    reasons: tuple[str, ...] = ()
    bindings: tuple[tuple[Object, Object], ...] = ()
    provisions: tuple[Object, ...] = ()


def _claims(pod: PodInfo) -> Iterable[tuple[str, bool]]:
    """The names of the claims that the pod's volumes use; an ephemeral one (true) is named after pod and volume."""
    for volume in pod.spec.get("volumes") or ():
        if volume.get("persistentVolumeClaim"):
            yield volume["persistentVolumeClaim"]["claimName"], False
        elif volume.get("ephemeral"):
            yield f"{pod.name}-{volume['name']}", True


def pod_volumes(pod: PodInfo, volumes: Volumes) -> PodVolumes:
    """Sort the pod's claims into bound ones and those that wait for a node, or say what is wrong with one."""
    claims: list[Object] = []
    for name, ephemeral in _claims(pod):
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
    exclusive = frozenset(
        name_of(c) for c in claims if "ReadWriteOncePod" in ((c.get("spec") or {}).get("accessModes") or ())
    )
    free = {name: tuple(volumes.of_class(name)) for name in classes}
    return PodVolumes("", tuple(bound), missing, tuple(delayed), free, classes, exclusive)


def in_use(pod: PodInfo, found: PodVolumes, nodes: Iterable[NodeInfo]) -> bool:
    """Whether another pod has a node and one of the claims that the pod must have for itself."""
    if not found.exclusive:
        return False
    others = (other for info in nodes for other in info.pods.values())
    return any(
        other.namespace == pod.namespace
        and other.uid != pod.uid
        and any(name in found.exclusive for name, _ in _claims(other))
        for other in others
    )


def on(found: PodVolumes, info: NodeInfo) -> NodeVolumes:
    """What the node means for the pod's volumes."""
    if not found.bound and not found.delayed and not found.missing:
        return NodeVolumes()
    reasons = []
    if not all(on_node(volume, info.name, info.labels) for volume in found.bound):
        reasons.append(NOT_REACHABLE)
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
            provisions.append(claim)
        else:
            reasons.append(NONE_TO_BIND)
            break
    if found.missing:
        reasons.append(NO_VOLUME)
    return NodeVolumes(tuple(reasons)) if reasons else NodeVolumes((), tuple(bindings), tuple(provisions))


def _can_provision(storage_class: Mapping[str, Any], info: NodeInfo) -> bool:
    """Whether the class has a provisioner and allows volumes in the node's topology."""
    if (storage_class.get("provisioner") or NO_PROVISIONER) == NO_PROVISIONER:
        return False
    terms = storage_class.get("allowedTopologies") or ()
    return not terms or any(_in_topology(term, info.labels) for term in terms)


def _in_topology(term: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    expressions = term.get("matchLabelExpressions") or ()
    return bool(expressions) and all(labels.get(e["key"]) in (e.get("values") or ()) for e in expressions)
