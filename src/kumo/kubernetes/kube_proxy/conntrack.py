"""Forgetting UDP flows that lead to endpoints which are gone.

A client that keeps sending from one port (a resolver, say) would be led to the dead endpoint for as long as the
connection-tracking entry lives. TCP needs nothing of the kind: a dead peer's connection breaks and a new one is looked
up anew.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pyroute2.netlink.nfnetlink.nfctsocket import NFCTAttrTuple, NFCTSocket

from kumo.api.objects import Key
from kumo.kubernetes.kube_proxy.services import ServicePort


class Flow(NamedTuple):
    """Where a client sent to, and who was made to answer; `node_port` flows may have been sent to any address."""

    address: str
    port: int
    endpoint: str


def stale_flows(
    before: Mapping[Key, list[ServicePort]], after: Mapping[Key, list[ServicePort]]
) -> tuple[set[Flow], set[tuple[str, int]]]:
    """Flows to endpoints that are gone, and service addresses that had no endpoint and have one now. UDP only.

    Flows to the latter were sent nowhere, and would be for as long as their entries are renewed.
    """
    old, new = _flows(before), _flows(after)
    covered = {(f.address, f.port) for f in old}
    woken = {(f.address, f.port) for f in new} - covered
    return old - new, woken


def _flows(services: Mapping[Key, list[ServicePort]]) -> set[Flow]:
    found = set()
    for ports in services.values():
        for port in ports:
            if port.protocol != "udp":
                continue
            targets = [(a, port.port) for a in (*port.cluster_addresses, *port.external_addresses)]
            if port.node_port:
                targets.append(("", port.node_port))
            endpoints = {e.address for e in (*port.endpoints, *port.external_endpoints)}
            found |= {Flow(address, number, e) for address, number in targets for e in endpoints}
    return found


def forget(flows: Iterable[Flow], woken: Iterable[tuple[str, int]]) -> int:
    """Delete the entries of those flows; how many there were. Blocks; raises OSError when the kernel can't."""
    gone, fresh = set(flows), set(woken)
    if not gone and not fresh:
        return 0
    count = 0
    tracker: Any = NFCTSocket()
    try:
        wanted = NFCTAttrTuple(proto=socket.IPPROTO_UDP)
        for entry in list(tracker.dump(tuple_orig=wanted)):
            original = _tuple(entry, "CTA_TUPLE_ORIG")
            reply = _tuple(entry, "CTA_TUPLE_REPLY")
            if original is None or reply is None:
                continue
            target, port = original.daddr, original.dport
            led = any(Flow(a, port, reply.saddr) in gone for a in (target, ""))
            if led or (target, port) in fresh or ("", port) in fresh:
                count += _delete(tracker, original)
    finally:
        tracker.close()
    return count


def _tuple(entry: Any, name: str) -> Any:
    found = entry.get_attr(name)
    return NFCTAttrTuple.from_netlink(socket.AF_INET, found) if found is not None else None


def _delete(tracker: Any, original: Any) -> int:
    try:
        tracker.entry("del", tuple_orig=original)
    except Exception as error:  # pyroute2 raises its own errors; an entry may have ended meanwhile
        if getattr(error, "code", None) == 2:
            return 0
        raise OSError(getattr(error, "code", 5), str(error)) from error
    return 1
