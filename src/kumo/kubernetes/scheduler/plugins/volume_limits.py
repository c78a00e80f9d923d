"""NodeVolumeLimits: how many volumes of a CSI driver a node can have attached (`CSINode.spec.drivers`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from kumo.api.objects import Object
from kumo.api.volume_claims import class_of, volume_name
from kumo.kubernetes.scheduler.cluster_events import Action, Interest, Resource
from kumo.kubernetes.scheduler.cycle import Cycle, CycleError, Refusal
from kumo.kubernetes.scheduler.nodes import NodeInfo, PodInfo
from kumo.kubernetes.scheduler.plugins.base import SKIP, Plugin, Prefiltered
from kumo.kubernetes.scheduler.volumes import claims_of
from kumo.kubernetes.scheduler.world import Volumes

_TOO_MANY = "node(s) exceed max volume count"
_BY_DRIVER = ("driver", "volumeHandle")


class NodeVolumeLimits(Plugin):
    """Refuses nodes on which a driver has no room for another volume."""

    name = "NodeVolumeLimits"
    filters = True

    def pre_filter(self, cycle: Cycle) -> Prefiltered:
        """Nothing to do for pods without claims."""
        return None if any(True for _ in claims_of(cycle.pod)) else SKIP

    def filter(self, cycle: Cycle, info: NodeInfo) -> Refusal | None:
        """Count what is attached, what is about to be, and what the pod adds."""
        volumes, pod = cycle.world.volumes, cycle.pod
        fresh = _attached(pod, volumes, strict=True)
        if isinstance(fresh, str):
            return self.refuse(fresh, final=True)
        limits = _limits(volumes.csi_node(info.name)) if fresh else {}
        if not limits:
            return None
        there: dict[str, str] = {}
        for other in info.pods.values():
            found = _attached(other, volumes, strict=False)
            there |= found if isinstance(found, dict) else {}
        for attachment in volumes.attachments(info.name):
            handle = _of_attachment(attachment, volumes)
            if handle:
                there[handle[0]] = handle[1]
        used = Counter(there.values())
        added = Counter(driver for name, driver in fresh.items() if name not in there)
        if any(driver in limits and used[driver] + count > limits[driver] for driver, count in added.items()):
            return self.refuse(_TOO_MANY)
        return None

    def interests(self) -> Sequence[Interest]:
        """Room that is made, or more of it."""
        return (
            Interest(Resource.CSI_NODE, Action.ADD | Action.UPDATE),
            Interest(Resource.POD, Action.DELETE),
            Interest(Resource.CLAIM, Action.ADD),
            Interest(Resource.ATTACHMENT, Action.DELETE),
        )


def _limits(csi_node: Object | None) -> dict[str, int]:
    drivers = ((csi_node or {}).get("spec") or {}).get("drivers") or ()
    return {
        d["name"]: int(d["allocatable"]["count"])
        for d in drivers
        if (d.get("allocatable") or {}).get("count") is not None
    }


def _attached(pod: PodInfo, volumes: Volumes, *, strict: bool) -> dict[str, str] | str:
    """The pod's CSI volumes (`driver/handle`) with their drivers; if `strict`, a text for a claim that is missing."""
    found: dict[str, str] = {}
    for name, ephemeral in claims_of(pod):
        claim = volumes.claim(pod.namespace, name)
        if claim is None:
            if strict:
                return f'looking up PVC {pod.namespace}/{name}: persistentvolumeclaim "{name}" not found'
            continue
        if ephemeral and strict and not _belongs(claim, pod):
            text = f"PVC {pod.namespace}/{name} was not created for pod {pod.namespace}/{pod.name} (pod is not owner)"
            raise CycleError(text)
        handle = _handle(claim, volumes, f"{pod.namespace}/{name}")
        if handle is not None:
            found[handle[0]] = handle[1]
    return found


def _belongs(claim: Object, pod: PodInfo) -> bool:
    owners = (claim.get("metadata") or {}).get("ownerReferences") or ()
    return any(o.get("controller") and o.get("uid") == pod.uid for o in owners)


def _handle(claim: Object, volumes: Volumes, name: str) -> tuple[str, str] | None:
    """The unique name of a claim's volume and its driver; one that is still to be made goes by its class."""
    volume = volumes.volume(volume_name(claim)) if volume_name(claim) else None
    if volume is not None:
        return _of_volume(volume)
    found = volumes.storage_class(class_of(claim)) if class_of(claim) else None
    driver = (found or {}).get("provisioner") or ""
    return (f"{driver}/unbound/{name}", driver) if driver else None


def _of_volume(volume: Object) -> tuple[str, str] | None:
    csi = (volume.get("spec") or {}).get("csi") or {}
    driver, handle = (csi.get(k) or "" for k in _BY_DRIVER)
    return (f"{driver}/{handle}", driver) if driver and handle else None


def _of_attachment(attachment: Object, volumes: Volumes) -> tuple[str, str] | None:
    spec = attachment.get("spec") or {}
    name = (spec.get("source") or {}).get("persistentVolumeName")
    volume = volumes.volume(name) if name else None
    return _of_volume(volume) if volume is not None else None
