"""The disks of a domain: targets on their buses, sources from the options."""

from __future__ import annotations

from typing import Any

from kumo.kubevirt.common.launcher_options import Options, Volume
from kumo.kubevirt.virt_launcher.domain.devices import virtio_model
from kumo.kubevirt.virt_launcher.xml import Element, element

_PREFIXES = {"virtio": "vd", "sata": "sd", "scsi": "sd", "usb": "sd"}
_KINDS = ("cdrom", "lun", "disk")


def letters(index: int) -> str:
    """The suffix of the disk device that is number `index` on its bus: 0 is a, 25 is z, 26 is aa."""
    text = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        text = chr(ord("a") + rest) + text
    return text


def kind_and_target(disk: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Which of cdrom, lun and disk the VMI's disk is, and that field's value; a disk on no bus is a plain disk."""
    for kind in _KINDS:
        if disk.get(kind) is not None:
            return kind, disk[kind]
    return "disk", {}


def disks(vmi: dict[str, Any], options: Options) -> list[Element]:
    """One element a disk, in the order of the VMI. Raises ValueError for a disk whose volume has no source."""
    wanted = vmi["spec"]["domain"].get("devices") or {}
    model = virtio_model(wanted)
    used: dict[str, int] = {}
    found = []
    for disk in wanted.get("disks") or ():
        kind, target = kind_and_target(disk)
        bus = target.get("bus") or ("sata" if kind == "cdrom" else "virtio")
        if bus not in _PREFIXES:
            raise ValueError(f"disk {disk['name']} is on the bus {bus!r}; supported are {', '.join(_PREFIXES)}")
        volume = options.volumes.get(disk["name"])
        if volume is None and kind != "cdrom":
            raise ValueError(f"disk {disk['name']} has no volume that a disk can be made of")
        prefix = _PREFIXES[bus]
        device = prefix + letters(used.get(prefix, 0))
        used[prefix] = used.get(prefix, 0) + 1
        found.append(_disk(disk, kind, target, bus, device, volume, model))
    return found


def _disk(
    disk: dict[str, Any],
    kind: str,
    target: dict[str, Any],
    bus: str,
    device: str,
    volume: Volume | None,
    virtio: str,
) -> Element:
    read_only = target.get("readonly", kind == "cdrom")
    block = volume is not None and volume.block
    source = None
    if volume is not None:
        source = element("source", dev=volume.path) if block else element("source", file=volume.path)
    tray = target.get("tray") if kind == "cdrom" else None
    return element(
        "disk",
        source,
        element("target", bus=bus, dev=device, tray=tray),
        _driver(disk, volume, read_only),
        element("serial", disk["serial"]) if disk.get("serial") else None,
        element("boot", order=disk["bootOrder"]) if disk.get("bootOrder") else None,
        element("readonly") if read_only else None,
        element("shareable") if disk.get("shareable") else None,
        _block_size(disk),
        element("alias", name=f"ua-{disk['name']}"),
        _backing(volume),
        device=kind,
        type="block" if block else "file",
        model=virtio if bus == "virtio" else None,
    )


def _driver(disk: dict[str, Any], volume: Volume | None, read_only: bool) -> Element:
    cache = disk.get("cache") or (volume.cache if volume is not None else "")
    return element(
        "driver",
        name="qemu",
        type=volume.format if volume is not None else "raw",
        cache=cache or None,
        io=disk.get("io") or None,
        error_policy=disk.get("errorPolicy") or "stop",
        discard=None if read_only else "unmap",
        iothread="1" if disk.get("dedicatedIOThread") else None,
    )


def _block_size(disk: dict[str, Any]) -> Element | None:
    custom = (disk.get("blockSize") or {}).get("custom")
    if not custom:
        return None
    return element("blockio", logical_block_size=custom.get("logical"), physical_block_size=custom.get("physical"))


def _backing(volume: Volume | None) -> Element | None:
    if volume is None or not volume.backing_path:
        return None
    return element(
        "backingStore",
        element("format", type=volume.backing_format or "raw"),
        element("source", file=volume.backing_path),
        type="file",
    )
