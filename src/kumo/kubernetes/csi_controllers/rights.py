"""What the controllers of a driver may do: the rules of their ClusterRole. Source: the sidecars' own RBAC."""

from __future__ import annotations

from typing import Any

_READ = ["get", "list", "watch"]
_STORAGE, _SNAPSHOT = "storage.k8s.io", "snapshot.storage.k8s.io"


def _rule(group: str, resources: list[str], verbs: list[str]) -> dict[str, Any]:
    return {"apiGroups": [group], "resources": resources, "verbs": verbs}


SECRETS = _rule("", ["secrets"], ["get"])
"""For drivers whose classes name secrets."""
RULES: list[dict[str, Any]] = [
    _rule("", ["persistentvolumes"], [*_READ, "create", "delete", "patch"]),
    _rule("", ["persistentvolumeclaims"], [*_READ, "patch"]),
    _rule("", ["persistentvolumeclaims/status"], ["patch"]),
    _rule("", ["pods", "nodes"], _READ),
    _rule("", ["events"], ["create", "patch", "update"]),
    _rule(_STORAGE, ["storageclasses", "csinodes", "volumeattributesclasses"], _READ),
    _rule(_STORAGE, ["volumeattachments"], [*_READ, "patch"]),
    _rule(_STORAGE, ["volumeattachments/status"], ["patch"]),
    _rule(_STORAGE, ["csistoragecapacities"], [*_READ, "create", "patch", "delete"]),
    _rule(_SNAPSHOT, ["volumesnapshotclasses"], _READ),
    _rule(_SNAPSHOT, ["volumesnapshots"], ["get", "patch"]),
    _rule(_SNAPSHOT, ["volumesnapshotcontents"], [*_READ, "patch"]),
    _rule(_SNAPSHOT, ["volumesnapshotcontents/status"], ["patch", "update"]),
]
