"""Where uploaded disks become something that a virtual machine can boot from, and what they are called there."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

REGISTRY = "images.kumo.dev"


class DiskStoreError(Exception):
    """The container disk could not be made or removed; the text says why."""


class DiskStore(Protocol):
    """The nodes' container disks, by image reference."""

    async def put(self, disk: Path, name: str) -> None:
        """Make the disk file available as a container disk under that name; nothing to do if it is there.

        Raises DiskStoreError.
        """
        ...

    async def remove(self, name: str) -> None:
        """Forget the container disk; nothing to do if it is not there. Raises DiskStoreError."""
        ...


def disk_name(namespace: str, image_id: str, checksum: str) -> str:
    """The reference of an image's container disk: of the image's namespace, id and content (its MD5)."""
    return f"{REGISTRY}/{namespace}/{image_id}:{checksum}"


def is_disk_of(reference: str, image_id: str) -> bool:
    """Whether the reference is that of a container disk made from the image."""
    return reference.startswith(f"{REGISTRY}/") and f"/{image_id}:" in reference
