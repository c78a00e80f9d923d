"""A hollow cluster: real API server, real controllers and scheduler, and nodes that only say that pods run."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from kumo.api.errors import StatusError, is_not_found
from kumo.api.objects import Object, is_deleting, micro_timestamp, name_of, namespace_of, timestamp
from kumo.api.resources import LEASES, NAMESPACES, NODES, PODS
from kumo.machinery.client import STRATEGIC_MERGE_PATCH, Client
from kumo.machinery.controller import Component
from kumo.machinery.http import Handler
from kumo.machinery.informer import Informer, Informers

T = TypeVar("T")
_ADDRESSES = itertools.count(1)


async def until(informer: Informer, check: Callable[[], T], timeout: float = 10.0) -> T:
    """Wait until `check` gives something true, looking again whenever the informer's collection changes."""
    moved = asyncio.Event()
    informer.on_change(lambda old, new: moved.set())
    try:
        async with asyncio.timeout(timeout):
            await informer.wait_synced()
            while not (found := check()):
                moved.clear()
                await moved.wait()
            return found
    except TimeoutError:
        state = [(str(o["metadata"].get("name")), o.get("spec"), o.get("status")) for o in informer.objects()]
        raise AssertionError(f"not so within {timeout} s; {informer.gvr.resource}: {state}") from None


class HollowNode:
    """A node whose pods run as soon as they are bound, unless their image says `never`; it can fall silent."""

    def __init__(self, client: Client, name: str, informers: Informers, **allocatable: str) -> None:
        self.name = name
        self._client = client
        self._pods = informers.informer(PODS)
        self._allocatable = {"cpu": "4", "memory": "8Gi", "pods": "110", **allocatable}
        self._work: asyncio.Queue[Object] = asyncio.Queue()
        self._silent = False

    async def run(self) -> None:
        """Register, then run pods and renew the lease until cancelled."""
        await self._register()
        self._pods.on_change(self._pod_changed)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._renew())
            while True:
                pod = await self._work.get()
                with suppress(StatusError):
                    await self._serve(pod)

    def fall_silent(self) -> None:
        """Nothing more is heard of the node, as if it had lost its power."""
        self._silent = True

    async def _register(self) -> None:
        ready = {
            "type": "Ready",
            "status": "True",
            "reason": "KubeletReady",
            "message": "kubelet is posting ready status",
            "lastHeartbeatTime": timestamp(),
            "lastTransitionTime": timestamp(),
        }
        labels = {"kubernetes.io/hostname": self.name}
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": self.name, "labels": labels}}
        await self._client.create(NODES, node)
        status = {"capacity": self._allocatable, "allocatable": self._allocatable, "conditions": [ready]}
        await self._client.patch(NODES, self.name, {"status": status}, kind=STRATEGIC_MERGE_PATCH, subresource="status")

    async def _renew(self) -> None:
        meta = {"name": self.name, "namespace": "kube-node-lease"}
        lease: Object = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta}
        lease["spec"] = {"holderIdentity": self.name, "leaseDurationSeconds": 40, "renewTime": micro_timestamp()}
        await self._client.create(LEASES, lease)
        while not self._silent:
            await asyncio.sleep(0.2)
            patch = {"spec": {"renewTime": micro_timestamp()}}
            await self._client.patch(LEASES, self.name, patch, "kube-node-lease")

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        if new is not None and (new.get("spec") or {}).get("nodeName") == self.name and not self._silent:
            self._work.put_nowait(new)

    async def _serve(self, pod: Object) -> None:
        name, namespace = name_of(pod), namespace_of(pod)
        phase = (pod.get("status") or {}).get("phase")
        if is_deleting(pod):
            await self._client.delete(PODS, name, namespace, grace_period=0, uid=pod["metadata"]["uid"])
        elif phase == "Pending" or phase is None:
            ready = "never" not in pod["spec"]["containers"][0]["image"]
            conditions = [
                {"type": "Ready", "status": str(ready), "lastTransitionTime": timestamp()},
                {"type": "ContainersReady", "status": str(ready), "lastTransitionTime": timestamp()},
            ]
            address = f"10.244.0.{next(_ADDRESSES) % 250 + 1}"
            status = {"phase": "Running", "conditions": conditions, "podIP": address, "podIPs": [{"ip": address}]}
            await self._client.patch(
                PODS, name, {"status": status}, namespace, kind=STRATEGIC_MERGE_PATCH, subresource="status"
            )


class HollowCluster:
    """Components and hollow nodes that run until the end of the test. `client` may do everything."""

    def __init__(self, client: Client, handler: Handler) -> None:
        self.client = client
        self.handler = handler
        self.kubeconfig = ""
        self.informers = Informers(client)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, *components: Component | HollowNode | Informers) -> list[asyncio.Task[None]]:
        """Run the components in the background; their tasks, which the test may cancel."""
        made = [asyncio.create_task(c.run()) for c in components]
        self._tasks += made
        return made

    def node(self, name: str, **allocatable: str) -> HollowNode:
        """Start a hollow node."""
        made = HollowNode(self.client, name, self.informers, **allocatable)
        self.start(made)
        return made

    async def ensure_namespace(self, name: str) -> None:
        """Make the namespace unless it is there."""
        try:
            await self.client.get(NAMESPACES, name)
        except StatusError as error:
            if not is_not_found(error):
                raise
            body: dict[str, Any] = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            await self.client.create(NAMESPACES, body)

    async def stop(self) -> None:
        """End everything; a component that died of an error raises it here."""
        died = [t for t in self._tasks if t.done() and not t.cancelled()]
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for task in died:
            task.result()


@asynccontextmanager
async def hollow_cluster(client: Client, handler: Handler) -> AsyncIterator[HollowCluster]:
    """A cluster without components yet, gone at the end."""
    cluster = HollowCluster(client, handler)
    cluster.start(cluster.informers)
    try:
        for name in ("default", "kube-system", "kube-node-lease"):
            await cluster.ensure_namespace(name)
        yield cluster
    finally:
        await cluster.stop()
