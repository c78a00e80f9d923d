"""The default RBAC objects, made from the tables of roles. Pure."""

from __future__ import annotations

from typing import Any

from kumo.api.objects import Object
from kumo.api.users import AUTHENTICATED_GROUP, MASTERS_GROUP, UNAUTHENTICATED_GROUP
from kumo.kubernetes.apiserver.authorization.rules import Rule, rules_of
from kumo.kubernetes.apiserver.authorization.tables import aggregated
from kumo.kubernetes.apiserver.bootstrap.cluster_roles import AGGREGATED_ROLES, COMPONENT_ROLES, USER_ROLES
from kumo.kubernetes.apiserver.bootstrap.controller_roles import CONTROLLER_ROLES
from kumo.kubernetes.apiserver.bootstrap.notation import Rules, parse_roles

AUTOUPDATE = "rbac.authorization.kubernetes.io/autoupdate"
_GROUP = "rbac.authorization.k8s.io"
_AGGREGATE = f"{_GROUP}/aggregate-to-"
_NAMESPACED = """
kube-public/system:controller:bootstrap-signer
    read | core | configmaps
    update | core | configmaps | cluster-info
    events
kube-system/extension-apiserver-authentication-reader
    read | core | configmaps | extension-apiserver-authentication
kube-system/system::leader-locking-kube-controller-manager
    create get list update watch | coordination.k8s.io | leases
    create get list update watch | coordination.k8s.io | leasecandidates
kube-system/system::leader-locking-kube-scheduler
    create get list update watch | coordination.k8s.io | leases
    create get list update watch | coordination.k8s.io | leasecandidates
kube-system/system:controller:bootstrap-signer
    read | core | secrets
kube-system/system:controller:cloud-provider
    create get list watch | core | configmaps
kube-system/system:controller:token-cleaner
    delete get list watch | core | secrets
    events
"""


def user(name: str) -> dict[str, Any]:
    """A binding's subject: a user."""
    return {"apiGroup": _GROUP, "kind": "User", "name": name}


def group(name: str) -> dict[str, Any]:
    """A binding's subject: a group."""
    return {"apiGroup": _GROUP, "kind": "Group", "name": name}


def account(name: str, namespace: str = "kube-system") -> dict[str, Any]:
    """A binding's subject: a service account."""
    return {"kind": "ServiceAccount", "name": name, "namespace": namespace}


def _object(kind: str, name: str, namespace: str = "", labels: dict[str, str] | None = None) -> Object:
    meta: dict[str, Any] = {
        "name": name,
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults", **(labels or {})},
        "annotations": {AUTOUPDATE: "true"},
    }
    if namespace:
        meta["namespace"] = namespace
    return {"apiVersion": f"{_GROUP}/v1", "kind": kind, "metadata": meta}


def _role(name: str, rules: Rules, labels: dict[str, str] | None = None) -> Object:
    return {**_object("ClusterRole", name, labels=labels), "rules": rules}


def _binding(name: str, subjects: list[dict[str, Any]], role: str = "", namespace: str = "") -> Object:
    kind = "RoleBinding" if namespace else "ClusterRoleBinding"
    ref = {"apiGroup": _GROUP, "kind": "Role" if namespace else "ClusterRole", "name": role or name}
    bound: Object = {**_object(kind, name, namespace), "roleRef": ref}
    return {**bound, "subjects": subjects} if subjects else bound


_EVERYBODY = [group(AUTHENTICATED_GROUP), group(UNAUTHENTICATED_GROUP)]
_BINDINGS: dict[str, list[dict[str, Any]]] = {
    "cluster-admin": [group(MASTERS_GROUP)],
    "system:monitoring": [group("system:monitoring")],
    "system:discovery": [group(AUTHENTICATED_GROUP)],
    "system:basic-user": [group(AUTHENTICATED_GROUP)],
    "system:public-info-viewer": _EVERYBODY,
    "system:node-proxier": [user("system:kube-proxy")],
    "system:kube-controller-manager": [user("system:kube-controller-manager")],
    "system:kube-dns": [account("kube-dns")],
    "system:kube-scheduler": [user("system:kube-scheduler")],
    "system:volume-scheduler": [user("system:kube-scheduler")],
    # Bound to nobody: the node authorizer holds these rules for nodes, narrowed to what concerns each.
    "system:node": [],
    "system:service-account-issuer-discovery": [group("system:serviceaccounts")],
}
_NAMESPACED_SUBJECTS: dict[str, list[dict[str, Any]]] = {
    "extension-apiserver-authentication-reader": [
        user("system:kube-controller-manager"),
        user("system:kube-scheduler"),
    ],
    "system::leader-locking-kube-controller-manager": [
        user("system:kube-controller-manager"),
        account("kube-controller-manager"),
        account("leader-election-controller"),
    ],
    "system::leader-locking-kube-scheduler": [user("system:kube-scheduler"), account("kube-scheduler")],
    "system:controller:bootstrap-signer": [account("bootstrap-signer")],
    "system:controller:cloud-provider": [account("cloud-provider")],
    "system:controller:token-cleaner": [account("token-cleaner")],
}


def _aggregating(name: str, into: str = "") -> Object:
    labels = {f"{_AGGREGATE}{into}": "true"} if into else None
    role = _role(name, [], labels)
    role["aggregationRule"] = {"clusterRoleSelectors": [{"matchLabels": {f"{_AGGREGATE}{name}": "true"}}]}
    return role


def _cluster_roles() -> list[Object]:
    roles = [_role(name, rules) for name, rules in parse_roles(USER_ROLES + COMPONENT_ROLES).items()]
    for name, rules in parse_roles(AGGREGATED_ROLES).items():
        roles.append(_role(name, rules, {f"{_AGGREGATE}{name.removeprefix('system:aggregate-to-')}": "true"}))
    view, edit, admin = _aggregating("view", "edit"), _aggregating("edit", "admin"), _aggregating("admin")
    roles += [view, edit, admin]
    for name, rules in parse_roles(CONTROLLER_ROLES).items():
        roles.append(_role(f"system:controller:{name}", rules))
    for role in (view, edit, admin):
        role["rules"] = aggregated(role, roles)
    return roles


def node_rules() -> tuple[Rule, ...]:
    """The rules of `system:node`, by which the node authorizer judges what it does not narrow itself."""
    return rules_of(parse_roles(COMPONENT_ROLES)["system:node"])


def default_rbac() -> list[Object]:
    """All default ClusterRoles, Roles, ClusterRoleBindings and RoleBindings, roles before the bindings to them."""
    found = _cluster_roles()
    namespaced = parse_roles(_NAMESPACED)
    for path, rules in namespaced.items():
        namespace, _, name = path.partition("/")
        found.append({**_object("Role", name, namespace), "rules": rules})
    found += [_binding(name, subjects) for name, subjects in _BINDINGS.items()]
    for name in parse_roles(CONTROLLER_ROLES):
        found.append(_binding(f"system:controller:{name}", [account(name)]))
    for path in namespaced:
        namespace, _, name = path.partition("/")
        bound = "system::" + name if name.startswith("extension-") else name
        found.append(_binding(bound, _NAMESPACED_SUBJECTS[name], name, namespace))
    return found
