"""Roles: what users may do with virtual machines, aggregated to admin, edit and view, and what KubeVirt itself may do.

Names and rules of the former are upstream's (`pkg/virt-operator/resource/generate/rbac`).
"""

from __future__ import annotations

from typing import Any

from kumo.api.objects import Object
from kumo.kubevirt.common.names import APP_LABEL, GROUP, INSTALL_NAMESPACE, SUBRESOURCE_GROUP

_ALL = ["get", "delete", "create", "update", "patch", "list", "watch", "deletecollection"]
_EDIT = _ALL[:-1]
_READ = ["get", "list", "watch"]
_API = "rbac.authorization.k8s.io"
_KINDS = [
    "virtualmachines",
    "virtualmachineinstances",
    "virtualmachineinstancepresets",
    "virtualmachineinstancereplicasets",
]
_INSTANCETYPES = [
    "virtualmachineinstancetypes",
    "virtualmachineclusterinstancetypes",
    "virtualmachinepreferences",
    "virtualmachineclusterpreferences",
]
_READ_INSTANCE = "guestosinfo filesystemlist userlist"
_USE_INSTANCE = f"console vnc vnc/screenshot portforward usbredir objectgraph {_READ_INSTANCE}"
_CHANGE_INSTANCE = (
    "pause unpause addvolume removevolume freeze unfreeze softreboot reset evacuate/cancel "
    "sev/setupsession sev/injectlaunchsecret"
)
_CHANGE_MACHINE = "start stop restart addvolume removevolume memorydump removememorydump evacuate/cancel"


def _rule(group: str, resources: list[str], verbs: list[str]) -> dict[str, Any]:
    return {"apiGroups": [group], "resources": resources, "verbs": verbs}


def _below(resource: str, names: str) -> list[str]:
    return [f"{resource}/{name}" for name in names.split()]


def _use_rules() -> list[dict[str, Any]]:
    return [
        _rule(SUBRESOURCE_GROUP, _below("virtualmachineinstances", _USE_INSTANCE), ["get"]),
        _rule(SUBRESOURCE_GROUP, _below("virtualmachineinstances", _CHANGE_INSTANCE), ["update"]),
        _rule(SUBRESOURCE_GROUP, _below("virtualmachines", "expand-spec portforward objectgraph"), ["get"]),
        _rule(SUBRESOURCE_GROUP, _below("virtualmachines", _CHANGE_MACHINE), ["update"]),
        _rule(SUBRESOURCE_GROUP, ["expand-vm-spec"], ["update"]),
    ]


def _role(name: str, rules: list[dict[str, Any]], labels: dict[str, str] | None = None) -> Object:
    meta: dict[str, Any] = {"name": name, "labels": {APP_LABEL: "", **(labels or {})}}
    return {"apiVersion": f"{_API}/v1", "kind": "ClusterRole", "metadata": meta, "rules": rules}


def _binding(name: str, role: str, subject: dict[str, str]) -> Object:
    return {
        "apiVersion": f"{_API}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name, "labels": {APP_LABEL: ""}},
        "roleRef": {"apiGroup": _API, "kind": "ClusterRole", "name": role},
        "subjects": [subject],
    }


def _aggregated(to: str) -> dict[str, str]:
    return {f"rbac.authorization.k8s.io/aggregate-to-{to}": "true"}


def user_roles() -> list[Object]:
    """kubevirt.io:admin, edit, view, migrate and default, and the one that lets everybody read instance types."""
    reads = [
        _rule(SUBRESOURCE_GROUP, _below("virtualmachineinstances", f"{_READ_INSTANCE} objectgraph"), ["get"]),
        _rule(SUBRESOURCE_GROUP, _below("virtualmachines", "expand-spec objectgraph"), ["get"]),
        _rule(SUBRESOURCE_GROUP, ["expand-vm-spec"], ["update"]),
        _rule(GROUP, [*_KINDS, "virtualmachineinstancemigrations"], _READ),
        _rule("instancetype.kubevirt.io", _INSTANCETYPES, _READ),
    ]
    migrations = _rule(GROUP, ["virtualmachineinstancemigrations"], _READ)
    kubevirts = _rule(GROUP, ["kubevirts"], ["get", "list"])
    everybody = [kubevirts, _rule(SUBRESOURCE_GROUP, ["version", "guestfs"], ["get", "list"])]
    migrate = [
        _rule(SUBRESOURCE_GROUP, ["virtualmachines/migrate"], ["update"]),
        _rule(GROUP, ["virtualmachineinstancemigrations"], _ALL),
    ]
    admin = [
        *_use_rules(),
        _rule(GROUP, _KINDS, _ALL),
        migrations,
        _rule("instancetype.kubevirt.io", _INSTANCETYPES, _ALL),
    ]
    edit = [
        *_use_rules(),
        _rule(GROUP, _KINDS, _EDIT),
        migrations,
        _rule("instancetype.kubevirt.io", _INSTANCETYPES, _EDIT),
        kubevirts,
    ]
    return [
        _role("kubevirt.io:admin", admin, _aggregated("admin")),
        _role("kubevirt.io:edit", edit, _aggregated("edit")),
        _role("kubevirt.io:view", reads, _aggregated("view")),
        _role("kubevirt.io:migrate", migrate),
        _role("kubevirt.io:default", everybody, {"kubernetes.io/bootstrapping": "rbac-defaults"}),
        _role(
            "instancetype.kubevirt.io:view",
            [_rule("instancetype.kubevirt.io", [n for n in _INSTANCETYPES if "cluster" in n], _READ)],
        ),
    ]


def user_bindings() -> list[Object]:
    """What everybody who is known may do."""
    known = {"kind": "Group", "apiGroup": _API, "name": "system:authenticated"}
    return [
        _binding("kubevirt.io:default", "kubevirt.io:default", known),
        _binding("instancetype.kubevirt.io:view", "instancetype.kubevirt.io:view", known),
    ]


def component_roles() -> list[Object]:
    """What virt-api, virt-controller and virt-handler may do, and their being it."""
    anything = ["*"]
    api = [
        _rule(GROUP, anything, anything),
        _rule("instancetype.kubevirt.io", anything, _READ),
        _rule("", ["pods", "nodes", "persistentvolumeclaims", "namespaces"], _READ),
        _rule("apps", ["controllerrevisions"], _READ),
        _rule("authorization.k8s.io", ["subjectaccessreviews"], ["create"]),
    ]
    controller = [
        _rule(GROUP, anything, anything),
        _rule("instancetype.kubevirt.io", anything, _READ),
        _rule("", ["pods", "pods/status", "pods/finalizers"], anything),
        _rule("", ["nodes"], [*_READ, "patch", "update"]),
        _rule("", ["persistentvolumeclaims", "namespaces", "configmaps", "secrets"], _READ),
        _rule("", ["events"], ["create", "patch", "update"]),
        _rule("apps", ["controllerrevisions"], anything),
    ]
    handler = [
        _rule(GROUP, ["virtualmachineinstances"], [*_READ, "update"]),
        _rule("", ["secrets"], ["get"]),
        _rule("", ["nodes"], ["get", "patch"]),
        _rule("", ["nodes/status"], ["patch"]),
        _rule("", ["events"], ["create", "patch", "update"]),
    ]
    made = []
    for name, rules in (("apiserver", api), ("controller", controller), ("handler", handler)):
        full = f"kubevirt-{name}"
        subject = {"kind": "ServiceAccount", "name": full, "namespace": INSTALL_NAMESPACE}
        made += [_role(full, rules), _binding(full, full, subject)]
    return made
