"""The device taint eviction controller: pods go whose devices have taints of effect NoExecute that they don't tolerate.

resource.k8s.io/v1: taints are on the devices of ResourceSlices, tolerations in the results of a claim's allocation.
Upstream: `pkg/controller/devicetainteviction`. DeviceTaintRules, which are off by default there, are not known here.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kumo.api.device_taints import eviction_time
from kumo.api.objects import Key, Object, controller_of, is_deleting, key_of, namespace_of, uid_of
from kumo.api.resources import GVR, PODS
from kumo.kubernetes.controller_manager.disruptions import disrupt
from kumo.kubernetes.controller_manager.resource_claims import CLAIMS, claim_name, entries_of, holders_of
from kumo.machinery.client import Client
from kumo.machinery.controller import Controller
from kumo.machinery.events import NORMAL, EventRecorder
from kumo.machinery.informer import Informers

SLICES = GVR("resource.k8s.io", "v1", "resourceslices", False)
_POOL, _OF_POOL = "device-pool", "claims-of-device-pool"
_EVENT = "DeviceTaintManagerEviction"


class DeviceTaintController:
    """Deletes pods whose devices they may not, or no longer, have."""

    name = "device-taint-eviction-controller"

    def __init__(self, client: Client, informers: Informers) -> None:
        self._client = client
        self._recorder = EventRecorder(client, self.name)
        self._pods, self._claims = informers.informer(PODS), informers.informer(CLAIMS)
        self._slices = informers.informer(SLICES)
        self._slices.add_index(_POOL, lambda item: [_pool(item["spec"]["driver"], item["spec"]["pool"]["name"])])
        self._claims.add_index(_OF_POOL, lambda claim: {_pool(r["driver"], r["pool"]) for r in _results(claim)})
        self._waiting: dict[Key, float] = {}
        """When pods that may stay for a while have to go (epoch seconds)."""
        self._controller = Controller(self.name, self._reconcile, workers=2)
        self._controller.watch(self._pods, lambda pod: [key_of(pod)] if entries_of(pod) else [])
        self._controller.watch(self._claims, _holders)
        self._controller.watch(self._slices, self._users)

    async def run(self) -> None:
        """Run until cancelled."""
        for informer in (self._pods, self._claims, self._slices):
            await informer.wait_synced()
        await self._controller.run()

    def _users(self, item: Object) -> Iterable[Key]:
        """The pods that have a device of the slice's pool."""
        pool = _pool(item["spec"]["driver"], item["spec"]["pool"]["name"])
        return [key for claim in self._claims.by_index(_OF_POOL, pool) for key in _holders(claim)]

    async def _reconcile(self, key: Key) -> float | None:
        pod = self._pods.get_key(key)
        if pod is None or is_deleting(pod):
            self._waiting.pop(key, None)
            return None
        now = time.time()
        ends = [self._end(claim, now) for claim in self._claims_of(pod)]
        end = min((e for e in ends if e is not None), default=None)
        if end is None:
            if self._waiting.pop(key, None) is not None:
                self._recorder.event(pod, NORMAL, _EVENT, "Cancelling deletion")
            return None
        if end > now:
            self._waiting[key] = end
            return end - now
        self._waiting.pop(key, None)
        await self._evict(pod)
        return None

    def _claims_of(self, pod: Object) -> Iterator[Object]:
        """The claims that a pod on a node uses."""
        if not (pod.get("spec") or {}).get("nodeName"):
            return
        for entry in entries_of(pod):
            claim = self._claims.get(claim_name(pod, entry) or "", namespace_of(pod))
            if claim is None or not any(h.get("uid") == uid_of(pod) for h in holders_of(claim)):
                continue
            if entry.get("resourceClaimTemplateName") and (controller_of(claim) or {}).get("uid") != uid_of(pod):
                continue
            yield claim

    def _end(self, claim: Object, now: float) -> float | None:
        ends = [eviction_time(self._taints(result), result.get("tolerations") or (), now) for result in _results(claim)]
        return min((e for e in ends if e is not None), default=None)

    def _taints(self, result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """The taints of a device, as the newest generation of its pool has it."""
        slices = self._slices.by_index(_POOL, _pool(result["driver"], result["pool"]))
        newest = max((_generation(item) for item in slices), default=0)
        for item in slices:
            for device in item["spec"].get("devices") or () if _generation(item) == newest else ():
                if device["name"] == result["device"]:
                    return device.get("taints") or []
        return []

    async def _evict(self, pod: Object) -> None:
        self._recorder.event(pod, NORMAL, _EVENT, "Marking for deletion")
        text = "Device Taint manager: deleting due to NoExecute taint"
        await disrupt(self._client, pod, "DeletionByDeviceTaintManager", text)


def _pool(driver: str, name: str) -> str:
    return f"{driver}/{name}"


def _generation(item: Object) -> int:
    return int(item["spec"]["pool"].get("generation") or 0)


def _results(claim: Object) -> list[Mapping[str, Any]]:
    allocation = (claim.get("status") or {}).get("allocation") or {}
    return (allocation.get("devices") or {}).get("results") or []


def _holders(claim: Object) -> list[Key]:
    return [Key(namespace_of(claim), h["name"]) for h in holders_of(claim) if h.get("resource") == "pods"]
