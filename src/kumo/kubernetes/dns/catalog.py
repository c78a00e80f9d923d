"""The objects that names are made of, found by what a question gives: names and addresses."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from kumo.api.objects import Key, Object, labels_of, namespace_of
from kumo.api.resources import ENDPOINTSLICES, NAMESPACES, SERVICES
from kumo.machinery.informer import Informers

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
_BY_SERVICE = "service"
_BY_ADDRESS = "address"


class Backend(NamedTuple):
    """A ready endpoint: its addresses, its host name in the Service's domain, and the ports of its slice."""

    service: Key
    hostname: str
    address: str
    ports: tuple[tuple[str, str, int], ...]
    """Name, protocol (lower case), number."""


class Catalog:
    """Services, their endpoints and namespaces, as the informers have them."""

    def __init__(self, informers: Informers) -> None:
        self._services = informers.informer(SERVICES)
        self._slices = informers.informer(ENDPOINTSLICES)
        self._namespaces = informers.informer(NAMESPACES)
        self._services.add_index(_BY_ADDRESS, cluster_addresses)
        self._slices.add_index(_BY_SERVICE, lambda o: [str(k)] if (k := service_of(o)) else [])
        self._slices.add_index(_BY_ADDRESS, lambda o: [a for e in o.get("endpoints") or () for a in e["addresses"]])

    @property
    def synced(self) -> bool:
        """Whether everything has been listed."""
        return self._services.synced and self._slices.synced and self._namespaces.synced

    async def wait_synced(self) -> None:
        """Return once everything has been listed."""
        for informer in (self._services, self._slices, self._namespaces):
            await informer.wait_synced()

    def has_namespace(self, name: str) -> bool:
        """Whether there is such a namespace."""
        return self._namespaces.get(name) is not None

    def service(self, key: Key) -> Object | None:
        """The Service, or None."""
        return self._services.get_key(key)

    def backends(self, key: Key) -> list[Backend]:
        """The Service's ready endpoints, each address once."""
        found = [b for piece in self._slices.by_index(_BY_SERVICE, str(key)) for b in backends_of(piece)]
        return list(dict.fromkeys(found))

    def services_at(self, address: str) -> list[Object]:
        """The Services with that cluster IP."""
        return self._services.by_index(_BY_ADDRESS, address)

    def backends_at(self, address: str) -> list[Backend]:
        """The endpoints with that address, of Services that still exist."""
        found = [b for piece in self._slices.by_index(_BY_ADDRESS, address) for b in backends_of(piece)]
        return [b for b in found if b.address == address and self.service(b.service) is not None]


def cluster_addresses(service: Object) -> list[str]:
    """The Service's cluster IPs; none for a headless one."""
    spec = service.get("spec") or {}
    addresses: list[Any] = spec.get("clusterIPs") or [spec.get("clusterIP")]
    return [a for a in addresses if a and a != "None"]


def service_of(piece: Object) -> Key | None:
    """The Service that an EndpointSlice belongs to."""
    name = labels_of(piece).get(SERVICE_NAME_LABEL)
    return Key(namespace_of(piece), name) if name else None


def backends_of(piece: Object) -> Iterable[Backend]:
    """The slice's ready endpoints; one without a host name is named by its address, as CoreDNS does."""
    service = service_of(piece)
    if service is None or piece.get("addressType") not in ("IPv4", "IPv6"):
        return
    ports = tuple(
        (str(p.get("name") or ""), str(p.get("protocol") or "TCP").lower(), int(p["port"]))
        for p in piece.get("ports") or ()
        if p.get("port")
    )
    for endpoint in piece.get("endpoints") or ():
        if (endpoint.get("conditions") or {}).get("ready") is False:
            continue
        for address in endpoint["addresses"]:
            hostname = str(endpoint.get("hostname") or address.replace(".", "-").replace(":", "-"))
            yield Backend(service, hostname, address, ports)
