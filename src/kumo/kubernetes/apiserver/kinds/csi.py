"""The kinds that storage drivers bring: CSIDriver, CSINode, CSIStorageCapacity (`pkg/apis/storage`)."""

from __future__ import annotations

from typing import Any

from kumo.api import fields, names, quantities
from kumo.api.errors import Cause
from kumo.api.objects import Object, metadata
from kumo.api.resources import GVK
from kumo.kubernetes.apiserver.kinds.checks import NOT_NEGATIVE, set_default, spec_of
from kumo.kubernetes.apiserver.kinds.devices.identifiers import check_driver
from kumo.kubernetes.apiserver.kinds.go_diff import internal
from kumo.kubernetes.apiserver.kinds.node_labels import term_warnings
from kumo.kubernetes.apiserver.kinds.rules import Rules, at
from kumo.kubernetes.apiserver.kinds.selector_validation import validate_label_selector

_GROUP_POLICIES = ("File", "None", "ReadWriteOnceWithFSType")
_MODES = ("Persistent", "Ephemeral")
_LONGEST_NODE_ID = 256
_TOKENS = (
    "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible "
    "logging of tokens in volume attributes"
)


# -- drivers ----------------------------------------------------------------------------------------------------------


def _default_driver(obj: Object) -> None:
    spec = spec_of(obj)
    set_default(
        spec,
        attachRequired=True,
        podInfoOnMount=False,
        storageCapacity=False,
        fsGroupPolicy="ReadWriteOnceWithFSType",
        requiresRepublish=False,
        seLinuxMount=False,
    )
    if not spec.get("volumeLifecycleModes"):
        spec["volumeLifecycleModes"] = ["Persistent"]
    spec.pop("preventPodSchedulingIfMissing", None)  # Its feature is off.


def _create_driver(obj: Object) -> None:
    metadata(obj).pop("generation", None)  # It is counted from the first change on.


def _check_driver(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    policy = spec.get("fsGroupPolicy")
    found: list[Cause] = []
    if policy not in _GROUP_POLICIES:
        found.append(fields.unsupported("spec.fsGroupPolicy", policy, _GROUP_POLICIES))
    found += _token_requests("spec.tokenRequests", spec.get("tokenRequests") or ())
    for mode in spec.get("volumeLifecycleModes") or ():
        if mode not in _MODES:
            found.append(fields.unsupported("spec.volumeLifecycleModes", mode, _MODES))
    period = spec.get("nodeAllocatableUpdatePeriodSeconds")
    if period is not None and period < 10:
        why = "must be greater than or equal to 10 seconds"
        found.append(fields.invalid("spec.nodeAllocatableUpdatePeriodSeconds", period, why))
    tokens = spec.get("serviceAccountTokenInSecrets")
    if tokens is not None and not spec.get("tokenRequests"):
        why = "serviceAccountTokenInSecrets is set but no tokenRequests are specified"
        found.append(fields.invalid("spec.serviceAccountTokenInSecrets", tokens, why))
    return found


def _token_requests(path: str, requests: Any) -> list[Cause]:
    found: list[Cause] = []
    seen: set[str] = set()
    for index, request in enumerate(requests):
        here, audience = f"{path}[{index}]", request.get("audience") or ""
        if audience in seen:
            found.append(fields.duplicate(f"{here}.audience", audience))
            continue
        seen.add(audience)
        seconds = request.get("expirationSeconds")
        if seconds is not None and seconds < 600:
            why = "may not specify a duration less than 10 minutes"
            found.append(fields.invalid(f"{here}.expirationSeconds", seconds, why))
        if seconds is not None and seconds > 1 << 32:
            why = "may not specify a duration larger than 2^32 seconds"
            found.append(fields.invalid(f"{here}.expirationSeconds", seconds, why))
    return found


def _change_driver(new: Object, old: Object) -> list[Cause]:
    found = _check_driver(new)
    for key, shown in (("attachRequired", "attachedRequired"), ("volumeLifecycleModes", "volumeLifecycleModes")):
        fresh = at(new, f"spec.{key}")
        if fresh != at(old, f"spec.{key}"):
            found.append(fields.immutable(f"spec.{shown}", fresh))
    return found


def _warn_driver(new: Object, old: Object | None) -> list[str]:
    requests = at(new, "spec.tokenRequests") or []
    if not requests or at(new, "spec.serviceAccountTokenInSecrets") is not None:
        return []
    return [] if old is not None and requests == at(old, "spec.tokenRequests") else [_TOKENS]


# -- nodes ------------------------------------------------------------------------------------------------------------


def _check_node(obj: Object) -> list[Cause]:
    found: list[Cause] = []
    seen: set[str] = set()
    for index, driver in enumerate(at(obj, "spec.drivers") or ()):
        here, name, node = f"spec.drivers[{index}]", driver.get("name") or "", driver.get("nodeID") or ""
        found += check_driver(f"{here}.name", name)
        if not node:
            found.append(fields.required(f"{here}.nodeID"))
        if len(node.encode()) > _LONGEST_NODE_ID:
            why = f"must be {_LONGEST_NODE_ID} characters or less"
            found.append(fields.invalid(f"{here}.nodeID", node, why))
        count = at(driver, "allocatable.count")
        if count is not None and count < 0:
            found.append(fields.invalid(f"{here}.allocatable.count", count, NOT_NEGATIVE))
        if name in seen:
            found.append(fields.duplicate(f"{here}.name", name))
        seen.add(name)
        found += _topology_keys(here, driver.get("topologyKeys") or ())
    return found


def _topology_keys(path: str, keys: Any) -> list[Cause]:
    found: list[Cause] = []
    seen: set[str] = set()
    for key in keys:
        found += [] if key else [fields.required(path)]
        found += [fields.duplicate(path, key)] if key in seen else []
        seen.add(key)
        found += fields.each(path, key, names.check_qualified_name(key))
    return found


def _change_node(new: Object, old: Object) -> list[Cause]:
    """A driver of a node stays as it is, but for how many volumes it can attach."""
    found = _check_node(new)
    for before in at(old, "spec.drivers") or ():
        for driver in at(new, "spec.drivers") or ():
            if before.get("name") != driver.get("name"):
                continue
            stale, fresh = ({k: v for k, v in d.items() if k != "allocatable"} for d in (before, driver))
            if (fresh.get("topologyKeys") or []) != (stale.get("topologyKeys") or []) or (
                fresh.get("nodeID") != stale.get("nodeID")
            ):
                found.append(fields.immutable("spec.drivers", internal("storage.v1.CSINodeDriver", fresh)))
    return found


# -- capacities -------------------------------------------------------------------------------------------------------


def _check_capacity(obj: Object) -> list[Cause]:
    found = validate_label_selector("nodeTopology", obj.get("nodeTopology"))
    name, capacity = obj.get("storageClassName") or "", obj.get("capacity")
    found += fields.each("storageClassName", name, names.check_subdomain(name))
    if capacity is not None and quantities.parse(capacity) < 0:
        found.append(fields.invalid("capacity", str(capacity), NOT_NEGATIVE))
    return found


def _selector(selector: dict[str, Any] | None) -> dict[str, Any] | None:
    """A label selector with its fields in the order of messages."""
    if not selector:
        return selector
    found = {key: selector[key] for key in ("matchLabels", "matchExpressions") if selector.get(key)}
    order = ("key", "operator", "values")
    if "matchExpressions" in found:
        items = [{"key": "", "operator": "", **item} for item in found["matchExpressions"]]
        found["matchExpressions"] = [{key: item[key] for key in order if key in item} for item in items]
    return found


def _change_capacity(new: Object, old: Object) -> list[Cause]:
    found = _check_capacity(new)
    for key in ("nodeTopology", "storageClassName"):
        if new.get(key) != old.get(key):
            shown = _selector(new.get(key)) if key == "nodeTopology" else new.get(key) or ""
            found.append(fields.immutable(key, shown))
    return found


def _warn_capacity(new: Object, old: Object | None) -> list[str]:
    return list(term_warnings("nodeTopology", new.get("nodeTopology") or {}, weighted=False))


def rules() -> dict[GVK, Rules]:
    """The rules of the kinds in this module."""

    def storage(kind: str) -> GVK:
        return GVK("storage.k8s.io", "v1", kind)

    return {
        storage("CSIDriver"): Rules(
            default=_default_driver,
            validate_create=_check_driver,
            check_update=_change_driver,
            on_create=_create_driver,
            warn=_warn_driver,
            has_generation=True,
            unconditional_update=False,
        ),
        storage("CSINode"): Rules(
            validate_create=_check_node,
            check_update=_change_node,
            revalidates="only",
            unconditional_update=False,
        ),
        storage("CSIStorageCapacity"): Rules(
            validate_create=_check_capacity,
            check_update=_change_capacity,
            warn=_warn_capacity,
            revalidates=True,
            unconditional_update=False,
        ),
    }
