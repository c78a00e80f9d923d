"""Loop devices: a file as a block device. All calls block for a moment; all need root. Source: `linux/loop.h`."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import struct
import time
from collections.abc import Iterator
from pathlib import Path

_MAJOR = 7
_CLR_FD, _SET_CAPACITY, _SET_FD, _SET_STATUS64 = 0x4C01, 0x4C07, 0x4C00, 0x4C04
_GET_FREE = 0x4C82
_READ_ONLY, _AUTOCLEAR = 1, 4
_INFO = struct.Struct("<5Q4I64s64s32s2Q")
"""loop_info64: device, inode, rdevice, offset, sizelimit; number, encrypt type, key size, flags; names, key, init."""
_TRIES = 50


def available() -> bool:
    """Whether this machine has loop devices."""
    return Path("/dev/loop-control").exists()


def devices_of(file: Path) -> list[Path]:
    """The loop devices that show the file, `/dev/loop<n>`."""
    try:
        wanted = file.stat()
    except FileNotFoundError:
        return []
    found = []
    for entry in Path("/sys/block").glob("loop*"):
        try:
            backing = (entry / "loop" / "backing_file").read_text().rstrip("\n")
            shape = os.stat(backing)  # noqa: PTH116 - the text may be of a file that is gone
        except OSError:
            continue
        if (shape.st_dev, shape.st_ino) == (wanted.st_dev, wanted.st_ino):
            found.append(_node(int(entry.name.removeprefix("loop"))))
    return sorted(found)


def attached_below(directory: Path) -> dict[Path, str]:
    """Loop devices whose file is (or was, when removed) below the directory, with the file's path."""
    found = {}
    base = os.path.realpath(directory) + "/"
    for entry in Path("/sys/block").glob("loop*"):
        try:
            backing = (entry / "loop" / "backing_file").read_text().rstrip("\n")
        except OSError:
            continue
        backing = backing.removesuffix(" (deleted)")
        if backing.startswith(base):
            found[_node(int(entry.name.removeprefix("loop")))] = backing
    return found


def attach(file: Path, *, read_only: bool = False) -> Path:
    """A loop device that shows the file: the one there is, else a new one. Raises OSError."""
    known = devices_of(file)
    if known:
        return known[0]
    backing = os.open(file, (os.O_RDONLY if read_only else os.O_RDWR) | os.O_CLOEXEC)
    try:
        for attempt in range(_TRIES):
            device = _node(_free())
            handle = os.open(device, (os.O_RDONLY if read_only else os.O_RDWR) | os.O_CLOEXEC)
            try:
                fcntl.ioctl(handle, _SET_FD, backing)
            except OSError as error:
                # Somebody else was faster with this one.
                if error.errno != errno.EBUSY:
                    raise
                time.sleep(0.01 * attempt)
                continue
            finally:
                os.close(handle)
            return device
        raise OSError(errno.EBUSY, "no free loop device", str(file))
    finally:
        os.close(backing)


def detach_when_unused(device: Path) -> None:
    """Let the device go by itself when nobody has it open or mounted any more. Raises OSError."""
    _set_flags(device, _AUTOCLEAR)


def detach(device: Path) -> None:
    """Let the device go; one that is in use goes with its last user. Nothing happens if it is gone. Raises OSError."""
    with _opened(device) as handle:
        try:
            fcntl.ioctl(handle, _CLR_FD)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise


def refresh_size(device: Path) -> None:
    """Make the device as long as its file is now. Raises OSError."""
    with _opened(device) as handle:
        fcntl.ioctl(handle, _SET_CAPACITY)


def size_of(device: Path) -> int:
    """Bytes of a block device. Raises OSError."""
    with _opened(device) as handle:
        return os.lseek(handle, 0, os.SEEK_END)


def _free() -> int:
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        return fcntl.ioctl(control, _GET_FREE)
    finally:
        os.close(control)


def _node(number: int) -> Path:
    """The device's node; made where nobody (udev) does."""
    path = Path(f"/dev/loop{number}")
    if not path.exists():
        with contextlib.suppress(FileExistsError):
            os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(_MAJOR, number))
    return path


def _set_flags(device: Path, flags: int) -> None:
    with _opened(device) as handle:
        info = _INFO.pack(0, 0, 0, 0, 0, 0, 0, 0, flags, b"", b"", b"", 0, 0)
        fcntl.ioctl(handle, _SET_STATUS64, info)


@contextlib.contextmanager
def _opened(device: Path) -> Iterator[int]:
    handle = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)
