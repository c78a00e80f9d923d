"""What to do so that a running pod's containers have the cpu and memory that they were given. Pure.

A pod's resources are desired (in its spec), allocated (what the node has agreed to), and actuated (what containerd was
told). Upstream: `computePodResizeAction` in `pkg/kubelet/kuberuntime` (KEP-1287, KEP-5419).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from kumo.api import quantities
from kumo.api.objects import Object
from kumo.api.pod_resources import is_sidecar
from kumo.kubernetes.kubelet.podstate import ContainerState, PodState
from kumo.kubernetes.kubelet.resources import Limits, container_limits
from kumo.kubernetes.kubelet.spec import Container, all_containers, containers, init_containers

Resources = dict[str, Any]
"""`{"containers": {name: ResourceRequirements}, "pod": ResourceRequirements or None}`."""


def resources_of(pod: Object) -> Resources:
    """The resources in a pod's spec."""
    return {
        "containers": {c["name"]: c.get("resources") or {} for c in all_containers(pod)},
        "pod": pod["spec"].get("resources"),
    }


def with_resources(pod: Object, given: Resources) -> Object:
    """The pod with these resources in its spec; the same object if they are there already."""
    if given == resources_of(pod):
        return pod
    known = given.get("containers") or {}

    def changed(found: list[Container]) -> list[Container]:
        return [{**c, "resources": known[c["name"]]} if c["name"] in known else c for c in found]

    spec = {**pod["spec"], "containers": changed(containers(pod))}
    if "initContainers" in spec:
        spec["initContainers"] = changed(init_containers(pod))
    spec.pop("resources", None)
    if given.get("pod"):
        spec["resources"] = given["pod"]
    return {**pod, "spec": spec}


def with_actuated(pod: Object, actuated: Resources) -> Object:
    """The pod with what it has; containers that have not been started count with what they were given."""
    known = {**resources_of(pod)["containers"], **(actuated.get("containers") or {})}
    return with_resources(pod, {"containers": known, "pod": actuated.get("pod")})


class Amounts(NamedTuple):
    """Cpu in thousandths, memory in bytes; 0 is none."""

    cpu_request: int
    cpu_limit: int
    memory_request: int
    memory_limit: int

    @classmethod
    def of(cls, resources: Mapping[str, Any] | None, shared: Mapping[str, Any] | None = None) -> Amounts:
        """The numbers of a `ResourceRequirements`; limits that it lacks are those of the pod as a whole, `shared`."""
        asked, limits = (resources or {}).get("requests") or {}, (resources or {}).get("limits") or {}
        above = (shared or {}).get("limits") or {}
        return cls(
            quantities.milli(asked.get("cpu", 0)),
            quantities.milli(limits.get("cpu", 0)) or quantities.milli(above.get("cpu", 0)),
            quantities.whole(asked.get("memory", 0)),
            quantities.whole(limits.get("memory", 0)) or quantities.whole(above.get("memory", 0)),
        )


def differs(pod: Object, given: Resources) -> bool:
    """Whether a pod's spec asks for other resources than these."""
    mine = resources_of(pod)
    if Amounts.of(mine["pod"]) != Amounts.of(given.get("pod")):
        return True
    known = given.get("containers") or {}
    return any(Amounts.of(r) != Amounts.of(known.get(name)) for name, r in mine["containers"].items())


@dataclass(frozen=True, slots=True)
class Update:
    """Tell containerd the limits of a running container; `key` is `cpu` or `memory`, the resource that changes."""

    container: Container
    found: ContainerState
    key: str
    limits: Limits
    grows: bool


@dataclass(slots=True)
class Resize:
    """The containers to start anew, those to update, and whether the pod's own limits change."""

    restart: list[ContainerState] = field(default_factory=list)
    memory: list[Update] = field(default_factory=list)
    cpu: list[Update] = field(default_factory=list)
    pod: bool = False

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do in place."""
        return not (self.memory or self.cpu or self.pod)


def plan_resize(pod: Object, state: PodState, actuated: Resources) -> Resize:
    """The steps from the actuated resources to those in the pod's spec (the allocated ones)."""
    plan = Resize(pod=Amounts.of(pod["spec"].get("resources")) != Amounts.of(actuated.get("pod")))
    for container in all_containers(pod):
        found = state.container(container["name"])
        if found is not None and found.running:
            _plan_container(pod, container, found, actuated, plan)
    for updates in (plan.memory, plan.cpu):
        updates.sort(key=lambda u: u.grows)  # what shrinks makes room for what grows
    return plan


def _plan_container(
    pod: Object, container: Container, found: ContainerState, actuated: Resources, plan: Resize
) -> None:
    known = actuated.get("containers") or {}
    if container["name"] not in known:
        return
    now = Amounts.of(known[container["name"]], actuated.get("pod"))
    wanted = Amounts.of(container.get("resources"), pod["spec"].get("resources"))
    if now == wanted:
        return
    cpu = (now.cpu_request, now.cpu_limit) != (wanted.cpu_request, wanted.cpu_limit)
    memory = (now.memory_request, now.memory_limit) != (wanted.memory_request, wanted.memory_limit)
    policies = {p["resourceName"]: p["restartPolicy"] for p in container.get("resizePolicy") or ()}
    once = container in init_containers(pod) and not is_sidecar(container)
    needs = [key for key, changed in (("cpu", cpu), ("memory", memory)) if changed]
    if not once and any(policies.get(key) == "RestartContainer" for key in needs):
        plan.restart.append(found)
        plan.pod = True
        return
    limits = container_limits(pod, container)
    if memory:
        grows = _grows((now.memory_limit, wanted.memory_limit), (now.memory_request, wanted.memory_request))
        plan.memory.append(Update(container, found, "memory", limits, grows))
    if cpu:
        grows = _grows((now.cpu_limit, wanted.cpu_limit), (now.cpu_request, wanted.cpu_request))
        plan.cpu.append(Update(container, found, "cpu", limits, grows))


def _grows(limit: tuple[int, int], request: tuple[int, int]) -> bool:
    before, after = limit if limit[0] != limit[1] else request
    return after > before


def in_progress(pod: Object, state: PodState, actuated: Resources) -> bool:
    """Whether any running container, or the pod as a whole, does not have yet what the pod was given."""
    plan = plan_resize(pod, state, actuated)
    return bool(plan.restart) or not plan.empty


def shrinking_below_use(
    plan: Resize, before: Limits, after: Limits, used: int, containers_use: Mapping[str, int]
) -> str:
    """Why memory limits can't be lowered now, empty if they can; what is used is in bytes."""
    errors = []
    if after.memory and (not before.memory or after.memory < before.memory) and used >= after.memory:
        errors.append(f"attempting to set pod memory limit ({after.memory}) below current usage ({used})")
    for update in plan.memory:
        limit, use = update.limits.memory, containers_use.get(update.container["name"], 0)
        if not update.grows and limit and use >= limit:
            name = update.container["name"]
            errors.append(f'attempting to set container "{name}" memory limit ({limit}) below current usage ({used})')
    if not errors:
        return ""
    return "cannot decrease memory limits: " + (errors[0] if len(errors) == 1 else f"[{', '.join(errors)}]")


def summary(pod: Object, generation: int, error: str = "") -> str:
    """The resources of all containers, as the events about a resize show them (JSON)."""

    def of(found: list[Container]) -> list[dict[str, Any]]:
        return [{"name": c["name"], "resources": _ordered(c.get("resources") or {})} for c in found]

    shown: dict[str, Any] = {}
    if init_containers(pod):
        shown["initContainers"] = of(init_containers(pod))
    shown |= {"containers": of(containers(pod)), "generation": generation}
    if error:
        shown["error"] = error
    return json.dumps(shown, separators=(",", ":"), ensure_ascii=False)


def _ordered(resources: Mapping[str, Any]) -> dict[str, Any]:
    return {
        kind: {name: quantities.canonical(resources[kind][name]) for name in sorted(resources[kind])}
        for kind in ("limits", "requests")
        if resources.get(kind)
    }
