"""A directory of files that changes all at once: readers see the old content or the new, never a mixture.

The same layout as upstream's atomic writer: files live in a timestamped directory, `..data` points to it, and each name
is a symlink into `..data`; a change swaps `..data`.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_DATA = "..data"


@dataclass(frozen=True, slots=True)
class Entry:
    """One file: its bytes, mode, and owner (None: root)."""

    content: bytes
    mode: int
    uid: int | None = None
    gid: int | None = None


def write(directory: Path, files: Mapping[str, Entry]) -> bool:
    """Make the directory hold exactly these files (paths may have folders). False if it already did. Blocking."""
    directory.mkdir(parents=True, exist_ok=True)
    current = directory / _DATA
    if current.exists() and _read(current) == {k: (e.content, e.mode) for k, e in files.items()}:
        return False
    stamp = time.strftime("..%Y_%m_%d_%H_%M_%S.", time.gmtime()) + secrets.token_hex(4)
    fresh = directory / stamp
    fresh.mkdir(mode=0o755)
    for name, entry in files.items():
        path = fresh / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(entry.content)
        if entry.uid is not None or entry.gid is not None:
            os.chown(path, -1 if entry.uid is None else entry.uid, -1 if entry.gid is None else entry.gid)
        path.chmod(entry.mode)
    old = current.readlink().name if current.is_symlink() else ""
    swap = directory / "..data_tmp"
    swap.unlink(missing_ok=True)
    swap.symlink_to(stamp)
    swap.rename(current)
    tops = {name.split("/", 1)[0] for name in files}
    for name in tops:
        link = directory / name
        if not link.is_symlink():
            link.symlink_to(f"{_DATA}/{name}")
    for child in directory.iterdir():
        if not child.name.startswith("..") and child.name not in tops:
            child.unlink(missing_ok=True)
    if old and old != stamp:
        shutil.rmtree(directory / old, ignore_errors=True)
    return True


def _read(current: Path) -> dict[str, tuple[bytes, int]]:
    root = current.resolve()
    found = {}
    for path in root.rglob("*"):
        if path.is_file():
            found[str(path.relative_to(root))] = (path.read_bytes(), path.stat().st_mode & 0o7777)
    return found
