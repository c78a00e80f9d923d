"""The launcher's image: empty directories, symlinks, a tiny /etc and the no-op program. Imported at node start.

What is in it says `kumo.kubevirt.common.launcher_contract`.
"""

from __future__ import annotations

import platform

from kumo.host.containerd.archive import BuiltImage, File, ImageConfig, build_image
from kumo.host.containerd.engine import Containerd
from kumo.kubevirt.common import launcher_contract as contract


def image_files() -> list[File]:
    """Every entry of the image, parents before children."""
    folders: list[str] = []
    for directory in contract.IMAGE_DIRECTORIES:
        parts = directory.split("/")
        for depth in range(1, len(parts) + 1):
            path = "/" + "/".join(parts[:depth])
            if path not in folders:
                folders.append(path)
    entries = [File(path, mode=0o1777 if path in ("/tmp", "/var/tmp") else 0o755) for path in folders]
    entries += [File(f"/{path}", link=target) for path, target in contract.IMAGE_SYMLINKS.items()]
    entries += [File(f"/{path}", text.encode()) for path, text in contract.IMAGE_FILES.items()]
    entries.append(File(contract.NO_OP_BINARY, contract.no_op_program(platform.machine()), mode=0o755))
    return entries


def build() -> BuiltImage:
    """The image, ready for import; the same bytes, and so the same digest, at every call."""
    return build_image(files=image_files(), config=ImageConfig(cmd=contract.COMMAND, user=f"{contract.UID}"))


async def ensure(containerd: Containerd, version: str) -> str:
    """Import the image of that version of kumo unless it is there already; its reference.

    It is pinned: the kubelet's garbage collection leaves it alone.
    """
    reference = contract.image_reference(version)
    await containerd.images.import_image(build(), [reference], pinned=True)
    return reference
