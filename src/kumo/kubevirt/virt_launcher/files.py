"""The files of a domain that the launcher makes itself: links to container disks, overlays, empty disks."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from kumo.kubevirt.common.launcher_options import Volume

Run = Callable[[list[str]], None]
"""Runs a program to its end; raises if it fails."""

_QCOW2_MAGIC = b"QFI\xfb"
_SECTOR = 4096


def image_format(path: str) -> str:
    """`qcow2` or `raw`, by the file's first bytes. Raises OSError."""
    with open(path, "rb") as image:
        return "qcow2" if image.read(4) == _QCOW2_MAGIC else "raw"


def supports_direct_io(path: str) -> bool:
    """Whether the file's file system can bypass the page cache (O_DIRECT)."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECT))
    except OSError:
        return False
    return True


def _link(target: str, path: str) -> None:
    """A symlink at `path`, in place of whatever was there."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    fresh = f"{path}.new"
    if os.path.lexists(fresh):
        os.unlink(fresh)
    os.symlink(target, fresh)
    os.rename(fresh, path)


def prepare(volumes: Mapping[str, Volume], run: Run) -> dict[str, Volume]:
    """Make what is missing, and give the volumes back with formats and cache modes filled in.

    An overlay is a qcow2 file on a read-only base; it is kept if it exists, for it holds what the guest wrote.
    Raises OSError when a base cannot be read.
    """
    return {name: _prepare(volume, run) for name, volume in volumes.items()}


def _prepare(volume: Volume, run: Run) -> Volume:
    if volume.backing_source:
        _link(volume.backing_source, volume.backing_path)
    if volume.backing_path:
        backing_format = volume.backing_format or image_format(volume.backing_path)
        volume = volume._replace(format="qcow2", backing_format=backing_format)
        if not os.path.exists(volume.path):
            os.makedirs(os.path.dirname(volume.path), exist_ok=True)
            command = ["/usr/bin/qemu-img", "create", "-q", "-f", "qcow2", "-b", volume.backing_path]
            run([*command, "-F", backing_format, volume.path])
    elif volume.capacity and not os.path.exists(volume.path):
        os.makedirs(os.path.dirname(volume.path), exist_ok=True)
        run(["/usr/bin/qemu-img", "create", "-q", "-f", volume.format, volume.path, str(volume.capacity)])
    if not volume.cache and not volume.block and volume.format == "qcow2" and supports_direct_io(volume.path):
        # As upstream: bypass the page cache where that works, so that the guest's data is not cached twice.
        volume = volume._replace(cache="none")
    return volume
