"""The objects that a kube-proxy looks at, and what they mean for this node."""

from __future__ import annotations

from collections.abc import Callable

from kumo.api.objects import Key, Object, key_of, labels_of, namespace_of
from kumo.api.resources import ENDPOINTSLICES, NODES, SERVICES
from kumo.kubernetes.kube_proxy import announcement
from kumo.kubernetes.kube_proxy.config import Family, KubeProxyConfig
from kumo.kubernetes.kube_proxy.endpoints import Place
from kumo.kubernetes.kube_proxy.services import (
    SERVICE_NAME_LABEL,
    ServicePort,
    health_port,
    is_left_out,
    local_count,
    service_ports,
)
from kumo.machinery.informer import Informers

_INDEX = "service"
_ZONE = "topology.kubernetes.io/zone"


class World:
    """Services, EndpointSlices and Nodes as the informers have them.

    `changed(key, slice)` is called when a Service (or a slice of it) changes, `moved()` when this node or the set of
    nodes is not what it was.
    """

    def __init__(
        self,
        config: KubeProxyConfig,
        informers: Informers,
        changed: Callable[[Key, bool], None],
        moved: Callable[[], None],
    ) -> None:
        self._config = config
        self._services = informers.informer(SERVICES)
        self._slices = informers.informer(ENDPOINTSLICES)
        self._nodes = informers.informer(NODES)
        self._slices.add_index(_INDEX, lambda o: [str(k)] if (k := _service_of(o)) and not is_left_out(o) else [])
        self._changed = changed
        self._moved = moved
        self._seen: object = None
        self._services.on_change(self._service_changed)
        self._slices.on_change(self._slice_changed)
        self._nodes.on_change(self._node_changed)

    def _service_changed(self, old: Object | None, new: Object | None) -> None:
        obj = new or old
        if obj is not None:
            self._changed(key_of(obj), False)

    def _slice_changed(self, old: Object | None, new: Object | None) -> None:
        for key in {_service_of(o) for o in (old, new) if o is not None}:
            if key is not None:
                self._changed(key, True)

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        if self._seen is not None and self._view() != self._seen:
            self._seen = self._view()
            self._moved()

    def _view(self) -> object:
        """What of the nodes decides about rules."""
        return self.place, self.own_addresses, tuple(self.candidates)

    async def wait_synced(self) -> None:
        """Return once everything has been listed."""
        for informer in (self._services, self._slices, self._nodes):
            await informer.wait_synced()
        self._seen = self._view()

    @property
    def node(self) -> Object | None:
        """This node."""
        return self._nodes.get(self._config.node_name)

    @property
    def place(self) -> Place:
        """Where we are."""
        return Place(self._config.node_name, labels_of(self.node or {}).get(_ZONE, ""))

    @property
    def own_addresses(self) -> tuple[str, ...]:
        """This node's internal addresses."""
        status = (self.node or {}).get("status") or {}
        return tuple(a["address"] for a in status.get("addresses") or () if a.get("type") == "InternalIP")

    @property
    def candidates(self) -> list[str]:
        """The nodes that may answer for load balancers."""
        return announcement.candidates(self._nodes.objects(), self._config.node_name)

    def keys(self) -> set[Key]:
        """Every Service."""
        return {key_of(s) for s in self._services.objects()}

    def ports(self, key: Key, family: Family) -> list[ServicePort]:
        """What the Service wants in that family."""
        service = self._services.get_key(key)
        if service is None:
            return []
        return service_ports(service, self._slices.by_index(_INDEX, str(key)), self.place, family)

    def health(self, key: Key) -> tuple[int, int]:
        """The Service's health-check port (0 for none) and its count of local endpoints."""
        service = self._services.get_key(key)
        port = health_port(service) if service is not None else 0
        return port, local_count(self._slices.by_index(_INDEX, str(key)), self._config.node_name) if port else 0

    def announced(self, key: Key) -> set[str]:
        """The Service's balancer addresses that this node answers for."""
        service = self._services.get_key(key)
        if service is None or not announcement.is_owned(service):
            return set()
        pieces, nodes = self._slices.by_index(_INDEX, str(key)), self.candidates
        serving = {n: local_count(pieces, n) for n in nodes}
        return announcement.addresses(service, serving, nodes, self._config.node_name)

    def service(self, key: Key) -> Object | None:
        """The Service."""
        return self._services.get_key(key)


def _service_of(piece: Object) -> Key | None:
    name = labels_of(piece).get(SERVICE_NAME_LABEL)
    return Key(namespace_of(piece), name) if name else None
