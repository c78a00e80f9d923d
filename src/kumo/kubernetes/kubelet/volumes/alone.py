"""Volumes that one pod alone may have (ReadWriteOncePod), where no CSI driver sees to it.

The scheduler sees to it, too, but not for pods that name their node themselves. Who has which is on disk, in the pod's
folder, so that it outlives the kubelet and goes with the pod.
"""

from __future__ import annotations

from pathlib import Path

from kumo.api.objects import Object

IN_USE = "volume uses the ReadWriteOncePod access mode and is already in use by another pod"
_FOLDER = "alone"


def for_one(volume: Object) -> bool:
    """Whether the PersistentVolume is for one pod alone. Pure."""
    return bool(volume["spec"].get("accessModes") == ["ReadWriteOncePod"])


def take(root: Path, uid: str, name: str) -> bool:
    """Have the volume for the pod, unless another of this node (below `root`) has it. Blocking. Raises OSError."""
    mine = root / uid / _FOLDER / name
    if any(path != mine for path in root.glob(f"*/{_FOLDER}/{name}")):
        return False
    mine.mkdir(parents=True, exist_ok=True)
    return True
