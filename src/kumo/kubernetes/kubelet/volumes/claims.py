"""From a pod's volume that is a claim to the PersistentVolume behind it, and why that may not be used, if so.

The errors are those of upstream's desired state populator.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kumo.api.errors import StatusError
from kumo.api.objects import Object, controller_of, is_deleting, name_of, namespace_of, uid_of
from kumo.api.resources import core
from kumo.kubernetes.kubelet.references import References
from kumo.kubernetes.kubelet.spec import all_containers
from kumo.kubernetes.kubelet.volumes.files import VolumeError

_CLAIMS = core("persistentvolumeclaims")
_VOLUMES = core("persistentvolumes", False)
_PROTECTION = "kubernetes.io/pvc-protection"


class Unprocessed(VolumeError):
    """What a pod's volume is can't be told (yet), or, if `unattached`, nobody has attached it for minutes."""

    def __init__(self, text: str, *, unattached: bool = False) -> None:
        super().__init__(text)
        self.unattached = unattached


def claim_name(pod: Object, volume: Mapping[str, Any]) -> str:
    """The name of the claim behind a volume of type persistentVolumeClaim or ephemeral."""
    if "persistentVolumeClaim" in volume:
        return str(volume["persistentVolumeClaim"]["claimName"])
    return f"{name_of(pod)}-{volume['name']}"


async def behind(references: References, pod: Object, volume: Mapping[str, Any]) -> Object:
    """The PersistentVolume. Raises Unprocessed, ConnectionError."""
    space, name = namespace_of(pod), claim_name(pod, volume)
    start = f"error processing PVC {space}/{name}: "
    try:
        claim = await references.get(_CLAIMS, space, name)
    except StatusError as error:
        raise Unprocessed(f"{start}failed to fetch PVC from API server: {error.message}") from error
    if claim is None:
        text = f'failed to fetch PVC from API server: persistentvolumeclaims "{name}" not found'
        raise Unprocessed(start + text)
    why = unusable(claim)
    if why:
        raise Unprocessed(start + why)
    if "ephemeral" in volume and (controller_of(claim) or {}).get("uid") != uid_of(pod):
        raise Unprocessed(f"PVC {space}/{name} was not created for pod {space}/{name_of(pod)} (pod is not owner)")
    bound = claim["spec"]["volumeName"]
    try:
        found = await references.get(_VOLUMES, "", bound)
    except StatusError as error:
        raise Unprocessed(f"{start}failed to fetch PV {bound} from API server: {error.message}") from error
    if found is None:
        text = f'failed to fetch PV {bound} from API server: persistentvolumes "{bound}" not found'
        raise Unprocessed(start + text)
    why = not_its_own(claim, found)
    if why:
        raise Unprocessed(start + why)
    why = wrong_mode(pod, volume["name"], found["spec"].get("volumeMode") or "Filesystem")
    if why:
        raise Unprocessed(why)
    return found


def unusable(claim: Object) -> str:
    """Why a claim can't be used; empty if it can."""
    if is_deleting(claim) and _PROTECTION not in (claim["metadata"].get("finalizers") or ()):
        return "PVC is being deleted"
    if (claim.get("status") or {}).get("phase") != "Bound":
        return "PVC is not bound"
    if not claim["spec"].get("volumeName"):
        return "PVC has empty pvc.Spec.VolumeName"
    return ""


def not_its_own(claim: Object, volume: Object) -> str:
    """Why the volume is not the claim's, although the claim says so; empty if it is."""
    ref, name = volume["spec"].get("claimRef"), name_of(volume)
    if not ref:
        return f"found PV object {name} but it has a nil pv.Spec.ClaimRef indicating it is not yet bound to the claim"
    if ref.get("uid") != uid_of(claim):
        return (
            f"found PV object {name} but its pv.Spec.ClaimRef.UID {ref.get('uid') or ''} "
            f"does not point to claim.UID {uid_of(claim)}"
        )
    return ""


def wrong_mode(pod: Object, name: str, mode: str) -> str:
    """Why containers can't have the volume in the way they want it; empty if they can."""
    for field, wanted in (("volumeMounts", "Filesystem"), ("volumeDevices", "Block")):
        if mode != wanted and any(m["name"] == name for c in all_containers(pod) for m in c.get(field) or ()):
            return f"volume {name} has volumeMode {mode}, but is specified in {field}"
    return ""


def no_plugin(name: str) -> Unprocessed:
    """The volume (a PersistentVolume's name, or the pod's own for it) is of a type that this node does not have."""
    return Unprocessed(f'failed to get Plugin from volumeSpec for volume "{name}" err=no volume plugin matched')


def unable(name: str, error: Unprocessed) -> str:
    """What the FailedMount event says of it."""
    unattached, unknown = (name, "") if error.unattached else ("", name)
    return (
        f"Unable to attach or mount volumes: unmounted volumes=[{name}], unattached volumes=[{unattached}], "
        f"failed to process volumes=[{unknown}]: {error}"
    )
