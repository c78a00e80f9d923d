"""How much of file systems and directories is in use. All functions block.

Directories are walked, as upstream does with `du`: what they found is kept for a minute, so that asking often costs
little. A file with several names counts once; other file systems below are not entered.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_MOST = 1_000_000
"""Entries of one directory tree that are looked at: beyond them the number is what was found until then."""


@dataclass(frozen=True, slots=True)
class DiskUse:
    """Bytes and inodes: of the file system, and what is used (of it, or of the directory that was asked for)."""

    available: int
    capacity: int
    used: int
    inodes_free: int
    inodes: int
    inodes_used: int


def file_system(path: Path | str) -> DiskUse | None:
    """The whole file system that the path is on; None when there is no such path."""
    try:
        found = os.statvfs(path)
    except OSError:
        return None
    size = found.f_frsize
    return DiskUse(
        available=found.f_bavail * size,
        capacity=found.f_blocks * size,
        used=(found.f_blocks - found.f_bfree) * size,
        inodes_free=found.f_ffree,
        inodes=found.f_files,
        inodes_used=found.f_files - found.f_ffree,
    )


def walked(paths: Iterable[Path | str]) -> tuple[int, int]:
    """Bytes on disk and inodes of what is at and below the paths; what is missing counts nothing."""
    used = inodes = 0
    seen: set[tuple[int, int]] = set()
    for top in paths:
        try:
            root = os.lstat(top)
        except OSError:
            continue
        stack = [os.fspath(top)]
        used, inodes = used + root.st_blocks * 512, inodes + 1
        while stack and inodes < _MOST:
            try:
                with os.scandir(stack.pop()) as found_there:
                    entries = list(found_there)
            except OSError:  # It is a file, or gone.
                continue
            for entry in entries:
                try:
                    found = entry.stat(follow_symlinks=False)
                except OSError:
                    continue
                key = (found.st_dev, found.st_ino)
                if found.st_dev != root.st_dev or (found.st_nlink > 1 and key in seen):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    stack.append(entry.path)
                elif found.st_nlink > 1:
                    seen.add(key)
                used, inodes = used + found.st_blocks * 512, inodes + 1
    return used, inodes


class DirectorySizes:
    """Sizes of directories, looked at anew so many seconds after the last time."""

    def __init__(self, fresh: float = 60.0) -> None:
        self._fresh = fresh
        self._known: dict[str, tuple[float, int, int]] = {}

    def of(self, path: Path) -> DiskUse | None:
        """What the directory uses of its file system."""
        whole = file_system(path)
        if whole is None:
            return None
        now = time.monotonic()
        at, used, inodes = self._known.get(str(path), (-self._fresh, 0, 0))
        if now - at >= self._fresh:
            used, inodes = walked([path])
            self._known[str(path)] = (now, used, inodes)
            for old in [p for p, (then, _, _) in self._known.items() if now - then > 10 * self._fresh]:
                del self._known[old]
        return DiskUse(whole.available, whole.capacity, used, whole.inodes_free, whole.inodes, inodes)
