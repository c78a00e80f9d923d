"""Whether a write fits its namespace's quotas, and what it is charged: `resourcequota/controller.go`. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from kumo.api.errors import StatusError
from kumo.api.objects import Object
from kumo.api.quota import Amount, Amounts, Resource, in_scope, parse_amounts, usage
from kumo.api.quota.amounts import growth, listed
from kumo.api.quota.scopes import attributes_classes, is_terminating, matches_scope
from kumo.api.quota.tracking import CLAIMS, DEVICE_CLAIMS, IGNORED, PODS, SERVICES
from kumo.api.quota.usage import compute, is_pod_level
from kumo.kubernetes.apiserver.admission.config import LimitedResource
from kumo.kubernetes.apiserver.admission.quota.ledger import QuotaView
from kumo.kubernetes.apiserver.admission.refusals import refused
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes

Used = Callable[[QuotaView, str], Amount]
"""How much of a name is used of a quota."""
_STATED = frozenset(("cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"))
"""What every container must state where a quota limits it."""


def handles(resource: Resource, attrs: AdmissionAttributes) -> bool:
    """Whether such a write can change what is used."""
    if attrs.object is None or resource in IGNORED:
        return False
    create, update, below = attrs.operation == "CREATE", attrs.operation == "UPDATE", attrs.subresource
    old, new = attrs.old_object or {}, attrs.object
    if resource == PODS:
        if below:
            return below == "resize" and update
        return create or (update and is_terminating(old) != is_terminating(new))
    if resource == CLAIMS and below == "status":
        return update and (_allocated(old) != _allocated(new) or attributes_classes(old) != attributes_classes(new))
    if below:
        return False
    return create or (update and resource in (SERVICES, CLAIMS, DEVICE_CLAIMS))


def _allocated(claim: Object) -> object:
    return ((claim.get("status") or {}).get("allocatedResources") or {}).get("storage")


def charges(
    attrs: AdmissionAttributes,
    resource: Resource,
    views: Sequence[QuotaView],
    used: Used,
    limited: Sequence[LimitedResource] = (),
) -> dict[str, Amounts]:
    """What the write adds to each quota that it counts for, by the quota's name.

    Raises 403 when it exceeds one, leaves out what one demands, or is not covered where some quota must cover it.
    """
    obj = attrs.object or {}
    concerned = [view for view in views if view.names(resource) and in_scope(resource, obj, view.terms)]
    for view in concerned:
        _check_stated(attrs, resource, view)
    new = usage(resource, obj)
    negative = sorted(name for name, amount in new.items() if amount.value < 0)
    if negative:
        raise refused(attrs, f"quota usage is negative for resource(s): {','.join(negative)}")
    old = attrs.old_object if attrs.operation == "UPDATE" else None
    grown = growth(new, usage(resource, old) if old is not None else {})
    found: dict[str, Amounts] = {}
    for view in concerned:
        counted = old is None or in_scope(resource, old, view.terms)
        added = grown if counted else growth(new, {})
        if added:
            found[view.name] = {name: amount for name, amount in added.items() if name in view.hard}
    if limited and (found or (not concerned and grown)):
        _check_covered(attrs, resource, new, concerned, views, limited)
    for view in concerned:
        asked = found.get(view.name)
        if asked and attrs.subresource != "status":
            _check_room(attrs, view, asked, used)
    return {name: asked for name, asked in found.items() if asked}


def _check_room(attrs: AdmissionAttributes, view: QuotaView, asked: Amounts, used: Used) -> None:
    now = {name: used(view, name) for name in asked}
    over = [name for name, amount in asked.items() if now[name].value + amount.value > view.hard[name].value]
    if over:
        raise refused(
            attrs,
            f"exceeded quota: {view.name}, requested: {listed(asked, over)}, used: {listed(now, over)}, "
            f"limited: {listed(view.hard, over)}",
        )


def _check_stated(attrs: AdmissionAttributes, resource: Resource, view: QuotaView) -> None:
    """The pod states what the quota limits, and the quota's usage is known."""
    names = view.names(resource)
    if resource == PODS:
        missing = _unstated((attrs.object or {}).get("spec") or {}, [name for name in names if name in _STATED])
        if missing:
            words = "; ".join(f"{name} for: {','.join(who)}" for name, who in sorted(missing.items()))
            raise refused(attrs, f"failed quota: {view.name}: must specify {words}")
    if any(name not in view.used for name in names):
        raise refused(attrs, f"status unknown for quota: {view.name}, resources: {','.join(names)}")


def _unstated(spec: Object, names: Sequence[str]) -> dict[str, list[str]]:
    """The names that containers do not state, with those containers."""
    whole = spec.get("resources") or {}
    if any(is_pod_level(name) for side in ("requests", "limits") for name in whole.get(side) or {}):
        return {}
    missing: dict[str, set[str]] = {}
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        resources = container.get("resources") or {}
        stated = compute(parse_amounts(resources.get("requests")), parse_amounts(resources.get("limits")))
        for name in names:
            if name not in stated:
                missing.setdefault(name, set()).add(container.get("name", ""))
    return {name: sorted(who) for name, who in missing.items()}


def _check_covered(
    attrs: AdmissionAttributes,
    resource: Resource,
    new: Amounts,
    concerned: Sequence[QuotaView],
    views: Sequence[QuotaView],
    limited: Sequence[LimitedResource],
) -> None:
    """What is limited by configuration is counted by some quota."""
    covered = {name for view in concerned for name in view.names(resource)}
    wanted = set(_limited_names(resource, new, limited))
    if wanted - covered:
        raise refused(attrs, f"insufficient quota to consume: {','.join(sorted(wanted - covered))}")
    obj = attrs.object or {}
    scopes = {term.get("scopeName") for view in views for term in view.terms if matches_scope(resource, obj, term)}
    terms = (term for item in limited for term in item.scopes if matches_scope(resource, obj, term))
    bare = [term for term in terms if term.get("scopeName") not in scopes]
    if bare:
        words = " ".join(
            f"{{{t.get('scopeName', '')} {t.get('operator', '')} [{' '.join(t.get('values') or ())}]}}" for t in bare
        )
        raise StatusError(500, "", f"insufficient quota to match these scopes: [{words}]")


def _limited_names(resource: Resource, new: Amounts, limited: Sequence[LimitedResource]) -> Iterator[str]:
    for item in limited:
        if (item.group, item.resource) == resource:
            for name, amount in new.items():
                if amount.value > 0 and any(part in name for part in item.contains):
                    yield name
