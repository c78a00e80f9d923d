"""The container disk: the one file that an image brings, found in the launcher's pod and made readable for QEMU.

The kubelet has mounted the image read-only at `/var/run/kubevirt-image-volume/disk_<index>`. Upstream:
`pkg/container-disk`, `pkg/virt-handler/container-disk`.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from typing import BinaryIO, NamedTuple

from kumo.kubevirt.common import launcher_contract as contract
from kumo.kubevirt.virt_handler import pod_files

DISK_FOLDER = "disk"
"""Where an image has its disk unless the VMI names a path (upstream: DiskSourceFallbackPath, `/disk`)."""
_COPY_DIR = f"{contract.EPHEMERAL_DISK_DIR}/container-disk-copies"


class DiskInvalid(Exception):
    """The image does not hold one usable disk; the text is upstream's."""


class FoundDisk(NamedTuple):
    """The disk file, as a path in the pod."""

    path: str
    size: int


def find(root: int, index: int, image_path: str = "") -> FoundDisk:
    """The disk of volume number `index` in the pod whose root directory is the descriptor `root`. Blocks.

    A file that QEMU may not read (an image that keeps it for root), or that is reached by a link (which the launcher
    would resolve in its own root, not in the image's), is copied next to the overlay. Raises DiskInvalid.
    """
    base = contract.image_volume(index)
    try:
        image = pod_files.open_in(root, base, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        raise DiskInvalid(f"the image of volume {index} is not mounted at {base}") from None
    try:
        inside = image_path.strip("/") or _only_file(image)
        direct, file = _open(image, inside)
    finally:
        os.close(image)
    with file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise DiskInvalid(f"{inside} is no regular file")
        if direct and _readable(found):
            return FoundDisk(f"{base}/{inside}", found.st_size)
        return FoundDisk(_copy(root, file, index), found.st_size)


def _open(image: int, inside: str) -> tuple[bool, BinaryIO]:
    """The file, resolved with the image as its own root, and whether no link was on the way."""
    flags = os.O_RDONLY | os.O_NONBLOCK
    try:
        return True, os.fdopen(pod_files.open_in(image, inside, flags, links=False), "rb")
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise DiskInvalid(f"failed to determine custom image path {inside}: {error.strerror}") from None
    try:
        return False, os.fdopen(pod_files.open_in(image, inside, flags), "rb")
    except OSError as error:
        raise DiskInvalid(f"failed to determine custom image path {inside}: {error.strerror}") from None


def _only_file(image: int) -> str:
    try:
        folder = pod_files.open_in(image, DISK_FOLDER, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise DiskInvalid(f"failed to check default image path {DISK_FOLDER}: {error.strerror}") from None
    try:
        names = os.listdir(folder)  # noqa: PTH208 - a descriptor has no path
    finally:
        os.close(folder)
    if not names:
        raise DiskInvalid(f"no file found in folder {DISK_FOLDER}, no disk present")
    if len(names) > 1:
        raise DiskInvalid(f"more than one file found in folder {DISK_FOLDER}, only one disk is allowed")
    return f"{DISK_FOLDER}/{names[0]}"


def _readable(found: os.stat_result) -> bool:
    """Whether QEMU's user may read it (nobody changes a read-only image's permissions)."""
    if found.st_uid == contract.UID:
        return bool(found.st_mode & stat.S_IRUSR)
    if found.st_gid == contract.UID:
        return bool(found.st_mode & stat.S_IRGRP)
    return bool(found.st_mode & stat.S_IROTH)


def _copy(root: int, source: BinaryIO, index: int) -> str:
    directory = pod_files.make_directories(root, _COPY_DIR, contract.UID)
    name = f"disk_{index}"
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(name, flags, 0o440, dir_fd=directory), "wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
            os.fchown(target.fileno(), contract.UID, contract.UID)
    finally:
        os.close(directory)
    return f"{_COPY_DIR}/{name}"
