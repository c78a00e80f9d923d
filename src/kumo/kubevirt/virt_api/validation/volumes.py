"""Rules on volumes and on the credentials that are brought into the guest."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from kumo.kubevirt.common.config import ClusterConfig
from kumo.kubevirt.common.specs import Spec, quantity, volumes
from kumo.kubevirt.virt_api.validation.causes import Causes, invalid, not_found, required
from kumo.kubevirt.virt_api.validation.disks import path_rules

SOURCES = (
    "persistentVolumeClaim", "sysprep", "cloudInitNoCloud", "cloudInitConfigDrive", "containerDisk", "ephemeral",
    "emptyDisk", "hostDisk", "dataVolume", "configMap", "secret", "downwardAPI", "serviceAccount", "downwardMetrics",
    "memoryDump", "containerPath",
)  # fmt: skip
_CLOUD_INIT_LIMIT = 2048


def volume_rules(field: str, spec: Spec, config: ClusterConfig) -> Causes:
    """Each volume has a name of its own and one source, and the source makes sense; `field` is the list's path."""
    names: dict[str, int] = {}
    for index, volume in enumerate(volumes(spec)):
        own, name = f"{field}[{index}]", volume.get("name", "")
        if name in names:
            yield invalid(f"{own}.name", f"{own} and {field}[{names[name]}] must not have the same Name.")
        names.setdefault(name, index)
        data_volume = volume.get("dataVolume")
        if data_volume is not None and not data_volume.get("name"):
            yield required(f"{own}.name", "DataVolume 'name' must be set")
        if sum(volume.get(source) is not None for source in SOURCES) != 1:
            yield invalid(own, f"{own} must have exactly one source type set")
        for kind in ("cloudInitNoCloud", "cloudInitConfigDrive"):
            if volume.get(kind) is not None:
                yield from _cloud_init_rules(f"{own}.{kind}", kind, volume[kind])
                break
        if volume.get("downwardMetrics") is not None and not config.gate("DownwardMetrics"):
            yield invalid(own, "downwardMetrics disks are not allowed: DownwardMetrics feature gate is not enabled.")
        if volume.get("hostDisk") is not None:
            yield from _host_disk_rules(own, volume["hostDisk"], config)
        for kind, part in (("configMap", "name"), ("secret", "secretName"), ("serviceAccount", "serviceAccountName")):
            if volume.get(kind) is not None and not volume[kind].get(part):
                yield invalid(f"{own}.{kind}.{part}", f"{own}.{kind}.{part} is a required field")
    for kind, words in (
        ("serviceAccount", "serviceAccount"),
        ("downwardMetrics", "downwardMetric"),
        ("memoryDump", "memory dump"),
    ):
        if sum(v.get(kind) is not None for v in volumes(spec)) > 1:
            yield invalid(field, f"{field} must have max one {words} volume set")


def _cloud_init_rules(own: str, kind: str, source: dict[str, Any]) -> Causes:
    counts = {}
    for part, secret, words in (
        ("userData", "secretRef", "userdatasource"),
        ("networkData", "networkDataSecretRef", "networkdata source"),
    ):
        count, size = int(bool((source.get(secret) or {}).get("name"))), 0
        encoded = source.get(f"{part}Base64")
        if encoded:
            count += 1
            try:
                size = len(base64.b64decode(encoded, validate=True))
            except (binascii.Error, ValueError):
                path = f"{own}.{part}Base64"
                yield invalid(path, f"{path}.{kind}.{part}Base64 is not a valid base64 value.")
        if source.get(part):
            count, size = count + 1, len(source[part].encode())
        if count > 1:
            yield invalid(own, f"{own} must have only one {words} set.")
        if size > _CLOUD_INIT_LIMIT:
            name = part.lower()
            advice = f"Should use {part[0].upper()}{part[1:]}SecretRef for larger data."
            yield invalid(own, f"{own} {name} exceeds {_CLOUD_INIT_LIMIT} byte limit. {advice}")
        counts[part] = count
    if not any(counts.values()):
        yield invalid(own, f"{own} must have at least one userdatasource or one networkdatasource set.")


def _host_disk_rules(own: str, disk: dict[str, Any], config: ClusterConfig) -> Causes:
    if not config.gate("HostDisk"):
        yield invalid(own, "HostDisk feature gate is not enabled")
    if not disk.get("path"):
        yield not_found(f"{own}.hostDisk.path", f"{own}.hostDisk.path is required for hostDisk volume")
    kind = disk.get("type")
    if kind not in ("Disk", "DiskOrCreate"):
        message = f"{own}.hostDisk.type has invalid value '{kind}', allowed are 'Disk' or 'DiskOrCreate'"
        yield invalid(f"{own}.hostDisk.type", message)
    if kind == "Disk" and quantity(disk, "capacity"):
        path = f"{own}.hostDisk.capacity"
        yield invalid(path, f"{path} is allowed to pass only with {own}.hostDisk.type equal to 'DiskOrCreate'")


def container_disk_rules(field: str, spec: Spec) -> Causes:
    """The path of the disk in its image, if one is given."""
    for index, volume in enumerate(volumes(spec)):
        path = (volume.get("containerDisk") or {}).get("path")
        if path:
            yield from path_rules(f"{field}.volumes[{index}].containerDisk", path)


def credential_rules(field: str, spec: Spec) -> Causes:
    """Each access credential is of one type, from one source, by one way that is there."""
    present = {kind for v in volumes(spec) for kind in ("cloudInitNoCloud", "cloudInitConfigDrive") if v.get(kind)}
    for index, credential in enumerate(spec.get("accessCredentials") or ()):
        own = f"{field}[{index}]"
        kinds = [kind for kind in ("sshPublicKey", "userPassword") if credential.get(kind) is not None]
        for kind in kinds:
            yield from _credential_rules(own, kind, credential[kind], present)
        if len(kinds) != 1:
            yield invalid(own, f"{own} must have exactly one access credential type set")


def _credential_rules(own: str, kind: str, credential: dict[str, Any], present: set[str]) -> Causes:
    method, path = credential.get("propagationMethod") or {}, f"{own}.{kind}.propagationMethod"
    if kind == "sshPublicKey":
        for name, volume in (("noCloud", "cloudInitNoCloud"), ("configDrive", "cloudInitConfigDrive")):
            if method.get(name) is not None and volume not in present:
                words = f"requires a {name} volume to exist when the {name} propagationMethod is in use."
                yield invalid(path, f"{own} {words}")
        agent = method.get("qemuGuestAgent")
        if agent is not None and not agent.get("users"):
            yield invalid(
                f"{path}.qemuGuestAgent.users",
                f"{own} requires at least one user to be present in the users list",
            )
    if (credential.get("source") or {}).get("secret") is None:
        yield invalid(f"{own}.{kind}.source", f"{own} must have exactly one source set")
    ways = ("noCloud", "configDrive", "qemuGuestAgent") if kind == "sshPublicKey" else ("qemuGuestAgent",)
    if sum(method.get(way) is not None for way in ways) != 1:
        yield invalid(path, f"{own} must have exactly one propagationMethod set")
