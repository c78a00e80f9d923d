"""Which Debian packages the images are made of."""

from __future__ import annotations

import fcntl
import platform
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from kumo.host.demo.debian import Archive, NoPackages

SUITE = "bookworm"
"""The last suite with a 32-bit kernel; its Linux 6.1 runs under every QEMU since 7.2, with KVM and without."""
GUEST_ARCHITECTURE = "i386"
"""The demo system is 32-bit: Debian's 64-bit kernels want more than the 64 MB that the walk-through's machine has."""
KERNEL = "linux-image-686"
GUEST = (
    *(KERNEL, "busybox-static", "dropbear-bin", "qemu-guest-agent", "e2fsprogs", "opendoas", "libpam-modules"),
    *("syslinux-common", "syslinux-efi"),
)
CONTAINER = ("busybox-static", "libc6")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_LIBRARY = re.compile(r"^(lib(?!perl|gdbm|db5|file-find|number|text|debconf)[a-z0-9.+-]*|zlib1g)$")
_DEPTH = 5

__all__ = ["CONTAINER", "GUEST", "NoPackages", "container_packages", "guest_packages"]


def guest_packages(cache: Path) -> Path:
    """The demo system's packages, unpacked below `cache`; the directory. Raises NoPackages."""
    return _fetch(cache / "guest", GUEST, GUEST_ARCHITECTURE)


def container_packages(cache: Path) -> Path:
    """The busybox image's packages for this machine's architecture, unpacked; the directory. Raises NoPackages."""
    machine = platform.machine()
    return _fetch(cache / "container", CONTAINER, _ARCHITECTURES.get(machine, machine))


def _fetch(directory: Path, roots: Sequence[str], architecture: str) -> Path:
    """What is there already is not asked for again, so that a second build needs no network."""
    done, fresh = directory / "unpacked", directory / "unpacked.new"
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            _download(directory, roots, architecture, fresh)
            fresh.rename(done)
    return done


def _download(directory: Path, roots: Sequence[str], architecture: str, fresh: Path) -> None:
    shutil.rmtree(fresh, ignore_errors=True)
    archive = Archive(directory, SUITE, architecture)
    archive.update()
    archive.download(_closure(archive, roots), fresh)
    for leftover in ("lists", "cache", "debs", "state"):
        shutil.rmtree(directory / leftover, ignore_errors=True)


def _closure(archive: Archive, roots: Sequence[str]) -> list[str]:
    """The packages to fetch: roots, a kernel in place of its meta package, libraries down to the C library."""
    wanted: list[str] = []
    frontier = list(roots)
    for _ in range(_DEPTH):
        found = archive.depends(frontier)
        if KERNEL in found:
            wanted += [d for d in found.pop(KERNEL) if d.startswith("linux-image-")]
        wanted += found
        needed = {d for depends in found.values() for d in depends if _LIBRARY.match(d)}
        frontier = sorted(needed - set(wanted))
        if not frontier:
            break
    return wanted
