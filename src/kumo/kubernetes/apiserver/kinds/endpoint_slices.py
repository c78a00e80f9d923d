"""EndpointSlices (discovery.k8s.io/v1): defaults, validation, warnings (`pkg/apis/discovery`)."""

from __future__ import annotations

from typing import Any

from kumo.api import fields, names
from kumo.api.errors import Cause
from kumo.api.objects import Object, labels_of
from kumo.api.resources import GVK
from kumo.kubernetes.apiserver.kinds.checks import set_default
from kumo.kubernetes.apiserver.kinds.endpoint_addresses import check_endpoint_address
from kumo.kubernetes.apiserver.kinds.metadata import validate_labels
from kumo.kubernetes.apiserver.kinds.rules import Rules

_TYPES = ("FQDN", "IPv4", "IPv6")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_MOST_ADDRESSES = 100
_MOST_PORTS = 20000
_MOST_ENDPOINTS = 1000
_MOST_HINTS = 8
_MOST_TOPOLOGY = 16
_HOSTNAME = "kubernetes.io/hostname"
_MANAGER = "endpointslice.kubernetes.io/managed-by"
_OWN = ("endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io")


def _default(obj: Object) -> None:
    for port in obj.get("ports") or ():
        set_default(port, name="", protocol="TCP")


def _create(obj: Object) -> None:
    for endpoint in obj.get("endpoints") or ():
        endpoint.pop("deprecatedTopology", None)


def _update(new: Object, old: Object) -> None:
    """Topology is not written any longer; a node name that stood there becomes the node's name."""
    if (new.get("endpoints") or []) == (old.get("endpoints") or []):
        return
    known = {(e.get("deprecatedTopology") or {}).get(_HOSTNAME) for e in old.get("endpoints") or ()}
    for endpoint in new.get("endpoints") or ():
        node = (endpoint.pop("deprecatedTopology", None) or {}).get(_HOSTNAME)
        if endpoint.get("nodeName") is None and node and node in known and not names.check_subdomain(node):
            endpoint["nodeName"] = node


def _check_new(obj: Object) -> list[Cause]:
    return _check(obj) + _endpoints(obj)


def _check_update(new: Object, old: Object) -> list[Cause]:
    found = _check(new)
    if (new.get("endpoints") or []) != (old.get("endpoints") or []):
        found += _endpoints(new)
    fresh = new.get("addressType") or ""
    return found if fresh == old.get("addressType") else [*found, fields.immutable("addressType", fresh)]


def _check(obj: Object) -> list[Cause]:
    kind = obj.get("addressType") or ""
    if not kind:
        found = [fields.required("addressType")]
    else:
        found = [] if kind in _TYPES else [fields.unsupported("addressType", kind, _TYPES)]
    ports = obj.get("ports") or ()
    if len(ports) > _MOST_PORTS:
        return [*found, fields.too_many("ports", len(ports), _MOST_PORTS)]
    seen: set[str] = set()
    for index, port in enumerate(ports):
        found += _port(f"ports[{index}]", port, seen)
    return found


def _port(path: str, port: dict[str, Any], seen: set[str]) -> list[Cause]:
    name, protocol, above = port.get("name") or "", port.get("protocol"), port.get("appProtocol")
    found = fields.each(f"{path}.name", name, names.check_label(name) if name else ())
    if name in seen:
        found.append(fields.duplicate(f"{path}.name", name))
    seen.add(name)
    if protocol not in _PROTOCOLS:
        found.append(fields.unsupported(f"{path}.protocol", protocol, _PROTOCOLS))
    if above is not None:
        found += fields.each(f"{path}.appProtocol", above, names.check_qualified_name(above))
    return found


def _endpoints(obj: Object) -> list[Cause]:
    endpoints, kind = obj.get("endpoints") or (), obj.get("addressType") or ""
    if len(endpoints) > _MOST_ENDPOINTS:
        return [fields.too_many("endpoints", len(endpoints), _MOST_ENDPOINTS)]
    return [c for i, endpoint in enumerate(endpoints) for c in _endpoint(f"endpoints[{i}]", endpoint, kind)]


def _endpoint(path: str, endpoint: dict[str, Any], kind: str) -> list[Cause]:
    addresses, here = endpoint.get("addresses") or (), f"{path}.addresses"
    found: list[Cause] = []
    if not addresses:
        found.append(fields.required(here, "must contain at least 1 address"))
    elif len(addresses) > _MOST_ADDRESSES:
        found.append(fields.too_many(here, len(addresses), _MOST_ADDRESSES))
    for index, address in enumerate(addresses):
        found += _address(here, f"{here}[{index}]", address, kind)
    if (node := endpoint.get("nodeName")) is not None:
        found += fields.each(f"{path}.nodeName", node, names.check_subdomain(node))
    topology = endpoint.get("deprecatedTopology") or {}
    if len(topology) > _MOST_TOPOLOGY:
        found.append(fields.too_many(f"{path}.deprecatedTopology", len(topology), _MOST_TOPOLOGY))
    found += validate_labels(f"{path}.deprecatedTopology", topology)
    if (host := endpoint.get("hostname")) is not None:
        found += fields.each(f"{path}.hostname", host, names.check_label(host))
    hints = endpoint.get("hints") or {}
    zones = _hints(f"{path}.hints.forZones", hints.get("forZones") or (), zone=True)
    if len(hints.get("forZones") or ()) > _MOST_HINTS:
        return found + zones
    return found + zones + _hints(f"{path}.hints.forNodes", hints.get("forNodes") or (), zone=False)


def _address(all_of_them: str, path: str, address: str, kind: str) -> list[Cause]:
    if kind == "FQDN":
        return _full_name(path, address)
    if kind not in ("IPv4", "IPv6"):
        return []
    parsed = names.sloppy_ip(address)
    wrong = names.check_ip(address)
    if kind == "IPv6" and not wrong and str(parsed) != address:
        wrong = [f'must be in canonical form ("{parsed}")']
    if wrong or parsed is None:
        return fields.each(path, address, wrong)
    found = []
    if f"IPv{parsed.version}" != kind:
        found.append(fields.invalid(all_of_them, address, f"must be an {kind} address"))
    return found + check_endpoint_address(path, address)


def _full_name(path: str, name: str) -> list[Cause]:
    if not name:
        return [fields.required(path)]
    name = name.removesuffix(".")
    if wrong := names.check_subdomain(name):
        return [fields.invalid(path, name, ",".join(wrong))]
    if "." not in name:
        return [fields.invalid(path, name, "should be a domain with at least two segments separated by dots")]
    for label in name.split("."):
        if wrong := names.check_label(label):
            return [fields.invalid(path, label, ",".join(wrong))]
    return []


def _hints(path: str, hints: Any, *, zone: bool) -> list[Cause]:
    if len(hints) > _MOST_HINTS:
        return [fields.too_many(path, len(hints), _MOST_HINTS)]
    check = names.check_label_value if zone else names.check_subdomain
    found: list[Cause] = []
    seen: set[str] = set()
    for index, hint in enumerate(hints):
        here, name = f"{path}[{index}].name", hint.get("name") or ""
        found += [fields.duplicate(here, name)] if name in seen else []
        seen.add(name)
        found += fields.each(here, name, check(name))
    return found


def _warn(new: Object, old: Object | None) -> list[str]:
    told = []
    if old is None and new.get("addressType") == "FQDN":
        told.append("spec.addressType: FQDN endpoints are deprecated")
    if labels_of(new).get(_MANAGER) in _OWN:
        return told
    for index, endpoint in enumerate(new.get("endpoints") or ()):
        for number, address in enumerate(endpoint.get("addresses") or ()):
            if text := names.ip_warning(address):
                told.append(f"endpoints[{index}].addresses[{number}]: {text}")
    return told


def rules() -> dict[GVK, Rules]:
    """The rules of the kind in this module."""
    return {
        GVK("discovery.k8s.io", "v1", "EndpointSlice"): Rules(
            default=_default,
            on_create=_create,
            on_update=_update,
            validate_create=_check_new,
            check_update=_check_update,
            warn=_warn,
            revalidates="only",
            has_generation=True,
            counts_labels=True,
        )
    }
