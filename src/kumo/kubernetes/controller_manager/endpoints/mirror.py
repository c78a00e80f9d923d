"""Turns Endpoints that somebody wrote by hand into EndpointSlices, an address family and set of ports each. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

from kumo.api.objects import Object, annotations_of, labels_of, name_of, namespace_of, owner_reference
from kumo.kubernetes.controller_manager.endpoints.slices import MANAGED_BY, SERVICE_NAME, Changes

MANAGER = "endpointslicemirroring-controller.k8s.io"
SKIP = "endpointslice.kubernetes.io/skip-mirror"
LEADER = "control-plane.alpha.kubernetes.io/leader"
CAPACITY = 1000
"""Addresses a subset that are mirrored."""
_UNMIRRORED = ("endpoints.kubernetes.io/last-change-trigger-time", "kubectl.kubernetes.io/last-applied-configuration")
_NO_PORT = ("", "", -1, None)
_Ports = tuple[tuple[str, str, int, str | None], ...]
_Key = tuple[str, _Ports]


def is_mirrored(endpoints: Object) -> bool:
    """Whether the Endpoints are to be mirrored, if their service has no selector."""
    return labels_of(endpoints).get(SKIP) != "true" and LEADER not in annotations_of(endpoints)


def wanted(endpoints: Object) -> tuple[dict[_Key, list[dict[str, Any]]], int, int]:
    """Endpoints of slices by family and ports; how many addresses are invalid, how many were too many."""
    found: dict[_Key, list[dict[str, Any]]] = {}
    invalid = spare = 0
    for ports, addresses in _repacked(endpoints.get("subsets") or ()).items():
        taken = 0
        for address, ready in addresses:
            try:
                ip = ipaddress.ip_address(str(address.get("ip")))
            except ValueError:
                invalid += 1
                continue
            if taken == CAPACITY:
                spare += 1
                continue
            taken += 1
            found.setdefault((f"IPv{ip.version}", ports), []).append(_entry(str(ip), address, ready=ready))
    return found, invalid, spare


def _repacked(subsets: Sequence[Mapping[str, Any]]) -> dict[_Ports, list[tuple[Mapping[str, Any], bool]]]:
    """Addresses by all the ports that they have in any subset; one that is ready and not is not."""
    seen: dict[tuple[str, str], tuple[Mapping[str, Any], dict[tuple[str, str, int, str | None], bool]]] = {}
    for subset in subsets:
        listed = [_port(p) for p in subset.get("ports") or ()] or [_NO_PORT]
        for name, ready in (("addresses", True), ("notReadyAddresses", False)):
            for address in subset.get(name) or ():
                key = (str(address.get("ip")), str((address.get("targetRef") or {}).get("uid") or ""))
                _, ports = seen.setdefault(key, (address, {}))
                for port in listed:
                    ports[port] = ports.get(port, True) and ready
    packed: dict[_Ports, list[tuple[Mapping[str, Any], bool]]] = {}
    for address, ports in seen.values():
        for ready in (True, False):
            group: _Ports = tuple(sorted((p for p, r in ports.items() if r == ready), key=str))
            if group:
                named: _Ports = () if group == (_NO_PORT,) else group
                packed.setdefault(named, []).append((address, ready))
    return packed


def _port(port: Mapping[str, Any]) -> tuple[str, str, int, str | None]:
    return (port.get("name") or "", port.get("protocol") or "TCP", int(port["port"]), port.get("appProtocol"))


def _entry(ip: str, address: Mapping[str, Any], *, ready: bool) -> dict[str, Any]:
    optional = {k: address.get(k) for k in ("targetRef", "nodeName", "hostname")}
    return {"addresses": [ip], "conditions": {"ready": ready}} | {k: v for k, v in optional.items() if v}


def _as_ports(ports: _Ports) -> list[dict[str, Any]]:
    made = [{"name": name, "protocol": protocol, "port": number} for name, protocol, number, _ in ports]
    return [m | ({"appProtocol": p[3]} if p[3] else {}) for m, p in zip(made, ports)]


def changes(endpoints: Object, found: Mapping[_Key, list[dict[str, Any]]], existing: Sequence[Object]) -> Changes:
    """What to write so that the mirrored slices hold just these: one slice a family and set of ports."""
    made = Changes()
    by_key: dict[_Key, list[Object]] = {}
    for old in existing:
        ports: _Ports = tuple(sorted((_port(p) for p in old.get("ports") or ()), key=str))
        by_key.setdefault((str(old.get("addressType")), ports), []).append(old)
    fresh: list[Object] = []
    for key, entries in found.items():
        same = by_key.pop(key, [])
        made.delete += same[1:]
        new = _slice(endpoints, key, entries)
        if not same:
            fresh.append(new)
        elif not _is_right(same[0], new):
            made.update.append(_over(same[0], new))
    made.delete += [old for group in by_key.values() for old in group]
    for new in fresh:
        spare = next((d for d in made.delete if d.get("addressType") == new["addressType"]), None)
        if spare is None:
            made.create.append(new)
        else:
            made.delete.remove(spare)
            made.update.append(_over(spare, new))
    return made


def _slice(endpoints: Object, key: _Key, entries: list[dict[str, Any]]) -> Object:
    owner = {"apiVersion": "v1", "kind": "Endpoints", "metadata": endpoints["metadata"]}
    meta: dict[str, Any] = {
        "generateName": f"{name_of(endpoints)}-",
        "namespace": namespace_of(endpoints),
        "labels": {**labels_of(endpoints), SERVICE_NAME: name_of(endpoints), MANAGED_BY: MANAGER},
        "ownerReferences": [owner_reference(owner)],
    }
    notes = {k: v for k, v in annotations_of(endpoints).items() if k not in _UNMIRRORED}
    if notes:
        meta["annotations"] = notes
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": meta,
        "addressType": key[0],
        "endpoints": entries,
        "ports": _as_ports(key[1]),
    }


def _is_right(old: Object, new: Object) -> bool:
    def of(obj: Object) -> tuple[Any, ...]:
        meta = obj["metadata"]
        owners = [o.get("uid") for o in meta.get("ownerReferences") or ()]
        entries = sorted(map(repr, map(_comparable, obj.get("endpoints") or ())))
        return entries, labels_of(obj), annotations_of(obj), owners

    return of(old) == of(new)


def _comparable(entry: Mapping[str, Any]) -> list[tuple[str, Any]]:
    ref = {k: v for k, v in (entry.get("targetRef") or {}).items() if k != "resourceVersion"}
    conditions = {"ready": (entry.get("conditions") or {}).get("ready")}
    made = {**entry, "targetRef": sorted(ref.items()), "conditions": conditions}
    return sorted((k, v) for k, v in made.items() if v)


def _over(old: Object, new: Object) -> Object:
    """The new slice in the place of an old one."""
    meta = {k: v for k, v in new["metadata"].items() if k != "generateName"}
    return {**new, "metadata": {**meta, "name": name_of(old), "resourceVersion": old["metadata"]["resourceVersion"]}}
