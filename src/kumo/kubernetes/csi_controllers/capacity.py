"""Publishes what room a driver has, place by place and class by class: CSIStorageCapacity objects for the scheduler."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import structlog

from kumo.api.errors import StatusError, is_not_found
from kumo.api.objects import Key, Object, name_of
from kumo.api.resources import GVR, NODES, core
from kumo.api.volume_claims import is_delayed
from kumo.host.csi.errors import CsiError
from kumo.host.csi.stubs import csi_pb2 as pb
from kumo.kubernetes.csi_controllers import secrets, topology, volumes
from kumo.kubernetes.csi_controllers.tools import Tools
from kumo.machinery.controller import Controller

CAPACITIES = GVR("storage.k8s.io", "v1", "csistoragecapacities")
CLASSES = GVR("storage.k8s.io", "v1", "storageclasses", False)
CSI_NODES = GVR("storage.k8s.io", "v1", "csinodes", False)
VOLUMES = core("persistentvolumes", False)
DRIVER_LABEL = "csi.storage.k8s.io/drivername"
MANAGED_LABEL = "csi.storage.k8s.io/managed-by"
_ALL = Key("", "all")
_SETTLE = 0.5
"""Seconds that changes are gathered for before the driver is asked."""
_log = structlog.get_logger("kumo.csi-capacity")

Wanted = Mapping[tuple[str, tuple[tuple[str, str], ...]], Mapping[str, Any]]
"""By class and place: `capacity` and, if known, `maximumVolumeSize`."""


def identity(capacity: Object) -> tuple[str, tuple[tuple[str, str], ...]]:
    """The class and the place that a capacity object is about."""
    place = (capacity.get("nodeTopology") or {}).get("matchLabels") or {}
    return capacity.get("storageClassName") or "", tuple(sorted(place.items()))


def changes(wanted: Wanted, existing: Iterable[Object]) -> tuple[list[tuple[Object, dict[str, Any]]], list[Object]]:
    """Objects to update with what they have to say, and those to delete; what is wanted and missing is in neither."""
    update, delete = [], []
    seen = set()
    for obj in existing:
        key = identity(obj)
        if key not in wanted or key in seen:
            delete.append(obj)
            continue
        seen.add(key)
        fields = dict(wanted[key])
        if any(obj.get(f) != fields.get(f) for f in ("capacity", "maximumVolumeSize")):
            update.append((obj, fields))
    return update, delete


class CapacityPublisher:
    """Asks the driver whenever volumes or classes change, and once in a while."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self.name = f"{tools.facts.name}-capacity"
        self._managed_by = f"external-provisioner-{tools.config.node}" if tools.config.node else "external-provisioner"
        selector = f"{DRIVER_LABEL}={tools.facts.name},{MANAGED_LABEL}={self._managed_by}"
        self._own = tools.informers.informer(CAPACITIES, namespace=tools.config.namespace, label_selector=selector)
        self._classes = tools.informers.informer(CLASSES)
        self._nodes, self._csi_nodes = tools.informers.informer(NODES), tools.informers.informer(CSI_NODES)
        self._owner: dict[str, Any] | None = None
        self._controller = Controller(self.name, self._reconcile, workers=1)
        self._controller.watch(self._classes, lambda _: [_ALL])
        self._controller.watch(self._own, lambda _: ())
        self._controller.watch(tools.informers.informer(VOLUMES), self._of_volume)
        self._controller.watch(self._csi_nodes, lambda _: [_ALL])
        self._controller.watch(self._nodes, lambda _: ())

    async def run(self) -> None:
        """Run until cancelled."""
        await self._controller.run()

    def _of_volume(self, volume: Object) -> list[Key]:
        return [_ALL] if self._tools.is_ours(volume) else []

    def _places(self) -> Sequence[Mapping[str, str]]:
        if self._tools.config.node or not self._tools.facts.has_topology:
            return [self._tools.facts.topology]
        return topology.places(self._tools.facts.name, self._csi_nodes.objects(), self._nodes.objects())

    async def _reconcile(self, _: Key) -> float | None:
        await asyncio.sleep(_SETTLE)
        wanted: dict[tuple[str, tuple[tuple[str, str], ...]], dict[str, Any]] = {}
        for storage_class in self._classes.objects():
            if storage_class.get("provisioner") != self._tools.facts.name or not is_delayed(storage_class):
                continue
            for place in self._places():
                found = await self._ask(storage_class, place)
                if found is not None:
                    wanted[name_of(storage_class), tuple(sorted(place.items()))] = found
        update, delete = changes(wanted, self._own.objects())
        for obj in delete:
            await self._delete(obj)
        for obj, fields in update:
            cleared = {"maximumVolumeSize": None, **fields}
            await self._tools.client.patch(CAPACITIES, name_of(obj), cleared, self._tools.config.namespace)
        existing = {identity(o) for o in self._own.objects()}
        for key, fields in wanted.items():
            if key not in existing:
                await self._create(key, fields)
        return self._tools.config.capacity_period

    async def _ask(self, storage_class: Object, place: Mapping[str, str]) -> dict[str, Any] | None:
        """What there is for the class at the place; None if the driver does not say."""
        try:
            parameters = secrets.driver_parameters(storage_class.get("parameters") or {})
            request = pb.GetCapacityRequest(parameters=parameters)
            if place:
                request.accessible_topology.CopyFrom(volumes.topology(place))
            answer = await self._tools.csi.controller.capacity(request, self._tools.config.timeout)
        except (CsiError, secrets.SecretError) as error:
            _log.warning(
                "the driver does not say what room it has", storage_class=name_of(storage_class), why=str(error)
            )
            return None
        found: dict[str, Any] = {"capacity": volumes.in_bytes(answer.available_capacity)}
        if answer.HasField("maximum_volume_size") and answer.maximum_volume_size.value > 0:
            found["maximumVolumeSize"] = volumes.in_bytes(answer.maximum_volume_size.value)
        return found

    async def _create(self, key: tuple[str, tuple[tuple[str, str], ...]], fields: Mapping[str, Any]) -> None:
        meta: dict[str, Any] = {
            "generateName": "csisc-",
            "namespace": self._tools.config.namespace,
            "labels": {DRIVER_LABEL: self._tools.facts.name, MANAGED_LABEL: self._managed_by},
        }
        owner = self._node_reference()
        if owner:
            meta["ownerReferences"] = [owner]
        made = {"apiVersion": "storage.k8s.io/v1", "kind": "CSIStorageCapacity", "metadata": meta}
        place = {"nodeTopology": {"matchLabels": dict(key[1])}} if key[1] else {"nodeTopology": {}}
        await self._tools.client.create(CAPACITIES, {**made, **place, "storageClassName": key[0], **fields})

    def _node_reference(self) -> dict[str, Any] | None:
        """The owner of what is said about a node: it goes with it."""
        node = self._nodes.get(self._tools.config.node) if self._tools.config.node else None
        if node is None:
            return None
        return {"apiVersion": "v1", "kind": "Node", "name": name_of(node), "uid": node["metadata"]["uid"]}

    async def _delete(self, obj: Object) -> None:
        try:
            await self._tools.client.delete(CAPACITIES, name_of(obj), self._tools.config.namespace)
        except StatusError as error:
            if not is_not_found(error):
                raise
