"""Which addresses and ports are held, by services and by IPAddress objects: counted once, then followed."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from kumo.api.objects import Object
from kumo.api.resources import SERVICES
from kumo.kubernetes.apiserver.addresses.objects import ADDRESSES, addresses_of
from kumo.kubernetes.apiserver.attributes import Reader


class Held(NamedTuple):
    """What one object holds: addresses (version, number) and ports."""

    addresses: tuple[tuple[int, int], ...] = ()
    ports: tuple[int, ...] = ()


_NOTHING = Held()


def held_by(service: Object) -> Held:
    """What the service holds."""
    return Held(tuple(map(_number, addresses_of(service))), tuple(ports_of(service.get("spec") or {})))


def ports_of(spec: dict[str, Any]) -> Iterator[int]:
    """The node ports of a service, that for health checks among them."""
    for port in spec.get("ports") or ():
        if port.get("nodePort"):
            yield port["nodePort"]
    if spec.get("healthCheckNodePort"):
        yield spec["healthCheckNodePort"]


def _number(address: str) -> tuple[int, int]:
    parsed = ipaddress.ip_address(address)
    return parsed.version, int(parsed)


class Holdings:
    """All that is held. `stored` is told what a service holds each time that one is stored."""

    def __init__(self, reader: Reader, stored: Callable[[Held], None]) -> None:
        self._reader = reader
        self._stored = stored
        self._by_service: dict[tuple[str, str], Held] = {}
        self._by_object: dict[str, tuple[int, int]] = {}
        self._loaded = False
        self.ports: Counter[int] = Counter()
        self.addresses: dict[int, Counter[int]] = {4: Counter(), 6: Counter()}
        """The numbers of the addresses by the protocol's version."""
        reader.listen(SERVICES, self._service_changed)
        reader.listen(ADDRESSES, self._address_changed)

    def load(self) -> None:
        """Count, once; afterwards changes are followed."""
        if self._loaded:
            return
        self._loaded = True
        for service in self._reader.objects(SERVICES):
            meta = service["metadata"]
            self._set((meta.get("namespace") or "", meta["name"]), held_by(service))
        for address in self._reader.objects(ADDRESSES):
            self._address_changed("", address["metadata"]["name"])

    def _service_changed(self, namespace: str, name: str) -> None:
        if not self._loaded:
            return
        service = self._reader.get(SERVICES, name, namespace)
        held = held_by(service) if service is not None else _NOTHING
        self._set((namespace, name), held)
        if service is not None:
            self._stored(held)

    def _set(self, key: tuple[str, str], held: Held) -> None:
        before = self._by_service.pop(key, _NOTHING)
        if held != _NOTHING:
            self._by_service[key] = held
        for version, number in held.addresses:
            self.addresses[version][number] += 1
        for port in held.ports:
            self.ports[port] += 1
        for version, number in before.addresses:
            _release(self.addresses[version], number)
        for port in before.ports:
            _release(self.ports, port)

    def _address_changed(self, _: str, name: str) -> None:
        if not self._loaded:
            return
        there = self._reader.get(ADDRESSES, name) is not None
        if there == (name in self._by_object):
            return
        if there:
            version, number = self._by_object[name] = _number(name)
            self.addresses[version][number] += 1
        else:
            version, number = self._by_object.pop(name)
            _release(self.addresses[version], number)


def _release(held: Counter[int], number: int) -> None:
    held[number] -= 1
    if held[number] <= 0:
        del held[number]
