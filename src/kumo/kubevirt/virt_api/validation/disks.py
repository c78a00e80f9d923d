"""Rules on disks, and on how disks, file systems, volumes and boot order fit together."""

from __future__ import annotations

import posixpath
import re
from typing import Any

from kumo.kubevirt.common.config import ClusterConfig
from kumo.kubevirt.common.specs import Spec, devices, disks, interfaces, volumes
from kumo.kubevirt.virt_api.validation.causes import Causes, invalid, label_problems, required, unsupported

_SERIAL = re.compile(r"[A-Za-z0-9_.+-]+")
PCI_ADDRESS = re.compile(r"[0-9a-fA-F]{4}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]")
_KINDS = ("disk", "lun", "cdrom")
_BLOCK_SIZES = (512, 2097152)
_RESERVED_PATHS = ("/var/run/kubevirt", "/var/run/libvirt")


def disk_rules(field: str, spec: Spec) -> Causes:
    """Each disk by itself; `field` is the path of the list."""
    found = disks(spec)
    for index, disk in enumerate(found):
        own = f"{field}[{index}]"
        for other in range(index):
            if found[other].get("name") == disk.get("name"):
                yield invalid(f"{own}.name", f"{own} and {field}[{other}] must not have the same Name.")
        kinds = [kind for kind in _KINDS if disk.get(kind) is not None]
        if len(kinds) > 1:
            yield invalid(own, f"{own} can only have a single target type defined")
        yield from _pci_rules(field, index, disk)
        if disk.get("bootOrder") is not None and disk["bootOrder"] < 1:
            yield invalid(f"{own}.bootOrder", f"{own} must have a boot order > 0, if supplied")
        yield from _bus_rules(field, index, disk, kinds[0] if kinds else "")
        yield from _option_rules(field, index, disk)
        for problem in label_problems(disk.get("name", "")):
            yield invalid(f"{field}.domain.devices.disks[{index}].name", problem)
        yield from _block_size_rules(own, disk)


def _pci_rules(field: str, index: int, disk: dict[str, Any]) -> Causes:
    target = disk.get("disk") or {}
    address = target.get("pciAddress")
    if not address:
        return
    name = f"{field}.domain.devices.disks.disk[{index}].name"
    path = f"{field}.domain.devices.disks.disk[{index}].pciAddress"
    if target.get("bus") != "virtio":
        yield invalid(path, f"disk {name} - setting a PCI address is only possible with bus type virtio.")
    if not PCI_ADDRESS.fullmatch(address):
        yield invalid(path, f"disk {name} has malformed PCI address ({address}).")


def _bus_rules(field: str, index: int, disk: dict[str, Any], kind: str) -> Causes:
    bus, own = (disk.get(kind) or {}).get("bus", ""), f"{field}[{index}]"
    if not bus:
        return
    if bus == "ide":
        yield invalid(f"{own}.{kind}.bus", "IDE bus is not supported")
    elif bus == "virtio":
        if kind == "cdrom":
            yield invalid(f"{own}.cdrom.bus", f"Bus type {bus} is invalid for CD-ROM device")
    elif bus == "sata":
        if (disk.get("disk") or {}).get("readonly"):
            yield invalid(f"{own}.disk.bus", f"{bus} hard-disks do not support read-only.")
    elif bus not in ("scsi", "usb"):
        known = "[virtio scsi sata usb]"
        yield invalid(f"{own}.{kind}.bus", f"{own} is set with an unrecognized bus {bus}, must be one of: {known}")
    if disk.get("dedicatedIOThread") and bus != "virtio":
        path = f"{field}.domain.devices.disks[{index}]"
        yield unsupported(path, f"IOThreads are not supported for disks on a {bus} bus")


def _option_rules(field: str, index: int, disk: dict[str, Any]) -> Causes:
    own, serial = f"{field}[{index}]", disk.get("serial", "")
    if serial and not _SERIAL.fullmatch(serial):
        allowed = "[A-Za-z0-9_.+-]"
        message = f"{own} must be made up of the following characters {allowed}, if specified"
        yield invalid(f"{own}.serial", message)
    if len(serial) > 256:
        yield invalid(f"{own}.serial", f"{own} must be less than or equal to 256 in length, if specified")
    if disk.get("cache", "") not in ("", "none", "writethrough", "writeback"):
        yield invalid(f"{own}.cache", f"{own}.cache has invalid value {disk['cache']}")
    if disk.get("io", "") not in ("", "native", "threads"):
        message = f"Disk IO mode for {field} is not supported. Supported modes are: native, threads."
        yield unsupported(f"{field}.domain.devices.disks[{index}].io", message)
    policy = disk.get("errorPolicy")
    if policy is not None and policy not in ("stop", "ignore", "report", "enospace"):
        yield invalid(f"{own}.errorPolicy", f'{own}.errorPolicy has invalid value "{policy}"')


def _block_size_rules(own: str, disk: dict[str, Any]) -> Causes:
    size = disk.get("blockSize") or {}
    custom, match = size.get("custom"), size.get("matchVolume")
    if custom is None:
        return
    if match is not None and match.get("enabled") is not False:
        message = "Block size matching can't be enabled together with a custom value"
        yield invalid(f"{own}.blockSize", message)
        return
    path = f"{own}.blockSize.custom"
    logical, physical = int(custom.get("logical") or 0), int(custom.get("physical") or 0)
    granularity = custom.get("discardGranularity")
    bus = next((disk[k].get("bus") for k in _KINDS if disk.get(k) is not None), "")
    if logical > physical:
        message = f"Logical size {logical} must be the same or less than the physical size of {physical}"
        yield invalid(f"{path}.logical", message)
    elif bus == "sata" and logical != _BLOCK_SIZES[0]:
        yield invalid(f"{path}.logical", f"Logical size {logical} must be {_BLOCK_SIZES[0]} for SATA devices")
    elif granularity is not None and logical and granularity % logical:
        message = f"Discard granularity {granularity} must be multiples of logical size {logical}"
        yield invalid(f"{path}.discardGranularity", message)
    else:
        for name, value in (("logical", logical), ("physical", physical)):
            if value < _BLOCK_SIZES[0]:
                message = f"Provided size of {value} is less than the supported minimum size of {_BLOCK_SIZES[0]}"
                yield invalid(f"{path}.{name}", message)
            elif value > _BLOCK_SIZES[1]:
                message = f"Provided size of {value} is greater than the supported maximum size of {_BLOCK_SIZES[1]}"
                yield invalid(f"{path}.{name}", message)
            elif value & (value - 1):
                yield invalid(f"{path}.{name}", f"Provided size of {value} is not a power of 2")


def path_rules(field: str, path: str) -> Causes:
    """A path to a file in a container image: absolute, without dots, not the root."""
    if path == "/":
        yield invalid(field, f"{field} must not point to root")
    elif posixpath.normpath("/" + path.lstrip("/")) != path.removesuffix("/"):
        yield invalid(field, f"{field} must be an absolute path to a file without relative components")


def boot_order_rules(field: str, spec: Spec, config: ClusterConfig) -> Causes:
    """Disks against volumes, and boot orders that are used twice."""
    by_name = {v.get("name"): v for v in volumes(spec)}
    orders: set[int] = set()
    for index, disk in enumerate(disks(spec)):
        own = f"{field}.domain.devices.disks[{index}]"
        volume = by_name.get(disk.get("name"))
        if volume is None:
            if disk.get("cdrom") is None:
                yield invalid(f"{own}.name", f"{own}.Name '{disk.get('name')}' not found.")
            elif not config.gate("DeclarativeHotplugVolumes"):
                message = "DeclarativeHotplugVolumes feature gate not enabled, cannot define an empty CD-ROM disk"
                yield invalid(f"{own}.name", message)
        else:
            yield from _mapping_rules(own, disk, volume)
        order = disk.get("bootOrder")
        if order is not None:
            if order in orders:
                yield invalid(f"{own}.bootOrder", _order_taken(own))
            orders.add(order)
    for index, interface in enumerate(interfaces(spec)):
        order = interface.get("bootOrder")
        own = f"{field}.domain.devices.interfaces[{index}]"
        if order is None:
            continue
        if order < 1:
            yield invalid(f"{field}[{index}].bootOrder", f"{field}[{index}] must have a boot order > 0, if supplied")
            continue
        if order in orders:
            yield invalid(f"{own}.bootOrder", _order_taken(own))
        orders.add(order)


def _order_taken(own: str) -> str:
    return f"Boot order for {own}.bootOrder already set for a different device."


def _mapping_rules(own: str, disk: dict[str, Any], volume: dict[str, Any]) -> Causes:
    on_claim = volume.get("persistentVolumeClaim") is not None or volume.get("dataVolume") is not None
    if disk.get("lun") is not None and not on_claim:
        message = f"{own}.lun can only be mapped to a DataVolume or PersistentVolumeClaim volume."
        yield invalid(f"{own}.lun", message)
    if volume.get("downwardMetrics") is not None:
        target = disk.get("disk")
        if target is None:
            message = f"DownwardMetrics volume must be mapped to a disk, but disk is not set on {own}.disk."
            yield required(f"{own}.disk", message)
        elif target.get("bus", "") not in ("", "virtio"):
            message = (
                f"DownwardMetrics volume must be mapped to virtio bus, but {own}.disk.bus is set to {target['bus']}"
            )
            yield invalid(f"{own}.disk.bus", message)


def volume_use_rules(field: str, spec: Spec) -> Causes:
    """Every volume of an instance must be used by a disk or a file system."""
    disk_names = {d.get("name") for d in disks(spec)}
    system_names = {f.get("name") for f in devices(spec).get("filesystems") or ()}
    for index, volume in enumerate(volumes(spec)):
        name, own = volume.get("name"), f"{field}.domain.volumes[{index}]"
        if volume.get("memoryDump") is not None:
            continue
        if name not in disk_names and name not in system_names:
            yield invalid(f"{own}.name", f"{own}.name '{name}' not found.")
        container_path = volume.get("containerPath")
        if container_path is None:
            continue
        if name in disk_names:
            yield invalid(own, f"ContainerPath volume '{name}' must be mapped to a filesystem, not a disk")
        if name not in system_names:
            message = "must have a matching filesystem defined in spec.domain.devices.filesystems"
            yield invalid(own, f"ContainerPath volume '{name}' {message}")
        prefix = next((p for p in _RESERVED_PATHS if container_path.get("path", "").startswith(p)), "")
        if prefix:
            message = f"ContainerPath volume '{name}' uses reserved path prefix '{prefix}'"
            yield invalid(f"{own}.containerPath.path", message)
