"""Volumes of type local: a folder of this machine, or a device of its own, mounted first when it holds files.

All functions block. Upstream: `pkg/volume/local`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kumo.host import filesystems, mounts
from kumo.kubernetes.kubelet.volumes.files import VolumeError


def mount(source: Mapping[str, Any], name: str, root: Path, target: Path) -> Path:
    """The volume with files, shown at `target`; a device gets a file system if it has none. VolumeError, OSError.

    `name` is the PersistentVolume's, `root` the kubelet's folder: devices are mounted once a node, below it.
    """
    path = _existing(source)
    if stat.S_ISBLK(path.stat().st_mode):
        path = _mounted_device(path, source.get("fsType") or "ext4", root, name)
    if not path.is_dir():
        raise VolumeError(f"path {path} is neither a directory nor a block device")
    target.mkdir(parents=True, exist_ok=True, mode=0o750)
    if not mounts.is_mounted(target):
        mounts.bind(path, target)
    return target


def block_device(source: Mapping[str, Any], name: str, root: Path, target: Path) -> Path:
    """The volume as a device. Raises VolumeError, OSError."""
    path = Path(os.path.realpath(_existing(source)))
    if not stat.S_ISBLK(path.stat().st_mode):
        raise VolumeError(f"path {path} is not a block device")
    return path


def release_devices(root: Path) -> None:
    """Unmount the devices below the kubelet's folder that no pod's volume shows any more. Raises OSError."""
    base = _devices(root)
    if not base.is_dir():
        return
    for folder in base.iterdir():
        if not any(p.is_dir() for p in root.glob(f"pods/*/volumes/kubernetes.io~local-volume/{folder.name}")):
            if mounts.is_mounted(folder):
                mounts.unmount(folder)
            folder.rmdir()


def _existing(source: Mapping[str, Any]) -> Path:
    path = Path(source["path"])
    if not path.exists():
        raise VolumeError(f'path "{path}" does not exist')
    return path


def _devices(root: Path) -> Path:
    return root / "plugins" / "kubernetes.io" / "local-volume" / "mounts"


def _mounted_device(device: Path, kind: str, root: Path, name: str) -> Path:
    target = _devices(root) / name
    if mounts.is_mounted(target):
        return target
    found = filesystems.kind_of(device)
    if not found:
        filesystems.make(device, kind)
    elif found != kind:
        raise VolumeError(
            f'failed to mount the volume as "{kind}", it already contains {found}. Mount error: wrong fs type'
        )
    target.mkdir(parents=True, exist_ok=True, mode=0o750)
    mounts.mount(str(device), target, kind)
    return target
