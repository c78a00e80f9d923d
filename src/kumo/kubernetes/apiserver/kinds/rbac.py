"""Roles and role bindings."""

from __future__ import annotations

from typing import Any

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.api.objects import Object
from kumo.api.resources import GVK
from kumo.kubernetes.apiserver.kinds.checks import needed
from kumo.kubernetes.apiserver.kinds.go_diff import internal
from kumo.kubernetes.apiserver.kinds.rules import Rules, at
from kumo.kubernetes.apiserver.kinds.selector_validation import validate_label_selector

GROUP = "rbac.authorization.k8s.io"


def _default_binding(obj: Object) -> None:
    reference = obj.get("roleRef")
    if reference is not None and not reference.get("apiGroup"):
        reference["apiGroup"] = GROUP
    for subject in obj.get("subjects") or ():
        if subject.get("kind") in ("User", "Group") and not subject.get("apiGroup"):
            subject["apiGroup"] = GROUP


def _validate_rules(rules: Any, *, namespaced: bool) -> list[Cause]:
    found: list[Cause] = []
    for index, rule in enumerate(rules or ()):
        here = f"rules[{index}]"
        if not rule.get("verbs"):
            found.append(fields.required(f"{here}.verbs", "verbs must contain at least one value"))
        if rule.get("nonResourceURLs"):
            urls = rule["nonResourceURLs"]
            if namespaced:
                detail = "namespaced rules cannot apply to non-resource URLs"
                found.append(fields.invalid(f"{here}.nonResourceURLs", urls, detail))
            if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
                detail = "rules cannot apply to both regular resources and non-resource URLs"
                found.append(fields.invalid(f"{here}.nonResourceURLs", urls, detail))
            continue
        if not rule.get("apiGroups"):
            detail = "resource rules must supply at least one api group"
            found.append(fields.required(f"{here}.apiGroups", detail))
        if not rule.get("resources"):
            detail = "resource rules must supply at least one resource"
            found.append(fields.required(f"{here}.resources", detail))
    return found


def _validate_role(obj: Object) -> list[Cause]:
    return _validate_rules(obj.get("rules"), namespaced=True)


def _validate_cluster_role(obj: Object) -> list[Cause]:
    found = _validate_rules(obj.get("rules"), namespaced=False)
    selectors = at(obj, "aggregationRule.clusterRoleSelectors")
    if obj.get("aggregationRule") is not None:
        if not selectors:
            detail = "at least one clusterRoleSelector required if aggregationRule is non-nil"
            found.append(fields.required("aggregationRule.clusterRoleSelectors", detail))
        for index, selector in enumerate(selectors or ()):
            here = f"aggregationRule.clusterRoleSelectors[{index}]"
            wrong = validate_label_selector(here, selector)
            found += [*wrong, fields.invalid(here, None, "invalid label selector.")] if wrong else []
    return found


def _subjects(obj: Object, *, namespaced: bool) -> list[Cause]:
    found: list[Cause] = []
    for index, subject in enumerate(obj.get("subjects") or ()):
        here, kind = f"subjects[{index}]", subject.get("kind")
        found += needed(subject, here, "name")
        group = subject.get("apiGroup") or ""
        if kind == "ServiceAccount":
            if subject.get("name"):
                found += fields.each(f"{here}.name", subject["name"], names.check_subdomain(subject["name"]))
            if group:
                found.append(fields.unsupported(f"{here}.apiGroup", group, ("",)))
            if not namespaced and not subject.get("namespace"):
                found.append(fields.required(f"{here}.namespace"))
        elif kind in ("User", "Group"):
            if group != GROUP:
                found.append(fields.unsupported(f"{here}.apiGroup", group, (GROUP,)))
        else:
            found.append(fields.unsupported(f"{here}.kind", kind or "", ("ServiceAccount", "User", "Group")))
    return found


def _reference(obj: Object, kinds: tuple[str, ...]) -> list[Cause]:
    reference = obj.get("roleRef") or {}
    found: list[Cause] = []
    if reference.get("apiGroup") != GROUP:
        found.append(fields.unsupported("roleRef.apiGroup", reference.get("apiGroup") or "", (GROUP,)))
    if reference.get("kind") not in kinds:
        found.append(fields.unsupported("roleRef.kind", reference.get("kind") or "", kinds))
    name = reference.get("name") or ""
    if not name:
        return [*found, fields.required("roleRef.name")]
    return found + fields.each("roleRef.name", name, names.check_path_segment(name))


def _validate_binding(obj: Object) -> list[Cause]:
    return _reference(obj, ("Role", "ClusterRole")) + _subjects(obj, namespaced=True)


def _validate_cluster_binding(obj: Object) -> list[Cause]:
    return _reference(obj, ("ClusterRole",)) + _subjects(obj, namespaced=False)


def _change_reference(new: Object, old: Object) -> list[Cause]:
    if new.get("roleRef") == old.get("roleRef"):
        return []
    shown = internal("rbac.v1.RoleRef", new.get("roleRef"))
    order = ("APIGroup", "Kind", "Name")
    return [fields.invalid("roleRef", {key: shown[key] for key in order}, "cannot change roleRef")]


def _change_binding(new: Object, old: Object) -> list[Cause]:
    return _validate_binding(new) + _change_reference(new, old)


def _change_cluster_binding(new: Object, old: Object) -> list[Cause]:
    return _validate_cluster_binding(new) + _change_reference(new, old)


def rules() -> dict[GVK, Rules]:
    """The rules of the kinds in this module."""

    def rbac(kind: str) -> GVK:
        return GVK(GROUP, "v1", kind)

    anything = names.check_path_segment
    return {
        rbac("Role"): Rules(
            validate=_validate_role, check_name=anything, revalidates=True, allow_create_on_update=True
        ),
        rbac("ClusterRole"): Rules(
            validate=_validate_cluster_role, check_name=anything, revalidates=True, allow_create_on_update=True
        ),
        rbac("RoleBinding"): Rules(
            default=_default_binding,
            validate_create=_validate_binding,
            check_update=_change_binding,
            check_name=anything,
            revalidates=True,
            allow_create_on_update=True,
        ),
        rbac("ClusterRoleBinding"): Rules(
            default=_default_binding,
            validate_create=_validate_cluster_binding,
            check_update=_change_cluster_binding,
            check_name=anything,
            revalidates=True,
            allow_create_on_update=True,
        ),
    }
