"""What the snapshot controller may do, and who may use snapshots. Source: external-snapshotter's RBAC."""

from __future__ import annotations

from typing import Any

from kumo.api.objects import Object
from kumo.api.resources import CLUSTERROLEBINDINGS, CLUSTERROLES, GVR
from kumo.kubernetes.snapshot_controller.names import GROUP

ACCOUNT = "snapshot-controller"
_NAMESPACE = "kube-system"
_ROLE = "snapshot-controller-runner"
_RBAC = "rbac.authorization.k8s.io"
_READ = ["get", "list", "watch"]
_WRITE = ["create", "delete", "deletecollection", "patch", "update"]


def rights() -> list[tuple[GVR, Object]]:
    """The controller's role, and what namespaces' editors and viewers may do with snapshots."""
    binding: Object = {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "snapshot-controller-role"},
        "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": _ROLE},
        "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": _NAMESPACE}],
    }
    rules = [
        _rule("", ["persistentvolumes", "nodes"], _READ),
        _rule("", ["persistentvolumeclaims"], [*_READ, "update", "patch"]),
        _rule("", ["events"], ["list", "watch", "create", "update", "patch"]),
        _rule(GROUP, ["volumesnapshotclasses"], _READ),
        _rule(GROUP, ["volumesnapshotcontents"], [*_READ, "create", "update", "delete", "patch"]),
        _rule(GROUP, ["volumesnapshotcontents/status"], ["patch"]),
        _rule(GROUP, ["volumesnapshots"], [*_READ, "update", "patch"]),
        _rule(GROUP, ["volumesnapshots/status"], ["update", "patch"]),
    ]
    users = [
        _role("kumo:volumesnapshots-edit", [_rule(GROUP, ["volumesnapshots"], _WRITE)], "edit"),
        _role("kumo:volumesnapshots-view", [_rule(GROUP, ["volumesnapshots"], _READ)], "view"),
    ]
    return [(CLUSTERROLES, _role(_ROLE, rules)), (CLUSTERROLEBINDINGS, binding), *((CLUSTERROLES, r) for r in users)]


def _rule(group: str, resources: list[str], verbs: list[str]) -> dict[str, Any]:
    return {"apiGroups": [group], "resources": resources, "verbs": verbs}


def _role(name: str, rules: list[dict[str, Any]], aggregate: str = "") -> Object:
    meta: Object = {"name": name}
    if aggregate:
        meta["labels"] = {f"{_RBAC}/aggregate-to-{aggregate}": "true"}
    return {"apiVersion": f"{_RBAC}/v1", "kind": "ClusterRole", "metadata": meta, "rules": rules}
