"""How the cluster learns of a node's drivers: the CSINode, an annotation and topology labels of the Node.

The functions are pure; `CsiNodeKeeper` writes. Upstream: `pkg/volume/csi/nodeinfomanager`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from kumo.api.errors import StatusError, is_already_exists, is_conflict, is_not_found
from kumo.api.objects import Object, annotations_of, labels_of, uid_of
from kumo.api.resources import GVR, NODES
from kumo.api.volume_migration import plugins
from kumo.machinery.client import MERGE_PATCH, Client

CSI_NODES = GVR("storage.k8s.io", "v1", "csinodes", False)
NODE_ID = "csi.volume.kubernetes.io/nodeid"
MIGRATED_PLUGINS = "storage.alpha.kubernetes.io/migrated-plugins"
_MOST = 2**31 - 1
_TRIES = 6
_log = structlog.get_logger("kumo.kubelet")


class Collision(Exception):
    """A driver's topology contradicts a label of the Node."""


@dataclass(frozen=True, slots=True)
class DriverInfo:
    """What a driver says of this node."""

    name: str
    node_id: str
    max_volumes: int = 0
    topology: Mapping[str, str] = field(default_factory=dict)


def csi_node(node: Object) -> Object:
    """The CSINode of a node without drivers."""
    owner = {"apiVersion": "v1", "kind": "Node", "name": node["metadata"]["name"], "uid": uid_of(node)}
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "CSINode",
        "metadata": {
            "name": node["metadata"]["name"],
            "annotations": {MIGRATED_PLUGINS: ",".join(plugins())},
            "ownerReferences": [owner],
        },
        "spec": {"drivers": []},
    }


def owned(found: Object, node: Object) -> bool:
    """Whether the CSINode is this Node's, and not that of an earlier one of the same name."""
    return any(
        r.get("kind") == "Node" and r.get("uid") == uid_of(node) for r in found["metadata"].get("ownerReferences") or ()
    )


def with_driver(found: Object, info: DriverInfo) -> Object | None:
    """The CSINode with the driver, or None if it says so already."""
    entry: dict[str, Any] = {
        "name": info.name,
        "nodeID": info.node_id,
        "topologyKeys": sorted(info.topology),
    }
    if info.max_volumes > 0:
        entry["allocatable"] = {"count": min(info.max_volumes, _MOST)}
    drivers = (found.get("spec") or {}).get("drivers") or []
    old = next((d for d in drivers if d["name"] == info.name), None)
    if old is not None and {**old, "topologyKeys": sorted(old.get("topologyKeys") or ())} == entry:
        return None
    return {**found, "spec": {**found["spec"], "drivers": [*(d for d in drivers if d["name"] != info.name), entry]}}


def without_driver(found: Object, name: str) -> Object | None:
    """The CSINode without the driver, or None if it is not in it."""
    drivers = (found.get("spec") or {}).get("drivers") or []
    rest = [d for d in drivers if d["name"] != name]
    return None if len(rest) == len(drivers) else {**found, "spec": {**found["spec"], "drivers": rest}}


def node_patch(node: Object, info: DriverInfo) -> dict[str, Any]:
    """The merge patch of the Node that tells of a driver; empty if there is nothing new. Raises Collision."""
    labels = labels_of(node)
    for key, value in info.topology.items():
        if labels.get(key, value) != value:
            raise Collision(
                f'detected topology value collision: driver reported "{key}":"{value}" '
                f'but existing label is "{key}":"{labels[key]}"'
            )
    ids = _ids(node)
    metadata: dict[str, Any] = {}
    if ids.get(info.name) != info.node_id:
        metadata["annotations"] = {NODE_ID: _json({**ids, info.name: info.node_id})}
    missing = {k: v for k, v in info.topology.items() if k not in labels}
    if missing:
        metadata["labels"] = missing
    return {"metadata": metadata} if metadata else {}


def node_patch_without(node: Object, name: str) -> dict[str, Any]:
    """The merge patch that takes the driver out of the annotation; labels stay."""
    ids = _ids(node)
    if name not in ids:
        return {}
    rest = {k: v for k, v in ids.items() if k != name}
    return {"metadata": {"annotations": {NODE_ID: _json(rest) if rest else None}}}


def _ids(node: Object) -> dict[str, str]:
    try:
        found = json.loads(annotations_of(node).get(NODE_ID) or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _json(value: Mapping[str, str]) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)


class CsiNodeKeeper:
    """Writes what there is to tell, one change at a time."""

    def __init__(self, client: Client, node_name: str) -> None:
        self._client = client
        self._name = node_name
        self._lock = asyncio.Lock()

    async def begin(self) -> None:
        """Make sure that there is a CSINode. Raises StatusError, ConnectionError."""
        async with self._lock:
            await self._retried(self._found)

    async def install(self, info: DriverInfo) -> None:
        """Tell of a driver. Raises StatusError, ConnectionError, Collision."""

        async def attempt() -> None:
            node = await self._client.get(NODES, self._name)
            patch = node_patch(node, info)
            if patch:
                await self._client.patch(NODES, self._name, patch, kind=MERGE_PATCH)
            changed = with_driver(await self._found(), info)
            if changed is not None:
                await self._client.update(CSI_NODES, changed)

        async with self._lock:
            await self._retried(attempt)

    async def uninstall(self, name: str) -> None:
        """Tell that a driver has gone. Raises StatusError, ConnectionError."""

        async def attempt() -> None:
            changed = without_driver(await self._found(), name)
            if changed is not None:
                await self._client.update(CSI_NODES, changed)
            node = await self._client.get(NODES, self._name)
            patch = node_patch_without(node, name)
            if patch:
                await self._client.patch(NODES, self._name, patch, kind=MERGE_PATCH)

        async with self._lock:
            await self._retried(attempt)

    async def _found(self) -> Object:
        node = await self._client.get(NODES, self._name)
        try:
            found = await self._client.get(CSI_NODES, self._name)
        except StatusError as error:
            if not is_not_found(error):
                raise
            return await self._client.create(CSI_NODES, csi_node(node))
        if not owned(found, node):
            _log.info("the CSINode was an earlier node's", node=self._name)
            await self._client.delete(CSI_NODES, self._name)
            return await self._client.create(CSI_NODES, csi_node(node))
        return found

    async def _retried(self, attempt: Any) -> None:
        for number in range(_TRIES):
            try:
                await attempt()
                return
            except StatusError as error:
                if number == _TRIES - 1 or not (is_conflict(error) or is_already_exists(error) or is_not_found(error)):
                    raise
                await asyncio.sleep(0.05 * 2**number)
