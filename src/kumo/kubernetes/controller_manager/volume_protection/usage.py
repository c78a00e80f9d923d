"""What is in use. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kumo.api.objects import Object, controller_of, name_of, namespace_of, uid_of
from kumo.api.quota.scopes import attributes_classes


def claims_of(pod: Object) -> Iterator[str]:
    """The names of the claims that a pod's volumes may stand for, those made for ephemeral volumes too."""
    for volume in (pod.get("spec") or {}).get("volumes") or ():
        if volume.get("persistentVolumeClaim") is not None:
            yield volume["persistentVolumeClaim"].get("claimName", "")
        elif volume.get("ephemeral") is not None:
            yield f"{name_of(pod)}-{volume.get('name', '')}"


def pod_uses(pod: Object, claim: Object) -> bool:
    """Whether a scheduled pod uses the claim: it names it, or the claim was made for it and it is not shut down."""
    if not (pod.get("spec") or {}).get("nodeName") or namespace_of(pod) != namespace_of(claim):
        return False
    for volume in pod["spec"].get("volumes") or ():
        direct = volume.get("persistentVolumeClaim")
        if direct is not None and direct.get("claimName") == name_of(claim):
            return True
        if volume.get("ephemeral") is not None and f"{name_of(pod)}-{volume.get('name', '')}" == name_of(claim):
            owner = controller_of(claim)
            if owner is not None and owner.get("uid") == uid_of(pod) and not _is_shut_down(pod):
                return True
    return False


def _is_shut_down(pod: Object) -> bool:
    meta = pod["metadata"]
    return bool(meta.get("deletionTimestamp")) and meta.get("deletionGracePeriodSeconds") == 0


def volume_used(volume: Object) -> bool:
    """Whether a claim is bound to the volume."""
    return (volume.get("status") or {}).get("phase") == "Bound"


def class_used(name: str, claims: Iterable[Object], volumes: Iterable[Object]) -> bool:
    """Whether a claim or a volume names the attributes class."""
    if any((volume.get("spec") or {}).get("volumeAttributesClassName") == name for volume in volumes):
        return True
    return any(name in attributes_classes(claim) for claim in claims)
