"""Mounts: make them, find them, take them away. All calls block for a moment; all need root."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path
from typing import NamedTuple

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_SHARED = 0x100000
MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8

_FLAGS = {
    "ro": MS_RDONLY,
    "nosuid": MS_NOSUID,
    "nodev": MS_NODEV,
    "noexec": MS_NOEXEC,
    "bind": MS_BIND,
    "rbind": MS_BIND | MS_REC,
    "rw": 0,
    "defaults": 0,
}


class MountPoint(NamedTuple):
    """One line of /proc/self/mountinfo."""

    path: str
    kind: str
    source: str
    options: str


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str | Path, kind: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2). Raises OSError."""
    result = _libc().mount(
        source.encode(), os.fsencode(target), kind.encode() or None, ctypes.c_ulong(flags), data.encode() or None
    )
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"mount {source}: {os.strerror(number)}", str(target))


def mount_options(source: str, target: str | Path, kind: str, options: list[str]) -> None:
    """Mount with options as fstab and containerd write them (`ro`, `bind`, `lowerdir=...`). Raises OSError."""
    flags = 0
    data = []
    for option in options:
        if option in _FLAGS:
            flags |= _FLAGS[option]
        else:
            data.append(option)
    mount(source, target, kind, flags, ",".join(data))
    if flags & MS_BIND and flags & MS_RDONLY:
        mount("none", target, "", MS_BIND | MS_REMOUNT | MS_RDONLY)


def bind(source: str | Path, target: str | Path, *, read_only: bool = False) -> None:
    """Show `source` at `target` too. Raises OSError."""
    mount(str(source), target, "", MS_BIND)
    if read_only:
        mount("none", target, "", MS_BIND | MS_REMOUNT | MS_RDONLY)


def make_shared(directory: str | Path) -> None:
    """Make sure that mounts below `directory` propagate to mount namespaces that ask for it. Raises OSError.

    systemd makes `/` shared; where nobody did, the directory becomes a shared mount of its own.
    """
    path = os.path.realpath(directory)
    nearest = ""
    shared = False
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split(" ")
        point = _unescape(fields[4])
        if (path == point or path.startswith(point.rstrip("/") + "/")) and len(point) >= len(nearest):
            nearest, shared = point, any(f.startswith("shared:") for f in fields[6 : fields.index("-")])
    if shared:
        return
    if nearest != path:
        mount(path, path, "", MS_BIND)
    mount("none", path, "", MS_SHARED)


def unmount(target: str | Path, *, lazy: bool = False) -> None:
    """Undo one mount; nothing happens if nothing is mounted there. Raises OSError (EBUSY unless `lazy`)."""
    if _libc().umount2(os.fsencode(target), UMOUNT_NOFOLLOW | (MNT_DETACH if lazy else 0)) != 0:
        number = ctypes.get_errno()
        if number not in (errno.EINVAL, errno.ENOENT):
            raise OSError(number, os.strerror(number), str(target))


def mount_points() -> list[MountPoint]:
    """Every mount of this mount namespace, in the order they were made."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        fields, rest = left.split(" "), right.split(" ")
        found.append(MountPoint(_unescape(fields[4]), rest[0], _unescape(rest[1]), rest[2] if len(rest) > 2 else ""))
    return found


def binds_of(directory: str | Path) -> list[str]:
    """Where else a directory is mounted (by bind)."""
    path = os.path.realpath(directory)
    number = Path(path).stat().st_dev
    device = f"{os.major(number)}:{os.minor(number)}"
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split(" ")
        root, point = _unescape(fields[3]), _unescape(fields[4])
        # The root is told within its file system: the last part of the path.
        if fields[2] == device and root != "/" and path.endswith(root) and point != path:
            found.append(point)
    return found


def is_mounted(path: str | Path) -> bool:
    """Whether something is mounted exactly there (links on the way are followed)."""
    wanted = os.path.realpath(path)
    return any(m.path == wanted for m in mount_points())


def unmount_below(root: str | Path) -> None:
    """Undo every mount at or below `root`, the newest first, busy ones lazily."""
    base = os.path.normpath(root)
    for found in reversed(mount_points()):
        if found.path == base or found.path.startswith(base + "/"):
            unmount(found.path, lazy=True)


def _unescape(text: str) -> str:
    # mountinfo writes space, tab, newline and backslash as three octal digits.
    for code, plain in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, plain)
    return text
