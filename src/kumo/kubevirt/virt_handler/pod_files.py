"""Files of a pod, reached from the node without falling for the pod's symbolic links.

What is in a launcher's file system was written by somebody else: a container disk's image may hold `/disk -> /etc`.
Every path is therefore resolved by openat2(2) with RESOLVE_IN_ROOT, as if the pod's root were the root.
Needs Linux 5.6. All functions block.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

_OPENAT2 = 437
_RESOLVE_IN_ROOT = 0x10
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_SYMLINKS = 0x04


def open_in(root: int, path: str, flags: int, *, links: bool = True) -> int:
    """A descriptor of `path` below the directory `root` (a descriptor), as openat2 gives it. Raises OSError.

    Without `links`, a symbolic link anywhere on the way is an error (ELOOP).
    """
    resolve = _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS | (0 if links else _RESOLVE_NO_SYMLINKS)
    how = struct.pack("QQQ", flags | os.O_CLOEXEC, 0, resolve)
    libc = ctypes.CDLL(None, use_errno=True)
    found = libc.syscall(_OPENAT2, root, os.fsencode(path), how, len(how))
    if found < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), path)
    return int(found)


@contextlib.contextmanager
def root_of(pid: int) -> Iterator[int]:
    """The root directory of a process, as a descriptor. Raises OSError when the process is gone."""
    root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield root
    finally:
        os.close(root)


@contextlib.contextmanager
def directory_at(path: Path) -> Iterator[int]:
    """A directory of the node, as a descriptor. Raises OSError."""
    found = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield found
    finally:
        os.close(found)


def read(root: int, path: str, limit: int = 1 << 20) -> bytes:
    """The first `limit` bytes of a regular file. Raises OSError, also for what is no regular file."""
    with os.fdopen(open_in(root, path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(f"{path} is no regular file")
        return file.read(limit)


def write(root: int, path: str, content: bytes, owner: int) -> None:
    """Write a file whole or not at all, for that uid and gid, making directories as needed. Raises OSError."""
    folder, _, name = path.rpartition("/")
    directory = make_directories(root, folder, owner)
    try:
        fresh = f".{name}.new"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(fresh, dir_fd=directory)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(fresh, flags, 0o640, dir_fd=directory), "wb") as file:
            file.write(content)
            os.fchown(file.fileno(), owner, owner)
        os.rename(fresh, name, src_dir_fd=directory, dst_dir_fd=directory)
    finally:
        os.close(directory)


def make_directories(root: int, path: str, owner: int) -> int:
    """Make the directory and those above it, owned by that uid and gid; its descriptor. Raises OSError."""
    current = open_in(root, "/", os.O_RDONLY | os.O_DIRECTORY)
    walked = ""
    for part in (p for p in path.split("/") if p):
        walked += f"/{part}"
        try:
            following = open_in(root, walked, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            os.mkdir(part, 0o755, dir_fd=current)
            os.chown(part, owner, owner, dir_fd=current, follow_symlinks=False)
            following = open_in(root, walked, os.O_RDONLY | os.O_DIRECTORY)
        os.close(current)
        current = following
    return current


@contextlib.contextmanager
def socket_path(root: int, path: str) -> Iterator[str]:
    """A short path to connect to the unix socket `path` below `root`; it is good within the block. Raises OSError.

    Through a descriptor: free of links, and of the limit of 107 characters.
    """
    found = open_in(root, path, os.O_PATH | os.O_NOFOLLOW)
    try:
        if not stat.S_ISSOCK(os.fstat(found).st_mode):
            raise OSError(f"{path} is no socket")
        yield f"/proc/self/fd/{found}"
    finally:
        os.close(found)
