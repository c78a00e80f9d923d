"""The Node object and its lease: registered at start, renewed by heartbeats. Upstream: `pkg/kubelet/nodestatus`.

`node_object` and `node_conditions` are pure; `NodeKeeper` writes them.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import structlog

from kumo.api import conditions as api_conditions
from kumo.api.errors import StatusError, is_already_exists, is_not_found
from kumo.api.objects import Object, micro_timestamp, timestamp, uid_of
from kumo.api.resources import LEASES, NODES
from kumo.host.containerd.engine import Containerd
from kumo.host.containerd.rpc import EngineError
from kumo.host.containerd.stubs import cri_pb2 as cri
from kumo.kubernetes.kubelet.config import KubeletConfig
from kumo.kubernetes.kubelet.machine import Machine
from kumo.kubernetes.kubelet.node_advertised import advertised, is_behind
from kumo.kubernetes.kubelet.node_events import Conditions, reasons, standing
from kumo.machinery.client import MERGE_PATCH, STRATEGIC_MERGE_PATCH, Client
from kumo.machinery.events import NORMAL, WARNING, EventRecorder

LEASE_NAMESPACE = "kube-node-lease"
ATTACHED = {"volumes.kubernetes.io/controller-managed-attach-detach": "true"}
"""Volumes are attached by the control plane, not by the kubelet."""
_FEATURES = (
    "InPlacePodLevelResourcesVerticalScaling",
    "InPlacePodVerticalScalingInitContainers",
    "RestartAllContainersOnContainerExits",
)
"""What the scheduler and admission may take for granted here (`status.declaredFeatures`, sorted)."""
_TOGETHER_SECONDS = 2.0
_REQUEST_SECONDS = 10.0
"""How long a write may take, e.g. over a connection whose other end is gone."""
RUNTIME_PATIENCE = 30.0
"""Seconds for which a silent runtime leaves a ready node ready (upstream: `maxWaitForContainerRuntime`)."""
_log = structlog.get_logger("kumo.kubelet")


_UNDER = {
    "MemoryPressure": ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
    "DiskPressure": ("KubeletHasDiskPressure", "kubelet has disk pressure"),
    "PIDPressure": ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
}
"""Reason and message while a condition holds, by type."""
_ABOVE = {
    "MemoryPressure": ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    "DiskPressure": ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    "PIDPressure": ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
}


def node_labels(config: KubeletConfig, machine: Machine) -> dict[str, str]:
    """The labels that the kubelet keeps on its Node."""
    own = {
        "kubernetes.io/arch": machine.architecture,
        "kubernetes.io/hostname": config.node_name,
        "kubernetes.io/os": "linux",
        "beta.kubernetes.io/arch": machine.architecture,
        "beta.kubernetes.io/os": "linux",
    }
    return own | dict(config.labels)


def node_conditions(
    old: Sequence[dict[str, Any]], problem: str, now: str, pressures: Collection[str] = ()
) -> list[dict[str, Any]]:
    """The kubelet's conditions with a fresh heartbeat.

    `problem`: why the runtime is not ready, empty if it is. `pressures`: the types of the conditions of pressure.
    """
    wanted = [(kind, "True", *_UNDER[kind]) if kind in pressures else (kind, "False", *_ABOVE[kind]) for kind in _UNDER]
    wanted.append(
        ("Ready", "True", "KubeletReady", "kubelet is posting ready status")
        if not problem
        else ("Ready", "False", "KubeletNotReady", problem)
    )
    made = []
    for kind, status, reason, message in wanted:
        before = api_conditions.find(list(old), kind) or {}
        same = before.get("status") == status
        made.append(
            {
                "type": kind,
                "status": status,
                "reason": reason,
                "message": message,
                "lastHeartbeatTime": now,
                "lastTransitionTime": before.get("lastTransitionTime") or now if same else now,
            }
        )
    return made


def node_status(
    config: KubeletConfig, machine: Machine, version: str, images: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """`Node.status` without its conditions."""
    return {
        "declaredFeatures": list(_FEATURES),
        "capacity": machine.capacity(config),
        "allocatable": dict(machine.allocatable(config)),
        "addresses": [
            *({"type": "InternalIP", "address": ip} for ip in config.node_ips),
            {"type": "Hostname", "address": config.node_name},
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": config.port}},
        "nodeInfo": {
            "architecture": machine.architecture,
            "bootID": machine.boot_id,
            "containerRuntimeVersion": f"containerd://{version}",
            "kernelVersion": machine.kernel,
            "kubeProxyVersion": "",
            "kubeletVersion": config.version,
            "machineID": machine.machine_id,
            "operatingSystem": "linux",
            "osImage": machine.os_image,
            "systemUUID": machine.system_uuid,
            **({"swap": {"capacity": machine.swap}} if machine.swap else {}),
        },
        "images": list(images),
    }


def runtime_abilities(runtime: cri.StatusResponse) -> dict[str, Any]:
    """What `Node.status` says of the runtime's handlers and features; nothing of one that does not tell."""
    found: dict[str, Any] = {}
    if runtime.HasField("features"):
        found["features"] = {"supplementalGroupsPolicy": runtime.features.supplemental_groups_policy}
    if runtime.runtime_handlers:
        found["runtimeHandlers"] = [
            {
                "name": handler.name,
                "features": {
                    "recursiveReadOnlyMounts": handler.features.recursive_read_only_mounts,
                    "userNamespaces": handler.features.user_namespaces,
                },
            }
            for handler in runtime.runtime_handlers
        ]
    return found


def node_object(config: KubeletConfig, machine: Machine, status: Mapping[str, Any]) -> Object:
    """The Node to create."""
    spec: dict[str, Any] = {"podCIDR": config.pod_cidr, "podCIDRs": config.pod_cidrs} if config.pod_cidr else {}
    if config.taints:
        spec["taints"] = [dict(taint) for taint in config.taints]
    if config.provider_id:
        spec["providerID"] = config.provider_id
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": config.node_name,
            "labels": node_labels(config, machine),
            "annotations": ATTACHED | dict(config.annotations),
        },
        "spec": spec,
        "status": dict(status),
    }


def lease_object(config: KubeletConfig, node: Object | None) -> Object:
    """The node's lease, owned by the Node so that it goes with it."""
    metadata: dict[str, Any] = {"name": config.node_name, "namespace": LEASE_NAMESPACE}
    if node is not None:
        owner = {"apiVersion": "v1", "kind": "Node", "name": config.node_name, "uid": uid_of(node)}
        metadata["ownerReferences"] = [owner]
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": metadata,
        "spec": {
            "holderIdentity": config.node_name,
            "leaseDurationSeconds": max(1, round(4 * config.lease_seconds)),
            "renewTime": micro_timestamp(),
        },
    }


def _revision(obj: Object | None) -> int:
    text = str(((obj or {}).get("metadata") or {}).get("resourceVersion") or "")
    return int(text) if text.isdecimal() else 0


def is_away(node: Object | None, silent: float) -> bool:
    """Whether a runtime that has not answered for so many seconds makes its node not ready. Pure.

    Pods of a node that is not ready leave their services: a runtime that is started again must not cost that. A node
    that is new, or was not ready, has to hear of its runtime first.
    """
    return silent > RUNTIME_PATIENCE or node is None or not api_conditions.is_true(node, "Ready")


class NodeKeeper:
    """Registers the node and keeps it alive. `registered` is set once the Node exists."""

    def __init__(
        self,
        config: KubeletConfig,
        client: Client,
        engine: Containerd,
        machine: Machine,
        recorder: EventRecorder | None = None,
    ) -> None:
        self._config = config
        self._recorder = recorder
        self._boot = ""
        self._leaving = False
        self._own: frozenset[str] = frozenset()  # the resources that the kubelet itself has written
        self._soon = False
        self._client = client
        self._engine = engine
        self._machine = machine
        self._node: Object | None = None
        self._lease: Object | None = None
        self._changed = asyncio.Event()
        self._problem = ""
        self._answered = time.monotonic()  # by the runtime; of a kubelet that begins, nothing is known against it
        self.volumes_in_use: Callable[[], Sequence[str]] = tuple
        self.offered: Callable[[], tuple[Mapping[str, str], Mapping[str, str]]] = lambda: ({}, {})
        """Capacity and allocatable of what plugins offer."""
        self.pressures: Callable[[], Collection[str]] = tuple
        self.shutting_down: Callable[[], bool] = lambda: False
        """Whether the machine is about to be shut down."""
        self.registered = asyncio.Event()

    def poke(self) -> None:
        """Something that the status shows may have changed (containerd came or went, an image was pulled)."""
        self._soon = False
        self._changed.set()

    def poke_soon(self) -> None:
        """As `poke`, once for all that comes within the next two seconds."""
        if not self._soon:
            self._soon = True
            asyncio.get_running_loop().call_later(_TOGETHER_SECONDS, self.poke)

    def seen(self, old: Object | None, new: Object | None) -> None:
        """The Node as others see it now: who was cut off is called unknown, and must say again that it is there."""
        if new is None:
            self.poke()  # Somebody has deleted it. It is made anew: a node that runs is a node.
        if new is None or not self.registered.is_set() or _revision(new) < _revision(self._node):
            return
        said, mine = ((n or {}).get("status", {}).get("conditions") or () for n in (new, self._node))
        self._node = new
        if standing(said) != standing(mine):
            self.poke()
        elif self._own and is_behind(new, self._own):
            self.poke_soon()

    async def leave(self) -> None:
        """Say that the node ends, so that nothing new comes here and what is elsewhere takes over."""
        self._leaving = True
        with contextlib.suppress(StatusError, ConnectionError, OSError, TimeoutError):
            await self._write_status()

    async def write(self) -> None:
        """Write the status now. Raises StatusError, ConnectionError."""
        await self._write_status()

    async def run(self) -> None:
        """Register, then renew the lease and the status until cancelled."""
        while not self.registered.is_set():
            try:
                await self._register()
                self.registered.set()
            except (StatusError, ConnectionError, OSError, TimeoutError) as error:
                _log.info("can't register the node yet", node=self._config.node_name, error=str(error))
                await asyncio.sleep(0.5)
        self._say(NORMAL, "Starting", "Starting kubelet.")
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_lease())
            group.create_task(self._keep_status())

    async def _register(self) -> None:
        if not self._config.register:
            # Somebody else makes it: until then there is nothing to keep.
            self._node = await self._client.get(NODES, self._config.node_name)
            await self._write_status()
            return
        status = await self._status()
        status["conditions"] = node_conditions((), self._problem, timestamp(), self.pressures())
        try:
            self._node = await self._client.create(NODES, node_object(self._config, self._machine, status))
            self._tell((), status["conditions"])
        except StatusError as error:
            if not is_already_exists(error):
                raise
            metadata = {
                "labels": node_labels(self._config, self._machine),
                "annotations": ATTACHED | dict(self._config.annotations),
            }
            self._node = await self._client.patch(
                NODES, self._config.node_name, {"metadata": metadata}, kind=MERGE_PATCH
            )
        await self._write_status()

    async def _status(self) -> dict[str, Any]:
        version = "Unknown"
        images: list[dict[str, Any]] = []
        abilities: dict[str, Any] = {}
        self._problem = ""
        try:
            version = (await self._engine.runtime.version()).runtime_version.lstrip("v").partition("~")[0]
            runtime = await self._engine.runtime.whole_status()
            self._answered = time.monotonic()
            abilities = runtime_abilities(runtime)
            network = next((c for c in runtime.status.conditions if c.type == "NetworkReady"), None)
            if network is not None and not network.status:
                self._problem = (
                    "container runtime network not ready: NetworkReady=false "
                    f"reason:{network.reason} message:{network.message}"
                )
            for image in await self._engine.image_service.list():
                names = [*image.repo_digests, *image.repo_tags]
                if names:
                    images.append({"names": names[:5], "sizeBytes": image.size})
        except EngineError as error:
            if is_away(self._node, time.monotonic() - self._answered):
                self._problem = f"container runtime is down: {error.message}"
        if self._leaving or self.shutting_down():
            self._problem = "node is shutting down"
        images.sort(key=lambda i: -i["sizeBytes"])
        if self._config.max_images >= 0:
            images = images[: self._config.max_images]
        status = node_status(self._config, self._machine, version, images) | abilities
        capacity, allocatable = self.offered()
        status["capacity"] = {**capacity, **status["capacity"]}
        status["allocatable"] = {**allocatable, **status["allocatable"]}
        return status

    async def _write_status(self) -> None:
        status = await self._status()
        old = ((self._node or {}).get("status") or {}).get("conditions") or ()
        status["conditions"] = node_conditions(old, self._problem, timestamp(), self.pressures())
        self._tell(old, status["conditions"])
        status["volumesInUse"] = list(self.volumes_in_use()) or None
        self._own = frozenset(status["capacity"])
        status["allocatable"] |= advertised(self._node, self._own)
        # Lists that a strategic merge would merge by key are wanted as they are.
        for name in ("addresses",):
            status[name] = [*status[name], {"$patch": "replace"}]
        async with asyncio.timeout(_REQUEST_SECONDS):
            self._node = await self._client.patch(
                NODES, self._config.node_name, {"status": status}, kind=STRATEGIC_MERGE_PATCH, subresource="status"
            )

    def _tell(self, old: Conditions, new: Conditions) -> None:
        """Say what has changed, and that the machine was started anew since the last time."""
        name, machine = self._config.node_name, self._machine
        for reason in reasons(old, new):
            self._say(NORMAL, reason, f"Node {name} status is now: {reason}")
        boot = ((self._node or {}).get("status") or {}).get("nodeInfo", {}).get("bootID")
        if boot and boot != machine.boot_id and self._boot != machine.boot_id:
            self._boot = machine.boot_id
            self._say(WARNING, "Rebooted", f"Node {name} has been rebooted, boot id: {machine.boot_id}")

    def warn(self, reason: str, message: str) -> None:
        """Record a warning about the Node."""
        self._say(WARNING, reason, message)

    def tell(self, reason: str, message: str) -> None:
        """Record an event about the Node that nobody has to worry about."""
        self._say(NORMAL, reason, message)

    def _say(self, kind: str, reason: str, message: str) -> None:
        if self._recorder is not None and self._node is not None:
            self._recorder.event(self._node, kind, reason, message)

    async def _keep_status(self) -> None:
        while True:
            # A runtime that is not ready is looked at often: nothing tells when its network is.
            period = self._config.status_seconds if not self._problem else 1.0
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(period):
                    await self._changed.wait()
            self._changed.clear()  # before looking: what changes while the status is written counts for the next one
            try:
                await self._write_status()
            except (StatusError, ConnectionError, OSError, TimeoutError) as error:
                if is_not_found(error):
                    await self._register_again()
                else:
                    _log.info("node status not written", error=str(error))
                    await asyncio.sleep(1.0)

    async def _register_again(self) -> None:
        try:
            await self._register()
            self._lease = None
        except (StatusError, ConnectionError, OSError, TimeoutError) as error:
            _log.info("can't register the node again", error=str(error))
            await asyncio.sleep(1.0)

    async def _keep_lease(self) -> None:
        while True:
            began = time.monotonic()
            delay = self._config.lease_seconds
            try:
                async with asyncio.timeout(max(delay, 1.0)):
                    await self._renew()
            except (StatusError, ConnectionError, OSError, TimeoutError) as error:
                _log.info("node lease not renewed", error=str(error))
                self._lease = None
                delay = min(delay, 1.0)
            await asyncio.sleep(max(0.1, delay - (time.monotonic() - began)))

    async def _renew(self) -> None:
        if self._lease is None:
            try:
                self._lease = await self._client.get(LEASES, self._config.node_name, LEASE_NAMESPACE)
            except StatusError as error:
                if not is_not_found(error):
                    raise
                self._lease = await self._client.create(LEASES, lease_object(self._config, self._node))
                return
        fresh = {**self._lease, "spec": {**self._lease["spec"], **lease_object(self._config, None)["spec"]}}
        self._lease = await self._client.update(LEASES, fresh)
