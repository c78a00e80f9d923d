"""What a worker does to containerd for its pod: make the sandbox, start and stop containers, take everything away.

Each failure becomes an event with upstream's reason and message, and an exception that the worker turns into status.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from kumo.api.objects import Object, namespace_of, uid_of
from kumo.api.resources import CONFIGMAPS, GVR, SECRETS
from kumo.host.cgroups import CgroupLimits, Cgroups
from kumo.host.containerd.engine import Containerd
from kumo.host.containerd.rpc import EngineError
from kumo.host.containerd.stubs import cri_pb2 as cri
from kumo.kubernetes.kubelet import env_files, labels
from kumo.kubernetes.kubelet.allocation import Allocations
from kumo.kubernetes.kubelet.claims.cdi import joined
from kumo.kubernetes.kubelet.claims.manager import ClaimManager
from kumo.kubernetes.kubelet.claims.plugin import ClaimError
from kumo.kubernetes.kubelet.config import KubeletConfig
from kumo.kubernetes.kubelet.containers import Surroundings, container_config, termination_file, write_files
from kumo.kubernetes.kubelet.devices.ledger import DeviceError
from kumo.kubernetes.kubelet.devices.manager import DeviceManager
from kumo.kubernetes.kubelet.dns import hosts_file, parse_resolv_conf, pod_dns, within_limits
from kumo.kubernetes.kubelet.env import ConfigError, Sources, environment, file_references, references
from kumo.kubernetes.kubelet.events import NORMAL, WARNING, PodEvents
from kumo.kubernetes.kubelet.hooks import HookFailed, run_hook
from kumo.kubernetes.kubelet.images import ImageManager, ImageTrouble
from kumo.kubernetes.kubelet.machine import Machine
from kumo.kubernetes.kubelet.placement.manager import Placement
from kumo.kubernetes.kubelet.placement.place import Place
from kumo.kubernetes.kubelet.podstate import RUNNING, ContainerState, PodState
from kumo.kubernetes.kubelet.references import References
from kumo.kubernetes.kubelet.resources import CPU_PERIOD, pod_limits
from kumo.kubernetes.kubelet.sandbox import pod_cgroup, sandbox_config
from kumo.kubernetes.kubelet.security import verify_non_root
from kumo.kubernetes.kubelet.spec import (
    Container,
    field_path,
    full_name,
    grace_period,
    host_network,
)
from kumo.kubernetes.kubelet.stats.action_counts import ActionCounts
from kumo.kubernetes.kubelet.stats.meter import Meter
from kumo.kubernetes.kubelet.stats.pod_times import PodTimes
from kumo.kubernetes.kubelet.stats.probe_metrics import ProbeCounts
from kumo.kubernetes.kubelet.stats.runtime_figures import RuntimeFigures
from kumo.kubernetes.kubelet.stopping import Stopper
from kumo.kubernetes.kubelet.unified import NodeMemory, group_settings
from kumo.kubernetes.kubelet.user_namespaces import UserNamespaces, map_container, map_sandbox
from kumo.kubernetes.kubelet.volumes.manager import FailedVolume, Volume, VolumeManager
from kumo.machinery.informer import Informer

_RUNTIME_CLASSES = GVR("node.k8s.io", "v1", "runtimeclasses", False)
_CLASS_AGE = 10.0
"""Seconds that what is known of a runtime class is good for."""


class StartFailed(Exception):
    """A container could not be started: reason and message of its waiting state; `retry` seconds, 0 for the usual."""

    def __init__(self, reason: str, message: str, retry: float = 0.0) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry = retry


@dataclass(frozen=True, slots=True)
class Tools:
    """What actions need; one set a kubelet."""

    config: KubeletConfig
    engine: Containerd
    references: References
    volumes: VolumeManager
    images: ImageManager
    events: PodEvents
    services: Informer
    cgroups: Cgroups
    machine: Machine
    allocations: Allocations
    devices: DeviceManager
    claims: ClaimManager
    placement: Placement
    meter: Meter
    times: PodTimes
    counts: ActionCounts
    figures: RuntimeFigures
    user_namespaces: UserNamespaces
    probes: ProbeCounts = field(default_factory=ProbeCounts)


class PodActions:
    """Actions on one node's pods."""

    def __init__(self, tools: Tools) -> None:
        self.tools = tools
        self._stopper = Stopper(tools.engine.runtime, tools.events)

    # -- preparing --------------------------------------------------------------------------------------------------

    def sources(self, pod: Object, ips: Sequence[str]) -> Sources:
        """What downward API fields are answered from."""
        machine = self.tools.machine
        return Sources(
            services=self.tools.services.objects(),
            pod_ips=tuple(ips),
            host_ips=self.tools.config.node_ips,
            allocatable=machine.allocatable(self.tools.config),
        )

    async def prepare_volumes(self, pod: Object, ips: Sequence[str]) -> Mapping[str, Volume]:
        """The pod's volumes. Raises FailedVolume after an event."""
        try:
            return await self.tools.volumes.prepare(pod, self.sources(pod, ips))
        except FailedVolume as error:
            self.tools.events.record(pod, WARNING, error.reason, str(error))
            raise

    async def refresh_volumes(self, pod: Object, ips: Sequence[str]) -> None:
        """Write the files of a running pod's volumes anew. What can't be read an event tells; the old files stay."""
        try:
            await self.tools.volumes.refresh(pod, self.sources(pod, ips))
        except FailedVolume as error:
            self.tools.events.record(pod, WARNING, error.reason, str(error))

    def sandbox_config(self, pod: Object, attempt: int, *, attempt_is_new: bool = False) -> cri.PodSandboxConfig:
        """How the pod's sandbox is described to containerd; of a new one, events say what does not fit."""
        config = self.tools.config
        try:
            host = parse_resolv_conf(config.resolv_conf.read_text())
        except OSError:
            host = parse_resolv_conf("")
        dns, too_much = within_limits(pod_dns(pod, host, config.cluster_dns, config.cluster_domain))
        for text in too_much if attempt_is_new else ():
            self.tools.events.record(pod, WARNING, "DNSConfigForming", text)
        made = sandbox_config(
            pod,
            attempt=attempt,
            logs=config.logs_directory,
            cgroup_parent=config.cgroup_parent,
            dns=dns,
            domain=config.cluster_domain,
        )
        return map_sandbox(made, self.tools.user_namespaces.known(pod))

    async def create_sandbox(self, pod: Object, attempt: int) -> str:
        """Make the pod's cgroup and sandbox; the sandbox's id. Raises EngineError or OSError after an event."""
        with self.tools.counts.pod(pod):
            return await self._create_sandbox(pod, attempt)

    async def _create_sandbox(self, pod: Object, attempt: int) -> str:
        config = self.tools.config
        limits = pod_limits(pod)
        quota = 0 if self.tools.placement.has_exclusive(uid_of(pod)) else limits.cpu_quota
        pids = max(0, config.pod_pids_limit)
        wanted = CgroupLimits(limits.cpu_shares, quota, CPU_PERIOD, limits.memory, pids)

        def make() -> None:
            (config.logs_directory / labels.log_folder(pod)).mkdir(parents=True, exist_ok=True)
            (config.pods_directory / uid_of(pod)).mkdir(parents=True, exist_ok=True)
            self.tools.cgroups.create(pod_cgroup(config.cgroup_parent, uid_of(pod)), wanted)

        try:
            await self.tools.claims.prepare(pod)
        except ClaimError as error:
            text = f"Failed to prepare dynamic resources: {error}"
            self.tools.events.record(pod, WARNING, "FailedPrepareDynamicResources", text)
            raise
        try:
            handler = await self._runtime_handler(pod)
            await self.tools.user_namespaces.first_id(pod, handler)
            with self.tools.counts.cgroup("create"):
                await asyncio.to_thread(make)
            described = self.sandbox_config(pod, attempt, attempt_is_new=True)
            with self.tools.counts.sandbox(handler):
                return await self.tools.engine.runtime.run_sandbox(described, handler)
        except (EngineError, OSError) as error:
            text = error.wire if isinstance(error, EngineError) else str(error)
            self.tools.events.record(pod, WARNING, "FailedCreatePodSandBox", f"Failed to create pod sandbox: {text}")
            raise

    async def _runtime_handler(self, pod: Object) -> str:
        """The runtime that the pod's class names, empty for the usual one. Raises OSError if there is no such class."""
        name = pod["spec"].get("runtimeClassName")
        if not name:
            return ""
        found = await self.tools.references.get(_RUNTIME_CLASSES, "", name, _CLASS_AGE)
        if found is None:
            raise OSError(f'failed to get RuntimeClass {name}: runtimeclass.node.k8s.io "{name}" not found')
        return str(found.get("handler") or "")

    # -- starting ---------------------------------------------------------------------------------------------------

    async def start_container(
        self,
        pod: Object,
        container: Container,
        state: PodState,
        volumes: Mapping[str, Volume],
        restarts: int,
        ips: Sequence[str],
    ) -> str:
        """Start the container in the pod's sandbox; its id. Raises StartFailed after an event."""
        self.tools.counts.container(pod, container)
        try:
            return await self._start_container(pod, container, state, volumes, restarts, ips)
        except StartFailed as error:
            self.tools.counts.container_failed(pod, container, error.reason)
            raise

    async def _start_container(
        self,
        pod: Object,
        container: Container,
        state: PodState,
        volumes: Mapping[str, Volume],
        restarts: int,
        ips: Sequence[str],
    ) -> str:
        path = field_path(pod, container)
        events, runtime = self.tools.events, self.tools.engine.runtime
        box = state.sandboxes[0]
        try:
            image = await self.tools.images.ensure(
                pod, container["image"], container.get("imagePullPolicy") or "", path
            )
        except ImageTrouble as error:
            events.record(pod, WARNING, "Failed", f"Error: {error.reason}", path)
            raise StartFailed(error.reason, error.message, error.retry) from error
        try:
            target = _target(container, state)
            place = self.tools.placement.place(uid_of(pod), container["name"])
            verify_non_root(pod, container, image)
            config = await self._container_config(pod, container, restarts, volumes, ips, target, image, place)
        except (ConfigError, DeviceError, OSError) as error:
            events.record(pod, WARNING, "Failed", f"Error: {error}", path)
            raise StartFailed("CreateContainerConfigError", str(error)) from error
        self.tools.allocations.started(pod, container["name"])
        try:
            pod_config = self.sandbox_config(pod, box.attempt)
            container_id = await runtime.create_container(box.id, config, pod_config)
        except EngineError as error:
            events.record(pod, WARNING, "Failed", f"Error: {error.message}", path)
            raise StartFailed("CreateContainerError", error.message) from error
        events.record(pod, NORMAL, "Created", "Container created", path)
        try:
            await runtime.start_container(container_id)
        except EngineError as error:
            events.record(pod, WARNING, "Failed", f"Error: {error.message}", path)
            raise StartFailed("RunContainerError", error.message) from error
        events.record(pod, NORMAL, "Started", "Container started", path)
        await self.tools.placement.started(pod, container["name"], container_id, place)
        await self._post_start(pod, container, container_id, ips)
        return container_id

    def _group_settings(self, pod: Object, container: Container) -> Mapping[str, str]:
        groups, machine = self.tools.cgroups, self.tools.machine
        if not groups.unified:
            return {}
        counted = groups.counts_swap(pod_cgroup(self.tools.config.cgroup_parent, uid_of(pod)))
        node = NodeMemory(machine.memory, machine.swap, counted)
        return group_settings(pod, container, self.tools.config.memory_policy, node)

    async def _container_config(
        self,
        pod: Object,
        container: Container,
        restarts: int,
        volumes: Mapping[str, Volume],
        ips: Sequence[str],
        target: str,
        image: cri.Image,
        place: Place,
    ) -> cri.ContainerConfig:
        config = self.tools.config
        folder = config.pods_directory / uid_of(pod)
        given = await self.tools.devices.prepare(pod, container)
        given = joined(given, await self.tools.claims.options(pod, container, given.cdi))
        around = Surroundings(
            pod_directory=folder,
            volumes=volumes,
            environment={**given.environment, **await self._environment(pod, container, volumes, ips)},
            devices=config.devices,
            node_memory=self.tools.machine.memory,
            profiles=config.directory / "seccomp",
            seccomp_default=config.seccomp_default,
            target=target,
            image=image,
            given=given,
            place=place,
            group=self._group_settings(pod, container),
        )
        termination = termination_file(folder, container["name"])
        first_id = await self.tools.user_namespaces.first_id(pod, await self._runtime_handler(pod))

        def make() -> cri.ContainerConfig:
            host_file = Path("/etc/hosts").read_text() if host_network(pod) else ""
            write_files(folder, termination, hosts_file(pod, ips, config.cluster_domain, host_file))
            log = config.logs_directory / labels.log_folder(pod) / container["name"]
            log.mkdir(parents=True, exist_ok=True)
            made = container_config(pod, container, restarts, around, termination)
            return map_container(made, first_id)

        return await asyncio.to_thread(make)

    async def _environment(
        self, pod: Object, container: Container, volumes: Mapping[str, Volume], ips: Sequence[str]
    ) -> dict[str, str]:
        maps, secrets = references(container)
        namespace = namespace_of(pod)
        found_maps, found_secrets = await asyncio.gather(
            self.tools.references.get_all(CONFIGMAPS, namespace, maps),
            self.tools.references.get_all(SECRETS, namespace, secrets),
        )
        files = await asyncio.to_thread(_files, container, volumes)
        sources = replace(self.sources(pod, ips), configmaps=found_maps, secrets=found_secrets, files=files)
        return environment(pod, container, sources)

    async def _post_start(self, pod: Object, container: Container, container_id: str, ips: Sequence[str]) -> None:
        handler = (container.get("lifecycle") or {}).get("postStart")
        if not handler:
            return
        try:
            await run_hook(self.tools.engine.runtime, handler, container_id, pod, container, ips)
        except HookFailed as error:
            path = field_path(pod, container)
            # What went wrong stays out of the event: secrets might be in it.
            self.tools.events.record(pod, WARNING, "FailedPostStartHook", "PostStartHook failed", path)
            found = ContainerState(container_id, container["name"], RUNNING)
            await self._stopper.stop(pod, found, float(grace_period(pod)), "FailedPostStartHook", ips)
            raise StartFailed("PostStartHookError", str(error)) from error

    # -- stopping ---------------------------------------------------------------------------------------------------

    async def stop_container(
        self, pod: Object, found: ContainerState, grace: float, message: str = "", ips: Sequence[str] = ()
    ) -> None:
        """Stop a running container: preStop hook, stop signal, SIGKILL after `grace` seconds in all."""
        await self._stopper.stop(pod, found, grace, message, ips)

    async def stop_pod(self, pod: Object, state: PodState, grace: float) -> None:
        """Stop all containers, sidecars after the others in reverse order, then the sandboxes. Raises EngineError."""
        box = state.sandbox
        running = [c for c in state.containers if c.running]
        await self._stopper.stop_all(pod, running, grace, box.ips if box else ())
        for sandbox in state.sandboxes:
            await self.tools.engine.runtime.stop_sandbox(sandbox.id)

    async def reset(self, pod: Object, found: ContainerState) -> None:
        """Kill a container if it runs, and remove it, so that it counts as never started. Its log stays."""
        if found.running:
            await self._stopper.stop(pod, found, 0.0, "killing")
        await self.tools.engine.runtime.remove_container(found.id)

    async def release(self, uid: str) -> None:
        """Let go of the volumes and the cgroup of a pod that has ended; logs and ended containers stay."""
        await self.tools.claims.release(uid)
        await self.tools.volumes.remove(uid)
        with self.tools.counts.cgroup("destroy"):
            await asyncio.to_thread(self.tools.cgroups.remove, pod_cgroup(self.tools.config.cgroup_parent, uid))

    async def forget(self, uid: str, state: PodState) -> None:
        """Remove everything that is left of a pod. Raises EngineError."""
        for sandbox in state.sandboxes:
            await self.tools.engine.runtime.remove_sandbox(sandbox.id)
        await self.release(uid)
        self.tools.images.forget_pod(uid)
        self.tools.times.forget(uid)
        await asyncio.to_thread(self.tools.user_namespaces.release, uid)

        def clean() -> None:
            for folder in self.tools.config.logs_directory.glob(f"*_{uid}"):
                shutil.rmtree(folder, ignore_errors=True)

        await asyncio.to_thread(clean)

    async def prune(self, state: PodState, keep: int = 1) -> None:
        """Remove ended containers, except the newest of each name and `keep` before it, with their logs."""
        for name in {c.name for c in state.containers}:
            for old in state.history(name)[1 + keep :]:
                if old.exited:
                    with contextlib.suppress(EngineError):
                        await self.tools.engine.runtime.remove_container(old.id)
                    if old.log_path:
                        await asyncio.to_thread(Path(old.log_path).unlink, missing_ok=True)

    async def prune_sandboxes(self, state: PodState, keep: int = 1) -> None:
        """Remove dead sandboxes but the newest `keep`, with what is left of their containers. Raises EngineError."""
        for old in [s for s in state.sandboxes[keep:] if not s.ready]:
            await self.tools.engine.runtime.remove_sandbox(old.id)

    def sandbox_changed_event(self, pod: Object) -> None:
        """Say that the pod gets a new sandbox."""
        text = "Pod sandbox changed, it will be killed and re-created."
        self.tools.events.record(pod, NORMAL, "SandboxChanged", text)

    def back_off_event(self, pod: Object, container: Container) -> None:
        """Say that a container is not restarted yet."""
        text = f"Back-off restarting failed container {container['name']} in pod {full_name(pod)}"
        self.tools.events.record(pod, WARNING, "BackOff", text, field_path(pod, container))


def _files(container: Container, volumes: Mapping[str, Volume]) -> dict[tuple[str, str], str | None]:
    """The texts of the files that the environment is made from, None for what can't be read. Blocking."""
    found: dict[tuple[str, str], str | None] = {}
    for name, path in file_references(container):
        if name in volumes:
            try:
                found[name, path] = env_files.read(volumes[name].path, path)
            except (OSError, env_files.BadFile):
                found[name, path] = None
    return found


def _target(container: Container, state: PodState) -> str:
    """The id of the container whose processes an ephemeral one is to see, empty if none. Raises ConfigError."""
    name = container.get("targetContainerName")
    if not name:
        return ""
    found = state.container(name)
    if found is None:
        raise ConfigError(f"unable to find target container {name}")
    return found.id
