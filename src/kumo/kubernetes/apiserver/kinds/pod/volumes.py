"""A pod's volumes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kumo.api import fields, names, quantities
from kumo.api.errors import Cause
from kumo.kubernetes.apiserver.kinds.claim_spec import validate_claim_template
from kumo.kubernetes.apiserver.kinds.pod import network_volumes as network
from kumo.kubernetes.apiserver.kinds.pod.options import Options
from kumo.kubernetes.apiserver.kinds.pod.paths import descending, no_backsteps
from kumo.kubernetes.apiserver.kinds.pod.projected import (
    check_mode,
    validate_downward,
    validate_items,
    validate_projected,
)

_HOST_PATHS = (
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
)
PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_ONE = "may not specify more than 1 volume type"
Source = dict[str, Any]
Check = Callable[[str, Source, list[Cause]], None]


def validate_volumes(
    path: str, volumes: Any, pod_name: str, options: Options, found: list[Cause]
) -> dict[str, dict[str, Any]]:
    """The good volumes by name; what is wrong with the others is added to `found`. `pod_name`: empty in templates."""
    known: dict[str, dict[str, Any]] = {}
    made = {f"{pod_name}-{v.get('name')}" for v in volumes if v.get("ephemeral") is not None} if pod_name else ()
    for index, volume in enumerate(volumes):
        name = volume.get("name") or ""
        before = len(found)
        _source(f"{path}[{index}]", volume, name, pod_name, options, found)
        if not name:
            found.append(fields.required(f"{path}[{index}].name"))
        else:
            found += fields.each(f"{path}[{index}].name", name, names.check_label(name))
        if name in known:
            found.append(fields.duplicate(f"{path}[{index}].name", name))
        if len(found) == before:
            known[name] = volume
        claim = volume.get("persistentVolumeClaim")
        if claim is not None and made and claim.get("claimName") in made:
            detail = "must not reference a PVC that gets created for an ephemeral volume"
            where = f"{path}[{index}].persistentVolumeClaim.claimName"
            found.append(fields.invalid(where, claim["claimName"], detail))
    return known


def _source(path: str, volume: dict[str, Any], name: str, pod_name: str, options: Options, found: list[Cause]) -> None:
    kinds = [kind for kind in volume if kind != "name" and volume[kind] is not None]
    if not kinds:
        found.append(fields.required(path, "must specify a volume type"))
        return
    if len(kinds) > 1:
        kinds.sort(key=_ORDER.__getitem__)
    for position, kind in enumerate(kinds):
        source = volume[kind]
        if position:
            found.append(fields.forbidden(f"{path}.{_MISNAMED.get(kind, kind)}", _ONE))
        elif kind == "image":
            _image(f"{path}.image", source, options, found)
        else:
            check = CHECKS.get(kind)
            if check is not None:
                check(f"{path}.{'persistentDisk' if kind == 'gcePersistentDisk' else kind}", source, found)
        if kind == "iscsi" and network.is_too_long(name, source):
            found.append(fields.invalid(f"{path}.name", name, network.ISCSI_TOO_LONG))
        if kind == "ephemeral" and not position and pod_name and name:
            claim = f"{pod_name}-{name}"
            wrong = (f'PVC name "{claim}": {text}' for text in names.check_subdomain(claim))
            found += fields.each(f"{path}.name", name, wrong)


def _empty(path: str, source: Source, found: list[Cause]) -> None:
    limit = source.get("sizeLimit")
    if limit is not None and quantities.parse(limit) < 0:
        found.append(fields.forbidden(f"{path}.sizeLimit", "SizeLimit field must be a valid resource quantity"))


def _host_path(path: str, source: Source, found: list[Cause]) -> None:
    if not source.get("path"):
        found.append(fields.required(f"{path}.path"))
        return
    found += no_backsteps(f"{path}.path", source["path"])
    kind = source.get("type")
    if kind is not None and kind not in _HOST_PATHS:
        found.append(fields.unsupported(f"{path}.type", kind, _HOST_PATHS))


def _git(path: str, source: Source, found: list[Cause]) -> None:
    network.need(path, source, found, "repository")
    found += descending(f"{path}.directory", source.get("directory") or "")


def _secret(path: str, source: Source, found: list[Cause]) -> None:
    network.need(path, source, found, "secretName")
    check_mode(f"{path}.defaultMode", source.get("defaultMode"), found)
    validate_items(path, source, found)


def _config_map(path: str, source: Source, found: list[Cause]) -> None:
    network.need(path, source, found, "name")
    check_mode(f"{path}.defaultMode", source.get("defaultMode"), found)
    validate_items(path, source, found)


def _claim(path: str, source: Source, found: list[Cause]) -> None:
    network.need(path, source, found, "claimName")


def _downward(path: str, source: Source, found: list[Cause]) -> None:
    check_mode(f"{path}.defaultMode", source.get("defaultMode"), found)
    validate_downward(path, source, found)


def _ephemeral(path: str, source: Source, found: list[Cause]) -> None:
    template = source.get("volumeClaimTemplate")
    if template is None:
        found.append(fields.required(f"{path}.volumeClaimTemplate"))
    else:
        found += validate_claim_template(f"{path}.volumeClaimTemplate", template)


def _image(path: str, source: Source, options: Options, found: list[Cause]) -> None:
    if options.is_pod:
        network.need(path, source, found, "reference")
    check_pull_policy(f"{path}.pullPolicy", source.get("pullPolicy"), found)


def check_pull_policy(path: str, policy: str | None, found: list[Cause]) -> None:
    """When an image is fetched."""
    if not policy:
        found.append(fields.required(path))
    elif policy not in PULL_POLICIES:
        found.append(fields.unsupported(path, policy, PULL_POLICIES))


CHECKS: dict[str, Check] = {
    "emptyDir": _empty,
    "hostPath": _host_path,
    "gitRepo": _git,
    "gcePersistentDisk": network.gce_disk,
    "awsElasticBlockStore": network.aws_disk,
    "secret": _secret,
    "nfs": network.nfs,
    "iscsi": network.iscsi,
    "glusterfs": network.glusterfs,
    "flocker": network.flocker,
    "persistentVolumeClaim": _claim,
    "rbd": network.rbd,
    "cinder": network.cinder,
    "cephfs": network.cephfs,
    "quobyte": network.quobyte,
    "downwardAPI": _downward,
    "fc": network.fibre_channel,
    "flexVolume": network.flex,
    "configMap": _config_map,
    "azureFile": network.azure_file,
    "vsphereVolume": network.vsphere,
    "photonPersistentDisk": network.photon,
    "portworxVolume": network.portworx,
    "azureDisk": network.azure_disk,
    "storageos": network.storageos,
    "projected": validate_projected,
    "scaleIO": network.scale_io,
    "csi": network.csi,
    "ephemeral": _ephemeral,
}
"""The check of each source, in the order in which upstream looks at them."""
_ORDER = {kind: index for index, kind in enumerate((*CHECKS, "image"))}
_MISNAMED = {"downwardAPI": "downwarAPI", "cephfs": "cephFS"}
"""Where upstream's messages name another field than the one that is there."""
