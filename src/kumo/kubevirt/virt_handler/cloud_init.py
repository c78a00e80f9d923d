"""What cloud-init finds on its disk: the files of the NoCloud and ConfigDrive data sources. Pure.

Upstream: `pkg/cloud-init`. Secrets are resolved by the caller (`Sources`).
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kumo.api.objects import Object, annotations_of, name_of, namespace_of
from kumo.host.cloud_init import CONFIG_DRIVE_LABEL, NO_CLOUD_LABEL
from kumo.kubevirt.virt_handler.network.plan import hostname_of

NO_CLOUD = "cloudInitNoCloud"
CONFIG_DRIVE = "cloudInitConfigDrive"
_ISO_NAMES = {NO_CLOUD: "noCloud.iso", CONFIG_DRIVE: "configdrive.iso"}
_INSTANCETYPE_ANNOTATIONS = ("kubevirt.io/cluster-instancetype-name", "kubevirt.io/instancetype-name")

SecretData = Mapping[str, str]
"""`data` of a Secret: keys to base64 text."""


class CloudInitInvalid(Exception):
    """The VMI's cloud-init data is missing or unreadable; the text says what."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The Secrets that the VMI's cloud-init volume and access credentials refer to, by name."""

    secrets: Mapping[str, SecretData] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Seed:
    """The files for the disk, its label, and its path in the pod."""

    volume: str
    files: dict[str, bytes]
    label: str
    path: str


def volume_of(vmi: Object) -> tuple[str, str, dict[str, Any]] | None:
    """Name, kind and source of the first cloud-init volume, or None (one a VMI, as upstream)."""
    for volume in vmi["spec"].get("volumes") or ():
        for kind in (NO_CLOUD, CONFIG_DRIVE):
            if volume.get(kind) is not None:
                return volume["name"], kind, volume[kind]
    return None


def wanted_secrets(vmi: Object) -> set[str]:
    """The names of the Secrets that `seed` will need."""
    names: set[str] = set()
    found = volume_of(vmi)
    if found is None:
        return names
    for field_name in ("secretRef", "networkDataSecretRef"):
        if reference := found[2].get(field_name):
            names.add(reference["name"])
    return names | {name for name, _ in _credentials(vmi, found[1])}


def _credentials(vmi: Object, kind: str) -> list[tuple[str, str]]:
    """Secrets with SSH public keys that are to be handed over by this kind of disk."""
    method = "noCloud" if kind == NO_CLOUD else "configDrive"
    found = []
    for credential in vmi["spec"].get("accessCredentials") or ():
        ssh = credential.get("sshPublicKey") or {}
        if (ssh.get("propagationMethod") or {}).get(method) is not None:
            name = ((ssh.get("source") or {}).get("secret") or {}).get("secretName")
            if name:
                found.append((name, method))
    return found


def _decode(text: str, what: str) -> bytes:
    try:
        return base64.b64decode(text.replace("\n", "").replace("\r", ""), validate=True)
    except (binascii.Error, ValueError) as error:
        raise CloudInitInvalid(f"{what} is not valid base64: {error}") from None


def _from_secret(sources: Sources, name: str, keys: tuple[str, ...]) -> bytes:
    secret = sources.secrets.get(name)
    if secret is None:
        raise CloudInitInvalid(f"the secret {name} with cloud-init data does not exist")
    for key in keys:
        if key in secret:
            return _decode(secret[key], f"{key} of the secret {name}")
    raise CloudInitInvalid(f"no cloud-init data-source found in the secret {name}: it has none of {', '.join(keys)}")


def _data(source: Mapping[str, Any], sources: Sources) -> tuple[bytes, bytes]:
    user = network = b""
    if reference := source.get("secretRef"):
        user = _from_secret(sources, reference["name"], ("userdata", "userData"))
    elif source.get("userData"):
        user = source["userData"].encode()
    elif source.get("userDataBase64"):
        user = _decode(source["userDataBase64"], "userDataBase64")
    if reference := source.get("networkDataSecretRef"):
        network = _from_secret(sources, reference["name"], ("networkdata", "networkData"))
    elif source.get("networkData"):
        network = source["networkData"].encode()
    elif source.get("networkDataBase64"):
        network = _decode(source["networkDataBase64"], "networkDataBase64")
    if not user and not network:
        raise CloudInitInvalid(
            "userDataBase64, userData, networkDataBase64 or networkData is required for a cloud-init data source"
        )
    return user, network


def _public_keys(vmi: Object, kind: str, sources: Sources) -> dict[str, str]:
    keys: dict[str, str] = {}
    for name, _method in _credentials(vmi, kind):
        for key, value in sorted(sources.secrets.get(name, {}).items()):
            text = _decode(value, f"{key} of the secret {name}").decode(errors="replace")
            if text.strip():
                keys[str(len(keys))] = text
    return keys


def seed(vmi: Object, sources: Sources) -> Seed | None:
    """What to put on the VMI's cloud-init disk; None if it has none. Raises CloudInitInvalid."""
    found = volume_of(vmi)
    if found is None:
        return None
    volume, kind, source = found
    user, network = _data(source, sources)
    keys = _public_keys(vmi, kind, sources)
    annotations = annotations_of(vmi)
    instancetype = next((annotations[a] for a in _INSTANCETYPE_ANNOTATIONS if annotations.get(a)), "")
    identity = str((vmi["spec"]["domain"].get("firmware") or {}).get("uuid") or vmi["metadata"].get("uid") or "")
    name, namespace, hostname = name_of(vmi), namespace_of(vmi), hostname_of(vmi)
    path = f"/var/run/libvirt/cloud-init-dir/{namespace}/{name}/{_ISO_NAMES[kind]}"
    if kind == NO_CLOUD:
        meta: dict[str, Any] = {"instance-type": instancetype, "instance-id": identity, "local-hostname": hostname}
        meta["public-keys"] = keys
        files = {"meta-data": _json(meta), "user-data": user}
        if network:
            files["network-config"] = network
        return Seed(volume, files, NO_CLOUD_LABEL, path)
    meta = {"instance_type": instancetype, "instance_id": f"{name}.{namespace}", "hostname": hostname}
    meta |= {"uuid": identity, "public_keys": keys}
    base = "openstack/latest"
    files = {f"{base}/meta_data.json": _json(meta), f"{base}/user_data": user}
    if network:
        files[f"{base}/network_data.json"] = network
    return Seed(volume, files, CONFIG_DRIVE_LABEL, path)


def _json(meta: dict[str, Any]) -> bytes:
    return json.dumps({k: v for k, v in meta.items() if v}, separators=(",", ":")).encode()
