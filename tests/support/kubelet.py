"""A real kubelet: with a real API server and a real containerd, all in one process and in directories of their own."""

from __future__ import annotations

import asyncio
import contextlib
import copy
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kumo.api.errors import StatusError, is_not_found
from kumo.api.objects import Object, name_of, namespace_of
from kumo.api.resources import EVENTS, PODS
from kumo.api.users import AUTHENTICATED_GROUP, UserInfo
from kumo.kubernetes.kubelet.config import KubeletConfig
from kumo.kubernetes.kubelet.kubelet import Kubelet
from kumo.machinery import tls
from kumo.machinery.client import Client
from kumo.machinery.events import EventRecorder
from kumo.machinery.informer import Informers
from kumo.machinery.listener import Listener
from kumo.machinery.transport import InProcessTransport
from support.apiserver import RunningApiServer, running_apiserver
from support.containerd import BUSYBOX, Instance, running_containerd

NODE = "test-node"
POLITE = ["sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait"]
"""A command that runs until it is told to end, and then ends at once."""


@dataclass
class Node:
    """A running kubelet and its neighbours."""

    api: RunningApiServer
    containerd: Instance
    config: KubeletConfig
    kubelet: Kubelet
    client: Client
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    created: list[Object] = field(default_factory=list)

    async def start(self) -> None:
        """Start (or start again) the kubelet."""
        self.client = Client(
            InProcessTransport(
                self.api.server.handle, UserInfo(f"system:node:{NODE}", ("system:nodes", AUTHENTICATED_GROUP))
            )
        )
        client = self.client
        informers = Informers(client)
        recorder = EventRecorder(client, "kubelet", NODE)
        self.kubelet = Kubelet(self.config, client, informers, recorder, self.containerd.engine)
        self.tasks = [asyncio.create_task(informers.run()), asyncio.create_task(self.kubelet.run())]

    async def stop(self) -> None:
        """Stop the kubelet as a kill would: pods run on."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def create(self, name: str, *command: str, **spec: Any) -> Object:
        """Create a pod bound to the node; `command` for one busybox container unless `spec` has containers."""
        return await self.create_pod(pod_object(name, *command, **spec))

    async def create_pod(self, pod: Object) -> Object:
        """Create a pod as it is."""
        made = await self.api.client.create(PODS, pod, namespace_of(pod) or "default")
        self.created.append(made)
        return made

    async def get(self, name: str, namespace: str = "default") -> Object:
        return await self.api.client.get(PODS, name, namespace)

    async def until(self, name: str, check: Callable[[Object], Any], timeout: float = 20.0) -> Object:
        """The pod once `check` holds of it. Raises AssertionError with the pod as it is after `timeout` seconds."""
        pod: Object = {}
        try:
            async with asyncio.timeout(timeout):
                pod = await self.get(name)
                if check(pod):
                    return pod
                revision = pod["metadata"]["resourceVersion"]
                async for event in self.api.client.watch(
                    PODS, "default", resource_version=revision, field_selector=f"metadata.name={name}"
                ):
                    if event.type in ("ADDED", "MODIFIED"):
                        pod = event.object
                        if check(pod):
                            return pod
        except TimeoutError:
            import json

            raise AssertionError(
                f"pod {name} is not as it should be: {json.dumps(pod.get('status'), indent=1)}"
            ) from None
        raise AssertionError("the watch ended")

    async def until_other(self, name: str, uid: str, timeout: float = 20.0) -> Object:
        """The pod of that name with another uid than that one."""
        async with asyncio.timeout(timeout):
            while True:
                with contextlib.suppress(StatusError):
                    pod = await self.get(name)
                    if pod["metadata"]["uid"] != uid:
                        return pod
                await asyncio.sleep(0.05)

    async def until_gone(self, name: str, timeout: float = 20.0) -> None:
        """Return once the pod no longer exists."""
        async with asyncio.timeout(timeout):
            try:
                pod = await self.get(name)
            except StatusError as error:
                if is_not_found(error):
                    return
                raise
            revision = pod["metadata"]["resourceVersion"]
            async for event in self.api.client.watch(
                PODS, "default", resource_version=revision, field_selector=f"metadata.name={name}"
            ):
                if event.type == "DELETED":
                    return

    async def remove(self, name: str, grace: int = 0) -> None:
        """Delete the pod through the kubelet and wait until it is gone."""
        with contextlib.suppress(StatusError):
            await self.api.client.delete(PODS, name, "default", grace_period=max(grace, 1))
            await self.until_gone(name)

    async def events(self, name: str) -> list[tuple[str, str, str]]:
        """(type, reason, message) of the pod's events, oldest first."""
        found = await self.api.client.list(EVENTS, "default", field_selector=f"involvedObject.name={name}")
        return [(e["type"], e["reason"], e["message"]) for e in found.items]

    async def until_event(self, name: str, reason: str, timeout: float = 10.0) -> str:
        """The message of the pod's first event with that reason."""
        async with asyncio.timeout(timeout):
            while True:
                for _, found, message in await self.events(name):
                    if found == reason:
                        return message
                await asyncio.sleep(0.05)


def pod_object(name: str, *command: str, **spec: Any) -> Object:
    """A host-network pod of one busybox container named `main`; `spec` overrides."""
    container = {"name": "main", "image": BUSYBOX, "command": list(command) or POLITE}
    base: dict[str, Any] = {
        "nodeName": NODE,
        "hostNetwork": True,
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
        "automountServiceAccountToken": False,
    }
    annotations = spec.pop("annotations", {})
    labels = spec.pop("labels", {})
    extra = spec.pop("container", {})
    container |= extra
    metadata = {"name": name, "namespace": "default", "labels": labels, "annotations": annotations}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": copy.deepcopy(base | spec)}


def status_of(pod: Object, name: str = "main") -> dict[str, Any]:
    """The container's status."""
    status = pod.get("status") or {}
    for entry in [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]:
        if entry["name"] == name:
            return dict(entry)
    return {"state": {}}


def running(pod: Object) -> bool:
    """Whether all containers run and are ready."""
    status = pod.get("status") or {}
    return status.get("phase") == "Running" and all(c["ready"] for c in status.get("containerStatuses") or ())


def phase_is(*phases: str) -> Callable[[Object], bool]:
    """A check of the phase."""
    return lambda pod: (pod.get("status") or {}).get("phase") in phases


@contextlib.asynccontextmanager
async def running_node(
    tmp_path: Path,
    *,
    bridge: str = "",
    subnet: str = "",
    https: bool = False,
    mirrors: dict[str, str] | None = None,
    cni: tuple[Path, Path] | None = None,
    **config: Any,
) -> AsyncIterator[Node]:
    """API server, containerd and kubelet; `config` are fields of KubeletConfig.

    With `https`, the API server has a kubeconfig and reaches the node's listener over mutual TLS, as in production.
    """
    async with contextlib.AsyncExitStack() as stack:
        server: dict[str, Any] = {}
        listener: Listener | None = None
        if https:
            pki = tmp_path / "pki"
            pki.mkdir(exist_ok=True)
            ca = tls.ensure_ca(pki)
            client = tls.ensure_client_certificate(ca, pki, "kubelet-client", "kube-apiserver", ["system:masters"])
            server = {"kubelet_client_certificate": client.cert, "kubelet_client_key": client.key}
            own = tls.ensure_server_certificate(ca, pki, "node", names=[NODE])
            context = tls.server_context(own, ca.files.cert, require_client=True)
            listener = Listener(_no_kubelet, tls=context, grace=0.5)
            await listener.start()
            stack.push_async_callback(listener.stop)
            config["port"] = listener.port
        api = await stack.enter_async_context(running_apiserver(tmp_path, https=https, **server))
        containerd = await stack.enter_async_context(
            running_containerd(bridge=bridge, subnet=subnet, mirrors=mirrors, cni=cni)
        )
        wanted = KubeletConfig(
            node_name=NODE,
            node_ip="127.0.0.1",
            directory=containerd.directory / "node",
            cgroup_parent=containerd.cgroup,
            **config,
        )
        node = Node(api, containerd, wanted, None, api.client)  # type: ignore[arg-type]
        await node.start()
        if listener is not None:
            listener.handler = node.kubelet.handler
        try:
            yield node
        finally:
            await node.stop()


async def _no_kubelet(_: Any) -> Any:
    raise ConnectionError("the kubelet is starting")


__all__ = [
    "BUSYBOX",
    "NODE",
    "POLITE",
    "Node",
    "name_of",
    "phase_is",
    "pod_object",
    "running",
    "running_node",
    "status_of",
]
