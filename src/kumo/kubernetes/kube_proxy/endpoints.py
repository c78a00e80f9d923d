"""Which endpoints a Service port uses as seen from one node: readiness, termination, topology. No I/O.

Source: the EndpointSlice API (discovery.k8s.io/v1) and upstream's documented behaviour for terminating endpoints,
traffic policies and topology hints (`trafficDistribution`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, NamedTuple

from kumo.api.objects import Object


class Endpoint(NamedTuple):
    """Where a connection is led to."""

    address: str
    port: int


class Place(NamedTuple):
    """Where the proxy is: its node's name and zone (empty without one)."""

    node: str
    zone: str = ""


@dataclass(frozen=True, slots=True)
class Known:
    """An endpoint with its conditions: a condition that a slice leaves out counts as upstream counts it."""

    target: Endpoint
    ready: bool
    ending: bool
    """It terminates, and still serves."""
    node: str
    zones: frozenset[str] = frozenset()
    nodes: frozenset[str] = frozenset()


class Usable(NamedTuple):
    """What each traffic policy may use; `anywhere` says whether anybody in the cluster could answer."""

    cluster: tuple[Endpoint, ...] = ()
    local: tuple[Endpoint, ...] = ()
    anywhere: bool = False


def known(slices: Iterable[Object], kind: str, port_name: str, protocol: str) -> list[Known]:
    """The endpoints of one Service port (`protocol` in lower case) in the slices of one address type."""
    found: dict[Endpoint, Known] = {}
    for piece in slices:
        if piece.get("addressType") != kind:
            continue
        numbers = [
            int(p["port"])
            for p in piece.get("ports") or ()
            if (p.get("name") or "") == port_name
            and str(p.get("protocol") or "TCP").lower() == protocol
            and p.get("port")
        ]
        for endpoint in piece.get("endpoints") or ():
            for address in addresses_of(endpoint["addresses"], kind)[:1]:  # the others are not for proxies
                for number in numbers:
                    target = Endpoint(address, number)
                    # While a pod moves from slice to slice it may be in both: who is ready counts.
                    if target not in found or not found[target].ready:
                        found[target] = _known(target, endpoint)
    return list(found.values())


def _known(target: Endpoint, endpoint: dict[str, Any]) -> Known:
    conditions, hints = endpoint.get("conditions") or {}, endpoint.get("hints") or {}
    ready = conditions.get("ready") is not False
    serving = ready if conditions.get("serving") is None else bool(conditions["serving"])
    return Known(
        target,
        ready,
        serving and bool(conditions.get("terminating")),
        endpoint.get("nodeName") or "",
        frozenset(z.get("name", "") for z in hints.get("forZones") or ()),
        frozenset(n.get("name", "") for n in hints.get("forNodes") or ()),
    )


def addresses_of(texts: Iterable[str], kind: str) -> list[str]:
    """Those of the texts that are addresses of the kind, in their usual form, each once."""
    found = []
    for text in texts:
        try:
            address = ip_address(text)
        except ValueError:
            continue
        if (address.version == 4) == (kind == "IPv4"):
            found.append(str(address))
    return list(dict.fromkeys(found))


def usable(endpoints: Sequence[Known], place: Place) -> Usable:
    """Ready endpoints, near ones if hints say so; where none is ready, those that still serve while they terminate."""
    ready = [e for e in endpoints if e.ready]
    near = _near(ready, place)
    cluster = near or [e for e in endpoints if e.ending]
    here = [e for e in endpoints if e.node == place.node]
    local = [e for e in here if e.ready] or [e for e in here if e.ending]
    return Usable(_sorted(cluster), _sorted(local), bool(cluster or local))


def _near(ready: list[Known], place: Place) -> list[Known]:
    """Hints count only if every ready endpoint has one, and one of them is for us."""
    if ready and all(e.nodes for e in ready):
        own = [e for e in ready if place.node in e.nodes]
        if own:
            return own
    if ready and all(e.zones for e in ready):
        own = [e for e in ready if place.zone in e.zones]
        if own:
            return own
    return ready


def _sorted(endpoints: Iterable[Known]) -> tuple[Endpoint, ...]:
    return tuple(sorted(e.target for e in endpoints))
