"""A node that runs virtual machines: API server, containerd, kubelet and virt-handler, all real, in one process.

virt-controller's part - the pod, and the phase Scheduled - is done here by hand, with its own template of the pod.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import shutil
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import kumo
from kumo.api.errors import StatusError
from kumo.api.objects import Object, name_of, uid_of
from kumo.api.resources import CRDS, EVENTS, NODES, PODS, VMIS
from kumo.host.containerd.archive import File, build_image
from kumo.kubernetes.kubelet.config import DeviceNode, DeviceResource
from kumo.kubevirt.common.config import ClusterConfig
from kumo.kubevirt.virt_controller.launcher.pod import LauncherConfig, launcher_pod
from kumo.kubevirt.virt_handler import devices, launcher_image
from kumo.kubevirt.virt_handler.config import VirtHandlerConfig
from kumo.kubevirt.virt_handler.handler import VirtHandler
from kumo.machinery.client import Client
from kumo.machinery.events import EventRecorder
from kumo.machinery.informer import Informers
from support.kubelet import NODE, Node, running_node

VERSION = "test"
DISK_IMAGE = "kumo.dev/test-disk:1"
VMI_CRD: Object = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "virtualmachineinstances.kubevirt.io"},
    "spec": {
        "group": "kubevirt.io",
        "names": {
            "kind": "VirtualMachineInstance",
            "listKind": "VirtualMachineInstanceList",
            "plural": "virtualmachineinstances",
            "singular": "virtualmachineinstance",
        },
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}


def vmi_object(name: str, **spec: Any) -> Object:
    """A VMI with its defaults: a container disk, cloud-init, masquerade; `spec` overrides."""
    domain = {
        "cpu": {"cores": 1, "sockets": 1, "threads": 1, "maxSockets": 4, "model": "host-model"},
        "devices": {
            "disks": [{"name": "disk", "disk": {"bus": "virtio"}}, {"name": "seed", "disk": {"bus": "virtio"}}],
            "interfaces": [{"name": "default", "masquerade": {}}],
            "rng": {},
        },
        "features": {"acpi": {"enabled": True}},
        "firmware": {"uuid": str(uuid.uuid4())},
        "machine": {"type": "q35"},
        "memory": {"guest": "192Mi"},
        "resources": {},
    }
    base: dict[str, Any] = {
        "architecture": "amd64",
        "domain": domain,
        "networks": [{"name": "default", "pod": {}}],
        "terminationGracePeriodSeconds": 30,
        "volumes": [
            {"name": "disk", "containerDisk": {"image": DISK_IMAGE, "imagePullPolicy": "IfNotPresent"}},
            {"name": "seed", "cloudInitNoCloud": {"userData": "#!/bin/sh\necho seeded > /dev/ttyS0\n"}},
        ],
    }
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {
            "name": name,
            "namespace": "default",
            "finalizers": ["kubevirt.io/foregroundDeleteVirtualMachine"],
        },
        "spec": copy.deepcopy(base | spec),
        "status": {"phase": "Pending"},
    }


@dataclass
class VirtNode:
    """The running node."""

    node: Node
    config: VirtHandlerConfig
    handler: VirtHandler
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def client(self) -> Client:
        return self.node.api.client

    async def start(self) -> None:
        """Start (or start again) virt-handler."""
        informers = Informers(self.client)
        recorder = EventRecorder(self.client, "virt-handler", NODE)
        self.handler = VirtHandler(self.config, self.client, informers, recorder, kvm=False)
        self.tasks = [asyncio.create_task(informers.run()), asyncio.create_task(self.handler.run())]

    async def stop(self) -> None:
        """Stop virt-handler; machines run on."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def create(self, vmi: Object) -> Object:
        """Create the VMI and its pod, wait for the pod's container, and schedule the VMI here."""
        made = await self.client.create(VMIS, vmi, "default")
        launcher = LauncherConfig(VERSION, str(Path(kumo.__file__).parent), str(self.config.capabilities))
        pod = launcher_pod(made, ClusterConfig(use_emulation=True), launcher)
        pod["spec"] |= {"nodeName": NODE}
        del pod["spec"]["nodeSelector"]
        pod["metadata"]["name"] = f"virt-launcher-{name_of(made)}"
        pod["spec"].pop("affinity", None)
        created = await self.node.create_pod(pod)
        await self.node.until(name_of(created), _containers_run, 60.0)
        status = {
            **(made.get("status") or {}),
            "phase": "Scheduled",
            "nodeName": NODE,
            "activePods": {uid_of(created): NODE},
            "volumeStatus": [{"name": v["name"], "target": ""} for v in made["spec"]["volumes"]],
        }
        made["metadata"].setdefault("labels", {})["kubevirt.io/nodeName"] = NODE
        return await self.client.update(VMIS, {**made, "status": status})

    async def until(self, name: str, check: Callable[[Object], Any], timeout: float = 60.0) -> Object:
        """The VMI once `check` holds of it."""
        vmi = await self.client.get(VMIS, name, "default")
        try:
            async with asyncio.timeout(timeout):
                if check(vmi):
                    return vmi
                revision = vmi["metadata"]["resourceVersion"]
                async for event in self.client.watch(
                    VMIS, "default", resource_version=revision, field_selector=f"metadata.name={name}"
                ):
                    if event.type in ("ADDED", "MODIFIED"):
                        vmi = event.object
                        if check(vmi):
                            return vmi
        except TimeoutError:
            raise AssertionError(f"VMI {name} is not as it should be: {vmi.get('status')}\n{self.log(name)}") from None
        raise AssertionError("the watch ended")

    def log(self, name: str) -> str:
        """What the launcher wrote."""
        found = sorted(self.node.config.logs_directory.glob(f"default_virt-launcher-{name}_*/compute/*.log"))
        return found[-1].read_text()[-6000:] if found else "no log"

    async def serial(self, vmi: Object, text: str, timeout: float = 120.0) -> str:
        """The guest's serial output once it holds `text`."""
        uid = next(iter(vmi["status"]["activePods"]))
        path = self.config.volume(uid, "private") / uid_of(vmi) / "virt-serial0-log"
        content = ""
        try:
            async with asyncio.timeout(timeout):
                while text not in content:
                    await asyncio.sleep(0.1)
                    content = path.read_text(errors="replace") if path.exists() else ""
        except TimeoutError:
            raise AssertionError(f"{text!r} is not in the serial output: {content[-2000:]}") from None
        return content

    async def events(self, name: str) -> list[tuple[str, str, str]]:
        """(type, reason, message) of the VMI's events."""
        found = await self.client.list(EVENTS, "default", field_selector=f"involvedObject.name={name}")
        return [(e["type"], e["reason"], e["message"]) for e in found.items]

    async def remove(self, name: str) -> None:
        """Delete the VMI and its pod, as virt-controller would in the end."""
        with contextlib.suppress(StatusError):
            vmi = await self.client.get(VMIS, name, "default")
            vmi["metadata"]["finalizers"] = []
            await self.client.update(VMIS, vmi)
            await self.client.delete(VMIS, name, "default")
        await self.node.remove(f"virt-launcher-{name}")


def _containers_run(pod: Object) -> bool:
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    return bool(statuses) and all("running" in (s.get("state") or {}) for s in statuses)


def phase_is(*phases: str) -> Callable[[Object], bool]:
    """A check of the VMI's phase."""
    return lambda vmi: (vmi.get("status") or {}).get("phase") in phases


@contextlib.asynccontextmanager
async def running_virt_node(tmp_path: Path, disk: Path, bridge: str, subnet: str) -> AsyncIterator[VirtNode]:
    """The node; `disk` is what the image `DISK_IMAGE` holds."""
    directory = Path(f"/var/tmp/kumo-f-{uuid.uuid4().hex[:6]}")
    early = VirtHandlerConfig(NODE, directory, directory)
    resources = {
        d.resource: DeviceResource(d.count, (DeviceNode(d.host_path, d.container_path, "rw"),))
        for d in devices.node_devices(early, kvm=False)
    }
    try:
        async with running_node(tmp_path, bridge=bridge, subnet=subnet, devices=resources) as node:
            await node.api.client.create(CRDS, VMI_CRD)
            await launcher_image.ensure(node.containerd.engine, VERSION)
            image = build_image(files=[File("/disk", mode=0o755), File("/disk/disk.img", disk, 0o440, 107, 107)])
            await node.containerd.engine.images.import_image(image, [DISK_IMAGE])
            config = VirtHandlerConfig(NODE, node.config.directory, directory, "127.0.0.1:10250", agent_interval=5.0)
            virt = VirtNode(node, config, None)  # type: ignore[arg-type]
            await virt.start()
            try:
                yield virt
            finally:
                for pod in (await node.api.client.list(PODS, "default")).items:
                    await node.remove(name_of(pod))
                await virt.stop()
    finally:
        await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)


__all__ = ["NODES", "VirtNode", "phase_is", "running_virt_node", "vmi_object"]
