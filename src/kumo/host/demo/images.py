"""Container images around the demo disk and busybox. Source of the disk's layout: KubeVirt's container disks."""

from __future__ import annotations

from pathlib import Path

from kumo.host.containerd.archive import BuiltImage, File, ImageConfig, build_image
from kumo.host.demo import packages, rootfs
from kumo.host.demo.elf import Libraries

CONTAINER_DISK_NAME = "quay.io/kubevirt/cirros-container-disk-demo:latest"
BUSYBOX_NAME = "docker.io/library/busybox:latest"
_QEMU = 107
"""The user that QEMU runs as in launcher pods, and so whose the disk must be."""


def container_disk_layer(disk: Path) -> list[File]:
    """The files of a container disk: the one disk in `/disk`, readable by QEMU's user only."""
    return [
        File("/disk", mode=0o755, uid=_QEMU, gid=_QEMU),
        File(f"/disk/{disk.name}", disk, mode=0o440, uid=_QEMU, gid=_QEMU),
    ]


def container_disk(disk: Path, scratch: Path | None = None) -> BuiltImage:
    """The disk file as a container disk, to be imported under `CONTAINER_DISK_NAME` or any other name.

    The layer is not compressed (a compressed qcow2 gets no smaller) and goes to the file `scratch` if given.
    """
    return build_image(files=container_disk_layer(disk), config=ImageConfig(), compress=False, scratch=scratch)


def busybox_image(cache: Path) -> BuiltImage:
    """A container image with busybox and all its applets, which runs `sh` unless told otherwise.

    `cache` keeps the unpacked packages. Raises `packages.NoPackages`.
    """
    material = packages.container_packages(cache)
    busybox = rootfs.busybox_of(material)
    files = [File(f"/{d}", mode=0o755) for d in ("bin", "dev", "etc", "home", "proc", "root", "sys", "usr", "var")]
    files += [File("/tmp", mode=0o1777), File("/usr/bin", mode=0o755), File("/usr/sbin", mode=0o755)]
    files += [File("/lib64", mode=0o755), File("/var/spool", mode=0o755), File("/var/www", mode=0o755)]
    files.append(File("/bin/busybox", busybox, mode=0o755))
    files += [File(f"/bin/{name}", link="/bin/busybox") for name in rootfs.applets(busybox)]
    files += [File("/usr/bin/env", link="/bin/busybox"), File("/sbin", link="/bin")]
    files += [File(f"/lib64/{name}", path, mode=0o755) for name, path in _name_service(material).items()]
    etc = {
        "passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n",
        "group": "root:x:0:\nnogroup:x:65534:\n",
        "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    }
    files += [File(f"/etc/{name}", text.encode()) for name, text in etc.items()]
    return build_image(files=files, config=ImageConfig(cmd=["sh"]))


def _name_service(material: Path) -> dict[str, Path]:
    """The C library's shared parts, which even a static program loads to resolve names."""
    libraries = Libraries(material)
    names = ("libc.so.6", "libresolv.so.2", "libnss_dns.so.2", "libnss_files.so.2")
    found = [path for name in names if (path := libraries.find(name))]
    return {path.name: path for path in found} | libraries.closure(found)
