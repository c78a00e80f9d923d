"""One look at the control groups of a node's pods. `PodUse` and `ContainerUse` are plain values; reading blocks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from kumo.api.objects import Object, uid_of
from kumo.host.cgroup_usage import CgroupReader
from kumo.kubernetes.kubelet.podstate import ContainerState, PodState
from kumo.kubernetes.kubelet.sandbox import pod_cgroup


class PodView(Protocol):
    """What statistics need of a pod's worker."""

    state: PodState

    @property
    def pod(self) -> Object:
        """The pod object."""
        ...


@dataclass(frozen=True, slots=True)
class ContainerUse:
    """A running container: nanoseconds of processor time since its start and bytes of its working set."""

    state: ContainerState
    group: str
    cpu: int | None
    working_set: int | None


@dataclass(frozen=True, slots=True)
class PodUse:
    """A pod with something running, as `ContainerUse`; its own numbers hold its overhead too."""

    pod: Object
    group: str
    cpu: int | None
    working_set: int | None
    containers: tuple[ContainerUse, ...]
    sandbox: str = ""
    """The group of the pod's sandbox."""


@dataclass(frozen=True, slots=True)
class NodeUse:
    """The machine and its pods at one moment (`at`, seconds since the epoch)."""

    at: float
    cpu: int | None
    working_set: int | None
    pods: tuple[PodUse, ...]


class UsageReader:
    """Reads the groups of the pods below `parent`, the instance's group."""

    def __init__(self, reader: CgroupReader, parent: str, pods: Callable[[], Iterable[PodView]]) -> None:
        self.cgroups = reader
        self._parent = parent
        self._pods = pods

    def listed(self) -> list[tuple[Object, PodState]]:
        """The pods that have something running, with their states. Call it on the event loop."""
        views = list(self._pods())
        return [(v.pod, v.state) for v in views if v.state.any_running or v.state.ready_sandbox]

    def read(self, pods: Iterable[tuple[Object, PodState]]) -> NodeUse:
        """What they and the machine use now. Blocking: call it in a thread."""
        found = tuple(self._pod(pod, state) for pod, state in pods)
        return NodeUse(time.time(), self.cgroups.cpu_total("/"), self.cgroups.working_set("/"), found)

    def _pod(self, pod: Object, state: PodState) -> PodUse:
        group = pod_cgroup(self._parent, uid_of(pod))
        containers = []
        for container in state.containers:
            if container.running:
                inner = f"{group}/{container.id}"
                use = (self.cgroups.cpu_total(inner), self.cgroups.working_set(inner))
                containers.append(ContainerUse(container, inner, *use))
        box = f"{group}/{state.sandbox.id}" if state.sandbox is not None else ""
        own = (self.cgroups.cpu_total(group), self.cgroups.working_set(group))
        return PodUse(pod, group, *own, tuple(containers), box)
