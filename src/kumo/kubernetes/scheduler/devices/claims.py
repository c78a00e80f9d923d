"""ResourceClaims as they will be once what was decided has been written: no device is promised twice meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

from kumo.api.objects import Object, controller_of, uid_of
from kumo.api.resources import GVR
from kumo.kubernetes.scheduler.cluster_events import Resource
from kumo.kubernetes.scheduler.devices.capacity import parsed
from kumo.kubernetes.scheduler.devices.pools import DeviceId, InUse
from kumo.kubernetes.scheduler.devices.selecting import CelSelectors
from kumo.kubernetes.scheduler.world import Devices
from kumo.machinery.informer import Informer, Informers

_BY_OWNER = "owner"
_GROUP = ("resource.k8s.io", "v1")
RESOURCE_CLAIMS = GVR(*_GROUP, "resourceclaims")
RESOURCE_SLICES = GVR(*_GROUP, "resourceslices", False)
DEVICE_CLASSES = GVR(*_GROUP, "deviceclasses", False)


class AssumedClaims:
    """Informers of claims, slices and classes, with what is being written laid over them."""

    def __init__(self, informers: Informers) -> None:
        self._claims = informers.informer(RESOURCE_CLAIMS)
        self._slices = informers.informer(RESOURCE_SLICES)
        self._classes = informers.informer(DEVICE_CLASSES)
        self._pending: dict[str, Mapping[str, Any]] = {}
        self._written: dict[str, Object] = {}
        self._selectors = CelSelectors()
        self._moved = asyncio.Event()
        self._claims.add_index(_BY_OWNER, lambda claim: [(controller_of(claim) or {}).get("uid", "")])
        self._claims.on_change(self._seen)

    def informers(self) -> list[tuple[Resource, Informer]]:
        """What is watched, and as which resource its changes count."""
        return [
            (Resource.RESOURCE_CLAIM, self._claims),
            (Resource.RESOURCE_SLICE, self._slices),
            (Resource.DEVICE_CLASS, self._classes),
        ]

    def view(self) -> Devices:
        """What a decision looks at."""
        return Devices(
            self.claim,
            self._slices.objects,
            self._classes.get,
            self.taken,
            self._classes.objects,
            self._of_pod,
            self.is_pending,
            self._selectors,
        )

    def _of_pod(self, uid: str) -> list[Object]:
        """The claims that a pod owns, as they were written last."""
        return [self._written.get(uid_of(c), c) for c in self._claims.by_index(_BY_OWNER, uid)]

    def claim(self, namespace: str, name: str) -> Object | None:
        """A claim as it was written last, or None."""
        found = self._claims.get(name, namespace)
        return self._written.get(uid_of(found), found) if found is not None else None

    def is_pending(self, uid: str) -> bool:
        """Whether an allocation of the claim is being written."""
        return uid in self._pending

    def taken(self) -> InUse:
        """The devices that claims have or are about to have."""
        claims = (self._written.get(uid_of(c), c) for c in self._claims.objects())
        allocations = [(c.get("status") or {}).get("allocation") for c in claims]
        return taken_by(a for a in (*allocations, *self._pending.values()) if a)

    async def moved(self) -> None:
        """Return once some claim is another one."""
        await self._moved.wait()

    def promise(self, uid: str, allocation: Mapping[str, Any]) -> None:
        """The claim gets these devices."""
        self._pending[uid] = allocation

    def forget(self, uid: str) -> None:
        """The promise is written, or won't be."""
        self._pending.pop(uid, None)

    def wrote(self, claim: Object) -> None:
        """The claim is like this now, although the informer may not know yet."""
        known = self._claims.get(claim["metadata"]["name"], claim["metadata"].get("namespace") or "")
        if known is not None and _version(known) < _version(claim):
            self._written[uid_of(claim)] = claim

    def _seen(self, old: Object | None, new: Object | None) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()
        uid = uid_of(new or old or {})
        written = self._written.get(uid)
        if written is not None and (new is None or _version(new) >= _version(written)):
            del self._written[uid]


def taken_by(allocations: Iterable[Mapping[str, Any]]) -> InUse:
    """The devices of allocations that nobody else may have, and what is gone of those that are shared."""
    devices: set[DeviceId] = set()
    shared: dict[DeviceId, dict[str, Fraction]] = {}
    for allocation in allocations:
        for result in (allocation.get("devices") or {}).get("results") or ():
            if result.get("adminAccess"):
                continue
            device = DeviceId(result["driver"], result["pool"], result["device"])
            if not result.get("shareID"):
                devices.add(device)
                continue
            used = shared.setdefault(device, {})
            for name, amount in parsed(result.get("consumedCapacity") or {}).items():
                used[name] = used.get(name, Fraction(0)) + amount
    return InUse(frozenset(devices), shared)


def _version(claim: Object) -> int:
    return int(claim["metadata"].get("resourceVersion") or 0)
