"""Nodes: their taints, address ranges, capacity and declared features."""

from __future__ import annotations

import re
from typing import Any

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.api.objects import Object
from kumo.api.resources import GVK
from kumo.kubernetes.apiserver.kinds.checks import choice
from kumo.kubernetes.apiserver.kinds.pod.resources import check_quantity
from kumo.kubernetes.apiserver.kinds.rules import Rules, at

_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_FEATURE = re.compile(r"[A-Z][a-zA-Z0-9]*(/[a-zA-Z][a-zA-Z0-9]*)*")
_FEATURE_TEXT = (
    "must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or "
    "MyFeature/mySubFeature), and contain only alphanumeric characters and slashes"
)
_LONGEST_FEATURE = 253


def _default(obj: Object) -> None:
    status, spec = obj.get("status"), obj.get("spec")
    if status and status.get("capacity") and not status.get("allocatable"):
        status["allocatable"] = dict(status["capacity"])
    if spec and (spec.get("podCIDR") or spec.get("podCIDRs")):
        _match_ranges(spec)


def _match_ranges(spec: dict[str, Any]) -> None:
    """The older field names the first of the ranges; it wins when the two differ."""
    one, several = spec.get("podCIDR"), spec.get("podCIDRs") or [""]
    if one and several[0] != one:
        spec["podCIDRs"] = [one]
    elif not one and several[0]:
        spec["podCIDR"] = several[0]


def _on_create(obj: Object) -> None:
    """What configured kubelets from the API once is of no use any more: it is kept only where it already is."""
    (obj.get("spec") or {}).pop("configSource", None)
    (obj.get("status") or {}).pop("config", None)


def _on_update(new: Object, old: Object) -> None:
    if at(old, "spec.configSource") is None:
        (new.get("spec") or {}).pop("configSource", None)


def _prepare_status(new: Object, old: Object) -> None:
    if at(old, "status.config") is None:
        (new.get("status") or {}).pop("config", None)


def _taints(obj: Object, found: list[Cause]) -> None:
    seen: set[tuple[Any, Any]] = set()
    for index, taint in enumerate(at(obj, "spec.taints") or ()):
        here = f"metadata.taints[{index}]"  # So upstream says.
        key, value = taint.get("key") or "", taint.get("value") or ""
        found += fields.each(f"{here}.key", key, names.check_qualified_name(key))
        if wrong := names.check_label_value(value):
            found.append(fields.invalid(f"{here}.value", value, ";".join(wrong)))
        found += choice(f"{here}.effect", taint.get("effect"), _EFFECTS)
        pair = (key, taint.get("effect"))
        if pair in seen:
            shown = {k.title(): taint.get(k) or "" for k in ("key", "value", "effect")}
            twice = fields.duplicate(here, shown | {"TimeAdded": taint.get("timeAdded")})
            found.append(twice._replace(message=f"{twice.message}: taints must be unique by key and effect pair"))
        seen.add(pair)


def _amounts(obj: Object, found: list[Cause]) -> None:
    for key in ("capacity", "allocatable"):
        for name, quantity in (at(obj, f"status.{key}") or {}).items():
            found += check_quantity(f"status.{key}.{name}", name, quantity)


def _features(obj: Object, found: list[Cause]) -> None:
    path = "status.declaredFeatures"
    features = at(obj, path) or ()
    for index, feature in enumerate(features):
        text = ""
        if len(feature) > _LONGEST_FEATURE:
            text = f"must be no more than {_LONGEST_FEATURE} characters"
        elif not _FEATURE.fullmatch(feature):
            text = _FEATURE_TEXT
        if text:
            found.append(fields.invalid(f"{path}[{index}]", feature, f'invalid feature name "{feature}": {text}'))
        if index + 1 < len(features):
            after, here = features[index + 1], f"{path}[{index + 1}]"
            if feature == after:
                found.append(fields.duplicate(here, after))
            elif feature > after:
                found.append(fields.invalid(here, after, "list must be sorted alphabetically"))


def _ranges(obj: Object, found: list[Cause]) -> None:
    path, ranges = "spec.podCIDRs", at(obj, "spec.podCIDRs") or []
    good = True
    for index, block in enumerate(ranges):
        wrong = names.check_cidr(block)
        found += fields.each(f"{path}[{index}]", block, wrong)
        good = good and not wrong
    if len(ranges) > 1 and good:
        families = {":" in block for block in ranges}
        if len(families) < 2 or len(ranges) > 2:
            text = "may specify no more than one CIDR for each IP family"
            found.append(fields.invalid(path, ranges, text))


def _validate(obj: Object) -> list[Cause]:
    found: list[Cause] = []
    _taints(obj, found)
    _amounts(obj, found)
    swap = at(obj, "status.nodeInfo.swap.capacity")
    if swap is not None and swap <= 0:
        found.append(fields.invalid("metadata.nodeSwapStatus.capacity", swap, "must be greater than 0"))
    _features(obj, found)
    _ranges(obj, found)
    return found


def _validate_status(new: Object, old: Object) -> list[Cause]:
    """What upstream looks at in every update, be it of the node or of its status."""
    found: list[Cause] = []
    _amounts(new, found)
    _features(new, found)
    seen: list[tuple[str, str]] = []
    for index, address in enumerate(at(new, "status.addresses") or ()):
        pair = (address.get("type") or "", address.get("address") or "")
        if pair in seen:
            shown = {"Type": pair[0], "Address": pair[1]}
            found.append(fields.duplicate(f"status.addresses[{index}]", shown))
        seen.append(pair)
    before, after = at(old, "spec.podCIDRs") or [], at(new, "spec.podCIDRs") or []
    if before:
        changes = (
            [1] if len(before) != len(after) else [1 for one, other in zip(before, after, strict=True) if one != other]
        )
        text = 'node updates may not change podCIDR except from "" to valid'
        found += [fields.forbidden("spec.podCIDRs", text)] * len(changes)
    provider = at(old, "spec.providerID")
    if provider and provider != at(new, "spec.providerID"):
        text = 'node updates may not change providerID except from "" to valid'
        found.append(fields.forbidden("spec.providerID", text))
    _taints(new, found)
    if (at(new, "spec.externalID") or "") != (at(old, "spec.externalID") or ""):
        found.append(fields.forbidden("spec.externalID", "may not be updated"))
    return found


def _check_update(new: Object, old: Object) -> list[Cause]:
    return _validate(new) + _validate_status(new, old)


def _warn(new: Object, old: Object | None) -> list[str]:
    spec = new.get("spec") or {}
    found = []
    if spec.get("configSource") is not None:
        found.append("spec.configSource: the feature is removed")
    if spec.get("externalID"):
        found.append("spec.externalID: this field is deprecated, and is unused by Kubernetes")
    for index, block in enumerate(spec.get("podCIDRs") or ()):
        found += [f"spec.podCIDRs[{index}]: {text}" for text in names.cidr_warnings(block)]
    return found


def rules() -> dict[GVK, Rules]:
    """The rules of nodes."""
    return {
        GVK("", "v1", "Node"): Rules(
            default=_default,
            on_create=_on_create,
            on_update=_on_update,
            prepare_status=_prepare_status,
            validate=_validate,
            check_update=_check_update,
            validate_status=_validate_status,
            warn=_warn,
            warn_status=lambda new, old: _warn(new, old),
            revalidates=True,
            has_status=True,
            status_on_create=True,
            fields={"spec.unschedulable": lambda obj: str(bool(at(obj, "spec.unschedulable"))).lower()},
        )
    }
