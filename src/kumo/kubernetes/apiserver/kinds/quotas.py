"""Resource quotas: what a namespace may have in all, and of which pods it counts."""

from __future__ import annotations

from typing import Any

from kumo.api import fields
from kumo.api.errors import Cause
from kumo.api.objects import Object
from kumo.api.resources import GVK
from kumo.kubernetes.apiserver.kinds.pod.resources import STANDARD, check_quantity, check_resource_name
from kumo.kubernetes.apiserver.kinds.rules import Rules, at

_PODS = frozenset(("pods",))
_COMPUTE = frozenset(("cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"))
_CLAIMS = frozenset(("persistentvolumeclaims", "requests.storage"))
_COUNTED = {
    "Terminating": _PODS | _COMPUTE,
    "NotTerminating": _PODS | _COMPUTE,
    "NotBestEffort": _PODS | _COMPUTE,
    "PriorityClass": _PODS | _COMPUTE,
    "CrossNamespacePodAffinity": _PODS | _COMPUTE,
    "BestEffort": _PODS,
    "VolumeAttributesClass": _CLAIMS,
}
"""The scopes, and the resources that a quota with each can count."""
_EXISTING = ("BestEffort", "NotBestEffort", "Terminating", "NotTerminating", "CrossNamespacePodAffinity")
_OPPOSITES = (("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating"))
_ONLY_EXISTS = (
    "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, "
    "ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"
)


def _is_standard(name: str) -> bool:
    return (name in STANDARD and name != "storage") or name.startswith(("hugepages-", "requests.hugepages-"))


def _amounts(path: str, amounts: dict[str, Any]) -> list[Cause]:
    found: list[Cause] = []
    for name, quantity in amounts.items():
        here = f"{path}[{name}]"
        found += check_resource_name(here, name)
        if "/" not in name and not _is_standard(name):
            found.append(fields.invalid(here, name, "must be a standard resource for quota"))
        found += check_quantity(here, name, quantity)
    return found


def _uncounted(scope: str, hard: dict[str, Any]) -> int:
    """How many of a quota's resources a scope does not go with."""
    allowed = _COUNTED.get(scope)
    return 0 if allowed is None else sum(1 for name in hard if _is_standard(name) and name not in allowed)


def _scopes(spec: dict[str, Any], found: list[Cause]) -> None:
    scopes, path = spec.get("scopes") or [], "spec.scopes"
    for scope in scopes:
        if scope not in _COUNTED:
            found.append(fields.invalid(path, scopes, "unsupported scope"))
        wrong = fields.invalid(path, scopes, "unsupported scope applied to resource")
        found += [wrong] * _uncounted(scope, spec.get("hard") or {})
    _conflicts(spec, scopes, found)


def _conflicts(spec: dict[str, Any], scopes: list[str], found: list[Cause]) -> None:
    for one, other in _OPPOSITES:
        if one in scopes and other in scopes:
            found.append(fields.invalid("spec.scopes", spec.get("scopes"), "conflicting scopes"))


def _selector(spec: dict[str, Any], found: list[Cause]) -> None:
    path = "spec.scopeSelector.matchExpressions"
    items = at(spec, "scopeSelector.matchExpressions") or []
    for item in items:
        scope, operator = item.get("scopeName") or "", item.get("operator") or ""
        values = item.get("values") or []
        if scope not in _COUNTED:
            found.append(fields.invalid(f"{path}.scopeName", scope, "unsupported scope"))
        wrong = fields.invalid(path, _shown(items), "unsupported scope applied to resource")
        found += [wrong] * _uncounted(scope, spec.get("hard") or {})
        if scope in _EXISTING and operator != "Exists":
            found.append(fields.invalid(f"{path}.operator", operator, _ONLY_EXISTS))
        if operator in ("In", "NotIn"):
            if not values:
                text = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
                found.append(fields.required(f"{path}.values", text))
        elif operator not in ("Exists", "DoesNotExist"):
            found.append(fields.invalid(f"{path}.operator", operator, "not a valid selector operator"))
        elif values:
            text = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
            found.append(fields.invalid(f"{path}.values", values, text))
    _conflicts(spec, [item.get("scopeName") or "" for item in items], found)


def _shown(items: list[dict[str, Any]]) -> dict[str, Any]:
    """A scope selector as messages show it."""
    keys = ("scopeName", "operator", "values")
    return {"MatchExpressions": [{key[0].upper() + key[1:]: item.get(key) for key in keys} for item in items]}


def _validate(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    found = _amounts("spec.hard", spec.get("hard") or {})
    _scopes(spec, found)
    _selector(spec, found)
    return found


def _check_update(new: Object, old: Object) -> list[Cause]:
    found = _validate(new)
    scopes = at(new, "spec.scopes")
    if set(scopes or ()) != set(at(old, "spec.scopes") or ()):
        found.append(fields.immutable("spec.scopes", scopes))
    return found


def _validate_status(new: Object, old: Object) -> list[Cause]:
    status = new.get("status") or {}
    return _amounts("status.hard", status.get("hard") or {}) + _amounts("status.used", status.get("used") or {})


def rules() -> dict[GVK, Rules]:
    """The rules of resource quotas."""
    return {
        GVK("", "v1", "ResourceQuota"): Rules(
            validate=_validate,
            check_update=_check_update,
            validate_status=_validate_status,
            has_status=True,
        )
    }
