"""Who writes a policy or binding must be able to read its parameters: else messages would tell him what is in them.

Upstream's `pkg/registry/admissionregistration/*/authz.go`.
"""

from __future__ import annotations

from kumo.api.errors import StatusError, invalid
from kumo.api.fields import forbidden
from kumo.api.objects import Object
from kumo.api.resources import GVK, GVR
from kumo.api.users import MASTERS_GROUP, UserInfo
from kumo.kubernetes.apiserver.admission.equivalents import Equivalents
from kumo.kubernetes.apiserver.admission.matching import EXEMPT_GROUP
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes, Reader, RequestInfo
from kumo.kubernetes.apiserver.authorization import Authorizer

_BINDINGS = {
    "validatingadmissionpolicybindings": GVR(EXEMPT_GROUP, "v1", "validatingadmissionpolicies", False),
    "mutatingadmissionpolicybindings": GVR(EXEMPT_GROUP, "v1", "mutatingadmissionpolicies", False),
}
_POLICIES = frozenset(gvr.resource for gvr in _BINDINGS.values())


def check_param_access(
    attrs: AdmissionAttributes, reader: Reader, equivalents: Equivalents, authorizer: Authorizer
) -> None:
    """Raise 422 for a policy or binding whose parameters its writer may not read; nothing for other writes."""
    if attrs.gvr.group != EXEMPT_GROUP or attrs.object is None or attrs.subresource:
        return
    if MASTERS_GROUP in attrs.user.groups:
        return
    spec, old = attrs.object.get("spec") or {}, (attrs.old_object or {}).get("spec") or {}
    if attrs.gvr.resource in _POLICIES:
        kind = spec.get("paramKind")
        if not kind or kind == old.get("paramKind"):
            return
        info = _asked(kind, equivalents, "get", "*", "*")
        if not authorizer.authorize(attrs.user, info).allowed:
            which = f"(kind={kind.get('kind')}, apiVersion={kind.get('apiVersion')})"
            why = f'must have "get" permission on all objects of the referenced paramKind {which}'
            raise _refused(attrs, "spec.paramKind", f"user {_shown(attrs.user)} {why}")
    elif attrs.gvr.resource in _BINDINGS:
        reference = spec.get("paramRef")
        if not reference or (reference, spec.get("policyName")) == (old.get("paramRef"), old.get("policyName")):
            return
        policy = reader.get(_BINDINGS[attrs.gvr.resource], spec.get("policyName") or "")
        kind = ((policy or {}).get("spec") or {}).get("paramKind")
        verb = "get" if reference.get("name") else "list"
        info = _asked(kind, equivalents, verb, reference.get("namespace") or "", reference.get("name") or "")
        if not authorizer.authorize(attrs.user, info).allowed:
            user = _shown(attrs.user)
            why = f'user {user} does not have "{verb}" permission on the object referenced by paramRef'
            if policy is None:
                why = (
                    f"unable to get policy {spec.get('policyName')} to determine minimum required permissions and user "
                    f'{user} does not have "{verb}" permission for all groups, versions and resources'
                )
            raise _refused(attrs, "spec.paramRef", why)


def _asked(kind: Object | None, equivalents: Equivalents, verb: str, namespace: str, name: str) -> RequestInfo:
    """The right that is needed; over everything where the kind is not known."""
    if not kind:
        return RequestInfo(verb, "", "*", "*", namespace, "*", "", name)
    group, _, version = (kind.get("apiVersion") or "").rpartition("/")
    found = equivalents.of_kind(GVK(group, version, kind.get("kind") or ""))
    resource = found.type.resource if found is not None else "*"
    return RequestInfo(verb, "", group, version, namespace, resource, "", name)


def _refused(attrs: AdmissionAttributes, field: str, why: str) -> StatusError:
    return invalid(attrs.gvk.group, attrs.gvk.kind, attrs.name, [forbidden(field, why)])


def _shown(user: UserInfo) -> str:
    return f"&{{{user.name} {user.uid} [{' '.join(user.groups)}] map[]}}"
