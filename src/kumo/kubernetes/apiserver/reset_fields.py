"""Fields that a write has no effect on, kind by kind: what it says there has no manager (upstream: GetResetFields)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from kumo.api.patch.field_sets import FieldSet
from kumo.kubernetes.apiserver.registry import Resource

_STATUS: FieldSet = {"f:status": {}}
_SPEC: FieldSet = {"f:spec": {}}
_BOTH: FieldSet = {"f:metadata": {}, "f:spec": {}}
_NONE: FieldSet = {}
_SPECIAL: Mapping[tuple[str, str], Mapping[str, FieldSet]] = {
    ("apps", "Deployment"): {"status": {"f:metadata": {"f:labels": {}}, "f:spec": {}}},
    ("", "Pod"): {"status": {"f:metadata": {"f:deletionTimestamp": {}, "f:ownerReferences": {}}, "f:spec": {}}},
    ("certificates.k8s.io", "CertificateSigningRequest"): {
        "": {"f:spec": {}, "f:status": {}},
        "status": {"f:spec": {}, "f:status": {"f:conditions": {}}},
        "approval": {"f:spec": {}, "f:status": {"f:certificate": {}}},
    },
    ("", "Namespace"): {"finalize": _STATUS},
}
_METADATA_TOO = frozenset(
    (
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"),
        ("apiregistration.k8s.io", "APIService"),
        ("flowcontrol.apiserver.k8s.io", "FlowSchema"),
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration"),
        ("networking.k8s.io", "ServiceCIDR"),
        ("resource.k8s.io", "DeviceTaintRule"),
        ("resource.k8s.io", "ResourceClaim"),
        ("storage.k8s.io", "VolumeAttachment"),
        ("storagemigration.k8s.io", "StorageVersionMigration"),
    )
)
"""Kinds whose status writes leave all metadata alone."""


@lru_cache(maxsize=512)
def reset_fields(resource: Resource, subresource: str) -> FieldSet:
    """The fields that a write of the resource, or of that subresource of it, has no effect on."""
    kind = (resource.type.group, resource.type.kind)
    special = _SPECIAL.get(kind, {}).get(subresource)
    if special is not None:
        return special
    if resource.subresource("status") is None:
        return _NONE
    if not subresource:
        return _STATUS
    if subresource == "status":
        return _BOTH if resource.custom is not None or kind in _METADATA_TOO else _SPEC
    return _NONE
