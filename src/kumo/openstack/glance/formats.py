"""What an uploaded disk really is, by its first bytes. Pure.

A disk may name other files (a backing file, an external data file); QEMU would open them on the node. Such a disk, and
one that is not what it is said to be, is refused, whatever format it was declared as.
"""

from __future__ import annotations

import struct

HEAD = 4096
"""How many bytes from the start `inspect` wants."""
_QCOW2 = b"QFI\xfb"
_DATA_FILE = 1 << 2
_OTHERS = {b"KDMV": "vmdk", b"conectix": "vhd", b"vhdxfile": "vhdx", b"# Disk DescriptorFile": "vmdk"}


class BadDisk(ValueError):
    """The content may not be used; the text says why."""


def inspect(head: bytes, size: int, declared: str) -> int | None:
    """The disk's virtual size in bytes (None if unknown). Raises BadDisk."""
    if head.startswith(_QCOW2):
        virtual = _qcow2(head)
        if declared != "qcow2":
            raise BadDisk(f"the content is qcow2, not {declared}")
        return virtual
    if declared == "qcow2":
        raise BadDisk("the content is not qcow2")
    for magic, actual in _OTHERS.items():
        if head.startswith(magic) and declared == "raw":
            raise BadDisk(f"the content is {actual}, not raw")
    return size if declared in ("raw", "iso") else None


def _qcow2(head: bytes) -> int:
    if len(head) < 72:
        raise BadDisk("the qcow2 header is cut short")
    version, backing, _, _, virtual = struct.unpack_from(">IQIIQ", head, 4)
    if version not in (2, 3):
        raise BadDisk(f"qcow2 version {version} is not known")
    if backing:
        raise BadDisk("the qcow2 disk has a backing file")
    if version == 3 and len(head) >= 80 and struct.unpack_from(">Q", head, 72)[0] & _DATA_FILE:
        raise BadDisk("the qcow2 disk has an external data file")
    return int(virtual)
