"""Nobody grants what he does not hold: the checks on writes of roles and bindings.

A role may be written by who holds all its rules, or the verb `escalate` on it; a binding by who holds all rules of
the role it names, or the verb `bind` on that role (upstream's `pkg/registry/rbac`).
"""

from __future__ import annotations

from kumo.api.errors import StatusError, forbidden, not_found
from kumo.api.objects import Object
from kumo.api.users import MASTERS_GROUP, UserInfo
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes, RequestInfo
from kumo.kubernetes.apiserver.authorization.authorizer import Authorizer
from kumo.kubernetes.apiserver.authorization.rules import Rule, describe, rules_of, uncovered

_GROUP = "rbac.authorization.k8s.io"
_ROLES = ("roles", "clusterroles")
_BINDINGS = ("rolebindings", "clusterrolebindings")


def check_escalation(authorizer: Authorizer, attrs: AdmissionAttributes) -> None:
    """Raise 403 when the write of a role or binding would grant more than the writer holds; nothing for other writes.

    `attrs.object` is the object as it will be stored.
    """
    if attrs.gvr.group != _GROUP or attrs.operation not in ("CREATE", "UPDATE") or attrs.object is None:
        return
    if MASTERS_GROUP in attrs.user.groups or attrs.subresource:
        return
    if attrs.gvr.resource in _ROLES:
        _check_role(authorizer, attrs, attrs.object)
    elif attrs.gvr.resource in _BINDINGS:
        _check_binding(authorizer, attrs, attrs.object)


def _may(authorizer: Authorizer, user: UserInfo, verb: str, resource: str, namespace: str, name: str) -> bool:
    info = RequestInfo(verb, "", _GROUP, "v1", namespace, resource, "", name)
    return authorizer.authorize(user, info).allowed


def _check_role(authorizer: Authorizer, attrs: AdmissionAttributes, role: Object) -> None:
    old = attrs.old_object or {}
    same = old.get("rules") == role.get("rules") and old.get("aggregationRule") == role.get("aggregationRule")
    if attrs.operation == "UPDATE" and same:
        return
    resource = attrs.gvr.resource
    if _may(authorizer, attrs.user, "escalate", resource, attrs.namespace, attrs.name):
        return
    wanted = rules_of(role.get("rules"))
    if role.get("aggregationRule"):
        # What it will aggregate is not known now: only who may do everything may make one (as upstream).
        every = ("*",)
        wanted = (*wanted, Rule(every, every, every), Rule(every, urls=every))
    _refuse_uncovered(authorizer, attrs, wanted)


def _check_binding(authorizer: Authorizer, attrs: AdmissionAttributes, binding: Object) -> None:
    old = attrs.old_object or {}
    same = old.get("subjects") == binding.get("subjects") and old.get("roleRef") == binding.get("roleRef")
    if attrs.operation == "UPDATE" and same:
        return
    ref = binding.get("roleRef") or {}
    kind, name = ref.get("kind", ""), ref.get("name", "")
    resource = "clusterroles" if kind == "ClusterRole" else "roles"
    if _may(authorizer, attrs.user, "bind", resource, attrs.namespace, name):
        return
    rules = authorizer.role_rules(kind, name, attrs.namespace)
    if rules is None:
        raise not_found(_GROUP, attrs.gvr.resource, name)
    _refuse_uncovered(authorizer, attrs, rules)


def _refuse_uncovered(authorizer: Authorizer, attrs: AdmissionAttributes, wanted: tuple[Rule, ...]) -> None:
    user = attrs.user
    held, errors = authorizer.rules(user, attrs.namespace)
    missing = uncovered(held, wanted)
    if not missing:
        return
    groups = " ".join(f'"{g}"' for g in user.groups)
    lines = "\n".join(describe(missing))
    message = (
        f'user "{user.name}" (groups=[{groups}]) is attempting to grant RBAC permissions not currently held:\n{lines}'
    )
    if errors:
        message += f"; resolution errors: [{' '.join(errors)}]"
    raise _forbidden(attrs, message)


def _forbidden(attrs: AdmissionAttributes, message: str) -> StatusError:
    return forbidden(attrs.gvr.group, attrs.gvr.resource, attrs.name, message)
