"""How a volume is made of files: sparse images with file systems in them, or folders. Everything blocks."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from kumo.host import filesystems, loop, mounts
from kumo.host.processes import CAP_SYS_RESOURCE, has_capability
from kumo.kubernetes.local_csi.records import IMAGE, THICK, SnapshotRecord, VolumeRecord

GRAIN = 1 << 20
"""Sizes are multiples of it: more than what a file system leaves over at the end of its device."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """What this machine can do."""

    images: bool
    kinds: frozenset[str]
    """File systems that can be made."""
    grows_ext: bool
    """Whether a mounted ext file system can be grown."""


def look() -> Abilities:
    """What this machine can do."""
    kinds = frozenset(k for k in filesystems.KINDS if filesystems.can_make(k))
    return Abilities(loop.available(), kinds, has_capability(CAP_SYS_RESOURCE))


def default_kind(abilities: Abilities, capacity: int) -> str:
    """The file system for a volume of which nobody asked for one: ext4, or xfs where only that can grow in use."""
    if not abilities.grows_ext and "xfs" in abilities.kinds and capacity >= filesystems.XFS_LEAST:
        return "xfs"
    return "ext4"


def fill(record: VolumeRecord, target: Path) -> None:
    """Make the bytes of a new volume. Raises OSError."""
    if record.backing != IMAGE:
        target.mkdir(mode=0o755)
        return
    with target.open("xb") as file:
        file.truncate(record.capacity)
    if not record.block:
        filesystems.make(target, record.fs_type)
    _allocate(record, target)


def fill_from(record: VolumeRecord, source: Path, mounted_at: Path | None, target: Path) -> None:
    """Make a volume's bytes from another's or a snapshot's; if that one is mounted, as it is at one moment. OSError."""
    snapshot_of(source, mounted_at, target)
    if record.backing == IMAGE:
        if target.stat().st_size < record.capacity:
            os.truncate(target, record.capacity)
        _allocate(record, target)


def snapshot_of(source: Path, mounted_at: Path | None, target: Path) -> None:
    """Copy a volume's bytes; writes to its mounted file system are held back meanwhile. Raises OSError."""
    if mounted_at is None or not source.is_file():
        _flushed_copy(source, target)
        return
    with filesystems.frozen(mounted_at):
        _flushed_copy(source, target, limit=filesystems.FROZEN_MOST - 5.0)


def _flushed_copy(source: Path, target: Path, **limit: float) -> None:
    for device in loop.devices_of(source):
        _flush(device)
    filesystems.copy(source, target, **limit)


def grow(record: VolumeRecord, data: Path, capacity: int) -> None:
    """Make the image, and the device that shows it, longer. Raises OSError."""
    if record.backing != IMAGE:
        return
    if data.stat().st_size < capacity:
        os.truncate(data, capacity)
    if record.allocation == THICK:
        make_thick(data)
    for device in loop.devices_of(data):
        loop.refresh_size(device)


def make_thick(data: Path) -> None:
    """Take all the blocks of an image from the disk. Raises OSError."""
    handle = os.open(data, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.posix_fallocate(handle, 0, os.fstat(handle).st_size)
    finally:
        os.close(handle)


def mounted_at(data: Path) -> Path | None:
    """Where the file system in an image is mounted, if it is."""
    devices = {str(d) for d in loop.devices_of(data)}
    return next((Path(m.path) for m in mounts.mount_points() if m.source in devices), None)


def mount_image(record: VolumeRecord, data: Path, target: Path, options: list[str]) -> None:
    """Mount a volume's file system, grown to the image's size first if it is smaller. Raises OSError."""
    if mounts.is_mounted(target):
        return
    device = loop.attach(data)
    try:
        kind = record.fs_type
        if kind in filesystems.EXT and not filled(device):
            filesystems.grow_unmounted(device)
        extra = ["nouuid"] if kind == "xfs" else []
        mounts.mount_options(str(device), target, kind, [*options, *extra])
        loop.detach_when_unused(device)
    except BaseException:
        if mounted_at(data) is None:
            loop.detach(device)
        raise
    if record.fs_type == "xfs" and not filled(device):
        filesystems.grow_mounted("xfs", device, target)


def filled(device: Path) -> bool:
    """Whether the file system on a device is as large as it can be there. Raises OSError."""
    return filesystems.recorded_size(device) > loop.size_of(device) - GRAIN


def fits(record: VolumeRecord, source: VolumeRecord | SnapshotRecord) -> bool:
    """Whether a volume can be copied from the other: both raw or both with a file system, in the same kind of thing."""
    return record.block == source.block and record.backing == source.backing


def in_use(data: Path) -> bool:
    """Whether a volume is staged or published: shown by a loop device, or mounted elsewhere."""
    return bool(mounts.binds_of(data)) if data.is_dir() else bool(loop.devices_of(data))


def _allocate(record: VolumeRecord, target: Path) -> None:
    if record.allocation == THICK:
        make_thick(target)


def _flush(device: Path) -> None:
    handle = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
