"""ResourceSlices: the devices that a driver offers."""

from __future__ import annotations

from typing import Any

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.api.objects import Object, timestamp
from kumo.kubernetes.apiserver.kinds.devices.bindings import check_binding
from kumo.kubernetes.apiserver.kinds.devices.capacities import check_properties
from kumo.kubernetes.apiserver.kinds.devices.identifiers import (
    check_driver,
    check_label,
    check_needed_label,
    check_node,
    check_pool,
    each_item,
    each_unique,
)
from kumo.kubernetes.apiserver.kinds.devices.requests import EFFECTS
from kumo.kubernetes.apiserver.kinds.go_diff import internal
from kumo.kubernetes.apiserver.kinds.pod.scheduling import validate_node_selector
from kumo.kubernetes.apiserver.kinds.rules import at

_MOST_DEVICES = 128
_MOST_COMPLEX_DEVICES = 64
_MOST_TAINTS = 16
_MOST_COUNTER_SETS = 8
_MOST_COUNTERS = 32
_MOST_CONSUMPTIONS = 2
_LISTS = ("bools", "ints", "strings", "versions")
_WHERE = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
_DEVICE_WHERE = (
    "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true "
    "in the ResourceSlice spec"
)
_NOT_HERE = (
    "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the "
    "ResourceSlice spec"
)


def default_slice(obj: Object) -> None:
    """Taints have the time at which they were added; fields of features that are off go."""
    for device in at(obj, "spec.devices") or ():
        device.pop("nodeAllocatableResourceMappings", None)  # Their feature is off.
        for taint in device.get("taints") or ():
            taint["timeAdded"] = taint.get("timeAdded") or timestamp()


def warn_slice(new: Object, old: Object | None) -> list[str]:
    """Drivers are better in lower case."""
    driver = at(new, "spec.driver") or ""
    if driver == driver.lower():
        return []
    quoted = fields.shown(driver)
    return [f"spec.driver: driver names should be lowercase; {quoted} contains uppercase characters"]


def check_slice(new: Object, old: Object | None) -> list[Cause]:
    """What is wrong with a slice, or with its new state."""
    spec, before = new.get("spec") or {}, None if old is None else old.get("spec") or {}
    found = check_driver("spec.driver", spec.get("driver") or "")
    found += _pool("spec.pool", spec.get("pool") or {})
    if before is not None:
        for path in ("pool.name", "driver", "nodeName"):
            fresh, stale = at(spec, path), at(before, path)
            if fresh != stale:
                found.append(fields.immutable(f"spec.{path}", fresh if path == "nodeName" else fresh or ""))
    found += _placement(spec)
    if spec.get("sharedCounters") is not None and spec.get("devices") is not None:
        found.append(fields.invalid("spec", "", "only one of `sharedCounters` or `devices` is allowed"))
    devices = spec.get("devices") or ()
    most = _MOST_COMPLEX_DEVICES if any(_is_complex(d) for d in devices) else _MOST_DEVICES
    known = {d.get("name"): d for d in (before or {}).get("devices") or ()}
    each = bool(spec.get("perDeviceNodeSelection"))

    def device(path: str, item: dict[str, Any]) -> list[Cause]:
        return _device(path, item, known.get(item.get("name")), each)

    found += each_unique("spec.devices", devices, most, device, lambda item: item.get("name") or "")
    return found + each_unique(
        "spec.sharedCounters",
        spec.get("sharedCounters"),
        _MOST_COUNTER_SETS,
        _counter_set,
        lambda item: item.get("name") or "",
    )


def _pool(path: str, pool: dict[str, Any]) -> list[Cause]:
    found = check_pool(f"{path}.name", pool.get("name") or "")
    count, generation = pool.get("resourceSliceCount") or 0, pool.get("generation") or 0
    if count <= 0:
        found.append(fields.invalid(f"{path}.resourceSliceCount", count, "must be greater than zero"))
    if generation < 0:
        why = "must be greater than or equal to zero"
        found.append(fields.invalid(f"{path}.generation", generation, why))
    return found


def _placement(spec: dict[str, Any]) -> list[Cause]:
    found: list[Cause] = []
    given = []
    if (node := spec.get("nodeName")) is not None:
        if node:
            given.append("`nodeName`")
            found += check_node("spec.nodeName", node)
        else:
            found.append(fields.invalid("spec.nodeName", node, "must be either unset or set to a non-empty string"))
    if (selector := spec.get("nodeSelector")) is not None:
        given.append("`nodeSelector`")
        found += validate_node_selector("spec.nodeSelector", selector)
        terms = selector.get("nodeSelectorTerms")
        if len(terms or ()) != 1:
            shown = None if terms is None else [internal("core.v1.NodeSelectorTerm", term) for term in terms]
            why = "must have exactly one node selector term"
            found.append(fields.invalid("spec.nodeSelector.nodeSelectorTerms", shown, why))
    for key in ("allNodes", "perDeviceNodeSelection"):
        if spec.get(key):
            given.append(f"`{key}`")
        elif spec.get(key) is not None:
            found.append(fields.invalid(f"spec.{key}", False, "must be either unset or set to true"))
    if not given:
        found.append(fields.required("spec", _WHERE))
    elif len(given) > 1:
        several = f"{{{', '.join(given)}}}"
        found.append(fields.invalid("spec", several, f"{_WHERE}, but multiple fields are set"))
    return found


def _is_complex(device: dict[str, Any]) -> bool:
    if device.get("taints") or device.get("consumesCounters"):
        return True
    return any(a.get(key) is not None for a in (device.get("attributes") or {}).values() for key in _LISTS)


def _device(path: str, device: dict[str, Any], old: dict[str, Any] | None, chooses_nodes: bool) -> list[Cause]:
    found = check_label(f"{path}.name", device.get("name") or "")
    found += check_properties(path, device)
    taints = device.get("taints") or []
    if old is None or (old.get("taints") or []) != taints:
        found += each_item(f"{path}.taints", taints, _MOST_TAINTS, _taint)
    found += each_unique(
        f"{path}.consumesCounters",
        device.get("consumesCounters"),
        _MOST_CONSUMPTIONS,
        _consumption,
        lambda item: item.get("counterSet") or "",
    )
    found += _device_placement(path, device, chooses_nodes)
    return found + check_binding(path, device)


def _device_placement(path: str, device: dict[str, Any], chooses_nodes: bool) -> list[Cause]:
    node, selector, every = (device.get(key) for key in ("nodeName", "nodeSelector", "allNodes"))
    if not chooses_nodes:
        if node is None and selector is None and every is None:
            return []
        return [fields.invalid(path, None, _NOT_HERE)]
    found: list[Cause] = []
    given = []
    if node:
        given.append("`nodeName`")
        found += check_node(f"{path}.nodeName", node)
    elif node is not None:
        found.append(fields.invalid(f"{path}.nodeName", node, "must not be empty"))
    if selector is not None:
        given.append("`nodeSelector`")
        found += validate_node_selector(f"{path}.nodeSelector", selector)
    if every:
        given.append("`allNodes`")
    elif every is not None:
        found.append(fields.invalid(f"{path}.allNodes", False, "must be either unset or set to true"))
    if not given:
        found.append(fields.required(path, _DEVICE_WHERE))
    elif len(given) > 1:
        found.append(fields.invalid(path, f"{{{', '.join(given)}}}", _DEVICE_WHERE))
    return found


def _taint(path: str, taint: dict[str, Any]) -> list[Cause]:
    key, value, effect = (taint.get(k) or "" for k in ("key", "value", "effect"))
    found = fields.each(f"{path}.key", key, names.check_qualified_name(key))
    found += fields.each(f"{path}.value", value, names.check_label_value(value))
    if not effect:
        found.append(fields.required(f"{path}.effect"))
    elif effect not in EFFECTS:
        found.append(fields.unsupported(f"{path}.effect", effect, EFFECTS))
    return found


def _counter_set(path: str, item: dict[str, Any]) -> list[Cause]:
    return check_needed_label(f"{path}.name", item.get("name") or "") + _counters(path, item)


def _consumption(path: str, item: dict[str, Any]) -> list[Cause]:
    return check_needed_label(f"{path}.counterSet", item.get("counterSet") or "") + _counters(path, item)


def _counters(path: str, item: dict[str, Any]) -> list[Cause]:
    counters, here = item.get("counters") or {}, f"{path}.counters"
    if not counters:
        return [fields.required(here)]
    if len(counters) > _MOST_COUNTERS:
        return [fields.too_many(here, len(counters), _MOST_COUNTERS)]
    return [cause for key in sorted(counters) for cause in check_label(here, key)]
