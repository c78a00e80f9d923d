"""The VirtualMachine that a server becomes. Pure."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import asdict, dataclass, field
from typing import Any

from kumo.api.objects import Object, name_suffix
from kumo.openstack.common import names
from kumo.openstack.nova.flavors import Flavor
from kumo.openstack.nova.servers import notes

INLINE_LIMIT = 2048
"""Bytes of user data that KubeVirt takes in the machine itself; more goes to a Secret."""
_NO_USER_DATA = b"#cloud-config\n"
_CONFIG = "config-drive"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a server is to be. `disk` is the reference of its container disk, `user_data` the decoded bytes."""

    name: str
    flavor: Flavor
    image_id: str
    disk: str
    user_id: str
    user_data: bytes = b""
    public_key: str = ""
    key_name: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    description: str | None = None
    networked: bool = True
    config_drive: bool = False
    zone: str = ""
    reservation: str = ""
    index: int = 0
    actions: str = "[]"
    hostname: str = ""


def hostname_for(name: str) -> str:
    """A host name from a server's free-text name, as Nova makes it: what is no letter, digit or dash goes."""
    plain = re.sub(r"[ _.]", "-", name).lower()
    return re.sub(r"[^a-z0-9-]", "", plain).strip("-")[:63].rstrip("-") or "server"


def object_name(name: str) -> str:
    """A Kubernetes name from a server's free-text name, unlike any other."""
    return f"{hostname_for(name)[:50].rstrip('-')}-{name_suffix()}"


def secrets_for(wanted: Wanted, vm_name: str, namespace: str) -> list[Object]:
    """The Secrets that the machine refers to: long user data, the public key."""
    found: list[tuple[str, dict[str, bytes]]] = []
    if len(wanted.user_data) > INLINE_LIMIT:
        found.append((f"{vm_name}-user-data", {"userdata": wanted.user_data}))
    if wanted.public_key:
        found.append((f"{vm_name}-key", {"key": wanted.public_key.encode()}))
    return [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": namespace},
            "type": "Opaque",
            "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
        }
        for name, data in found
    ]


def machine(wanted: Wanted, vm_name: str, namespace: str) -> Object:
    """The VirtualMachine."""
    disks: list[dict[str, Any]] = [{"name": "root", "disk": {"bus": "virtio"}}]
    volumes: list[dict[str, Any]] = [
        {"name": "root", "containerDisk": {"image": wanted.disk, "imagePullPolicy": "IfNotPresent"}}
    ]
    spec: dict[str, Any] = {"hostname": wanted.hostname or hostname_for(wanted.name)}
    if wanted.user_data or wanted.public_key or wanted.config_drive:
        disks.append({"name": _CONFIG, "disk": {"bus": "virtio"}})
        volumes.append({"name": _CONFIG, "cloudInitConfigDrive": _drive(wanted, vm_name)})
    if wanted.public_key:
        source = {"secret": {"secretName": f"{vm_name}-key"}}
        spec["accessCredentials"] = [{"sshPublicKey": {"source": source, "propagationMethod": {"configDrive": {}}}}]
    devices: dict[str, Any] = {"disks": disks, "rng": {}}
    if wanted.networked:
        devices["interfaces"] = [{"name": "default", "masquerade": {}}]
        spec["networks"] = [{"name": "default", "pod": {}}]
    else:
        devices["autoattachPodInterface"] = False
    spec |= {"domain": {"devices": devices}, "volumes": volumes}
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {
            "name": vm_name,
            "namespace": namespace,
            "labels": {names.IMAGE_ID: wanted.image_id},
            "annotations": _annotations(wanted),
        },
        "spec": {
            "runStrategy": "Always",
            "instancetype": {"kind": "VirtualMachineClusterInstancetype", "name": wanted.flavor.type_name},
            "template": {"metadata": {"labels": {"kubevirt.io/domain": vm_name}}, "spec": spec},
        },
    }


def _drive(wanted: Wanted, vm_name: str) -> dict[str, Any]:
    if len(wanted.user_data) > INLINE_LIMIT:
        return {"secretRef": {"name": f"{vm_name}-user-data"}}
    return {"userDataBase64": base64.b64encode(wanted.user_data or _NO_USER_DATA).decode()}


def _annotations(wanted: Wanted) -> dict[str, str]:
    made = {
        names.NAME: wanted.name,
        names.IMAGE_ID: wanted.image_id,
        notes.USER_ID: wanted.user_id,
        notes.FLAVOR: json.dumps(asdict(wanted.flavor)),
        notes.ACTIONS: wanted.actions,
        notes.RESERVATION: wanted.reservation,
        notes.LAUNCH_INDEX: str(wanted.index),
    }
    optional = {
        notes.KEY_NAME: wanted.key_name,
        notes.METADATA: json.dumps(wanted.metadata) if wanted.metadata else "",
        names.TAGS: json.dumps(list(wanted.tags)) if wanted.tags else "",
        names.DESCRIPTION: wanted.description or "",
        notes.CONFIG_DRIVE: "True" if wanted.config_drive else "",
        notes.ZONE: wanted.zone,
    }
    return made | {k: v for k, v in optional.items() if v}
