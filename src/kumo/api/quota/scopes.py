"""Which objects a quota looks at: its scopes and its scope selector. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kumo.api import quantities
from kumo.api.objects import Object
from kumo.api.quota.tracking import CLAIMS, PODS, Resource

Term = dict[str, Any]
"""A `ScopedResourceSelectorRequirement`: `scopeName`, `operator`, `values`."""


def scope_terms(spec: Object) -> list[Term]:
    """All that a quota's spec demands of an object, plain scopes as `Exists` terms."""
    terms: list[Term] = [{"scopeName": scope, "operator": "Exists"} for scope in spec.get("scopes") or ()]
    return terms + list((spec.get("scopeSelector") or {}).get("matchExpressions") or ())


def in_scope(resource: Resource, obj: Object, terms: Sequence[Term]) -> bool:
    """Whether the object satisfies every term; resources that have no scopes satisfy none."""
    return all(matches_scope(resource, obj, term) for term in terms)


def matches_scope(resource: Resource, obj: Object, term: Term) -> bool:
    """Whether the object satisfies the term."""
    if resource == PODS:
        return _pod_matches(obj.get("spec") or {}, term)
    if resource == CLAIMS and term.get("scopeName") == "VolumeAttributesClass":
        return _selects(term, sorted(attributes_classes(obj)))
    return False


def is_terminating(pod: Object) -> bool:
    """Whether the pod says how long it may run."""
    deadline = (pod.get("spec") or {}).get("activeDeadlineSeconds")
    return deadline is not None and deadline >= 0


def attributes_classes(claim: Object) -> set[str]:
    """The volume attributes classes that a claim has, wants, or is moving to."""
    spec, status = claim.get("spec") or {}, claim.get("status") or {}
    moving = (status.get("modifyVolumeStatus") or {}).get("targetVolumeAttributesClassName")
    named = (spec.get("volumeAttributesClassName"), status.get("currentVolumeAttributesClassName"), moving)
    return {name for name in named if name}


def _pod_matches(spec: Object, term: Term) -> bool:
    scope = term.get("scopeName")
    if scope == "Terminating":
        return is_terminating({"spec": spec})
    if scope == "NotTerminating":
        return not is_terminating({"spec": spec})
    if scope == "BestEffort":
        return is_best_effort(spec)
    if scope == "NotBestEffort":
        return not is_best_effort(spec)
    if scope == "PriorityClass":
        return _selects(term, [spec["priorityClassName"]] if spec.get("priorityClassName") else [])
    if scope == "CrossNamespacePodAffinity":
        return crosses_namespaces(spec.get("affinity") or {})
    return False


def _selects(term: Term, found: Sequence[str]) -> bool:
    """A label selector's answer about one value, or about none."""
    operator, values = term.get("operator"), term.get("values") or ()
    if operator == "Exists":
        return bool(found)
    if operator == "DoesNotExist":
        return not found
    if operator == "In":
        return any(value in values for value in found)
    return operator == "NotIn" and (not found or any(value not in values for value in found))


def is_best_effort(spec: Object) -> bool:
    """Whether no container asks for cpu or memory (quality of service BestEffort)."""
    everyone = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    whole = spec.get("resources") or {}
    if whole.get("requests") or whole.get("limits"):
        everyone = [{"resources": whole}]
    for container in everyone:
        resources = container.get("resources") or {}
        for side in ("requests", "limits"):
            asked = resources.get(side) or {}
            if any(name in asked and quantities.parse(asked[name]) > 0 for name in ("cpu", "memory")):
                return False
    return True


def crosses_namespaces(affinity: Object) -> bool:
    """Whether a pod affinity or anti-affinity looks into other namespaces."""
    for kind in ("podAffinity", "podAntiAffinity"):
        rules = affinity.get(kind) or {}
        terms = list(rules.get("requiredDuringSchedulingIgnoredDuringExecution") or ())
        preferred = rules.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        terms += [item.get("podAffinityTerm") or {} for item in preferred]
        if any(term.get("namespaces") or term.get("namespaceSelector") is not None for term in terms):
            return True
    return False
