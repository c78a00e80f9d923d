"""The shell that judges nodes: leases and statuses in, conditions, taints and unready pods out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from kumo.api import conditions
from kumo.api.errors import StatusError, is_not_found
from kumo.api.objects import Key, Object, labels_of, name_of, namespace_of, timestamp, uid_of
from kumo.api.resources import LEASES, NODES, PODS
from kumo.kubernetes.controller_manager import pods as p
from kumo.kubernetes.controller_manager.node_lifecycle.health import Grace, is_ready, left, silenced
from kumo.kubernetes.controller_manager.node_lifecycle.taints import is_evicted, is_unready, wanted_taints
from kumo.kubernetes.controller_manager.node_lifecycle.zones import EXCLUDED, Pace, Zones, zone_of
from kumo.machinery.client import STRATEGIC_MERGE_PATCH, Client
from kumo.machinery.controller import Controller
from kumo.machinery.events import NORMAL, EventRecorder
from kumo.machinery.informer import Informers

LEASE_NAMESPACE = "kube-node-lease"
NODE_INDEX = "controller-manager/node"


def node_index(pod: Object) -> Iterable[str]:
    """Indexer: the node that a pod is on."""
    node = (pod.get("spec") or {}).get("nodeName")
    if node:
        yield node


class NodeLifecycleController:
    """Marks nodes that fell silent, and taints nodes by their conditions.

    Silence is measured on this process's clock, from the moment that a new lease or status was seen, so that the
    nodes' clocks do not matter; after a restart every node has its grace period again.
    """

    name = "node-controller"

    def __init__(self, client: Client, informers: Informers, grace: Grace, pace: Pace | None = None) -> None:
        self._client = client
        self._grace = grace
        self._recorder = EventRecorder(client, self.name)
        self._nodes = informers.informer(NODES)
        self._pods = informers.informer(PODS)
        self._pods.add_index(NODE_INDEX, node_index)
        self._leases = informers.informer(LEASES, namespace=LEASE_NAMESPACE)
        self._heard: dict[str, float] = {}
        self._zones = Zones(pace or Pace())
        self._leases.on_change(self._lease_changed)
        self._nodes.on_change(self._node_changed)
        self._controller = Controller(self.name, self._reconcile, workers=2)
        self._controller.watch(self._nodes)
        self._pods.on_change(self._pod_changed)

    async def run(self) -> None:
        """Run until cancelled."""
        await self._leases.wait_synced()
        await self._pods.wait_synced()
        await self._controller.run()

    # -- what is heard ------------------------------------------------------------------------------------------------

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _lease_changed(self, old: Object | None, new: Object | None) -> None:
        if new is not None and _renewed(old) != _renewed(new):
            self._heard[name_of(new)] = self._now()

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        name = name_of(new or old or {})
        if new is None:
            self._heard.pop(name, None)
            self._tell(old or {}, "RemovingNode", f"Removing Node {name} from Controller")
        elif old is None or _heartbeat(old) != _heartbeat(new):
            self._heard[name] = self._now()
        if old is None and new is not None:
            self._tell(new, "RegisteredNode", f"Registered Node {name} in Controller")
        counts = new is not None and EXCLUDED not in labels_of(new)
        self._note_ready(new or old or {}, is_ready(new) if new is not None and counts else None)

    def _tell(self, node: Object, reason: str, text: str) -> None:
        self._recorder.event(node, NORMAL, reason, f"Node {name_of(node)} event: {text}")

    def _note_ready(self, node: Object, ready: bool | None) -> None:
        """Remember which nodes are ready; when that changes how fast nodes may be emptied, all are judged anew.

        When the first one is ready again, the others get their grace period again.
        """
        before = self._zones.any_ready
        if self._zones.note(name_of(node), zone_of(node), ready):
            if self._zones.any_ready and not before:
                self._heard = dict.fromkeys(self._heard, self._now())
            for other in self._nodes.objects():
                self._controller.queue.add(Key("", name_of(other)))

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        """A pod came onto a node: that may be silent."""
        node = str(((new or {}).get("spec") or {}).get("nodeName") or "")
        found = self._nodes.get(node) if node else None
        if found is not None and _is_unknown(found):
            self._controller.queue.add(Key("", node))

    # -- what follows -------------------------------------------------------------------------------------------------

    async def _reconcile(self, key: Key) -> float | None:
        node = self._nodes.get_key(key)
        if node is None:
            return None
        silent = self._now() - self._heard.setdefault(key.name, self._now())
        remaining = left(node, silent, self._grace)
        if remaining <= 0:
            node = await self._silence(node)
        wait = await self._taint(node)
        await self._label(node)
        if not is_ready(node):
            await self._mark_pods(node)
        return min((w for w in (remaining, wait) if w is not None and w > 0), default=None)

    async def _silence(self, node: Object) -> Object:
        listed = silenced(node, time.time())
        if listed is None:
            return node
        was_ready = is_ready(node)
        changed = await self._client.update_status(
            NODES, {**node, "status": {**(node.get("status") or {}), "conditions": listed}}
        )
        self._note_ready(node, None if EXCLUDED in labels_of(node) else False)
        if was_ready:
            text = f"Node {name_of(node)} status is now: NodeNotReady"
            self._recorder.event(node, NORMAL, "NodeNotReady", text)
        return changed

    async def _taint(self, node: Object) -> float | None:
        """Write the node's taints; seconds until it may get one that evicts, if it has to wait for that."""
        zone, evict = zone_of(node), self._zones.any_ready
        new = evict and is_unready(node) and not is_evicted(node)
        wait = self._zones.wait(zone, self._now()) if new else None
        add = wait is not None and wait <= 0
        if add:
            self._zones.took(zone, self._now())
        taints = wanted_taints(node, evict=evict, add=add, now=time.time())
        if taints is not None:
            patch = {
                "metadata": {"resourceVersion": node["metadata"]["resourceVersion"]},
                "spec": {"taints": taints or None},
            }
            await self._client.patch(NODES, name_of(node), patch)
        return wait if not add else None

    async def _label(self, node: Object) -> None:
        """Keep the older names of two labels."""
        labels = labels_of(node)
        wanted = {f"beta.{key}": labels[key] for key in ("kubernetes.io/os", "kubernetes.io/arch") if key in labels}
        if not wanted.items() <= labels.items():
            await self._client.patch(NODES, name_of(node), {"metadata": {"labels": wanted}})

    async def _mark_pods(self, node: Object) -> None:
        """Pods of a node that is not ready are not ready either."""
        for pod in self._pods.by_index(NODE_INDEX, name_of(node)):
            status = _unready(pod)
            if not status:
                continue
            patch = {"metadata": {"uid": uid_of(pod)}, "status": status}
            try:
                await self._client.patch(
                    PODS, name_of(pod), patch, namespace_of(pod), kind=STRATEGIC_MERGE_PATCH, subresource="status"
                )
            except StatusError as error:
                if not is_not_found(error):
                    raise
            self._recorder.event(pod, "Warning", "NodeNotReady", "Node is not ready")


def _renewed(lease: Object | None) -> str:
    return str(((lease or {}).get("spec") or {}).get("renewTime") or "")


def _heartbeat(node: Object) -> str:
    return str((conditions.condition(node, "Ready") or {}).get("lastHeartbeatTime") or "")


def _is_unknown(node: Object) -> bool:
    return (conditions.condition(node, "Ready") or {}).get("status") == "Unknown"


def _unready(pod: Object) -> Object:
    if p.has_ended(pod) or not p.is_ready(pod):
        return {}
    return {"conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": timestamp()}]}
