"""An archive in cpio's "newc" format, as the kernel unpacks its initial file system from (initramfs buffer format)."""

from __future__ import annotations

from typing import NamedTuple

_REGULAR, _DIRECTORY, _SYMLINK, _DEVICE = 0o100000, 0o040000, 0o120000, 0o020000


class Entry(NamedTuple):
    """A file, a directory (content None), or a symlink (`link`)."""

    path: str
    content: bytes | None = None
    mode: int = 0o755
    link: str = ""


def archive(entries: list[Entry]) -> bytes:
    """The archive, with the console device that the first process needs."""
    parts = [_header(1, "dev", _DIRECTORY | 0o755, 0, (0, 0)), _header(2, "dev/console", _DEVICE | 0o600, 0, (5, 1))]
    for number, entry in enumerate(entries, 3):
        if entry.link:
            kind, data = _SYMLINK | 0o777, entry.link.encode()
        elif entry.content is None:
            kind, data = _DIRECTORY | entry.mode, b""
        else:
            kind, data = _REGULAR | entry.mode, entry.content
        parts.append(_header(number, entry.path, kind, len(data), (0, 0)) + _padded(data))
    parts.append(_header(0, "TRAILER!!!", 0, 0, (0, 0)))
    return b"".join(parts)


def _header(number: int, path: str, mode: int, size: int, device: tuple[int, int]) -> bytes:
    name = path.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, size, 0, 0, *device, len(name), 0)
    return _padded(b"070701" + b"".join(b"%08X" % f for f in fields) + name)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
