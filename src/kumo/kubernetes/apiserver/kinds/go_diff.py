"""The difference of two objects as upstream prints it in refusals: a unified diff of its internal types as JSON.

Those types have every field, by its Go name and in the order of the source; which that is, the protobuf table tells.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from kumo.api.schema.zeros import zeros_of
from kumo.kubernetes.apiserver.protobuf.table import Field, fields_of

_NAMES = {
    "apiGroup": "APIGroup",
    "apiVersion": "APIVersion",
    "awsElasticBlockStore": "AWSElasticBlockStore",
    "cel": "CEL",
    "cephfs": "CephFS",
    "clientIP": "ClientIP",
    "csi": "CSI",
    "diskURI": "DataDiskURI",
    "dnsConfig": "DNSConfig",
    "dnsPolicy": "DNSPolicy",
    "downwardAPI": "DownwardAPI",
    "fc": "FC",
    "fsGroup": "FSGroup",
    "fsGroupChangePolicy": "FSGroupChangePolicy",
    "fsType": "FSType",
    "gcePersistentDisk": "GCEPersistentDisk",
    "gmsaCredentialSpec": "GMSACredentialSpec",
    "gmsaCredentialSpecName": "GMSACredentialSpecName",
    "grpc": "GRPC",
    "httpGet": "HTTPGet",
    "httpHeaders": "HTTPHeaders",
    "ip": "IP",
    "iqn": "IQN",
    "iscsi": "ISCSI",
    "iscsiInterface": "ISCSIInterface",
    "nfs": "NFS",
    "pdName": "PDName",
    "pdID": "PdID",
    "chapAuthDiscovery": "DiscoveryCHAPAuth",
    "chapAuthSession": "SessionCHAPAuth",
    "os": "OS",
    "rbd": "RBD",
    "scaleIO": "ScaleIO",
    "seLinuxChangePolicy": "SELinuxChangePolicy",
    "seLinuxOptions": "SELinuxOptions",
    "setHostnameAsFQDN": "SetHostnameAsFQDN",
    "sslEnabled": "SSLEnabled",
    "storageos": "StorageOS",
    "targetWWNs": "TargetWWNs",
    "tcpSocket": "TCPSocket",
    "tty": "TTY",
    "uid": "UID",
    "volumeID": "VolumeID",
    "wwids": "WWIDs",
}
_GLUSTER = {"endpoints": "EndpointsName"}
_RBD = {"monitors": "CephMonitors", "image": "RBDImage", "pool": "RBDPool", "user": "RadosUser"}
_RENAMED = {
    "core.v1.GlusterfsVolumeSource": _GLUSTER,
    "core.v1.GlusterfsPersistentVolumeSource": _GLUSTER,
    "resource.v1.DeviceAttribute": {
        **{key: f"{key.title()}Value" for key in ("int", "bool", "string", "version")},
        **{f"{key}s": f"{key.title()}Values" for key in ("int", "bool", "string", "version")},
    },
    "core.v1.RBDVolumeSource": _RBD,
    "core.v1.RBDPersistentVolumeSource": _RBD,
}
_AFTER = {
    "core.v1.PodSpec": {
        "setHostnameAsFQDN": "subdomain",
        "preemptionPolicy": "priority",
        "enableServiceLinks": "overhead",
        "overhead": "runtimeClassName",
    },
    "core.v1.PodSecurityContext": {"fsGroupChangePolicy": "fsGroup"},
    "core.v1.PersistentVolumeSpec": {"quobyte": "rbd", "flexVolume": "iscsi"},
    "core.v1.Volume": {"quobyte": "rbd"},
    "core.v1.PersistentVolumeSource": {"quobyte": "rbd", "flexVolume": "iscsi"},
}
"""Fields that stand elsewhere in the internal type: the field that each comes after."""
_MOVED = ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "hostUsers")
"""What a pod's spec says, and its security context internally."""
_POINTERS = ("shareProcessNamespace", "hostUsers")
_LEFT_OUT = ("serviceAccount", *_MOVED)
_ZEROS: dict[str, Any] = {"s": "", "i": 0, "b": False, "d": 0, "Quantity": "0", "IntOrString": 0}


def go_diff(message: str, old: Any, new: Any) -> str:
    """The lines in which two values of that type (`core.v1.PodSpec`) differ, with three lines around each."""
    before, after = (json.dumps(internal(message, v), indent=1, ensure_ascii=False).split("\n") for v in (old, new))
    lines = difflib.unified_diff(before, after, lineterm="", n=3)
    return "".join(f"{line}\n" for line in islice(lines, 2, None))  # Without the names of files.


def internal(message: str, value: Mapping[str, Any] | None) -> dict[str, Any]:
    """A value of an API type with all fields of the internal type, empty ones too."""
    value = value or {}
    found: dict[str, Any] = {}
    if message == "core.v1.PodSecurityContext":
        found |= {_go_name(key): value.get(key, None if key in _POINTERS else False) for key in _MOVED}
    marks = zeros_of(f"io.k8s.api.{message}")
    renamed = _RENAMED.get(message, {})
    for field in _in_order(message):
        if message == "core.v1.PodSpec" and field.name in _LEFT_OUT:
            continue
        if message == "core.v1.PodSpec" and field.name == "securityContext":
            context = dict(value.get("securityContext") or {}) | {k: value[k] for k in _MOVED if k in value}
            found["SecurityContext"] = internal("core.v1.PodSecurityContext", context)
            continue
        if field.type == "meta.v1.ObjectMeta":
            found |= _part(field, value.get(field.name) or {}, "")  # Embedded: its fields stand among the others.
            continue
        found[renamed.get(field.name) or _go_name(field.name)] = _part(
            field, value.get(field.name), marks.get(field.name, "")
        )
    return found


def _in_order(message: str) -> list[Field]:
    found = list(_fields(message))
    for name, before in _AFTER.get(message, {}).items():
        moved = next(field for field in found if field.name == name)
        found.remove(moved)
        found.insert(next(i for i, field in enumerate(found) if field.name == before) + 1, moved)
    return found


def _fields(message: str) -> Iterator[Field]:
    for field in fields_of(message).values():
        if field.name:
            yield field
        else:
            yield from _fields(field.type)


def _part(field: Field, value: Any, mark: str) -> Any:
    known = "." in field.type and not field.type.startswith("meta.v1.")
    if field.shape == "*":
        if not value:
            return None
        return [internal(field.type, item) for item in value] if known else list(value)
    if field.shape:
        return dict(sorted(value.items())) if value else None
    if known:
        return internal(field.type, value) if value is not None or mark == "o" else None
    if value is None and mark not in ("", "p"):
        return _ZEROS.get(field.type)
    if isinstance(value, dict) and field.type.startswith("meta.v1."):
        return {part.name: _sorted(value[part.name]) for part in _fields(field.type) if part.name in value}
    return value


def _sorted(value: Any) -> Any:
    """A map with its keys in the order in which Go writes them."""
    return dict(sorted(value.items())) if isinstance(value, dict) else value


def _go_name(name: str) -> str:
    return _NAMES.get(name) or name[:1].upper() + name[1:]
