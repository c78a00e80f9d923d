"""Cluster addresses and node ports of services: given at creation, kept for life, free again after deletion."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from kumo.kubernetes.apiserver.admission.refusals import object_name
from kumo.kubernetes.apiserver.admission.service_addresses import AddressAllocator
from kumo.kubernetes.apiserver.admission.service_holdings import Held, Holdings
from kumo.kubernetes.apiserver.admission.service_metrics import AllocationCounts
from kumo.kubernetes.apiserver.admission.service_ports import PortAllocator
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes, Reader

_TIDY = 1024


class ServiceAllocator:
    """Fills `clusterIP(s)`, `ipFamilies`, `ipFamilyPolicy` and `nodePort`s of services from the ranges of the cluster.

    `cidr` is a range, or two of different families with a comma between; the first is the default. `ports` is the first
    and the last node port.
    """

    def __init__(self, reader: Reader, cidr: str, ports: tuple[int, int] = (30000, 32767)) -> None:
        self._holdings = Holdings(reader, self._stored)
        self._counts = AllocationCounts()
        self._addresses = AddressAllocator(reader, cidr.split(","), self._holdings, self._counts)
        self._ports = PortAllocator(ports, self._holdings.ports, self._counts)
        self._count = 0

    def mutate(self, attrs: AdmissionAttributes) -> None:
        """Give the service what it lacks. Raises 422 for an address or port that is taken or out of range.

        A dry run is shown addresses and ports that nobody has, and keeps nothing.
        """
        service = attrs.object
        if attrs.subresource or service is None or attrs.operation not in ("CREATE", "UPDATE"):
            return
        self._holdings.load()
        self._addresses.refresh()
        spec: dict[str, Any] = service.setdefault("spec", {})
        old: dict[str, Any] = {}
        if attrs.operation == "UPDATE" and attrs.old_object is not None:
            old = attrs.old_object.get("spec") or {}
        undo: list[Callable[[], None]] = []
        name, dry = object_name(attrs), attrs.dry_run
        try:
            self._addresses.give(name, spec, old, undo, dry=dry)
            self._ports.give(name, spec, old, undo, dry=dry)
        except BaseException:
            _all(undo)
            raise
        attrs.undo = tuple(undo)
        self._count += 1
        if self._count % _TIDY == 0:
            self._ports.pool.tidy()
            self._addresses.tidy()

    def abandon(self, attrs: AdmissionAttributes) -> None:
        """The write did not happen: what it was given is free at once (else after a minute)."""
        _all(attrs.undo)
        attrs.undo = ()

    def lines(self) -> list[str]:
        """What is given and left, for /metrics."""
        self._holdings.load()
        self._addresses.refresh()
        held, pool = len(self._holdings.ports), self._ports.pool
        return self._counts.lines(self._addresses.usage(), (held, pool.last - pool.first + 1 - held))

    def _stored(self, held: Held) -> None:
        self._ports.stored(held.ports)
        self._addresses.stored(held.addresses)


def _all(undo: Iterable[Callable[[], None]]) -> None:
    for release in undo:
        release()
