"""File systems on block devices: make, mount, look at, grow, freeze. All calls block; all need root."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from kumo.host.processes import CAP_SYS_RESOURCE, has_capability

EXT = ("ext2", "ext3", "ext4")
KINDS = (*EXT, "xfs")
"""The kinds that can be made and grown here."""
XFS_LEAST = 300 << 20
"""Bytes that mkfs.xfs wants at least."""
_FREEZE, _THAW = 0xC0045877, 0xC0045878
_TIMEOUT = 110.0
"""Seconds for a program: less than a caller of the storage interface waits."""
FROZEN_MOST = 45.0
"""Seconds that writers may be held back."""


class Usage(NamedTuple):
    """What statvfs says: bytes and inodes."""

    total: int
    available: int
    used: int
    inodes: int
    inodes_free: int
    inodes_used: int


class ToolFailed(OSError):
    """A program ended with an error; the text is its last words."""


def can_make(kind: str) -> bool:
    """Whether the program that makes such a file system is there."""
    return _tool(f"mkfs.{kind}") is not None


def make(target: Path, kind: str, *, label: str = "") -> None:
    """Make a file system in a file or on a device. Raises ToolFailed.

    Nothing is kept back for root, and inode tables are written when they are needed: a sparse file stays sparse.
    """
    if kind == "xfs":
        _run("mkfs.xfs", "-q", "-f", "-K", *(["-L", label[:12]] if label else []), str(target))
        return
    options = ["-q", "-F", "-m", "0"]
    if kind == "ext4":
        options += ["-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard"]
    if label:
        options += ["-L", label[:16]]
    _run(f"mkfs.{kind}", *options, str(target))


def kind_of(device: Path) -> str:
    """What is on it, as blkid names it (`ext4`, `xfs`, ...); empty if nothing is recognised. Raises ToolFailed."""
    done = subprocess.run(
        [_tool("blkid") or "blkid", "-p", "-o", "value", "-s", "TYPE", "-s", "PTTYPE", str(device)],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        check=False,
    )
    if done.returncode not in (0, 2):
        raise ToolFailed(errno.EIO, done.stderr.strip() or f"blkid ended with {done.returncode}", str(device))
    return done.stdout.strip()


def recorded_size(device: Path) -> int:
    """How many bytes the file system on it says it has (ext2 to 4, xfs); 0 if it is none of these. Raises OSError."""
    with device.open("rb") as file:
        head = file.read(2048)
    if head[:4] == b"XFSB":
        block, blocks = struct.unpack_from(">IQ", head, 4)
        return int(block * blocks)
    block = head[1024:]
    if len(block) < 1024 or struct.unpack_from("<H", block, 0x38)[0] != 0xEF53:
        return 0
    low, shift = struct.unpack_from("<I", block, 4)[0], struct.unpack_from("<I", block, 0x18)[0]
    high = struct.unpack_from("<I", block, 0x150)[0] if struct.unpack_from("<I", block, 0x60)[0] & 0x80 else 0
    return int((low | high << 32) << (10 + shift))


def can_grow_mounted(kind: str) -> bool:
    """Whether this process may grow a mounted file system: the kernel wants CAP_SYS_RESOURCE for ext."""
    return kind not in EXT or has_capability(CAP_SYS_RESOURCE)


def grow_mounted(kind: str, device: Path, mount_point: Path) -> None:
    """Make a mounted file system fill its device. Raises ToolFailed."""
    if kind == "xfs":
        _run("xfs_growfs", "-d", str(mount_point))
    else:
        _run("resize2fs", str(device))


def grow_unmounted(device: Path) -> None:
    """Check an ext file system that is not mounted and make it fill its device. Raises ToolFailed."""
    _run("e2fsck", "-f", "-p", str(device), fine=(0, 1))
    _run("resize2fs", str(device))


def usage(path: Path) -> Usage:
    """How full the file system at the path is. Raises OSError."""
    found = os.statvfs(path)
    return Usage(
        total=found.f_blocks * found.f_frsize,
        available=found.f_bavail * found.f_frsize,
        used=(found.f_blocks - found.f_bfree) * found.f_frsize,
        inodes=found.f_files,
        inodes_free=found.f_ffree,
        inodes_used=found.f_files - found.f_ffree,
    )


@contextlib.contextmanager
def frozen(mount_point: Path, limit: float = FROZEN_MOST) -> Iterator[None]:
    """Hold back all writes to a mounted file system while the block runs: what is on its device then is whole.

    Whoever writes waits, so it is thawed after `limit` seconds whatever the block does. Then what was read there may
    not be whole: ToolFailed when the block ends.
    """
    handle = os.open(mount_point, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    expired = threading.Event()

    def end() -> None:
        expired.set()
        with contextlib.suppress(OSError):
            fcntl.ioctl(handle, _THAW, 0)

    timer = threading.Timer(limit, end)
    timer.daemon = True
    try:
        fcntl.ioctl(handle, _FREEZE, 0)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()
            if not expired.is_set():
                fcntl.ioctl(handle, _THAW, 0)
    finally:
        os.close(handle)
    if expired.is_set():
        raise ToolFailed(errno.ETIMEDOUT, f"{mount_point} could not be held still for longer than {limit:.0f} s")


def thaw(mount_point: Path) -> bool:
    """Undo a freeze that somebody who was killed has left behind; whether there was one."""
    try:
        handle = os.open(mount_point, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.ioctl(handle, _THAW, 0)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def copy(source: Path, target: Path, limit: float = _TIMEOUT) -> None:
    """Copy a file or a folder with all it has; blocks are shared where they can be, holes kept.

    Raises ToolFailed, also when it takes longer than `limit` seconds.
    """
    _run("cp", "-a", "--reflink=auto", "--sparse=auto", "-T", str(source), str(target), limit=limit)


def _tool(name: str) -> str | None:
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def _run(name: str, *arguments: str, fine: tuple[int, ...] = (0,), limit: float = _TIMEOUT) -> None:
    tool = _tool(name)
    if tool is None:
        raise ToolFailed(errno.ENOENT, f"{name} is not installed")
    try:
        done = subprocess.run([tool, *arguments], capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired as error:
        raise ToolFailed(errno.ETIMEDOUT, f"{name} did not end within {limit:.0f} s") from error
    if done.returncode not in fine:
        words = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise ToolFailed(errno.EIO, f"{name}: {words[-1] if words else f'ended with {done.returncode}'}")
