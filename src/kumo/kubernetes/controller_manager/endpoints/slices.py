"""Packs endpoints into EndpointSlices with few writes: a slice that is right stays as it is. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from kumo.api.objects import Object, labels_of, name_of, namespace_of, owner_reference
from kumo.kubernetes.controller_manager.endpoints.addresses import Endpoint, Port, is_headless

SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
HEADLESS = "service.kubernetes.io/headless"
CAPACITY = 100
"""Endpoints a slice."""
_CLOSE = ("PreferClose", "PreferSameZone", "PreferSameNode")


@dataclass(slots=True)
class Changes:
    """Slices to create, to replace, and to delete."""

    create: list[Object] = field(default_factory=list)
    update: list[Object] = field(default_factory=list)
    delete: list[Object] = field(default_factory=list)


def slice_labels(service: Object) -> dict[str, str]:
    """The labels of a service's slices: the service's own, and those that say whose they are."""
    labels = dict(labels_of(service))
    labels.pop(HEADLESS, None)
    if is_headless(service):
        labels[HEADLESS] = ""
    return {**labels, SERVICE_NAME: name_of(service), MANAGED_BY: MANAGER}


def as_endpoint(found: Endpoint, hint: dict[str, Any] | None = None) -> dict[str, Any]:
    """An entry of a slice's `endpoints`; `hint` says for whom the endpoint is meant."""
    namespace, name, uid = found.pod
    entry: dict[str, Any] = {
        "addresses": [found.address],
        "conditions": {"ready": found.ready, "serving": found.serving, "terminating": found.terminating},
        "targetRef": {"kind": "Pod", "namespace": namespace, "name": name, "uid": uid},
    }
    optional = {
        "nodeName": found.node,
        "zone": found.zone,
        "hostname": found.hostname,
        "hints": hint,
    }
    return entry | {k: v for k, v in optional.items() if v}


def hints(found: Endpoint, distribution: str) -> dict[str, Any]:
    """For whom the endpoint is meant, by the service's `trafficDistribution` (upstream's package trafficdist)."""
    if distribution not in _CLOSE or not found.ready:
        return {}
    made: dict[str, Any] = {"forZones": [{"name": found.zone}]} if found.zone else {}
    if distribution == "PreferSameNode" and found.node:
        made["forNodes"] = [{"name": found.node}]
    return made


def as_ports(ports: Iterable[Port]) -> list[dict[str, Any]]:
    """A slice's `ports`."""
    return [
        {"name": port.name, "protocol": port.protocol, "port": port.port}
        | ({"appProtocol": port.app_protocol} if port.app_protocol else {})
        for port in ports
    ]


def changes(
    service: Object,
    family: str,
    found: Sequence[Endpoint],
    existing: Sequence[Object],
    zones: Mapping[str, str] | None = None,
) -> Changes:
    """What to write so that the existing slices of one family hold just these endpoints.

    Pods with different ports are in different slices. A service without endpoints keeps one empty slice. `zones` are
    the zones that endpoints are for, by uid, where the service's topology mode says so and not `trafficDistribution`.
    """
    by_ports: dict[tuple[Port, ...], list[Endpoint]] = {}
    for endpoint in found:
        by_ports.setdefault(endpoint.ports, []).append(endpoint)
    if not by_ports:
        by_ports[()] = []
    made = Changes()
    left = list(existing)
    for ports, group in sorted(by_ports.items()):
        wanted_ports = as_ports(ports)
        same = [s for s in left if _port_keys(s.get("ports")) == _port_keys(wanted_ports)]
        left = [s for s in left if s not in same]
        _pack(service, family, wanted_ports, group, same, made, _hints(service, group, zones))
    for spare in left:
        made.delete.append(spare)
    return made


def _port_keys(ports: list[dict[str, Any]] | None) -> list[tuple[Any, ...]]:
    return sorted(
        (p.get("name") or "", p.get("protocol"), p.get("port"), p.get("appProtocol") or "") for p in ports or ()
    )


def _hints(service: Object, group: Sequence[Endpoint], zones: Mapping[str, str] | None) -> dict[str, dict[str, Any]]:
    if zones is not None:
        return {e.pod[2]: {"forZones": [{"name": zones[e.pod[2]]}]} for e in group if e.pod[2] in zones}
    distribution = (service.get("spec") or {}).get("trafficDistribution") or ""
    return {e.pod[2]: hints(e, distribution) for e in group}


def zones_now(slices: Iterable[Object]) -> dict[str, str]:
    """The zone that each endpoint is meant for, by uid; those meant for none or several are not there."""
    found = {}
    for entry in (e for s in slices for e in s.get("endpoints") or ()):
        listed = (entry.get("hints") or {}).get("forZones") or []
        if len(listed) == 1:
            found[(entry.get("targetRef") or {}).get("uid") or ""] = listed[0]["name"]
    return found


def _pack(
    service: Object,
    family: str,
    ports: list[dict[str, Any]],
    group: list[Endpoint],
    existing: list[Object],
    made: Changes,
    meant: Mapping[str, dict[str, Any]],
) -> None:
    wanted = {e.pod[2]: as_endpoint(e, meant.get(e.pod[2])) for e in group}
    labels = slice_labels(service)
    kept: list[tuple[Object, list[dict[str, Any]]]] = []
    for found in existing:
        entries = [
            wanted.pop(uid)
            for e in found.get("endpoints") or ()
            if (uid := (e.get("targetRef") or {}).get("uid")) in wanted
        ]
        kept.append((found, entries))
    rest = list(wanted.values())
    for _, entries in kept:
        while rest and len(entries) < CAPACITY:
            entries.append(rest.pop())
    fresh = [rest[i : i + CAPACITY] for i in range(0, len(rest), CAPACITY)]
    survivors = [k for k in kept if k[1]] or (kept[:1] if not fresh else [])
    made.delete += [found for found, entries in kept if not any(found is s for s, _ in survivors)]
    for found, entries in survivors:
        if _sorted(found.get("endpoints")) != _sorted(entries) or labels_of(found) != labels:
            changed = deepcopy(found)
            changed["metadata"]["labels"] = labels
            changed["endpoints"], changed["ports"] = entries, ports
            made.update.append(changed)
    if not survivors and not fresh:
        fresh = [[]]
    made.create += [_new(service, family, ports, entries, labels) for entries in fresh]


def _sorted(entries: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    return sorted(entries or (), key=lambda e: (e.get("targetRef") or {}).get("uid") or "")


def _new(
    service: Object, family: str, ports: list[dict[str, Any]], entries: list[dict[str, Any]], labels: dict[str, str]
) -> Object:
    owner = {"apiVersion": "v1", "kind": "Service", "metadata": service["metadata"]}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "generateName": f"{name_of(service)}-",
            "namespace": namespace_of(service),
            "labels": labels,
            "ownerReferences": [owner_reference(owner)],
        },
        "addressType": family,
        "endpoints": entries,
        "ports": ports,
    }
