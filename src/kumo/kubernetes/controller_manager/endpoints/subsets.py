"""Packs endpoints into the subsets of an Endpoints object: addresses that share their ports stand together. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kumo.api.objects import Object, labels_of, name_of, namespace_of
from kumo.kubernetes.controller_manager.endpoints.addresses import Endpoint, Port, is_headless
from kumo.kubernetes.controller_manager.endpoints.slices import HEADLESS, as_ports

MANAGED_BY = "endpoints.kubernetes.io/managed-by"
MANAGER = "endpoint-controller"
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
CAPACITY = 1000


def subsets(found: Sequence[Endpoint]) -> list[dict[str, Any]]:
    """The subsets; pods on their way out are in none, those not ready stand apart."""
    by_ports: dict[tuple[Port, ...], list[Endpoint]] = {}
    for endpoint in sorted(found, key=lambda e: (not e.ready, e.address))[:CAPACITY]:
        if endpoint.ready or not endpoint.terminating:
            by_ports.setdefault(endpoint.ports, []).append(endpoint)
    made = []
    for ports, group in sorted(by_ports.items()):
        ready = [_address(e) for e in group if e.ready]
        waiting = [_address(e) for e in group if not e.ready]
        listed = [{k: v for k, v in port.items() if v != ""} for port in as_ports(ports)]
        subset = {"addresses": ready, "notReadyAddresses": waiting, "ports": listed}
        made.append({k: v for k, v in subset.items() if v})
    return made


def _address(found: Endpoint) -> dict[str, Any]:
    namespace, name, uid = found.pod
    entry: dict[str, Any] = {"ip": found.address}
    entry |= {k: v for k, v in {"hostname": found.hostname, "nodeName": found.node}.items() if v}
    return {**entry, "targetRef": {"kind": "Pod", "namespace": namespace, "name": name, "uid": uid}}


def wanted(service: Object, found: Sequence[Endpoint], existing: Object | None) -> Object | None:
    """The service's Endpoints as they should be; None if the existing ones are right."""
    labels = {**labels_of(service), MANAGED_BY: MANAGER}
    labels.pop(HEADLESS, None)
    if is_headless(service):
        labels[HEADLESS] = ""
    packed = subsets(found)
    if existing is not None and (existing.get("subsets") or []) == packed and labels_of(existing) == labels:
        return None
    meta: dict[str, Any] = dict((existing or {}).get("metadata") or {})
    meta |= {"name": name_of(service), "namespace": namespace_of(service), "labels": labels}
    notes = {k: v for k, v in (meta.get("annotations") or {}).items() if k != OVER_CAPACITY}
    if len(found) > CAPACITY:
        notes[OVER_CAPACITY] = "truncated"
    if notes:
        meta["annotations"] = notes
    else:
        meta.pop("annotations", None)
    return {"apiVersion": "v1", "kind": "Endpoints", "metadata": meta, "subsets": packed}
