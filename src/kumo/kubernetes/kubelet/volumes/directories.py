"""Volumes that are directories or mounts of this machine: emptyDir, hostPath, and the checks that hostPath makes.

All functions block; call them from a thread.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kumo.api import quantities
from kumo.host import mounts
from kumo.kubernetes.kubelet.volumes.files import VolumeError


def empty_dir(path: Path, source: Mapping[str, Any], memory_limit: int, group: int | None) -> None:
    """Make an emptyDir: a directory, or a tmpfs for medium Memory (at most `memory_limit` bytes, if not 0)."""
    path.mkdir(parents=True, exist_ok=True)
    medium = source.get("medium") or ""
    if medium == "Memory":
        if not mounts.is_mounted(path):
            wanted = quantities.whole(source["sizeLimit"]) if source.get("sizeLimit") else 0
            size = min((s for s in (wanted, memory_limit) if s), default=0)
            mounts.mount("tmpfs", path, "tmpfs", data=f"size={size}" if size else "")
    elif medium:
        raise VolumeError(f'unsupported emptyDir medium "{medium}"')
    path.chmod(0o777)
    if group is not None:
        give_to_group(path, group)


def give_to_group(path: Path, group: int) -> None:
    """What fsGroup means: everything below belongs to the group, which may write; new files inherit it."""
    for folder, _, names in os.walk(path):
        for entry in (Path(folder), *(Path(folder) / n for n in names)):
            if entry.is_symlink():
                os.lchown(entry, -1, group)
                continue
            mode = entry.stat().st_mode
            os.chown(entry, -1, group)
            extra = 0o660 | (stat.S_ISGID | 0o110 if stat.S_ISDIR(mode) else 0)
            entry.chmod(stat.S_IMODE(mode) | extra)


def change_group(path: Path, group: int, policy: str) -> None:
    """Give a volume to fsGroup as fsGroupChangePolicy says: always, or when its root is not the group's yet."""
    if policy == "OnRootMismatch":
        shape = path.stat()
        wanted = stat.S_ISGID | 0o770
        if stat.S_ISDIR(shape.st_mode) and shape.st_gid == group and shape.st_mode & wanted == wanted:
            return
    give_to_group(path, group)


_CHECKS = {
    "Directory": (stat.S_ISDIR, "a directory"),
    "File": (stat.S_ISREG, "a file"),
    "Socket": (stat.S_ISSOCK, "a socket file"),
    "CharDevice": (stat.S_ISCHR, "a character device"),
    "BlockDevice": (stat.S_ISBLK, "a block device"),
}


def host_path(source: Mapping[str, Any]) -> Path:
    """Check (and for the ...OrCreate types, make) a hostPath; where it is without links. Raises VolumeError.

    containerd finds the mount that holds a path by the path's name, and refuses to propagate mounts of a folder below
    a link (`/var/lib/kubelet` may be one).
    """
    path, kind = Path(source["path"]), source.get("type") or ""
    if kind == "DirectoryOrCreate" and not path.exists():
        path.mkdir(mode=0o755, parents=True)
    if kind == "FileOrCreate" and not path.exists():
        if not path.parent.is_dir():
            raise VolumeError(f"hostPath type check failed: parent directory of {path} does not exist")
        path.touch(mode=0o644)
    wanted = kind.removesuffix("OrCreate")
    if wanted in _CHECKS:
        test, words = _CHECKS[wanted]
        try:
            matches = test(path.stat().st_mode)
        except FileNotFoundError:
            matches = False
        if not matches:
            raise VolumeError(f"hostPath type check failed: {path} is not {words}")
    if not kind and not path.exists():
        # Without a type, what is missing becomes a directory (containerd makes it for the mount).
        path.mkdir(mode=0o755, parents=True)
    return Path(os.path.realpath(path))


def sub_path(root: Path, inner: str) -> Path:
    """The path `inner` within the volume, made as a directory if missing. Raises VolumeError if it leads out of it."""
    base = Path(os.path.realpath(root))
    target = Path(os.path.realpath(base / inner))
    if target != base and base not in target.parents:
        raise VolumeError(f'subPath "{inner}" leads out of its volume')
    if not target.exists():
        target.mkdir(parents=True, mode=0o750)
        shape = base.stat()
        os.chown(target, shape.st_uid, shape.st_gid)
        target.chmod(stat.S_IMODE(shape.st_mode))
    return target
