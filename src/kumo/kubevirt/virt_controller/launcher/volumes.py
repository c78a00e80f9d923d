"""The pod's volumes and where they are mounted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kumo.api.objects import Object
from kumo.kubevirt.common import launcher_contract as contract
from kumo.kubevirt.common.specs import Spec, volumes

LAUNCHER_VOLUME = "launcher-volume"
_CONFIG_DIRS = {
    "configMap": "config-map",
    "secret": "secret",
    "downwardAPI": "downwardapi",
    "serviceAccount": "service-account",
    "sysprep": "sysprep",
}


class ClaimNotFound(LookupError):
    """A PersistentVolumeClaim that the VM uses does not exist; the message is upstream's."""

    def __init__(self, name: str) -> None:
        super().__init__(f"didn't find PVC {name}")


@dataclass(slots=True)
class PodVolumes:
    """Volumes of the pod, and mounts and block devices of its container `compute`."""

    volumes: list[dict[str, Any]] = field(default_factory=list)
    mounts: list[dict[str, Any]] = field(default_factory=list)
    devices: list[dict[str, Any]] = field(default_factory=list)


def pod_volumes(
    spec: Spec, *, image: str, package_dir: str, capabilities_dir: str, pull_policy: str, claims: Mapping[str, Object]
) -> PodVolumes:
    """All volumes of the launcher pod; `claims` are the namespace's claims by name. Raises ClaimNotFound.

    Upstream's, and read-only the node's `/usr` and kumo's own package, which is all the software there is in the pod.
    """
    made = PodVolumes()
    for name in ("private", "public", "sockets", "virt-bin-share-dir", "libvirt-runtime", "ephemeral-disks"):
        made.volumes.append({"name": name, "emptyDir": {}})
    for name, path in (
        ("private", contract.PRIVATE_DIR),
        ("public", contract.SHARE_DIR),
        ("ephemeral-disks", contract.EPHEMERAL_DISK_DIR),
        ("libvirt-runtime", contract.LIBVIRT_RUNTIME_DIR),
        ("sockets", contract.SOCKETS_DIR),
    ):
        made.mounts.append({"name": name, "mountPath": path})
    container_disks = False
    for index, volume in enumerate(volumes(spec)):
        if volume.get("containerDisk") is not None:
            container_disks = True
            _add_container_disk(made, index, volume)
        else:
            _add_volume(made, volume, claims)
    if container_disks:
        source = {"reference": image, "pullPolicy": pull_policy}
        made.volumes.append({"name": LAUNCHER_VOLUME, "image": source})
    made.volumes.append({"name": "hotplug-disks", "emptyDir": {}})
    made.mounts.append(
        {"name": "hotplug-disks", "mountPath": contract.HOTPLUG_DIR, "mountPropagation": "HostToContainer"}
    )
    _add_host_paths(made, package_dir, capabilities_dir)
    return made


def _add_container_disk(made: PodVolumes, index: int, volume: dict[str, Any]) -> None:
    disk = volume["containerDisk"]
    source = {"reference": disk["image"]}
    if disk.get("imagePullPolicy"):
        source["pullPolicy"] = disk["imagePullPolicy"]
    made.volumes.append({"name": volume["name"], "image": source})
    made.mounts.append({"name": volume["name"], "mountPath": contract.image_volume(index), "readOnly": True})


def _add_volume(made: PodVolumes, volume: dict[str, Any], claims: Mapping[str, Object]) -> None:
    name = volume["name"]
    claim = _claim_of(volume)
    if claim:
        if claim not in claims:
            raise ClaimNotFound(claim)
        made.volumes.append({"name": name, "persistentVolumeClaim": {"claimName": claim}})
        if (claims[claim].get("spec") or {}).get("volumeMode") == "Block":
            made.devices.append({"name": name, "devicePath": f"/dev/{name}"})
        else:
            made.mounts.append({"name": name, "mountPath": f"{contract.PRIVATE_DIR}/vmi-disks/{name}"})
        return
    kind = next((k for k in _CONFIG_DIRS if volume.get(k) is not None), "")
    if not kind or kind == "serviceAccount":
        return
    source = {k: v for k, v in volume[kind].items() if k != "volumeLabel"}
    if kind == "downwardAPI":
        source = {"items": volume[kind].get("fields") or []}
    if kind == "sysprep":
        inner = "configMap" if volume[kind].get("configMap") else "secret"
        reference = volume[kind].get(inner) or {}
        source = {inner: reference if inner == "configMap" else {"secretName": reference.get("name", "")}}
    made.volumes.append({"name": name, **(source if kind == "sysprep" else {kind: source})})
    path = f"{contract.PRIVATE_DIR}/{_CONFIG_DIRS[kind]}/{name}"
    made.mounts.append({"name": name, "mountPath": path, "readOnly": True})


def _claim_of(volume: dict[str, Any]) -> str:
    if volume.get("persistentVolumeClaim") is not None:
        return str(volume["persistentVolumeClaim"].get("claimName", ""))
    if volume.get("dataVolume") is not None:
        return str(volume["dataVolume"].get("name", ""))
    ephemeral = (volume.get("ephemeral") or {}).get("persistentVolumeClaim") or {}
    return str(ephemeral.get("claimName", ""))


def _add_host_paths(made: PodVolumes, package_dir: str, capabilities_dir: str) -> None:
    paths = [("host-usr", contract.HOST_USR, contract.HOST_USR), ("kumo", package_dir, contract.PACKAGE_MOUNT)]
    if capabilities_dir:
        paths.append(("capabilities", capabilities_dir, contract.CAPABILITIES_DIR))
    for name, host, mount in paths:
        made.volumes.append({"name": name, "hostPath": {"path": host, "type": "Directory"}})
        made.mounts.append({"name": name, "mountPath": mount, "readOnly": True})
