"""Forgetting UDP flows that lead to endpoints which are gone, or nowhere.

A client that keeps sending from one port (a resolver, say) would be led to the dead endpoint for as long as the
connection-tracking entry lives. TCP needs nothing of the kind: a dead peer's connection breaks and a new one is looked
up anew.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pyroute2.netlink.nfnetlink.nfctsocket import NFCTAttrTuple, NFCTSocket

from kumo.kubernetes.kube_proxy.config import Family
from kumo.kubernetes.kube_proxy.endpoints import Endpoint
from kumo.kubernetes.kube_proxy.services import ServicePort


class Way(NamedTuple):
    """Where clients send to; the address is empty for a node port, which may be asked for at any of the node's."""

    address: str
    port: int


class Flow(NamedTuple):
    """An entry: where the client sent to, and who answers it."""

    address: str
    port: int
    answerer: Endpoint


Answerers = Mapping[Way, frozenset[Endpoint]]
"""Who may answer at each UDP way into the Services."""


def answerers(ports: Iterable[ServicePort]) -> dict[Way, frozenset[Endpoint]]:
    """Who may answer at the ports' UDP ways in."""
    found: dict[Way, frozenset[Endpoint]] = {}
    for port in ports:
        if port.protocol != "udp":
            continue
        # Pods reach external addresses by the whole cluster's endpoints, whatever the policy is.
        everybody = frozenset((*port.cluster, *port.outside))
        for address in port.cluster_addresses:
            found[Way(address, port.port)] = frozenset(port.inside)
        for address in (*port.external_addresses, *port.balanced):
            found[Way(address, port.port)] = everybody
        if port.node_port:
            found[Way("", port.node_port)] = everybody
    return found


def disturbed(before: Answerers, after: Answerers) -> dict[Way, frozenset[Endpoint]]:
    """The ways whose flows have to be looked at: somebody answers there no more, or somebody does where nobody did."""
    found = {}
    for way in {**before, **after}:
        then, now = before.get(way, frozenset()), after.get(way, frozenset())
        if then - now or (now and not then):
            found[way] = now
    return found


def is_stale(flow: Flow, wanted: Answerers, is_local: bool) -> bool:
    """Whether the flow came by one of the ways and is answered by nobody who may; `is_local`: it was sent to the node.

    A flow that is answered by the very address it was sent to was led nowhere.
    """
    allowed = wanted.get(Way(flow.address, flow.port))
    if allowed is None and (is_local or flow.answerer.address != flow.address):
        allowed = wanted.get(Way("", flow.port))
    return allowed is not None and flow.answerer not in allowed


def forget(wanted: Answerers, family: Family) -> int:
    """Delete the stale entries among the ways' flows; how many. Blocks; raises OSError when the kernel can't."""
    if not wanted:
        return 0
    count, kind = 0, socket.AF_INET if family.version == 4 else socket.AF_INET6
    ports = {way.port for way in wanted}
    local: dict[str, bool] = {}
    tracker: Any = NFCTSocket(nfgen_family=kind)
    try:
        for entry in list(tracker.dump(tuple_orig=NFCTAttrTuple(kind, proto=socket.IPPROTO_UDP))):
            if entry["nfgen_family"] != kind:
                continue
            original, reply = _tuple(entry, "CTA_TUPLE_ORIG", kind), _tuple(entry, "CTA_TUPLE_REPLY", kind)
            if original is None or reply is None or original.dport not in ports:
                continue
            address = original.daddr
            if address not in local:
                local[address] = _is_local(address, kind)
            if is_stale(Flow(address, original.dport, Endpoint(reply.saddr, reply.sport)), wanted, local[address]):
                count += _delete(tracker, original)
    finally:
        tracker.close()
    return count


def _is_local(address: str, kind: int) -> bool:
    with socket.socket(kind, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def _tuple(entry: Any, name: str, kind: int) -> Any:
    found = entry.get_attr(name)
    return NFCTAttrTuple.from_netlink(kind, found) if found is not None else None


def _delete(tracker: Any, original: Any) -> int:
    try:
        tracker.entry("del", tuple_orig=original)
    except Exception as error:  # pyroute2 raises its own errors; an entry may have ended meanwhile
        if getattr(error, "code", None) == 2:
            return 0
        raise OSError(getattr(error, "code", 5), str(error)) from error
    return 1
