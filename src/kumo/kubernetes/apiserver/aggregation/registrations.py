"""The APIServices that this server keeps for what it serves itself. Pure.

Priorities order groups and versions in discovery; they are upstream's (`cmd/kube-apiserver/app/aggregator.go`).
"""

from __future__ import annotations

from typing import Any

from kumo.api.objects import Object
from kumo.api.resources import GVR

APISERVICES = GVR("apiregistration.k8s.io", "v1", "apiservices", False)
AUTOMANAGED = "kube-aggregator.kubernetes.io/automanaged"
"""The label of APIServices that the server keeps: `onstart` (made when it starts) or `true` (while served)."""
LOCAL = {
    "type": "Available",
    "status": "True",
    "reason": "Local",
    "message": "Local APIServices are always available",
}
_GROUPS = {
    "": 18000,
    "apps": 17800,
    "events.k8s.io": 17750,
    "authentication.k8s.io": 17700,
    "authorization.k8s.io": 17600,
    "autoscaling": 17500,
    "batch": 17400,
    "certificates.k8s.io": 17300,
    "networking.k8s.io": 17200,
    "policy": 17100,
    "rbac.authorization.k8s.io": 17000,
    "storage.k8s.io": 16800,
    "apiextensions.k8s.io": 16700,
    "admissionregistration.k8s.io": 16700,
    "scheduling.k8s.io": 16600,
    "coordination.k8s.io": 16500,
    "node.k8s.io": 16300,
    "discovery.k8s.io": 16200,
    "resource.k8s.io": 16200,
    "flowcontrol.apiserver.k8s.io": 16100,
    "metrics.k8s.io": 100,
}
_OTHERS = 1000
_VERSIONS = {
    ("", "v1"): 1,
    ("autoscaling", "v2"): 30,
    ("flowcontrol.apiserver.k8s.io", "v1"): 21,
    ("resource.k8s.io", "v1"): 21,
    ("metrics.k8s.io", "v1beta1"): 100,
}
_STABLE, _UNSTABLE, _CUSTOM = 15, 9, 100


def builtin(group: str, version: str) -> Object:
    """The APIService of a group version that is always served."""
    stable = "alpha" not in version and "beta" not in version
    priority = _VERSIONS.get((group, version), _STABLE if stable else _UNSTABLE)
    return _local(group, version, _GROUPS.get(group, _OTHERS), priority, "onstart")


def custom(group: str, version: str) -> Object:
    """The APIService of a group version of custom resources."""
    return _local(group, version, _OTHERS, _CUSTOM, "true")


def _local(group: str, version: str, group_priority: int, version_priority: int, managed: str) -> Object:
    spec: dict[str, Any] = {"version": version, "groupPriorityMinimum": group_priority}
    spec["versionPriority"] = version_priority
    if group:
        spec["group"] = group
    return {
        "apiVersion": APISERVICES.api_version,
        "kind": "APIService",
        "metadata": {"name": f"{version}.{group}", "labels": {AUTOMANAGED: managed}},
        "spec": spec,
    }
