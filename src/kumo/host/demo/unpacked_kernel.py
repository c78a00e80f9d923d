"""A Linux image that need not unpack itself: emulated processors take seconds for what we can do here in an instant.

From a 32-bit bzImage (Documentation/x86/boot, protocol 2.08 and later) its payload is taken out, decompressed, laid out
as it will be in memory, and put behind the image's own real-mode part in place of the self-unpacking one. What a loader
enters is then a handful of instructions that copy the kernel to where it was linked for and jump there.
"""

from __future__ import annotations

import lzma
import struct

_LINKED_AT = 0x1000000
_LOADED_AT = 0x100000
_SECTOR = 512
_STUB_SIZE = 64
_PT_LOAD = 1
_XZ_MAGIC = b"\xfd7zXZ\0"


def unpacked(image: bytes) -> bytes:
    """The image in that form. Raises ValueError for one that is of another kind."""
    sectors = (image[0x1F1] or 4) + 1
    start, length = struct.unpack_from("<II", image, 0x248)
    (linked_at,) = struct.unpack_from("<Q", image, 0x258)
    payload = image[sectors * _SECTOR + start : sectors * _SECTOR + start + length]
    if image[0x202:0x206] != b"HdrS" or not payload.startswith(_XZ_MAGIC) or linked_at != _LINKED_AT:
        raise ValueError("not an xz-compressed kernel linked for 16 MiB")
    # Behind the compressed data stands its size, which is no part of it.
    kernel = lzma.LZMADecompressor().decompress(payload)
    flat = _flat(kernel)
    if _LOADED_AT + _STUB_SIZE + len(flat) > _LINKED_AT:
        raise ValueError("the kernel is too large to be copied")
    body = _stub(len(flat)) + flat
    body += b"\0" * (-len(body) % 16)
    head = bytearray(image[: sectors * _SECTOR])
    struct.pack_into("<I", head, 0x1F4, len(body) // 16)
    head[0x234] = 0  # to be loaded at 1 MiB and nowhere else
    return bytes(head) + body


def _flat(kernel: bytes) -> bytes:
    """The segments of a 32-bit ELF file as they stand in memory; the kernel clears what follows them by itself."""
    if kernel[:5] != b"\x7fELF\x01":
        raise ValueError("not a 32-bit kernel")
    entry, headers = struct.unpack_from("<II", kernel, 24)
    size, count = struct.unpack_from("<HH", kernel, 42)
    if entry != _LINKED_AT:
        raise ValueError(f"the kernel begins at {entry:#x}")
    out = bytearray()
    for i in range(count):
        kind, offset, _, address, length = struct.unpack_from("<IIIII", kernel, headers + i * size)
        if kind == _PT_LOAD:
            at = address - _LINKED_AT
            out += b"\0" * (at + length - len(out))
            out[at : at + length] = kernel[offset : offset + length]
    return bytes(out)


def _stub(length: int) -> bytes:
    """Code at 1 MiB: copy what follows to 16 MiB, jump there; %esi holds the loader's parameters before and after."""
    code = (
        b"\xfa\xfc"  # cli; cld
        b"\x89\xf5"  # mov %esi, %ebp
        + b"\xbe"
        + struct.pack("<I", _LOADED_AT + _STUB_SIZE)  # mov $source, %esi
        + b"\xbf"
        + struct.pack("<I", _LINKED_AT)  # mov $target, %edi
        + b"\xb9"
        + struct.pack("<I", (length + 3) // 4)  # mov $count, %ecx
        + b"\xf3\xa5"  # rep movsl
        b"\x89\xee"  # mov %ebp, %esi
        + b"\xb8"
        + struct.pack("<I", _LINKED_AT)  # mov $target, %eax
        + b"\xff\xe0"  # jmp *%eax
    )
    return code.ljust(_STUB_SIZE, b"\x90")
