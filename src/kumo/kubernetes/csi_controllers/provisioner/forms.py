"""What a volume that was made looks like. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kumo.api.objects import Object, name_of, namespace_of, uid_of
from kumo.api.volume_claims import class_of
from kumo.host.csi.stubs import csi_pb2 as pb
from kumo.kubernetes.csi_controllers import topology, volumes
from kumo.kubernetes.csi_controllers.driver import DriverFacts
from kumo.kubernetes.csi_controllers.provisioner.decision import FINALIZER, PROVISIONED_BY, volume_name_for

IDENTITY = "storage.kubernetes.io/csiProvisionerIdentity"
DELETION_SECRET_NAME = "volume.kubernetes.io/provisioner-deletion-secret-name"
DELETION_SECRET_NAMESPACE = "volume.kubernetes.io/provisioner-deletion-secret-namespace"
MODIFY_SECRET_NAME = "volume.kubernetes.io/controller-modify-secret-name"
MODIFY_SECRET_NAMESPACE = "volume.kubernetes.io/controller-modify-secret-namespace"
_SECRETS = {
    "ControllerPublish": "controllerPublishSecretRef",
    "NodeStage": "nodeStageSecretRef",
    "NodePublish": "nodePublishSecretRef",
    "ControllerExpand": "controllerExpandSecretRef",
    "NodeExpand": "nodeExpandSecretRef",
}

Reference = Mapping[str, str] | None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A CreateVolume and what the volume's object has to say besides its answer. `secrets` go by their kind."""

    request: pb.CreateVolumeRequest
    fs_type: str = ""
    secrets: Mapping[str, Reference] = field(default_factory=dict)


def volume_for(
    claim: Object, storage_class: Object, facts: DriverFacts, identity: str, prepared: Prepared, made: pb.Volume
) -> Object:
    """The PersistentVolume of a new volume that a provisioner of that identity has had made."""
    driver = facts.name
    wanted = claim.get("spec") or {}
    size = made.capacity_bytes or prepared.request.capacity_range.required_bytes
    spec: dict[str, Any] = {
        "accessModes": list(wanted.get("accessModes") or ()),
        "capacity": {"storage": volumes.in_bytes(size)},
        "claimRef": {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "name": name_of(claim),
            "namespace": namespace_of(claim),
            "uid": uid_of(claim),
            "resourceVersion": claim["metadata"].get("resourceVersion", ""),
        },
        "csi": _source(claim, driver, identity, prepared, made),
        "persistentVolumeReclaimPolicy": storage_class.get("reclaimPolicy") or "Delete",
        "storageClassName": class_of(claim),
        "volumeMode": wanted.get("volumeMode") or "Filesystem",
    }
    if storage_class.get("mountOptions"):
        spec["mountOptions"] = list(storage_class["mountOptions"])
    affinity = topology.node_affinity([p.segments for p in made.accessible_topology]) if facts.has_topology else None
    if affinity is not None:
        spec["nodeAffinity"] = affinity
    if wanted.get("volumeAttributesClassName"):
        spec["volumeAttributesClassName"] = wanted["volumeAttributesClassName"]
    meta = {
        "name": volume_name_for(claim),
        "annotations": _annotations(driver, prepared.secrets),
        "finalizers": [FINALIZER],
    }
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": meta, "spec": spec}


def _annotations(driver: str, secrets: Mapping[str, Reference]) -> dict[str, str]:
    deletion = secrets.get("Provisioner") or {}
    found = {
        PROVISIONED_BY: driver,
        DELETION_SECRET_NAME: deletion.get("name", ""),
        DELETION_SECRET_NAMESPACE: deletion.get("namespace", ""),
    }
    modify = secrets.get("ControllerModify")
    if modify:
        found |= {MODIFY_SECRET_NAME: modify["name"], MODIFY_SECRET_NAMESPACE: modify["namespace"]}
    return found


def _source(claim: Object, driver: str, identity: str, prepared: Prepared, made: pb.Volume) -> dict[str, Any]:
    source: dict[str, Any] = {
        "driver": driver,
        "volumeHandle": made.volume_id,
        "volumeAttributes": {IDENTITY: identity, **made.volume_context},
    }
    if prepared.fs_type and (claim.get("spec") or {}).get("volumeMode") != "Block":
        source["fsType"] = prepared.fs_type
    for kind, name in _SECRETS.items():
        ref = prepared.secrets.get(kind)
        if ref:
            source[name] = dict(ref)
    return source
