"""An API server with KubeVirt's hooks, subresources and controllers; tests play the kubelet and virt-handler.

async with kubevirt_cluster(tmp_path) as cluster:
    await cluster.create_vm("a", runStrategy="Always")
    await cluster.run_pod("a")
    await cluster.handler_writes("a", phase="Running")
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from kumo.api.errors import StatusError
from kumo.api.objects import Object, timestamp
from kumo.api.resources import NODES, PODS, VMIS, VMS
from kumo.api.users import MASTERS_GROUP, UserInfo
from kumo.kubevirt.common import names
from kumo.kubevirt.virt_api.component import VirtApi
from kumo.kubevirt.virt_controller.component import VirtController
from kumo.kubevirt.virt_controller.launcher import LauncherConfig
from kumo.machinery.client import Client, Transport
from kumo.machinery.extension import AdmissionHook
from kumo.machinery.http import Answer, Handler, Request, Response
from kumo.machinery.informer import Informers
from kumo.machinery.transport import InProcessTransport
from support.apiserver import RunningApiServer, running_apiserver

NODE = "node01"
_KNOWN = ("system:authenticated",)
NAMESPACE = "default"
MACHINE: Object = {
    "apiVersion": "kubevirt.io/v1",
    "kind": "VirtualMachine",
    "metadata": {"namespace": NAMESPACE},
    "spec": {
        "template": {
            "metadata": {"labels": {"kubevirt.io/size": "small"}},
            "spec": {
                "domain": {
                    "devices": {
                        "disks": [
                            {"name": "containerdisk", "disk": {"bus": "virtio"}},
                            {"name": "cloudinitdisk", "disk": {"bus": "virtio"}},
                        ],
                        "interfaces": [{"name": "default", "masquerade": {}}],
                    },
                    "resources": {"requests": {"memory": "64M"}},
                },
                "networks": [{"name": "default", "pod": {}}],
                "volumes": [
                    {
                        "name": "containerdisk",
                        "containerDisk": {"image": "quay.io/kubevirt/cirros-container-disk-demo"},
                    },
                    {"name": "cloudinitdisk", "cloudInitNoCloud": {"userDataBase64": "SGkuXG4="}},
                ],
            },
        }
    },
}


async def _no_handler(request: Request) -> Answer:
    return Response(404, b"nothing here")


class KubevirtCluster:
    """What a test has in its hands."""

    def __init__(self, server: RunningApiServer, controllers: _Controllers, hooks: Sequence[AdmissionHook]) -> None:
        self.server = server
        self.hooks = hooks
        self._controllers = controllers
        self.client = server.client
        self.node_client = Client(
            InProcessTransport(server.server.handle, UserInfo(names.HANDLER_USER, (MASTERS_GROUP,)))
        )

    async def create_vm(self, name: str, template: dict[str, Any] | None = None, **spec: Any) -> Object:
        """A VM like the primer's; `template` is merged into its instance's spec."""
        vm = copy.deepcopy(MACHINE)
        vm["metadata"]["name"] = name
        vm["spec"] |= spec
        vm["spec"]["template"]["spec"] |= template or {}
        return await self.client.create(VMS, vm)

    async def vm(self, name: str) -> Object:
        return await self.client.get(VMS, name, NAMESPACE)

    async def vmi(self, name: str) -> Object:
        return await self.client.get(VMIS, name, NAMESPACE)

    async def pods(self, name: str) -> list[Object]:
        found = await self.client.list(PODS, NAMESPACE, label_selector=f"{names.VMI_ID_LABEL}={name}")
        return found.items

    async def until(self, what: str, check: Callable[[], Awaitable[Any]], seconds: float = 10.0) -> Any:
        """Wait until `check` gives something true; objects that are not there yet count as false."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    try:
                        if found := await check():
                            return found
                    except (StatusError, IndexError, KeyError):
                        pass
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"{what}: not within {seconds} s") from None

    async def until_vm(self, name: str, status: str) -> Object:
        """Wait for the VM's printable status."""

        async def check() -> Object | None:
            vm = await self.vm(name)
            return vm if vm["status"]["printableStatus"] == status else None

        try:
            found: Object = await self.until(f"VM {name} {status}", check)
        except AssertionError as error:
            now = (await self.vm(name)).get("status")
            raise AssertionError(f"{error}; it is {now}") from None
        return found

    async def until_vmi(self, name: str, phase: str) -> Object:
        """Wait for the instance's phase."""

        async def check() -> Object | None:
            vmi = await self.vmi(name)
            return vmi if vmi["status"]["phase"] == phase else None

        found: Object = await self.until(f"VMI {name} {phase}", check)
        return found

    async def until_gone(self, name: str) -> None:
        """Wait until there is no such VM any more."""

        async def check() -> bool:
            try:
                await self.vm(name)
            except StatusError as error:
                return error.code == 404
            return False

        await self.until(f"VM {name} gone", check)

    async def restart_controllers(self) -> None:
        """Kill virt-controller and start another."""
        await self._controllers.stop()
        self._controllers.start()

    # -- the kubelet ------------------------------------------------------------------------------------------------

    async def the_pod(self, name: str) -> Object:
        """The instance's one pod that is not going."""

        async def check() -> Object | None:
            alive = [p for p in await self.pods(name) if "deletionTimestamp" not in p["metadata"]]
            return alive[0] if alive else None

        found: Object = await self.until(f"pod of {name}", check)
        return found

    async def run_pod(self, name: str) -> Object:
        """Bind the pod and say that all its containers run."""
        pod = await self.the_pod(name)
        if not pod["spec"].get("nodeName"):
            binding = {"target": {"kind": "Node", "name": NODE}, "metadata": {"name": pod["metadata"]["name"]}}
            await self.client.create(PODS, binding, NAMESPACE, subresource="binding", name=pod["metadata"]["name"])
        now = timestamp()
        running = {"ready": True, "restartCount": 0, "started": True, "state": {"running": {"startedAt": now}}}
        ready = {"status": "True", "lastProbeTime": None, "lastTransitionTime": now}
        status = {
            "phase": "Running",
            "podIP": "10.244.0.7",
            "podIPs": [{"ip": "10.244.0.7"}],
            "qosClass": "Burstable",
            "containerStatuses": [{"name": c["name"], "image": c["image"], "imageID": "", **running}
                                  for c in pod["spec"]["containers"]],
            "conditions": [{"type": kind, **ready} for kind in ("PodScheduled", "ContainersReady", "Ready")],
        }  # fmt: skip
        await self._pod_status(pod, status)
        return pod

    async def _pod_status(self, pod: Object, status: dict[str, Any]) -> None:
        name = pod["metadata"]["name"]
        kind = "application/strategic-merge-patch+json"
        await self.client.patch(PODS, name, {"status": status}, NAMESPACE, kind=kind, subresource="status")

    async def finish_pod(self, name: str, phase: str = "Succeeded") -> None:
        """Say that the pods' containers have ended; those that are being deleted go away."""
        for pod in await self.pods(name):
            if pod["status"]["phase"] not in ("Succeeded", "Failed"):
                await self._pod_status(pod, {"phase": phase})
        await self.finish_deleted_pods(name)

    async def finish_deleted_pods(self, name: str) -> None:
        """Let pods go whose deletion has been asked for."""
        for pod in await self.pods(name):
            if "deletionTimestamp" in pod["metadata"]:
                await self.client.delete(PODS, pod["metadata"]["name"], NAMESPACE, grace_period=0)

    async def pod_waits(self, name: str, reason: str, message: str) -> None:
        """Say that an image of the pod can't be had."""
        pod = await self.the_pod(name)
        waiting = {"state": {"waiting": {"reason": reason, "message": message}}, "ready": False, "restartCount": 0}
        statuses = [{"name": "volumecontainerdisk", "image": "", "imageID": "", **waiting}]
        await self._pod_status(pod, {"phase": "Pending", "initContainerStatuses": statuses})

    # -- virt-handler -----------------------------------------------------------------------------------------------

    async def handler_writes(self, name: str, conditions: list[dict[str, Any]] | None = None, **status: Any) -> Object:
        """Change the instance's status as virt-handler does; a new phase is noted with its time."""
        while True:
            vmi = await self.node_client.get(VMIS, name, NAMESPACE)
            if status.get("phase") and status["phase"] != vmi["status"]["phase"]:
                moment = {"phase": status["phase"], "phaseTransitionTimestamp": timestamp()}
                vmi["status"].setdefault("phaseTransitionTimestamps", []).append(moment)
            vmi["status"] |= status
            kinds = {c["type"] for c in conditions or ()}
            kept = [c for c in vmi["status"].get("conditions", ()) if c["type"] not in kinds]
            vmi["status"]["conditions"] = kept + [c for c in conditions or () if "status" in c]
            try:
                return await self.node_client.update(VMIS, vmi)
            except StatusError as error:
                if error.reason != "Conflict":
                    raise

    async def start_fully(self, name: str) -> Object:
        """Everything that is to happen until the guest runs."""
        await self.run_pod(name)
        await self.until_vmi(name, "Scheduled")
        live = [{"type": "LiveMigratable", "status": "True"}]
        address = {"infoSource": "domain", "ipAddress": "10.244.0.7", "ipAddresses": ["10.244.0.7"], "name": "default"}
        await self.handler_writes(name, live, phase="Running", interfaces=[address])
        return await self.until_vm(name, "Running")

    async def put(
        self, name: str, action: str, body: dict[str, Any] | None = None, kind: str = "virtualmachines"
    ) -> Any:
        """PUT a subresource as virtctl does."""
        path = f"/apis/subresources.kubevirt.io/v1/namespaces/{NAMESPACE}/{kind}/{name}/{action}"
        return await self.client.request("PUT", path, body=body if body is not None else {})


class _Controllers:
    """virt-controller with informers of its own, to be killed and started again."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        informers = Informers(self._client)
        component = VirtController(self._client, informers, LauncherConfig("0.1.0", "/somewhere/kumo"))
        self._tasks = [asyncio.create_task(informers.run()), asyncio.create_task(component.run())]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def kubevirt_cluster(
    tmp_path: Path, *, handler: Handler = _no_handler, https: bool = False
) -> AsyncIterator[KubevirtCluster]:
    """Start it; `handler` plays the virt-handler of the one node."""
    running: list[RunningApiServer] = []

    async def later(request: Request) -> Answer:
        return await running[0].server.handle(request)

    def dial(address: str) -> Transport:
        assert address == "192.0.2.2:10250"
        return InProcessTransport(handler)

    api = Client(InProcessTransport(later, UserInfo(names.API_USER, _KNOWN)))
    controllers = _Controllers(Client(InProcessTransport(later, UserInfo(names.CONTROLLER_USER, _KNOWN))))
    informers = Informers(api)
    virt_api = VirtApi(api, informers, dial)
    async with running_apiserver(tmp_path, https=https, hooks=virt_api.hooks, groups=virt_api.groups) as server:
        running.append(server)
        await virt_api.install(server.client, use_emulation=True)
        node = {"metadata": {"name": NODE, "annotations": {names.HANDLER_ADDRESS_ANNOTATION: "192.0.2.2:10250"}}}
        await server.client.create(NODES, {"apiVersion": "v1", "kind": "Node", **node})
        task = asyncio.create_task(informers.run())
        controllers.start()
        try:
            await virt_api.config.informer.wait_synced()
            yield KubevirtCluster(server, controllers, virt_api.hooks)
        finally:
            await controllers.stop()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
