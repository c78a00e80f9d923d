"""The status of a ResourceClaim: what was allocated, to whom, and how its devices are."""

from __future__ import annotations

import ipaddress
from functools import partial
from typing import Any

from kumo.api import fields
from kumo.api.errors import Cause
from kumo.api.objects import Object
from kumo.kubernetes.apiserver.kinds.conditions import validate_conditions
from kumo.kubernetes.apiserver.kinds.devices.bindings import check_binding
from kumo.kubernetes.apiserver.kinds.devices.identifiers import (
    check_data,
    check_driver,
    check_label,
    check_pool,
    check_share,
    each_item,
    each_unique,
)
from kumo.kubernetes.apiserver.kinds.devices.requests import (
    MOST_CONFIGURATIONS,
    Requests,
    check_opaque,
    check_reference,
    check_references,
    request_names,
)
from kumo.kubernetes.apiserver.kinds.go_diff import internal
from kumo.kubernetes.apiserver.kinds.pod.scheduling import validate_node_selector
from kumo.kubernetes.apiserver.kinds.rules import at

_MOST_CONSUMERS = 256
_MOST_RESULTS = 32
_MOST_BINDING_CONDITIONS = 4
_MOST_CONDITIONS = 8
_MOST_ADDRESSES = 16
_SOURCES = ("FromClaim", "FromClass")
_DELETED = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"

_Device = tuple[str, str, str, str]
"""Driver, pool, device, share."""


def _device(item: dict[str, Any]) -> _Device:
    return tuple(item.get(key) or "" for key in ("driver", "pool", "device", "shareID"))  # type: ignore[return-value]


def _allocated(status: dict[str, Any]) -> set[_Device]:
    return {_device(result) for result in at(status, "allocation.devices.results") or ()}


def forget_devices(new: Object, old: Object) -> None:
    """Devices that are not allocated any longer lose their status, too."""
    status = new.get("status") or {}
    gone = _allocated(old.get("status") or {}) - _allocated(status)
    kept = [item for item in status.get("devices") or () if _device(item) not in gone]
    if kept:
        status["devices"] = kept
    else:
        status.pop("devices", None)


def check_status(new: Object, old: Object) -> list[Cause]:
    """What is wrong with a claim's new status."""
    status, before = new.get("status") or {}, old.get("status") or {}
    found = each_unique(
        "status.reservedFor",
        status.get("reservedFor"),
        _MOST_CONSUMERS,
        _consumer,
        lambda consumer: consumer.get("uid") or "",
    )
    allocated = _allocated(status)
    state = partial(_state, allocated)
    found += [
        cause for i, item in enumerate(status.get("devices") or ()) for cause in state(f"status.devices[{i}]", item)
    ]
    seen: set[_Device] = set()
    for index, item in enumerate(status.get("devices") or ()):
        if _device(item) in seen:
            found.append(fields.duplicate(f"status.devices[{index}]", _shown(item)))
        seen.add(_device(item))
    allocation = status.get("allocation")
    if status.get("reservedFor"):
        found += _reservations(new, status, before, allocation)
    earlier = before.get("allocation")
    if allocation is not None and earlier is not None:
        if allocation != earlier:
            shown = internal("resource.v1.AllocationResult", allocation)
            found.append(fields.immutable("status.allocation", shown))
    elif allocation is not None:
        found += _allocation(request_names(new.get("spec")), "status.allocation", allocation)
    return found


def _reservations(new: Object, status: Object, before: Object, allocation: Any) -> list[Cause]:
    if allocation is None:
        return [fields.forbidden("status.reservedFor", "may not be specified when `allocated` is not set")]
    if at(new, "metadata.deletionTimestamp") is None:
        return []
    earlier = before.get("reservedFor") or ()
    if all(consumer in earlier for consumer in status["reservedFor"]):
        return []
    return [fields.forbidden("status.reservedFor", _DELETED)]


def _consumer(path: str, consumer: dict[str, Any]) -> list[Cause]:
    return [fields.required(f"{path}.{key}") for key in ("resource", "name", "uid") if not consumer.get(key)]


def _shown(item: dict[str, Any]) -> dict[str, str]:
    driver, pool, device, share = _device(item)
    return {"Driver": driver, "Pool": pool, "Device": device, "ShareID": share}


def _state(allocated: set[_Device], path: str, item: dict[str, Any]) -> list[Cause]:
    found = check_driver(f"{path}.driver", item.get("driver") or "")
    found += check_pool(f"{path}.pool", item.get("pool") or "")
    found += check_label(f"{path}.device", item.get("device") or "")
    if item.get("shareID") is not None:
        found += check_share(f"{path}.shareID", item["shareID"])
    if _device(item) not in allocated:
        found.append(fields.invalid(path, _shown(item), "must be an allocated device in the claim"))
    conditions = item.get("conditions") or ()
    if len(conditions) > _MOST_CONDITIONS:
        found.append(fields.too_many(f"{path}.conditions", len(conditions), _MOST_CONDITIONS))
    found += validate_conditions(f"{path}.conditions", conditions)
    if item.get("data") is not None:
        found += check_data(f"{path}.data", item["data"])
    network = item.get("networkData") or {}
    for key, most in (("interfaceName", 256), ("hardwareAddress", 128)):
        if len((network.get(key) or "").encode()) > most:
            found.append(fields.too_long(f"{path}.networkData.{key}", most))
    return found + each_unique(f"{path}.networkData.ips", network.get("ips"), _MOST_ADDRESSES, _address)


def _address(path: str, text: str) -> list[Cause]:
    try:
        known = str(ipaddress.ip_interface(text)) if "/" in text else ""
    except ValueError:
        known = ""
    if not known:
        detail = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)"
        return [fields.invalid(path, text, detail)]
    return [] if known == text else [fields.invalid(path, text, f'must be in canonical form ("{known}")')]


def _allocation(known: Requests, path: str, allocation: dict[str, Any]) -> list[Cause]:
    devices, here = allocation.get("devices") or {}, f"{path}.devices"
    found = each_item(f"{here}.results", devices.get("results"), _MOST_RESULTS, partial(_result, known))
    configuration = partial(_configuration, known)
    found += each_item(f"{here}.config", devices.get("config"), 2 * MOST_CONFIGURATIONS, configuration)
    if allocation.get("nodeSelector") is not None:
        found += validate_node_selector(f"{path}.nodeSelector", allocation["nodeSelector"])
    return found


def _result(known: Requests, path: str, result: dict[str, Any]) -> list[Cause]:
    found = check_reference(known, f"{path}.request", result.get("request") or "")
    found += check_driver(f"{path}.driver", result.get("driver") or "")
    found += check_pool(f"{path}.pool", result.get("pool") or "")
    found += check_label(f"{path}.device", result.get("device") or "")
    found += check_binding(path, result)
    if result.get("shareID") is not None:
        found += check_share(f"{path}.shareID", result["shareID"])
    return found


def _configuration(known: Requests, path: str, item: dict[str, Any]) -> list[Cause]:
    source = item.get("source") or ""
    if not source:
        found = [fields.required(f"{path}.source")]
    else:
        found = [] if source in _SOURCES else [fields.unsupported(f"{path}.source", source, _SOURCES)]
    found += check_references(known, f"{path}.requests", item.get("requests"))
    return found + check_opaque(path, item)
