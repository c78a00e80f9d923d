"""The component: any number of hollow nodes on one event loop, with one watch of pods and one of nodes for all."""

from __future__ import annotations

import asyncio
import random
import time
from functools import partial

import structlog

from kumo.api.errors import StatusError, is_already_exists, is_conflict, is_not_found
from kumo.api.objects import Key, Object, annotations_of, is_deleting, key_of, micro_timestamp, namespace_of, uid_of
from kumo.api.resources import LEASES, NODES, PODS
from kumo.kubernetes.hollow_node.addresses import PodAddresses
from kumo.kubernetes.hollow_node.admission import refusal
from kumo.kubernetes.hollow_node.config import SILENT, HollowConfig
from kumo.kubernetes.hollow_node.identities import Identities
from kumo.kubernetes.hollow_node.lifecycle import TERMINAL, next_step
from kumo.kubernetes.hollow_node.node import LEASE_NAMESPACE, lease_object, node_address, node_object, node_status
from kumo.kubernetes.hollow_node.statuses import Place, Status, containers_of
from kumo.machinery.client import STRATEGIC_MERGE_PATCH, Client
from kumo.machinery.controller import Controller
from kumo.machinery.enrolment import EnrolmentError
from kumo.machinery.informer import Informers

_log = structlog.get_logger("kumo.hollow-node")
_UNREACHABLE = (StatusError, ConnectionError, OSError, TimeoutError)
_WORKERS = 16
_AT_ONCE = 32
_BY_NODE = "node"


class HollowNodes:
    """The nodes of a config. `informers` watch as somebody who may see all pods and nodes; `identities` are the nodes'.

    `registered` is set once all of them have said that they are ready for the first time.
    """

    name = "hollow-nodes"

    def __init__(self, config: HollowConfig, informers: Informers, identities: Identities) -> None:
        self._config = config
        self._identities = identities
        self._names = {name: index for index, name in enumerate(config.names())}
        self._clients: dict[str, Client] = {}
        self._nodes = informers.informer(NODES)
        self._pods = informers.informer(PODS, field_selector="spec.nodeName!=")
        self._pods.add_index(_BY_NODE, lambda pod: [pod["spec"].get("nodeName") or ""])
        self._addresses = PodAddresses()
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._controller = Controller(self.name, self._reconcile, workers=_WORKERS)
        self.registered = asyncio.Event()

    async def run(self) -> None:
        """Register all nodes, then keep them and their pods until cancelled; the nodes stay, and fall silent."""
        await self._nodes.wait_synced()
        await self._pods.wait_synced()
        try:
            async with asyncio.TaskGroup() as group:
                first = [group.create_task(self._arrive(name)) for name in self._names]
                await asyncio.gather(*first)
                self.registered.set()
                _log.info("all hollow nodes are there", count=len(first))
                for name in self._names:
                    group.create_task(self._keep(name), name=f"hollow {name}")
                self._pods.on_change(self._pod_changed)
                self._controller.watch(self._pods, self._keys)
                group.create_task(self._controller.run())
        finally:
            await self._identities.close()

    # -- nodes ------------------------------------------------------------------------------------------------------

    async def _arrive(self, name: str) -> None:
        """Get an identity and register, however long the server may take to come."""
        delay = 0.2
        while True:
            try:
                async with self._turns:
                    if name not in self._clients:
                        self._clients[name] = await self._identities.client(name)
                    await self._register(name)
                return
            except (*_UNREACHABLE, EnrolmentError) as error:
                _log.warning("a hollow node can't register yet", node=name, error=str(error))
            await asyncio.sleep(delay * random.uniform(0.5, 1.5))
            delay = min(delay * 2, 10.0)

    async def _register(self, name: str) -> None:
        client, index = self._clients[name], self._names[name]
        wanted = node_object(self._config, index)
        wanted["status"] = node_status(self._config, index, None)
        wanted["status"]["addresses"].pop()  # an instruction of patches
        try:
            await client.create(NODES, wanted)
        except StatusError as error:
            if not is_already_exists(error):
                raise
            await client.patch(NODES, name, {"metadata": {"labels": wanted["metadata"]["labels"]}})
            await self._beat(name)
        await self._renew(name)

    async def _keep(self, name: str) -> None:
        """Renew the lease and, more rarely, the status; the nodes' turns are spread over the period."""
        lease, beat = self._config.lease_seconds, time.monotonic()
        await asyncio.sleep(random.uniform(0.0, lease))
        while True:
            began = time.monotonic()
            try:
                if not self._is_silent(name):
                    await self._renew(name)
                    if began - beat >= self._config.status_seconds:
                        await self._beat(name)
                        beat = began
            except _UNREACHABLE as error:
                if is_not_found(error):
                    await self._arrive(name)
                else:
                    _log.debug("not renewed", node=name, error=str(error))
            await asyncio.sleep(max(0.1, lease - (time.monotonic() - began)))

    def _is_silent(self, name: str) -> bool:
        return annotations_of(self._nodes.get(name) or {}).get(SILENT) == "true"

    async def _beat(self, name: str) -> None:
        status = node_status(self._config, self._names[name], self._nodes.get(name))
        body = {"status": status}
        await self._clients[name].patch(NODES, name, body, kind=STRATEGIC_MERGE_PATCH, subresource="status")

    async def _renew(self, name: str) -> None:
        """Write the lease's time; a lease that is not there (any more) is made, which takes the Node."""
        client = self._clients[name]
        patch = {"spec": {"renewTime": micro_timestamp()}}
        try:
            await client.patch(LEASES, name, patch, LEASE_NAMESPACE)
        except StatusError as error:
            if not is_not_found(error):
                raise
            node = await client.get(NODES, name)
            try:
                await client.create(LEASES, lease_object(name, node, micro_timestamp()))
            except StatusError as again:
                if not is_already_exists(again):
                    raise

    # -- pods -------------------------------------------------------------------------------------------------------

    def _keys(self, pod: Object) -> list[Key]:
        return [key_of(pod)] if pod["spec"].get("nodeName") in self._names else []

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        pod = new or old or {}
        address = (pod.get("status") or {}).get("podIP")
        if address:
            (self._addresses.keep if new is not None else self._addresses.release)(address)

    async def _reconcile(self, key: Key) -> float | None:
        pod = self._pods.get_key(key)
        node = pod["spec"]["nodeName"] if pod is not None else ""
        if pod is None or node not in self._clients or self._is_silent(node):
            return None
        step = next_step(pod, self._place(node), self._refusal(pod, node), time.time())
        try:
            if step.status is not None:
                await self._write(node, pod, step.status)
            if step.gone:
                await self._clients[node].delete(PODS, key.name, key.namespace, grace_period=0, uid=uid_of(pod))
        except StatusError as error:
            if not is_not_found(error) and not is_conflict(error):
                raise
        return step.after

    async def _write(self, node: str, pod: Object, status: Status) -> None:
        body = {"metadata": {"uid": uid_of(pod)}, "status": status}
        name, namespace = key_of(pod).name, namespace_of(pod)
        await self._clients[node].patch(PODS, name, body, namespace, kind=STRATEGIC_MERGE_PATCH, subresource="status")

    def _place(self, node: str) -> Place:
        cidr = ((self._nodes.get(node) or {}).get("spec") or {}).get("podCIDR") or ""
        index = self._config.first + self._names[node]
        return Place(node_address(index), partial(self._addresses.take, cidr), self._config.run_seconds)

    def _refusal(self, pod: Object, node: str) -> tuple[str, str]:
        if containers_of(pod) or is_deleting(pod):
            return "", ""
        others = [
            p
            for p in self._pods.by_index(_BY_NODE, node)
            if (p.get("status") or {}).get("phase") not in TERMINAL and containers_of(p)
        ]
        there = ((self._nodes.get(node) or {}).get("status") or {}).get("allocatable")
        return refusal(pod, others, there or self._config.capacity)
