"""Nodes whose virt-handler is silent: no new virtual machines go there, and those that are lost are called Failed.

virt-handler writes the time into the Node's annotation `kubevirt.io/heartbeat` once a minute. Source: upstream's node
controller, whose periods these are.
"""

from __future__ import annotations

import time

from kumo.api.objects import (
    Key,
    Object,
    annotations_of,
    controller_of,
    labels_of,
    name_of,
    parse_timestamp,
    uid_of,
)
from kumo.api.resources import NODES, PODS, VMIS
from kumo.kubevirt.common import names
from kumo.kubevirt.virt_controller.instance.pods import is_final
from kumo.kubevirt.virt_controller.patches import tested_patch
from kumo.machinery.client import Client
from kumo.machinery.controller import Controller
from kumo.machinery.events import NORMAL, EventRecorder
from kumo.machinery.informer import Informers

SILENCE = 300.0
_AGAIN = 60.0
UNRESPONSIVE = "NodeUnresponsive"


def is_silent(node: Object, now: float) -> bool:
    """Whether the last sign of life of the node's virt-handler is more than five minutes old.

    Of a node that has never had a virt-handler nothing is expected.
    """
    last = annotations_of(node).get(names.HEARTBEAT_ANNOTATION)
    if not last:
        return False
    try:
        return now - parse_timestamp(last.strip('"')) > SILENCE
    except ValueError:
        return False


def lost_instances(vmis: list[Object], pods: list[Object]) -> list[Object]:
    """Those instances of a node that should be running there and have no live pod any more."""
    alive = {(controller_of(p) or {}).get("uid") for p in pods if not is_final(p)}
    ours = (names.SCHEDULED, names.RUNNING)
    return [v for v in vmis if (v.get("status") or {}).get("phase") in ours and uid_of(v) not in alive]


class NodeController:
    """Watches nodes. `client` acts as virt-controller."""

    def __init__(self, client: Client, informers: Informers, events: EventRecorder) -> None:
        self._client = client
        self._events = events
        self._nodes = informers.informer(NODES)
        self._vmis = informers.informer(VMIS)
        self._pods = informers.informer(PODS, label_selector=f"{names.APP_LABEL}=virt-launcher")
        self.controller = Controller("virt-controller node", self.reconcile, workers=1)
        self.controller.watch(self._nodes)

    async def reconcile(self, key: Key) -> float | None:
        """Look at one node; again in a minute, as silence makes no event."""
        node = self._nodes.get_key(key)
        if node is None:
            return None
        if not is_silent(node, time.time()):
            return _AGAIN
        if labels_of(node).get(names.SCHEDULABLE_LABEL) != "false":
            message = "virt-handler is not responsive, marking node as unresponsive"
            self._events.event(node, NORMAL, UNRESPONSIVE, message)
            patch = {"metadata": {"labels": {names.SCHEDULABLE_LABEL: "false"}}}
            await self._client.patch(NODES, name_of(node), patch)
        there = [v for v in self._vmis.objects() if (v.get("status") or {}).get("nodeName") == name_of(node)]
        on_node = [p for p in self._pods.objects() if (p.get("spec") or {}).get("nodeName") == name_of(node)]
        for vmi in lost_instances(there, on_node):
            await self._fail(vmi)
        return _AGAIN

    async def _fail(self, vmi: Object) -> None:
        node = vmi["status"].get("nodeName")
        message = f"virt-handler on node {node} is not responsive, marking VMI as failed"
        self._events.event(vmi, NORMAL, UNRESPONSIVE, message)
        patch = [
            {"op": "test", "path": "/status/phase", "value": vmi["status"]["phase"]},
            {"op": "replace", "path": "/status/phase", "value": names.FAILED},
            {"op": "add", "path": "/status/reason", "value": UNRESPONSIVE},
        ]
        await tested_patch(self._client, VMIS, vmi, patch)
