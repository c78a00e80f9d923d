"""The shells: one controller for EndpointSlices, one for Endpoints, woken by the same changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kumo.api import conditions, selectors
from kumo.api.errors import StatusError, is_already_exists, is_not_found
from kumo.api.objects import Key, Object, is_deleting, key_of, labels_of, name_of, namespace_of, uid_of
from kumo.api.resources import ENDPOINTS, ENDPOINTSLICES, NODES, PODS, SERVICES
from kumo.kubernetes.controller_manager.endpoints import topology
from kumo.kubernetes.controller_manager.endpoints.addresses import ZONE, Endpoint, endpoints, families, on_lost_nodes
from kumo.kubernetes.controller_manager.endpoints.slices import (
    MANAGED_BY,
    MANAGER,
    SERVICE_NAME,
    Changes,
    changes,
    zones_now,
)
from kumo.kubernetes.controller_manager.endpoints.subsets import wanted
from kumo.kubernetes.controller_manager.endpoints.triggers import Triggers, note
from kumo.kubernetes.controller_manager.endpoints.writes import write_slices
from kumo.kubernetes.controller_manager.expectations import Expectations
from kumo.kubernetes.controller_manager.node_lifecycle.controller import NODE_INDEX, node_index
from kumo.kubernetes.controller_manager.refusals import is_namespace_ending
from kumo.machinery.client import Client
from kumo.machinery.controller import Controller
from kumo.machinery.events import NORMAL, WARNING, EventRecorder
from kumo.machinery.informer import Informer, Informers

SERVICE_INDEX = "controller-manager/service"


class _ServiceController:
    """What both have in common: services and the pods that their selectors mean."""

    name = ""

    def __init__(self, client: Client, informers: Informers) -> None:
        self._client = client
        self._services = informers.informer(SERVICES)
        self._pods = informers.informer(PODS)
        self._nodes = informers.informer(NODES)
        self._triggers = Triggers()
        self._controller = Controller(self.name, self._reconcile, workers=4)
        self._controller.watch(self._services)
        self._controller.watch(self._pods, self._services_of)

    async def run(self) -> None:
        """Run until cancelled."""
        await self._nodes.wait_synced()
        await self._controller.run()

    def _services_of(self, pod: Object) -> Iterable[Key]:
        labels = labels_of(pod)
        if not labels:
            return []
        return [
            key_of(s)
            for s in self._services.objects(namespace_of(pod))
            if selectors.matches_map((s.get("spec") or {}).get("selector"), labels)
        ]

    def _selected(self, service: Object) -> list[Object]:
        selector = service["spec"]["selector"]
        return list(self._pods.objects(namespace_of(service), selector))

    def _nodes_by_name(self) -> Mapping[str, Object]:
        return {name_of(n): n for n in self._nodes.objects()}

    async def _reconcile(self, key: Key) -> float | None:
        raise NotImplementedError


def _is_ours(service: Object) -> bool:
    """Whether the service has pods that we look for: a selector, and no outside name in their place."""
    spec = service.get("spec") or {}
    return bool(spec.get("selector")) and spec.get("type") != "ExternalName"


class EndpointSliceController(_ServiceController):
    """Keeps the EndpointSlices of services that have a selector."""

    name = "endpoint-slice-controller"

    def __init__(self, client: Client, informers: Informers) -> None:
        super().__init__(client, informers)
        self._slices: Informer = informers.informer(ENDPOINTSLICES)
        self._slices.add_index(SERVICE_INDEX, _service_index)
        self._pods.add_index(NODE_INDEX, node_index)
        self._expectations = Expectations()
        self._expectations.observe(self._slices, "Service")
        self._controller.watch(self._slices, _service_of)
        self._recorder = EventRecorder(client, self.name)
        self._hinted: set[tuple[Key, str]] = set()
        self._nodes.on_change(self._node_changed)

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        """Pods of a node that comes or goes are endpoints, or no longer; zones gain or lose CPUs."""
        known = old if new is None else new
        if known is None or (old is not None and new is not None and _standing(old) == _standing(new)):
            return
        for service in self._services.objects():
            if topology.is_wanted(service):
                self._controller.queue.add(key_of(service))
        if old is None or new is None:
            for pod in self._pods.by_index(NODE_INDEX, name_of(known)):
                for key in self._services_of(pod):
                    self._controller.queue.add(key)

    async def _reconcile(self, key: Key) -> float | None:
        service = self._services.get_key(key)
        if service is None or is_deleting(service):
            self._expectations.forget(key)
            self._triggers.forget(key)
            self._hinted -= {(key, family) for family in ("IPv4", "IPv6")}
            return None
        if not _is_ours(service) or not self._expectations.met(key):
            return None
        existing = self._slices.by_index(SERVICE_INDEX, str(key))
        pods, nodes = self._selected(service), self._nodes_by_name()
        moment = self._triggers.last(service, pods)
        self._tell_lost(service, on_lost_nodes(service, pods, nodes))
        wanted_families = families(service)
        for family in wanted_families:
            found = endpoints(service, pods, nodes, family, on_known=True)
            mine = [s for s in existing if s.get("addressType") == family]
            made = changes(service, family, found, mine, self._zones(service, family, found, mine))
            for changed in (*made.create, *made.update):
                note(changed, moment)
            await write_slices(self._client, self._expectations, key, made)
        stale = [s for s in existing if s.get("addressType") not in wanted_families]
        await write_slices(self._client, self._expectations, key, Changes(delete=stale))
        return None

    def _zones(self, service: Object, family: str, found: list[Endpoint], mine: list[Object]) -> dict[str, str] | None:
        """For which zones the endpoints are by the service's topology mode; None if it has none."""
        key = (key_of(service), family)
        if not topology.is_wanted(service):
            if key in self._hinted:
                self._hinted.discard(key)
                self._tell(service, WARNING, topology.DISABLED, family)
            return None
        places = [(e.pod[2], e.zone) for e in found if e.ready]
        try:
            zones = topology.assign(places, zones_now(mine), topology.ratios(self._nodes.objects()))
        except topology.NoHints as reason:
            self._hinted.discard(key)
            self._tell(service, WARNING, str(reason), family)
            return {}
        if key not in self._hinted:
            self._hinted.add(key)
            self._tell(service, NORMAL, topology.ENABLED, family)
        return zones

    def _tell_lost(self, service: Object, pods: list[Object]) -> None:
        where = f"Service {key_of(service)}"
        found = [f"skipping Pod {name_of(o)} for {where}: Node {o['spec'].get('nodeName', '')} Not Found" for o in pods]
        if found:
            text = found[0] if len(found) == 1 else f"[{', '.join(found)}]"
            text = f"Error updating Endpoint Slices for {where}: {text}"
            self._recorder.event(service, WARNING, "FailedToUpdateEndpointSlices", text)

    def _tell(self, service: Object, kind: str, text: str, family: str) -> None:
        reason = "TopologyAwareHintsEnabled" if kind == NORMAL else "TopologyAwareHintsDisabled"
        self._recorder.event(service, kind, reason, f"{text}, addressType: {family}")


class EndpointsController(_ServiceController):
    """Keeps the Endpoints of services that have a selector; they go with their service."""

    name = "endpoint-controller"

    def __init__(self, client: Client, informers: Informers) -> None:
        super().__init__(client, informers)
        self._endpoints = informers.informer(ENDPOINTS)
        self._controller.watch(self._endpoints)

    async def _reconcile(self, key: Key) -> float | None:
        service, existing = self._services.get_key(key), self._endpoints.get_key(key)
        if service is None or is_deleting(service):
            self._triggers.forget(key)
            await self._remove(key, existing)
            return None
        if not _is_ours(service):
            return None
        pods = self._selected(service)
        moment = self._triggers.last(service, pods)
        new = wanted(service, endpoints(service, pods, self._nodes_by_name(), families(service)[0]), existing)
        if new is None:
            return None
        note(new, moment)
        try:
            if existing is None:
                await self._client.create(ENDPOINTS, new)
            else:
                await self._client.update(ENDPOINTS, new)
        except StatusError as error:
            if not is_already_exists(error) and not is_not_found(error) and not is_namespace_ending(error):
                raise
        return None

    async def _remove(self, key: Key, existing: Object | None) -> None:
        """Endpoints without a service go, if they were made here and not by a user or a leader election."""
        if existing is None or labels_of(existing).get("endpoints.kubernetes.io/managed-by") is None:
            return
        try:
            await self._client.delete(ENDPOINTS, key.name, key.namespace, uid=uid_of(existing))
        except StatusError as error:
            if not is_not_found(error):
                raise


def _standing(node: Object) -> tuple[bool, str]:
    return conditions.is_true(node, "Ready"), labels_of(node).get(ZONE, "")


def _service_index(obj: Object) -> Iterable[str]:
    labels = labels_of(obj)
    if labels.get(MANAGED_BY) == MANAGER and labels.get(SERVICE_NAME):
        yield str(Key(namespace_of(obj), labels[SERVICE_NAME]))


def _service_of(obj: Object) -> Iterable[Key]:
    labels = labels_of(obj)
    if labels.get(MANAGED_BY) == MANAGER and labels.get(SERVICE_NAME):
        yield Key(namespace_of(obj), labels[SERVICE_NAME])
