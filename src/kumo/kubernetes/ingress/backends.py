"""Which servers answer for a Service's port, and in which of haproxy's slots each of them is. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from kumo.api.objects import Object
from kumo.kubernetes.ingress.routes import Target

_FEWEST_SLOTS = 8
_SPOKEN = {"https": "https", "HTTPS": "https", "kubernetes.io/h2c": "h2c", "kubernetes.io/wss": "https"}


@dataclass(frozen=True, slots=True, order=True)
class Server:
    """One endpoint; a draining one finishes what it has and gets nothing new."""

    address: str
    port: int
    draining: bool = False


Slots = tuple[Server | None, ...]


@dataclass(frozen=True, slots=True)
class Backend:
    """A Service's port: what is spoken to it (`http`, `https`, `h2c`, `h2`) and its servers, each in its slot.

    `host` is the name behind an ExternalName Service, which servers with TLS are told.
    """

    protocol: str
    slots: Slots
    host: str = ""


def port_of(service: Object, target: Target) -> Object | None:
    """The Service's port that the target names or numbers."""
    for port in service["spec"].get("ports") or ():
        if target.port in (port.get("name"), str(port.get("port"))):
            found: Object = port
            return found
    return None


def protocol(port: Object) -> str:
    """What is spoken to the port, by its `appProtocol`."""
    return _SPOKEN.get(str(port.get("appProtocol") or ""), "http")


def servers(port: Object, slices: Iterable[Object]) -> tuple[Server, ...]:
    """The endpoints that are ready; if none is, those that still serve while they end, as kube-proxy does it."""
    ready: set[Server] = set()
    ending: set[Server] = set()
    for address, number, conditions in _endpoints(port, slices):
        if conditions.get("ready", True) is not False and not conditions.get("terminating"):
            ready.add(Server(address, number))
        elif conditions.get("serving") and conditions.get("terminating"):
            ending.add(Server(address, number, draining=True))
    if not ready:
        return tuple(sorted(Server(s.address, s.port) for s in ending))
    return tuple(sorted(ready | ending))


def _endpoints(port: Object, slices: Iterable[Object]) -> Iterator[tuple[str, int, dict[str, Any]]]:
    for piece in slices:
        if piece.get("addressType") not in ("IPv4", "IPv6"):
            continue
        for offered in piece.get("ports") or ():
            if (offered.get("name") or "") == (port.get("name") or "") and offered.get("port"):
                for endpoint in piece.get("endpoints") or ():
                    conditions = endpoint.get("conditions") or {}
                    for address in endpoint.get("addresses") or ():
                        yield address, int(offered["port"]), conditions


def place(slots: Slots, wanted: Sequence[Server]) -> Slots:
    """The servers in slots, each where it was; more slots than there were only when these do not suffice."""
    places = {(s.address, s.port): s for s in wanted}
    kept: list[Server | None] = [places.pop((s.address, s.port), None) if s is not None else None for s in slots]
    size = max(len(slots), _FEWEST_SLOTS)
    while size < len(wanted):
        size *= 2
    kept += [None] * (size - len(kept))
    free = (i for i, s in enumerate(kept) if s is None)
    for server, index in zip(places.values(), list(free), strict=False):
        kept[index] = server
    return tuple(kept)


def commands(title: str, before: Slots, after: Slots) -> list[str]:
    """What haproxy's runtime API is told to get from the one to the other. Both have equally many slots.

    Who comes is told first: at no moment in between there is nobody to answer.
    """
    come: list[str] = []
    go: list[str] = []
    for number, (old, new) in enumerate(zip(before, after, strict=True)):
        name = f"{title}/s{number}"
        if old == new:
            continue
        if new is None:
            go.append(f"set server {name} state maint")
            continue
        if old is None or (old.address, old.port) != (new.address, new.port):
            come.append(f"set server {name} addr {new.address} port {new.port}")
        if new.draining:
            go.append(f"set server {name} state drain")
        else:
            come.append(f"set server {name} state ready")
    return come + go
