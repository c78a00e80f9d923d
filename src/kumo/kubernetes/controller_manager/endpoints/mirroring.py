"""The shell of the mirror: Endpoints of services without a selector appear as EndpointSlices, which proxies read."""

from __future__ import annotations

from collections.abc import Iterable

from kumo.api.objects import Key, Object, is_deleting, labels_of, namespace_of
from kumo.api.resources import ENDPOINTS, ENDPOINTSLICES, SERVICES
from kumo.kubernetes.controller_manager.endpoints.mirror import CAPACITY, MANAGER, changes, is_mirrored, wanted
from kumo.kubernetes.controller_manager.endpoints.slices import MANAGED_BY, SERVICE_NAME, Changes
from kumo.kubernetes.controller_manager.endpoints.writes import write_slices
from kumo.kubernetes.controller_manager.expectations import Expectations
from kumo.machinery.client import Client
from kumo.machinery.controller import Controller
from kumo.machinery.events import WARNING, EventRecorder
from kumo.machinery.informer import Informers

MIRROR_INDEX = "controller-manager/mirrored-endpoints"


def _mirrored(obj: Object) -> Key | None:
    labels = labels_of(obj)
    if labels.get(MANAGED_BY) == MANAGER and labels.get(SERVICE_NAME):
        return Key(namespace_of(obj), labels[SERVICE_NAME])
    return None


class EndpointSliceMirroringController:
    """Keeps a slice for every address family and set of ports of hand-written Endpoints; they go with them."""

    name = "endpoint-slice-mirroring-controller"

    def __init__(self, client: Client, informers: Informers) -> None:
        self._client = client
        self._recorder = EventRecorder(client, self.name)
        self._services = informers.informer(SERVICES)
        self._endpoints = informers.informer(ENDPOINTS)
        self._slices = informers.informer(ENDPOINTSLICES)
        self._slices.add_index(MIRROR_INDEX, _mirror_index)
        self._expectations = Expectations()
        self._expectations.observe(self._slices, "Endpoints")
        self._controller = Controller(self.name, self._reconcile, workers=4)
        for informer in (self._services, self._endpoints):
            self._controller.watch(informer)
        self._controller.watch(self._slices, _endpoints_of)

    async def run(self) -> None:
        """Run until cancelled."""
        await self._controller.run()

    async def _reconcile(self, key: Key) -> float | None:
        endpoints, service = self._endpoints.get_key(key), self._services.get_key(key)
        existing = self._slices.by_index(MIRROR_INDEX, str(key))
        if (
            endpoints is None
            or service is None
            or (service.get("spec") or {}).get("selector")
            or not is_mirrored(endpoints)
        ):
            self._expectations.forget(key)
            await write_slices(self._client, self._expectations, key, Changes(delete=existing))
            return None
        if not self._expectations.met(key):
            return None
        found, invalid, spare = wanted(endpoints)
        if invalid:
            words = f"Skipped {invalid} invalid IP addresses when mirroring to EndpointSlices"
            self._recorder.event(endpoints, WARNING, "InvalidIPAddress", words)
        if spare:
            words = f"A max of {CAPACITY} addresses can be mirrored to EndpointSlices per Endpoints subset."
            skipped = f"{spare + invalid} addresses were skipped"
            self._recorder.event(endpoints, WARNING, "TooManyAddressesToMirror", f"{words} {skipped}")
        made = changes(endpoints, found, existing)
        if is_deleting(endpoints):
            made.create.clear()
        await write_slices(self._client, self._expectations, key, made)
        return None


def _mirror_index(obj: Object) -> Iterable[str]:
    key = _mirrored(obj)
    if key is not None:
        yield str(key)


def _endpoints_of(obj: Object) -> Iterable[Key]:
    key = _mirrored(obj)
    return [] if key is None else [key]
