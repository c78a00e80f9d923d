"""Which file in the pod each of a VMI's volumes is, for the launcher. Pure, apart from what the caller found before.

Paths are upstream's (`pkg/virt-launcher/virtwrap/converter`, `pkg/ephemeral-disk`, `pkg/emptydisk`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kumo.api.objects import Object
from kumo.api.quantities import whole
from kumo.kubevirt.common import launcher_contract as contract
from kumo.kubevirt.common.launcher_options import Volume
from kumo.kubevirt.virt_handler import cloud_init, config_disks

_DISK_DATA = f"{contract.EPHEMERAL_DISK_DIR}/disk-data"
_CLAIM_DISKS = f"{contract.PRIVATE_DIR}/vmi-disks"


def config_disk(name: str) -> str:
    """The image made of a config map's, secret's, ... files."""
    return f"{contract.PRIVATE_DIR}/config-disks/{name}.iso"


def container_disks(vmi: Object) -> dict[int, dict[str, Any]]:
    """The container disks by their index among the VMI's volumes, which is also in their paths."""
    volumes = vmi["spec"].get("volumes") or ()
    return {index: volume for index, volume in enumerate(volumes) if volume.get("containerDisk") is not None}


def sources(vmi: Object, disks: Mapping[int, str], seed: cloud_init.Seed | None) -> dict[str, Volume]:
    """The file behind each volume that can be a disk. `disks` are the container disks found, by index.

    Raises ValueError for a quantity that is none.
    """
    statuses = {s["name"]: s for s in (vmi.get("status") or {}).get("volumeStatus") or ()}
    found: dict[str, Volume] = {}
    for index, volume in enumerate(vmi["spec"].get("volumes") or ()):
        name = volume["name"]
        made = _source(volume, index, disks, statuses.get(name) or {})
        if made is not None:
            found[name] = made
    if seed is not None:
        found[seed.volume] = Volume(seed.path)
    return found


def _source(volume: dict[str, Any], index: int, disks: Mapping[int, str], status: Mapping[str, Any]) -> Volume | None:
    name = volume["name"]
    if volume.get("containerDisk") is not None:
        return Volume(
            f"{_DISK_DATA}/{name}/disk.qcow2",
            "qcow2",
            backing_path=contract.container_disk(index),
            backing_source=disks[index],
        )
    if (empty := volume.get("emptyDisk")) is not None:
        path = f"{contract.LIBVIRT_RUNTIME_DIR}/empty-disks/{name}.qcow2"
        return Volume(path, "qcow2", capacity=whole(empty["capacity"]))
    if (ephemeral := volume.get("ephemeral")) is not None:
        base = _claim(name, status)
        del ephemeral
        return Volume(f"{_DISK_DATA}/{name}/disk.qcow2", "qcow2", backing_path=base.path, backing_format="raw")
    if volume.get("persistentVolumeClaim") is not None or volume.get("dataVolume") is not None:
        return _claim(name, status)
    if (host := volume.get("hostDisk")) is not None:
        file = str(host["path"]).rpartition("/")[2]
        capacity = whole(host["capacity"]) if host.get("capacity") and host.get("type") == "DiskOrCreate" else 0
        return Volume(f"{_CLAIM_DISKS}/{name}/{file}", capacity=capacity)
    if any(volume.get(kind) is not None for kind in config_disks.DIRECTORIES):
        return Volume(config_disk(name))
    return None


def _claim(name: str, status: Mapping[str, Any]) -> Volume:
    info = status.get("persistentVolumeClaimInfo") or {}
    if info.get("volumeMode") == "Block":
        return Volume(f"/dev/{name}", block=True)
    capacity = (info.get("capacity") or {}).get("storage")
    return Volume(f"{_CLAIM_DISKS}/{name}/disk.img", capacity=whole(str(capacity)) if capacity else 0)


def memory_bytes(vmi: Object) -> int:
    """The guest's memory: `memory.guest`, else what the resources request. Raises ValueError without either."""
    domain = vmi["spec"]["domain"]
    resources = domain.get("resources") or {}
    text = (domain.get("memory") or {}).get("guest")
    text = text or (resources.get("requests") or {}).get("memory") or (resources.get("limits") or {}).get("memory")
    if not text:
        raise ValueError("spec.domain.memory.guest says nothing: the guest has no memory")
    return whole(str(text))
