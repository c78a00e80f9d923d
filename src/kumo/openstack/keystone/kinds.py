"""The kinds that identity adds to Kubernetes, and the objects every cloud begins with."""

from __future__ import annotations

from typing import Any

from kumo.api.objects import Object
from kumo.openstack.common import names
from kumo.openstack.common.install import crd

_API = "rbac.authorization.k8s.io"
_TEXT = {"type": "string"}
_FLAG = {"type": "boolean"}
ROLE_NAMES = ("admin", "manager", "member", "reader", "service")
IMPLIED = {"admin": ("manager",), "manager": ("member",), "member": ("reader",)}
"""What a role brings with it, directly."""
_KUBERNETES_ROLE = {"admin": "admin", "manager": "admin", "member": "edit", "reader": "view"}
FROM_KUBERNETES = {"cluster-admin": "manager", "admin": "manager", "edit": "member", "view": "reader"}
"""What a binding to Kubernetes' own role in one namespace means here: never cloud administration."""


def with_implied(roles: set[str]) -> set[str]:
    """The roles and all that they imply."""
    found, waiting = set[str](), list(roles)
    while waiting:
        role = waiting.pop()
        if role not in found:
            found.add(role)
            waiting += IMPLIED.get(role, ())
    return found


def definitions() -> list[Object]:
    """Users, domains, revocations."""
    user = {
        "name": _TEXT,
        "domainID": _TEXT,
        "description": _TEXT,
        "email": _TEXT,
        "enabled": _FLAG,
        "defaultProjectID": _TEXT,
        "username": {**_TEXT, "description": "The user's name towards the Kubernetes API, in RoleBindings."},
        "tokensValidAfter": {"type": "number", "description": "Tokens issued before this time (epoch) are void."},
        "attributes": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    }
    domain = {"name": _TEXT, "description": _TEXT, "enabled": _FLAG}
    revoked = {"expiresAt": {"type": "integer", "description": "When the revoked token ends anyway (epoch)."}}
    columns = [("Name", ".spec.name"), ("Domain", ".spec.domainID"), ("Enabled", ".spec.enabled")]
    return [
        crd(names.USERS, "User", {"properties": user, "required": ["name"]}, columns),
        crd(names.DOMAINS, "Domain", {"properties": domain, "required": ["name"]}, [columns[0], columns[2]]),
        crd(names.REVOCATIONS, "Revocation", {"properties": revoked}, []),
    ]


def role_object(role: str, name: str) -> Object:
    """The ClusterRole that stands for a role; `name` is what OpenStack calls it.

    It takes in what Kubernetes' own role of the same reach allows. Its rule of its own is there so that nobody who does
    not hold the role can bind it: Kubernetes lets nobody give away what they don't have.
    """
    rules: list[dict[str, Any]] = [
        {"apiGroups": [names.PREFIX], "resources": ["roles"], "resourceNames": [role], "verbs": ["hold"]}
    ]
    meta = {"name": f"openstack:{role}", "labels": {names.ROLE: role}, "annotations": {names.NAME: name}}
    made: Object = {"apiVersion": f"{_API}/v1", "kind": "ClusterRole", "metadata": meta, "rules": rules}
    return made


def grant_object(role: str, binding: str, subject: dict[str, str], namespace: str) -> list[Object]:
    """The RoleBindings of one assignment: the role itself, and Kubernetes' role of the same reach."""
    made = []
    for suffix, target in (("", f"openstack:{role}"), ("-kubernetes", _KUBERNETES_ROLE.get(role, ""))):
        if target:
            meta = {"name": binding + suffix, "namespace": namespace, "labels": {names.ROLE: role}}
            made.append(binding_object(meta, target, subject))
    return made


def binding_object(meta: dict[str, Any], role: str, subject: dict[str, str]) -> Object:
    """A RoleBinding, or a ClusterRoleBinding if `meta` has no namespace."""
    return {
        "apiVersion": f"{_API}/v1",
        "kind": "RoleBinding" if "namespace" in meta else "ClusterRoleBinding",
        "metadata": meta,
        "roleRef": {"apiGroup": _API, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": _API, **subject}],
    }


def admins_binding() -> Object:
    """Cloud administrators may do everything."""
    subject = {"kind": "Group", "name": names.ADMINS_GROUP}
    return binding_object({"name": "openstack:admins"}, "cluster-admin", subject)


def namespace_object(name: str, annotations: dict[str, str]) -> Object:
    """The namespace that a project is."""
    meta = {"name": name, "labels": {names.DOMAIN: names.DEFAULT_DOMAIN}, "annotations": annotations}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": meta}
