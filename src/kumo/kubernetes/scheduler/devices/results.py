"""What is written into a claim's status: `allocation` (AllocationResult). Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import uuid4

from kumo.api.objects import Object, name_of
from kumo.kubernetes.scheduler.devices.pools import Device
from kumo.kubernetes.scheduler.devices.wishes import Wish, requests_of


class Taken(NamedTuple):
    """A device that was found for a request."""

    wish: Wish
    device: Device
    amounts: Mapping[str, str] | None = None
    """What is taken of the capacity of a device that others may share."""


def allocation(claim: Object, taken: Sequence[Taken], chosen: Sequence[Wish]) -> dict[str, Any]:
    """The result; `chosen` is for each request of the claim the alternative that was taken."""
    devices: dict[str, Any] = {"results": [_result(t) for t in taken]}
    configs = _class_configs(chosen) + _claim_configs(claim, chosen)
    if configs:
        devices["config"] = configs
    made: dict[str, Any] = {"devices": devices}
    selector = node_selector([t.device for t in taken])
    if selector is not None:
        made["nodeSelector"] = selector
    return made


def _result(taken: Taken) -> dict[str, Any]:
    wish, device, amounts = taken
    driver, pool, name = device.id
    made: dict[str, Any] = {"request": wish.name, "driver": driver, "pool": pool, "device": name}
    if wish.admin:
        made["adminAccess"] = True
    if wish.tolerations:
        made["tolerations"] = list(wish.tolerations)
    if amounts is not None:
        made["shareID"] = str(uuid4())
        if amounts:
            made["consumedCapacity"] = dict(amounts)
    for name in ("bindingConditions", "bindingFailureConditions"):
        if device.spec.get(name):
            made[name] = list(device.spec[name])
    return made


def _class_configs(chosen: Sequence[Wish]) -> list[dict[str, Any]]:
    """Each class's configuration once, for all requests that it is the class of."""
    made: list[dict[str, Any]] = []
    requests: dict[str, list[str]] = {}
    for wish in chosen:
        known = requests.get(name_of(wish.device_class))
        if known is not None:
            known.append(wish.name)
            continue
        names = requests[name_of(wish.device_class)] = [wish.name]
        for config in (wish.device_class.get("spec") or {}).get("config") or ():
            made.append({"source": "FromClass", "requests": names, **config})
    return [{**config, "requests": list(config["requests"])} for config in made]


def _claim_configs(claim: Object, chosen: Sequence[Wish]) -> list[dict[str, Any]]:
    made = []
    for config in ((claim.get("spec") or {}).get("devices") or {}).get("config") or ():
        names = config.get("requests") or []
        found = {"source": "FromClaim", **config}
        if not names:
            made.append(found)
            continue
        for request, wish in zip(requests_of(claim), chosen):
            if request["name"] in names or wish.name in names:
                made.append(found)
    return made


def node_selector(devices: Sequence[Device]) -> dict[str, Any] | None:
    """Where the devices are all to be had; None: everywhere."""
    fields: list[Mapping[str, Any]] = []
    labels: list[Mapping[str, Any]] = []
    for device in devices:
        place = device.spec if device.slice.get("perDeviceNodeSelection") else device.slice
        if place.get("nodeName"):
            only = {"key": "metadata.name", "operator": "In", "values": [place["nodeName"]]}
            return {"nodeSelectorTerms": [{"matchFields": [only]}]}
        for term in ((place.get("nodeSelector") or {}).get("nodeSelectorTerms") or ())[:1]:
            _add_new(fields, term.get("matchFields") or ())
            _add_new(labels, term.get("matchExpressions") or ())
    if not fields and not labels:
        return None
    term = ({"matchExpressions": labels} if labels else {}) | ({"matchFields": fields} if fields else {})
    return {"nodeSelectorTerms": [term]}


def _add_new(to: list[Mapping[str, Any]], requirements: Sequence[Mapping[str, Any]]) -> None:
    for item in requirements:
        key = (item["key"], item["operator"], set(item.get("values") or ()))
        if not any((o["key"], o["operator"], set(o.get("values") or ())) == key for o in to):
            to.append(item)
