"""What CSI volumes and their attachments are called in the API: the kubelet and the controllers must agree. Pure."""

from __future__ import annotations

import hashlib

_PLUGIN = "kubernetes.io/csi/"
_SEPARATOR = "^"


def unique_name(driver: str, handle: str) -> str:
    """What the volume is called in `volumesInUse` and `volumesAttached` of the Node's status."""
    return f"{_PLUGIN}{driver}{_SEPARATOR}{handle}"


def split_name(unique: str) -> tuple[str, str] | None:
    """Driver and handle of a volume that a Node's status names; None for one of another kind."""
    if not unique.startswith(_PLUGIN):
        return None
    driver, found, handle = unique[len(_PLUGIN) :].partition(_SEPARATOR)
    return (driver, handle) if found and driver and handle else None


def attachment_name(driver: str, handle: str, node: str) -> str:
    """The name of the VolumeAttachment of a volume on a node."""
    return f"csi-{hashlib.sha256(f'{handle}{driver}{node}'.encode()).hexdigest()}"
