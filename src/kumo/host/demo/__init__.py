"""Images made on the spot, so that a machine that reaches no registry still has something to run.

`build_demo_disk` makes a small virtual machine disk from nothing but Debian packages: their kernel, busybox, dropbear,
guest agent, syslinux; `guest/` holds the scripts that make a system of them (a login, DHCP, NoCloud and config drives).
`container_disk` packs a disk as KubeVirt expects container disks, `busybox_image` makes the container image of the
same name. Nothing is installed, mounted or run from the packages.
"""

from kumo.host.demo.disk import build_demo_disk, build_demo_disk_cached
from kumo.host.demo.images import (
    BUSYBOX_NAME,
    CONTAINER_DISK_NAME,
    busybox_image,
    container_disk,
    container_disk_layer,
)

__all__ = [
    "BUSYBOX_NAME",
    "CONTAINER_DISK_NAME",
    "build_demo_disk",
    "build_demo_disk_cached",
    "busybox_image",
    "container_disk",
    "container_disk_layer",
]
