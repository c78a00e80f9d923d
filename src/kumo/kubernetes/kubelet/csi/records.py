"""What was begun with a volume, written before it is begun: upstream's vol_data.json. All calls block."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from kumo.host import mounts
from kumo.kubernetes.kubelet.csi.places import DATA, PLUGIN

PERSISTENT, EPHEMERAL = "Persistent", "Ephemeral"


@dataclass(frozen=True, slots=True)
class VolumeData:
    """Enough to end what was begun."""

    driver: str
    handle: str
    name: str = ""
    """The PersistentVolume's name, or that of the pod's inline volume."""
    mode: str = PERSISTENT
    node: str = ""
    attachment: str = ""
    volume: str = ""
    """What the pod calls it."""
    attachable: bool = False
    """Whether the attach/detach controller has to be told that the volume is in use."""


def write(folder: Path, data: VolumeData) -> None:
    """Keep it in the folder. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o750)
    fields = {
        "specVolID": data.name,
        "volumeHandle": data.handle,
        "driverName": data.driver,
        "nodeName": data.node,
        "attachmentID": data.attachment,
        "volumeLifecycleMode": data.mode,
        "podVolume": data.volume,
        "attachRequired": "true" if data.attachable else "false",
    }
    fresh = folder / f"{DATA}.new"
    with fresh.open("w") as file:
        json.dump(fields, file)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(folder / DATA)


def read(folder: Path) -> VolumeData | None:
    """What is kept in the folder; None if there is nothing to be made of it."""
    try:
        fields = json.loads((folder / DATA).read_text())
        return VolumeData(
            driver=fields["driverName"],
            handle=fields["volumeHandle"],
            name=fields.get("specVolID", ""),
            mode=fields.get("volumeLifecycleMode") or PERSISTENT,
            node=fields.get("nodeName", ""),
            attachment=fields.get("attachmentID", ""),
            volume=fields.get("podVolume", ""),
            attachable=fields.get("attachRequired") == "true",
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def mount_of(volumes: Path, name: str) -> Path | None:
    """Where the volume that a pod calls `name` is mounted; `volumes` is the pod's folder of that name."""
    for folder in (volumes / PLUGIN).glob("*"):
        data = read(folder)
        if data is not None and data.volume == name:
            return folder / "mount"
    return None


def clear(folder: Path, inner: str) -> None:
    """Remove the folder with its record; `inner` is the mount point in it. Raises OSError while that is mounted."""
    target = folder / inner
    if mounts.is_mounted(os.path.realpath(target)):
        raise OSError(f"{target} is still mounted")
    with contextlib.suppress(FileNotFoundError):
        target.rmdir()
    for name in (DATA, f"{DATA}.new"):
        (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(FileNotFoundError):
        folder.rmdir()
