"""Volumes in scheduling: claims must exist and be bound (or be bound where the pod goes), volumes must be reachable.

A claim whose class binds on `WaitForFirstConsumer` is handed to its provisioner by the annotation
`volume.kubernetes.io/selected-node`, as upstream's VolumeBinding does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kumo.api import selectors
from kumo.api.objects import Key, Object, is_deleting, name_of
from kumo.kubernetes.scheduler.nodes import NodeInfo, PodInfo
from kumo.kubernetes.scheduler.world import Volumes

SELECTED_NODE = "volume.kubernetes.io/selected-node"
NO_PROVISIONER = "kubernetes.io/no-provisioner"


@dataclass(frozen=True, slots=True)
class PodVolumes:
    """What a pod's claims mean: `trouble` keeps it from every node, `bound` from some, `delayed` from none."""

    trouble: str = ""
    bound: tuple[Object, ...] = ()
    delayed: tuple[Key, ...] = ()


def claim_names(pod: PodInfo) -> list[str]:
    """The names of the claims that the pod's volumes use; an ephemeral one is named after pod and volume."""
    names = []
    for volume in pod.spec.get("volumes") or ():
        if volume.get("persistentVolumeClaim"):
            names.append(volume["persistentVolumeClaim"]["claimName"])
        elif volume.get("ephemeral"):
            names.append(f"{pod.name}-{volume['name']}")
    return names


def pod_volumes(pod: PodInfo, volumes: Volumes) -> PodVolumes:
    """Sort the pod's claims into bound ones and those that wait for a node, or say what is wrong with one."""
    bound: list[Object] = []
    delayed: list[Key] = []
    for name in claim_names(pod):
        claim = volumes.claim(pod.namespace, name)
        if claim is None:
            return PodVolumes(trouble=f'persistentvolumeclaim "{name}" not found')
        if is_deleting(claim):
            return PodVolumes(trouble=f'persistentvolumeclaim "{name}" is being deleted')
        if (claim.get("status") or {}).get("phase") == "Lost":
            return PodVolumes(
                trouble=f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume "{_volume(claim)}"'
            )
        if _volume(claim) and (claim.get("status") or {}).get("phase") == "Bound":
            volume = volumes.volume(_volume(claim))
            if volume is None:
                return PodVolumes(trouble=f'persistentvolume "{_volume(claim)}" not found')
            bound.append(volume)
        elif _is_delayed(claim, volumes):
            delayed.append(Key(pod.namespace, name_of(claim)))
        else:
            return PodVolumes(trouble="pod has unbound immediate PersistentVolumeClaims")
    return PodVolumes(bound=tuple(bound), delayed=tuple(delayed))


def _volume(claim: Object) -> str:
    return (claim.get("spec") or {}).get("volumeName") or ""


def _is_delayed(claim: Object, volumes: Volumes) -> bool:
    name = (claim.get("spec") or {}).get("storageClassName") or ""
    found: dict[str, Any] = volumes.storage_class(name) or {}
    return found.get("volumeBindingMode") == "WaitForFirstConsumer" and found.get("provisioner") != NO_PROVISIONER


def reachable(found: PodVolumes, info: NodeInfo) -> bool:
    """Whether every bound volume's node affinity lets it be used on the node."""
    fields = {"metadata.name": info.name}
    for volume in found.bound:
        required = ((volume.get("spec") or {}).get("nodeAffinity") or {}).get("required")
        if required is not None and not any(
            selectors.matches_node_term(t, info.labels, fields) for t in required.get("nodeSelectorTerms") or ()
        ):
            return False
    return True
