"""ServiceCIDRs: ready once they are protected, and kept while addresses of services would be left without a range.

Rules: upstream's `pkg/controller/servicecidrs`. What holds an address is an IPAddress made by the API server, or a
Service itself.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Iterable, Iterator

from kumo.api import conditions
from kumo.api.errors import StatusError, is_not_found
from kumo.api.objects import Key, Object, is_deleting, key_of, labels_of, name_of, parse_timestamp, timestamp
from kumo.api.resources import GVR, SERVICES
from kumo.machinery.client import APPLY_PATCH, STRATEGIC_MERGE_PATCH, Client
from kumo.machinery.controller import Controller
from kumo.machinery.informer import Informers

RANGES = GVR("networking.k8s.io", "v1", "servicecidrs", False)
ADDRESSES = GVR("networking.k8s.io", "v1", "ipaddresses", False)
FINALIZER = "networking.k8s.io/service-cidr-finalizer"
_MANAGED_BY = ("ipaddress.kubernetes.io/managed-by", "ipallocator.k8s.io")
_STILL_USED = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def networks_of(obj: Object) -> list[Network]:
    """The networks of a ServiceCIDR."""
    return [ipaddress.ip_network(block, strict=False) for block in (obj.get("spec") or {}).get("cidrs") or ()]


def addresses_of(service: Object) -> Iterator[Address]:
    """The cluster addresses of a Service."""
    spec = service.get("spec") or {}
    for text in spec.get("clusterIPs") or [spec.get("clusterIP")]:
        if text and text != "None":
            yield ipaddress.ip_address(text)


def may_go(obj: Object, others: Iterable[Object], held: Iterable[Address]) -> bool:
    """Whether no address in use is left without a range when `obj` goes.

    `others` are the remaining ServiceCIDRs, `held` the addresses in use of the whole cluster.
    """
    rest = [network for other in others for network in networks_of(other)]
    own = [n for n in networks_of(obj) if not any(_within(n, other) for other in rest)]
    if not own:
        return True
    return not any(any(a in n for n in own) and not any(a in n for n in rest) for a in held)


def _within(inner: Network, outer: Network) -> bool:
    if isinstance(inner, ipaddress.IPv4Network):
        return isinstance(outer, ipaddress.IPv4Network) and inner.subnet_of(outer)
    return isinstance(outer, ipaddress.IPv6Network) and inner.subnet_of(outer)


class ServiceRangesController:
    """Gives ServiceCIDRs their finalizer and the condition Ready; lets deleted ones go when nothing is lost.

    `grace` is for how many seconds a deleted range stays, so that every allocator has seen that it is no longer one.
    """

    name = "service-cidrs-controller"

    def __init__(
        self, client: Client, informers: Informers, grace: float = 10.0, clock: Callable[[], float] = time.time
    ) -> None:
        self._client = client
        self._grace, self._clock = grace, clock
        self._ranges = informers.informer(RANGES)
        self._addresses = informers.informer(ADDRESSES)
        self._services = informers.informer(SERVICES)
        self._controller = Controller(self.name, self._reconcile, workers=1)
        self._controller.watch(self._ranges, lambda _: [key_of(obj) for obj in self._ranges.objects()])
        for holders in (self._addresses, self._services):
            self._controller.watch(holders, self._waiting)

    async def run(self) -> None:
        """Run until cancelled."""
        await self._controller.run()

    def _waiting(self, changed: Object) -> Iterable[Key]:
        """The ranges that wait to go: only those care about addresses."""
        return [key_of(obj) for obj in self._ranges.objects() if is_deleting(obj)]

    def _held(self) -> Iterator[Address]:
        for obj in self._addresses.objects():
            if labels_of(obj).get(_MANAGED_BY[0]) == _MANAGED_BY[1]:
                yield ipaddress.ip_address(name_of(obj))
        for service in self._services.objects():
            yield from addresses_of(service)

    async def _reconcile(self, key: Key) -> float | None:
        obj = self._ranges.get_key(key)
        if obj is None:
            return None
        try:
            return await (self._let_go(obj) if is_deleting(obj) else self._keep(obj))
        except StatusError as error:
            if not is_not_found(error):
                raise
        return None

    async def _keep(self, obj: Object) -> None:
        if FINALIZER not in (obj["metadata"].get("finalizers") or ()):
            await self._change(obj, {"finalizers": [FINALIZER]})
        await self._say(obj, "True", "", "Kubernetes Service CIDR is ready")

    async def _let_go(self, obj: Object) -> float | None:
        others = [other for other in self._ranges.objects() if name_of(other) != name_of(obj)]
        if not may_go(obj, others, self._held()):
            await self._say(obj, "False", "Terminating", _STILL_USED)
            return None
        since = parse_timestamp(obj["metadata"]["deletionTimestamp"])
        wait = self._grace - (self._clock() - since)
        if wait > 0:
            return wait
        if FINALIZER in (obj["metadata"].get("finalizers") or ()):
            await self._change(obj, {"$deleteFromPrimitiveList/finalizers": [FINALIZER]})
        return None

    async def _change(self, obj: Object, meta: Object) -> None:
        await self._client.patch(RANGES, name_of(obj), {"metadata": meta}, kind=STRATEGIC_MERGE_PATCH)

    async def _say(self, obj: Object, status: str, reason: str, message: str) -> None:
        said = {"type": "Ready", "status": status, "reason": reason, "message": message}
        old = conditions.condition(obj, "Ready") or {}
        if all((old.get(field) or "") == value for field, value in said.items()):
            return
        since = old.get("lastTransitionTime") if old.get("status") == status else None
        wanted = {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "ServiceCIDR",
            "metadata": {"name": name_of(obj)},
            "status": {"conditions": [{**said, "lastTransitionTime": since or timestamp()}]},
        }
        await self._client.patch(
            RANGES,
            name_of(obj),
            wanted,
            kind=APPLY_PATCH,
            subresource="status",
            field_manager="service-cidr-controller",
            force=True,
        )
