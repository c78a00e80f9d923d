"""The service controller: addresses of the cloud's pools for Services of type LoadBalancer.

Upstream's life of a load balancer: the finalizer first, the address in `status.loadBalancer`, events for each step;
another class of load balancer is somebody else's. The status is the only record of who has what.
"""

from __future__ import annotations

import asyncio
from typing import Any

import structlog

from kumo.api.conditions import is_true
from kumo.api.errors import StatusError, is_not_found
from kumo.api.objects import Key, Object, annotations_of, is_deleting, key_of, name_of, namespace_of, uid_of
from kumo.api.resources import NODES, SERVICES
from kumo.kubernetes.cloud_controller_manager.pools import PoolError, Pools
from kumo.machinery.client import Client
from kumo.machinery.controller import Controller, Temporary
from kumo.machinery.events import NORMAL, WARNING, EventRecorder
from kumo.machinery.informer import Informers

FINALIZER = "service.kubernetes.io/load-balancer-cleanup"
CLASS = "kumo.dev/pool"
"""The class (`loadBalancerClass`) of this cloud's load balancers, which those without a class get too."""
OWNED = "kumo.dev/load-balancer"
"""The annotation that tells nodes to answer for the Service's balancer addresses; its value is the class."""
_RETRY = 60.0
_log = structlog.get_logger("kumo.service-controller")


def wants_balancer(service: Object) -> bool:
    """Whether the Service wants a load balancer of this cloud."""
    spec = service.get("spec") or {}
    return spec.get("type") == "LoadBalancer" and spec.get("loadBalancerClass") in (None, CLASS)


def has_finalizer(service: Object) -> bool:
    """Whether a load balancer must be taken down before the Service may go."""
    return FINALIZER in (service["metadata"].get("finalizers") or ())


def balancer_addresses(service: Object) -> list[str]:
    """The addresses in the Service's status."""
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    return [i["ip"] for i in ingress if i.get("ip")]


def patch(service: Object, addresses: tuple[str, ...]) -> Object:
    """The merge patch of the Service's status that gives it these addresses; with none it gives the balancer up."""
    finalizers = [f for f in service["metadata"].get("finalizers") or () if f != FINALIZER]
    ingress: list[dict[str, Any]] = [{"ip": a, "ipMode": "VIP"} for a in addresses]
    return {
        "metadata": {
            "resourceVersion": service["metadata"]["resourceVersion"],
            "uid": uid_of(service),
            "finalizers": [*finalizers, *([FINALIZER] if addresses else [])] or None,
            "annotations": {OWNED: CLASS if addresses else None},
        },
        "status": {"loadBalancer": {"ingress": ingress} if addresses else {"ingress": None}},
    }


class ServiceController:
    """Gives and takes load balancers' addresses, one Service at a time."""

    name = "service-controller"

    def __init__(self, client: Client, informers: Informers, ranges: tuple[str, ...]) -> None:
        self._client = client
        self._ranges = ranges
        self._pools = Pools(ranges)
        self._recorder = EventRecorder(client, self.name)
        self._services = informers.informer(SERVICES)
        self._nodes = informers.informer(NODES)
        self._given: dict[Key, tuple[str, tuple[str, ...]]] = {}
        """What was written and the informer may not show yet: UID and addresses."""
        self._waiting: set[Key] = set()
        self._giving: dict[Key, set[str]] = {}
        """What was taken from whom, until the informer shows it: then others may have it."""
        self._controller = Controller(self.name, self._reconcile, workers=1)
        self._controller.watch(self._services)

    async def run(self) -> None:
        """Run until cancelled."""
        await self._nodes.wait_synced()
        if not self._ranges:
            _log.info("no pool of addresses: another controller makes load balancers")
            await asyncio.Event().wait()
        await self._controller.run()

    async def _reconcile(self, key: Key) -> float | None:
        service = self._services.get_key(key)
        left = set(balancer_addresses(service)) if service is not None else set()
        if key in self._giving and not self._giving[key] & left:
            del self._giving[key]
            self._wake()
        if service is None:
            self._forget(key)
            return None
        if is_deleting(service) or not wants_balancer(service):
            await self._take_down(key, service)
            return None
        try:
            await self._ensure(key, service)
        except PoolError as error:
            self._waiting.add(key)
            text = f"Error syncing load balancer: failed to ensure load balancer: {error}"
            self._recorder.event(service, WARNING, "SyncLoadBalancerFailed", text)
            raise Temporary(str(error), _RETRY) from error
        self._waiting.discard(key)
        return None

    async def _ensure(self, key: Key, service: Object) -> None:
        spec = service["spec"]
        held = balancer_addresses(service)
        families = self._pools.wanted(spec.get("ipFamilies") or (), spec.get("ipFamilyPolicy") or "")
        right = self._pools.choose(families, held, spec.get("loadBalancerIP") or "", self._taken(key))
        if list(right) == held and has_finalizer(service) and annotations_of(service).get(OWNED) == CLASS:
            return
        self._recorder.event(service, NORMAL, "EnsuringLoadBalancer", "Ensuring load balancer")
        if not any(is_true(n, "Ready") for n in self._nodes.objects()):
            text = "There are no available nodes for LoadBalancer"
            self._recorder.event(service, WARNING, "UnAvailableLoadBalancer", text)
        self._given[key] = uid_of(service), right
        await self._write(service, right)
        self._recorder.event(service, NORMAL, "EnsuredLoadBalancer", "Ensured load balancer")
        _log.info("load balancer", service=str(key), addresses=right)
        if set(held) - set(right):
            self._giving[key] = set(held) - set(right)

    async def _take_down(self, key: Key, service: Object) -> None:
        if has_finalizer(service) and OWNED in annotations_of(service):
            self._recorder.event(service, NORMAL, "DeletingLoadBalancer", "Deleting load balancer")
            await self._write(service, ())
            self._recorder.event(service, NORMAL, "DeletedLoadBalancer", "Deleted load balancer")
            self._giving[key] = set(balancer_addresses(service))
            _log.info("load balancer taken down", service=str(key))
        self._forget(key)

    async def _write(self, service: Object, addresses: tuple[str, ...]) -> None:
        try:
            body = patch(service, addresses)
            await self._client.patch(SERVICES, name_of(service), body, namespace_of(service), subresource="status")
        except StatusError as error:
            if not is_not_found(error):
                raise

    def _taken(self, key: Key) -> dict[str, str]:
        """Who has which address, all Services but one; of two that claim the same the older one has it."""
        found: dict[str, tuple[str, str]] = {}
        me = self._services.get_key(key)
        for service in self._services.objects():
            other = key_of(service)
            if other == key or not wants_balancer(service):
                continue
            given = self._given.get(other)
            addresses = {*balancer_addresses(service), *(given[1] if given and given[0] == uid_of(service) else ())}
            for address in addresses:
                found[address] = str(other), service["metadata"].get("creationTimestamp") or ""
        born = ((me or {}).get("metadata") or {}).get("creationTimestamp") or ""
        mine = set(balancer_addresses(me)) if me is not None else set()
        return {a: who for a, (who, since) in found.items() if a not in mine or (since, who) < (born, str(key))}

    def _forget(self, key: Key) -> None:
        self._waiting.discard(key)
        self._given.pop(key, None)

    def _wake(self) -> None:
        """An address has become free."""
        for key in self._waiting:
            self._controller.queue.add(key)
