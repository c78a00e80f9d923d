"""Volume sources that lie elsewhere: on the network, in a cloud, behind a driver.

Pods and persistent volumes share most of them; `need` and the small checks are used for both.
"""

from __future__ import annotations

import re
from typing import Any

from kumo.api import fields, names
from kumo.api.errors import Cause

_PARTITION = "must be between 1 and 255, inclusive"
_LUN = "must be between 0 and 255, inclusive"
_INITIATORS = {
    "iqn": re.compile(r"iqn\.\d{4}-\d{2}\.([A-Za-z0-9.-]+)(:[^,;*&$|\s]+)$"),
    "eui": re.compile(r"^eui.[A-Za-z0-9]{16}$"),
    "naa": re.compile(r"^naa.[A-Za-z0-9]{32}$"),
}
ISCSI_TOO_LONG = (
    "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is "
    "specified."
)
_HOST_PORT = "must be a host:port pair or multiple pairs separated by commas"
_CACHING = ("None", "ReadOnly", "ReadWrite")
_DISKS = ("Dedicated", "Managed", "Shared")
_MANAGED = ("/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}",)
_BLOB = ("https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd",)
Source = dict[str, Any]


def need(path: str, source: Source, found: list[Cause], *keys: str) -> None:
    """These fields may not be empty."""
    for key in keys:
        if not source.get(key):
            found.append(fields.required(f"{path}.{key}"))


def need_secret(path: str, source: Source, found: list[Cause], *keys: str) -> None:
    """A reference to a secret, if there is one, has these fields."""
    if source.get("secretRef") is not None:
        need(f"{path}.secretRef", source["secretRef"], found, *keys)


def gce_disk(path: str, source: Source, found: list[Cause]) -> None:
    """A disk of Google's cloud."""
    need(path, source, found, "pdName")
    _partition(path, source, found)


def aws_disk(path: str, source: Source, found: list[Cause]) -> None:
    """A disk of Amazon's cloud."""
    need(path, source, found, "volumeID")
    _partition(path, source, found)


def _partition(path: str, source: Source, found: list[Cause]) -> None:
    number = source.get("partition") or 0
    if not 0 <= number <= 255:
        found.append(fields.invalid(f"{path}.partition", number, _PARTITION))


def nfs(path: str, source: Source, found: list[Cause]) -> None:
    """A directory of an NFS server."""
    need(path, source, found, "server", "path")
    where = source.get("path") or ""
    if not where.startswith("/"):
        found.append(fields.invalid(f"{path}.path", where, "must be an absolute path"))


def _initiator(path: str, name: str, found: list[Cause], unknown: str) -> None:
    kind = name[:3]
    if kind not in _INITIATORS:
        found.append(fields.invalid(path, name, unknown))
    elif not _INITIATORS[kind].search(name):
        found.append(fields.invalid(path, name, "must be valid format"))


def iscsi(path: str, source: Source, found: list[Cause], *, plain: bool = True) -> None:
    """A SCSI disk on the network; `plain`: of a pod, whose messages say more."""
    unknown = "must be valid format starting with iqn, eui, or naa" if plain else "must be valid format"
    need(path, source, found, "targetPortal")
    if not source.get("iqn"):
        found.append(fields.required(f"{path}.iqn"))
    else:
        _initiator(f"{path}.iqn", source["iqn"], found, unknown)
    lun = source.get("lun") or 0
    if not 0 <= lun <= 255:
        found.append(fields.invalid(f"{path}.lun", lun, _LUN))
    if (source.get("chapAuthDiscovery") or source.get("chapAuthSession")) and source.get("secretRef") is None:
        found.append(fields.required(f"{path}.secretRef"))
    if not plain:
        need_secret(path, source, found, "name")
    if source.get("initiatorName") is not None:
        _initiator(f"{path}.initiatorname", source["initiatorName"], found, unknown)


def is_too_long(name: str, source: Source) -> bool:
    """Whether an initiator's name leaves no room for the name of its volume."""
    return source.get("initiatorName") is not None and len(f"{name}:{source.get('targetPortal') or ''}") > 64


def glusterfs(path: str, source: Source, found: list[Cause]) -> None:
    """A GlusterFS volume."""
    need(path, source, found, "endpoints", "path")


def flocker(path: str, source: Source, found: list[Cause]) -> None:
    """A Flocker dataset."""
    name, uid = source.get("datasetName") or "", source.get("datasetUUID") or ""
    if not name and not uid:
        found.append(fields.required(path, "one of datasetName and datasetUUID is required"))
    if name and uid:
        detail = "datasetName and datasetUUID can not be specified simultaneously"
        found.append(fields.invalid(path, "resource", detail))
    if "/" in name:
        found.append(fields.invalid(f"{path}.datasetName", name, "must not contain '/'"))


def rbd(path: str, source: Source, found: list[Cause]) -> None:
    """A Ceph block device."""
    need(path, source, found, "monitors", "image")


def cinder(path: str, source: Source, found: list[Cause], *, namespaced: bool = True) -> None:
    """A Cinder volume; a persistent volume (not `namespaced`) says where its secret is."""
    need(path, source, found, "volumeID")
    need_secret(path, source, found, *(("name",) if namespaced else ("name", "namespace")))


def cephfs(path: str, source: Source, found: list[Cause]) -> None:
    """A Ceph file system."""
    need(path, source, found, "monitors")


def quobyte(path: str, source: Source, found: list[Cause]) -> None:
    """A Quobyte volume."""
    registry = source.get("registry") or ""
    if not registry:
        found.append(fields.required(f"{path}.registry", _HOST_PORT))
    elif len(source.get("tenant") or "") >= 65:
        detail = "must be a UUID and may not exceed a length of 64 characters"
        found.append(fields.required(f"{path}.tenant", detail))
    else:
        for pair in registry.split(","):
            if not re.fullmatch(r"(\[[^\]\[]*\]|[^:\[\]]*):[^:\[\]]*", pair):
                found.append(fields.invalid(f"{path}.registry", registry, _HOST_PORT))
    need(path, source, found, "volume")


def fibre_channel(path: str, source: Source, found: list[Cause]) -> None:
    """A Fibre Channel disk."""
    names_, ids, lun = source.get("targetWWNs") or [], source.get("wwids") or [], source.get("lun")
    if not names_ and not ids:
        found.append(fields.required(f"{path}.targetWWNs", "must specify either targetWWNs or wwids, but not both"))
    if names_ and ids:
        detail = "targetWWNs and wwids can not be specified simultaneously"
        found.append(fields.invalid(f"{path}.targetWWNs", names_, detail))
    if names_ and lun is None:
        found.append(fields.required(f"{path}.lun", "lun is required if targetWWNs is specified"))
    elif names_ and not 0 <= (lun or 0) <= 255:
        found.append(fields.invalid(f"{path}.lun", lun, _LUN))


def flex(path: str, source: Source, found: list[Cause]) -> None:
    """A volume of a driver beside the kubelet."""
    need(path, source, found, "driver")
    for key in sorted(source.get("options") or ()):
        domain = "." + key.partition("/")[0].lower()
        if domain.endswith((".kubernetes.io", ".k8s.io")):
            detail = "kubernetes.io and k8s.io namespaces are reserved"
            found.append(fields.invalid(f"{path}.options[{key}]", key, detail))


def azure_file(path: str, source: Source, found: list[Cause]) -> None:
    """A file share of Azure."""
    need(path, source, found, "secretName", "shareName")
    if source.get("secretNamespace") == "":
        found.append(fields.required(f"{path}.secretNamespace"))


def azure_disk(path: str, source: Source, found: list[Cause]) -> None:
    """A disk of Azure."""
    need(path, source, found, "diskName", "diskURI")
    caching, kind, uri = source.get("cachingMode"), source.get("kind"), source.get("diskURI") or ""
    if caching is not None and caching not in _CACHING:
        found.append(fields.unsupported(f"{path}.cachingMode", caching, _CACHING))
    if kind is not None and kind not in _DISKS:
        found.append(fields.unsupported(f"{path}.kind", kind, _DISKS))
    if kind == "Managed" and not uri.startswith("/subscriptions/"):
        found.append(fields.unsupported(f"{path}.diskURI", uri, _MANAGED))
    if kind not in (None, "Managed") and not uri.startswith("https://"):
        found.append(fields.unsupported(f"{path}.diskURI", uri, _BLOB))


def vsphere(path: str, source: Source, found: list[Cause]) -> None:
    """A disk of vSphere."""
    need(path, source, found, "volumePath")


def photon(path: str, source: Source, found: list[Cause]) -> None:
    """A disk of Photon."""
    need(path, source, found, "pdID")


def portworx(path: str, source: Source, found: list[Cause]) -> None:
    """A Portworx volume."""
    need(path, source, found, "volumeID")


def scale_io(path: str, source: Source, found: list[Cause]) -> None:
    """A ScaleIO volume."""
    need(path, source, found, "gateway", "system", "volumeName")


def storageos(path: str, source: Source, found: list[Cause], *, namespaced: bool = True) -> None:
    """A StorageOS volume; a persistent volume (not `namespaced`) says where its secret is."""
    name, namespace = source.get("volumeName") or "", source.get("volumeNamespace") or ""
    if not name:
        found.append(fields.required(f"{path}.volumeName"))
    else:
        found += fields.each(f"{path}.volumeName", name, names.check_label(name))
    if namespace:
        found += fields.each(f"{path}.volumeNamespace", namespace, names.check_label(namespace))
    need_secret(path, source, found, *(("name",) if namespaced else ("name", "namespace")))


def csi(path: str, source: Source, found: list[Cause]) -> None:
    """An inline volume of a CSI driver."""
    check_driver(f"{path}.driver", source.get("driver") or "", found)
    secret = source.get("nodePublishSecretRef")
    if secret is not None:
        name = secret.get("name") or ""
        if not name:
            found.append(fields.required(f"{path}.nodePublishSecretRef.name"))
        else:
            found += fields.each(f"{path}.name", name, names.check_subdomain(name))


def check_driver(path: str, name: str, found: list[Cause]) -> None:
    """The name of a CSI driver."""
    if not name:
        found.append(fields.required(path))
        return
    if len(name) > 63:
        found.append(fields.too_long(path, 63))
    found += fields.each(path, name, names.check_subdomain(name.lower()))
