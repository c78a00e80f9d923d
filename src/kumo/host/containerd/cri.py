"""The Container Runtime Interface v1 (`runtime.v1.RuntimeService` and `ImageService`), one coroutine a method.

Messages are those of `stubs.cri_pb2`. Every call raises `EngineError`.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import grpc.aio

from kumo.host.containerd.rpc import EngineError, Method
from kumo.host.containerd.stubs import cri_pb2 as cri

FOREVER = 24 * 3600.0

T = TypeVar("T")
_OPERATIONS = {
    "RunPodSandbox": "run_podsandbox",
    "StopPodSandbox": "stop_podsandbox",
    "RemovePodSandbox": "remove_podsandbox",
    "PodSandboxStatus": "podsandbox_status",
    "ListPodSandbox": "list_podsandbox",
    "UpdateContainerResources": "update_container",
}
"""Upstream's names of operations in its metrics, where they are not made of the method's."""


async def uninterrupted(call: Coroutine[Any, Any, T]) -> T:
    """The call's answer; a cancellation is obeyed only once the call has ended.

    A call that makes something must not be given up half-way: containerd may then leave a shim that nobody knows of.
    """
    task = asyncio.ensure_future(call)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()
        raise


class Told:
    """A method whose every call is told of when it has ended."""

    def __init__(self, method: Method[Any, Any], name: str, tell: Callable[[str, float, bool], None]) -> None:
        self._method = method
        self._name = _OPERATIONS.get(name) or re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
        self._tell = tell

    async def __call__(self, request: Any, timeout: float | None = 120.0) -> Any:
        """As `Method`."""
        began, failed = time.monotonic(), True
        try:
            answer = await self._method(request, timeout)
            failed = False
            return answer
        finally:
            self._tell(self._name, time.monotonic() - began, failed)


class RuntimeService:
    """Sandboxes and containers."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        def method(name: str) -> Told:
            request, answer = getattr(cri, f"{name}Request"), getattr(cri, f"{name}Response")
            found: Method[Any, Any] = Method(channel, f"/runtime.v1.RuntimeService/{name}", request, answer)
            return Told(found, name, lambda *said: self.told(*said))

        self.told: Callable[[str, float, bool], None] = lambda operation, seconds, failed: None
        """Hears of every call that has ended: upstream's name of it, seconds, whether it failed."""

        self._version = method("Version")
        self._status = method("Status")
        self._run_sandbox = method("RunPodSandbox")
        self._stop_sandbox = method("StopPodSandbox")
        self._remove_sandbox = method("RemovePodSandbox")
        self._sandbox_status = method("PodSandboxStatus")
        self._list_sandboxes = method("ListPodSandbox")
        self._create = method("CreateContainer")
        self._start = method("StartContainer")
        self._stop = method("StopContainer")
        self._remove = method("RemoveContainer")
        self._list = method("ListContainers")
        self._container_status = method("ContainerStatus")
        self._update = method("UpdateContainerResources")
        self._reopen_log = method("ReopenContainerLog")
        self._exec_sync = method("ExecSync")
        self._attach = method("Attach")
        self._stats = method("ListContainerStats")

    async def version(self, timeout: float = 10.0) -> cri.VersionResponse:
        """The runtime's name and version."""
        answer: cri.VersionResponse = await self._version(cri.VersionRequest(), timeout)
        return answer

    async def status(self, timeout: float = 10.0) -> dict[str, cri.RuntimeCondition]:
        """The conditions RuntimeReady and NetworkReady, by type."""
        return {c.type: c for c in (await self.whole_status(timeout)).status.conditions}

    async def whole_status(self, timeout: float = 10.0) -> cri.StatusResponse:
        """The conditions, and what the runtime and its handlers can do (containerd says so from 2.0 on)."""
        answer: cri.StatusResponse = await self._status(cri.StatusRequest(), timeout)
        return answer

    async def run_sandbox(self, config: cri.PodSandboxConfig, handler: str = "") -> str:
        """Create and start a pod's sandbox: its namespaces, network and pause process. Its id."""
        request = cri.RunPodSandboxRequest(config=config, runtime_handler=handler)
        return str((await uninterrupted(self._run_sandbox(request, 240.0))).pod_sandbox_id)

    async def stop_sandbox(self, sandbox: str) -> None:
        """Kill what runs in it and release its network; stopping a stopped one is fine."""
        await self._stop_sandbox(cri.StopPodSandboxRequest(pod_sandbox_id=sandbox))

    async def remove_sandbox(self, sandbox: str) -> None:
        """Forget the sandbox and its containers."""
        await self._remove_sandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=sandbox))

    async def sandbox_status(self, sandbox: str, verbose: bool = False) -> cri.PodSandboxStatusResponse:
        """The sandbox's state and addresses; with `verbose` also the runtime's own details (JSON in `info`)."""
        request = cri.PodSandboxStatusRequest(pod_sandbox_id=sandbox, verbose=verbose)
        answer: cri.PodSandboxStatusResponse = await self._sandbox_status(request)
        return answer

    async def list_sandboxes(self, labels: Mapping[str, str] | None = None) -> Sequence[cri.PodSandbox]:
        """All sandboxes with these labels."""
        request = cri.ListPodSandboxRequest(filter=cri.PodSandboxFilter(label_selector=labels or {}))
        return list((await self._list_sandboxes(request)).items)

    async def create_container(self, sandbox: str, config: cri.ContainerConfig, pod: cri.PodSandboxConfig) -> str:
        """Create a container in the sandbox; its id."""
        request = cri.CreateContainerRequest(pod_sandbox_id=sandbox, config=config, sandbox_config=pod)
        return str((await uninterrupted(self._create(request, 240.0))).container_id)

    async def start_container(self, container: str) -> None:
        """Start a created container."""
        await uninterrupted(self._start(cri.StartContainerRequest(container_id=container)))

    async def stop_container(self, container: str, grace: int) -> None:
        """Send the stop signal, and SIGKILL after `grace` seconds; returns when it has ended."""
        await self._stop(cri.StopContainerRequest(container_id=container, timeout=grace), grace + 120.0)

    async def remove_container(self, container: str) -> None:
        """Forget an ended container."""
        await self._remove(cri.RemoveContainerRequest(container_id=container))

    async def list_containers(
        self, labels: Mapping[str, str] | None = None, sandbox: str = ""
    ) -> Sequence[cri.Container]:
        """All containers with these labels, of that sandbox if given."""
        wanted = cri.ContainerFilter(label_selector=labels or {}, pod_sandbox_id=sandbox)
        return list((await self._list(cri.ListContainersRequest(filter=wanted))).containers)

    async def container_status(self, container: str) -> cri.ContainerStatus:
        """The container's state, times and exit code."""
        found: cri.ContainerStatus = (
            await self._container_status(cri.ContainerStatusRequest(container_id=container))
        ).status
        return found

    async def update_resources(self, container: str, resources: cri.LinuxContainerResources) -> None:
        """Change the limits of a running container; zeros leave what is there."""
        await uninterrupted(self._update(cri.UpdateContainerResourcesRequest(container_id=container, linux=resources)))

    async def reopen_log(self, container: str) -> None:
        """Open the log file anew, after it was renamed."""
        await self._reopen_log(cri.ReopenContainerLogRequest(container_id=container))

    async def exec_sync(self, container: str, command: Sequence[str], timeout: int) -> cri.ExecSyncResponse:
        """Run a command and wait for it. Raises EngineError DEADLINE_EXCEEDED after `timeout` seconds (0: never)."""
        request = cri.ExecSyncRequest(container_id=container, cmd=command, timeout=timeout)
        answer: cri.ExecSyncResponse = await self._exec_sync(request, timeout + 60.0 if timeout else FOREVER)
        return answer

    async def attach(self, container: str, *, stdin: bool, stdout: bool, stderr: bool, tty: bool) -> str:
        """The URL of a streaming session with the container's main process."""
        request = cri.AttachRequest(container_id=container, stdin=stdin, stdout=stdout, stderr=stderr, tty=tty)
        return str((await self._attach(request)).url)

    async def stats(self) -> Sequence[cri.ContainerStats]:
        """What every running container uses."""
        return list((await self._stats(cri.ListContainerStatsRequest())).stats)


class ImageService:
    """Images as CRI sees them: by name, tag or digest."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        def method(name: str) -> Told:
            request, answer = getattr(cri, f"{name}Request"), getattr(cri, f"{name}Response")
            found: Method[Any, Any] = Method(channel, f"/runtime.v1.ImageService/{name}", request, answer)
            return Told(found, name, lambda *said: self.told(*said))

        self.told: Callable[[str, float, bool], None] = lambda operation, seconds, failed: None
        """As that of RuntimeService."""

        self._list = method("ListImages")
        self._status = method("ImageStatus")
        self._pull = method("PullImage")
        self._remove = method("RemoveImage")
        self._usage = method("ImageFsInfo")

    async def list(self) -> Sequence[cri.Image]:
        """All images, sizes in bytes."""
        return list((await self._list(cri.ListImagesRequest())).images)

    async def status(self, name: str) -> cri.Image | None:
        """The image, or None if it is not here."""
        request = cri.ImageStatusRequest(image=cri.ImageSpec(image=name))
        answer: cri.ImageStatusResponse = await self._status(request)
        return answer.image if answer.HasField("image") else None

    async def config(self, name: str) -> dict[str, Any] | None:
        """The `config` part of the image's OCI configuration (Env, Cmd, User, ...), or None if it is not here."""
        import msgspec

        request = cri.ImageStatusRequest(image=cri.ImageSpec(image=name), verbose=True)
        answer: cri.ImageStatusResponse = await self._status(request)
        if not answer.HasField("image"):
            return None
        info = msgspec.json.decode(answer.info.get("info") or b"{}")
        found: dict[str, Any] = ((info.get("imageSpec") or {}).get("config")) or {}
        return found

    async def pull(self, name: str, auth: cri.AuthConfig | None = None) -> str:
        """Fetch the image from its registry; the id it has here."""
        request = cri.PullImageRequest(image=cri.ImageSpec(image=name), auth=auth)
        return str((await self._pull(request, FOREVER)).image_ref)

    async def remove(self, name: str) -> None:
        """Forget the image; fine if it is not here."""
        try:
            await self._remove(cri.RemoveImageRequest(image=cri.ImageSpec(image=name)))
        except EngineError as error:
            if error.code != "NOT_FOUND":
                raise

    async def usage(self) -> Sequence[cri.FilesystemUsage]:
        """The file systems that hold images."""
        return list((await self._usage(cri.ImageFsInfoRequest())).image_filesystems)
