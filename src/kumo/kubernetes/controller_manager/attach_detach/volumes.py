"""Which volumes of a pod are attached to its node, and what they and their attachments are called. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from kumo.api import csi_names
from kumo.api.objects import Object, annotations_of, controller_of, is_deleting, name_of, namespace_of, uid_of

MANAGED = "volumes.kubernetes.io/controller-managed-attach-detach"
"""On a Node: its kubelet leaves attaching to this controller."""

Finder = Callable[[str], Object | None]
"""Finds a cluster-scoped object by name."""


def unique_name(volume: Object) -> str:
    """What a Node's status calls the volume, or the empty string for one that is not a CSI volume."""
    source = csi_source(volume)
    return csi_names.unique_name(source["driver"], source["volumeHandle"]) if source else ""


def csi_source(volume: Object) -> dict[str, Any] | None:
    """The volume's CSI source if it is complete."""
    source: dict[str, Any] | None = (volume.get("spec") or {}).get("csi")
    return source if source and source.get("driver") and source.get("volumeHandle") else None


def needs_attaching(volume: Object, drivers: Finder) -> bool:
    """Whether the volume's driver wants it attached, as drivers do that say nothing about it."""
    source = csi_source(volume)
    if source is None:
        return False
    driver = drivers(source["driver"])
    return driver is None or (driver.get("spec") or {}).get("attachRequired") is not False


def multi_attach_allowed(volume: Object) -> bool:
    """Whether the volume may be attached to several nodes at once."""
    modes = (volume.get("spec") or {}).get("accessModes") or ()
    return not modes or "ReadWriteMany" in modes or "ReadOnlyMany" in modes


def is_terminated(pod: Object) -> bool:
    """Whether the pod needs its volumes no more: it has ended, or is deleted and none of its containers runs."""
    status = pod.get("status") or {}
    if status.get("phase") in ("Failed", "Succeeded"):
        return True
    if not is_deleting(pod):
        return False
    kinds = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
    states = (c.get("state") or {} for kind in kinds for c in status.get(kind) or ())
    return not any(state.get("running") is not None for state in states)


def volumes_of(
    pod: Object, claims: Callable[[str, str], Object | None], volumes: Finder, drivers: Finder
) -> Iterator[Object]:
    """The PersistentVolumes behind the pod's claims that have to be attached; those not bound yet are left out."""
    for entry in (pod.get("spec") or {}).get("volumes") or ():
        made = entry.get("ephemeral") is not None
        direct = (entry.get("persistentVolumeClaim") or {}).get("claimName")
        name = f"{name_of(pod)}-{entry['name']}" if made else direct
        claim = claims(name, namespace_of(pod)) if name else None
        if claim is None or (made and (controller_of(claim) or {}).get("uid") != uid_of(pod)):
            continue
        volume = _bound(claim, volumes)
        if volume is not None and needs_attaching(volume, drivers):
            yield volume


def _bound(claim: Object, volumes: Finder) -> Object | None:
    name = (claim.get("spec") or {}).get("volumeName")
    if not name or (claim.get("status") or {}).get("phase") != "Bound":
        return None
    volume = volumes(name)
    ref = ((volume or {}).get("spec") or {}).get("claimRef") or {}
    return volume if ref.get("uid") == uid_of(claim) else None


def is_managed(node: Object) -> bool:
    """Whether volumes are attached to the node by this controller."""
    return MANAGED in annotations_of(node)


def attached_names(node: Object | None) -> list[str]:
    """The volumes that the Node's status lists as attached."""
    return [v["name"] for v in ((node or {}).get("status") or {}).get("volumesAttached") or ()]


def names_by_attachment(names: Iterable[str], node: str) -> dict[str, str]:
    """The volumes by the names of their attachments on the node."""
    return {
        csi_names.attachment_name(*parts, node): unique for unique in names if (parts := csi_names.split_name(unique))
    }
