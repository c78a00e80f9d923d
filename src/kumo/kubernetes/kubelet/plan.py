"""What to do next for a pod: pure decisions from its spec and its state in containerd.

The same rules as upstream's `computePodActions`: one sandbox; init containers one after the other, sidecars among them
staying; then the regular containers; ended ones again as their restart policy says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kumo.api.objects import Object
from kumo.api.pod_resources import is_sidecar
from kumo.kubernetes.kubelet.labels import container_hash
from kumo.kubernetes.kubelet.podstate import ContainerState, PodState
from kumo.kubernetes.kubelet.resizing import Resize
from kumo.kubernetes.kubelet.restarts import RESTART_ALL, matching_action, restarts_after
from kumo.kubernetes.kubelet.spec import (
    Container,
    all_containers,
    containers,
    ephemeral_containers,
    find_container,
    init_containers,
    restart_policy,
)


@dataclass(frozen=True, slots=True)
class Health:
    """What the probes say of one running container. None: nothing yet; the container id it was asked of."""

    container: str = ""
    started: bool | None = None
    """The startup probe's word; True where there is no startup probe."""
    ready: bool = False
    startup_failed: bool = False
    liveness_failed: bool = False


@dataclass(frozen=True, slots=True)
class Kill:
    """A container to stop, and why (the event's message)."""

    container: ContainerState
    message: str
    reason: str


@dataclass(slots=True)
class Plan:
    """What to do, in this order: kill, then the sandbox, then start."""

    kill_pod: bool = False
    create_sandbox: bool = False
    attempt: int = 0
    kill: list[Kill] = field(default_factory=list)
    start: list[Container] = field(default_factory=list)
    debug: list[Container] = field(default_factory=list)
    """Ephemeral containers to start."""


def started(container: Container, state: ContainerState | None, health: Mapping[str, Health]) -> bool:
    """Whether a container runs and its startup probe, if any, has succeeded."""
    if state is None or not state.running:
        return False
    if "startupProbe" not in container:
        return True
    seen = health.get(container["name"])
    return bool(seen and seen.container == state.id and seen.started)


def should_start(pod: Object, container: Container, state: ContainerState | None) -> bool:
    """Whether a container that does not run is to be started (again)."""
    if state is None or state.state in ("created", "unknown"):
        return True
    if state.running:
        return False
    return restarts_after(pod, container, state.exit_code)


def sandbox_changed(pod: Object, state: PodState) -> bool:
    """Whether the pod has no usable sandbox (any more)."""
    found = state.ready_sandbox
    if found is None:
        return True
    return not found.ips and not pod["spec"].get("hostNetwork")


def make_plan(pod: Object, state: PodState, health: Mapping[str, Health]) -> Plan:
    """The next steps for a pod that is meant to run."""
    if sandbox_changed(pod, state):
        return _with_new_sandbox(pod, state)
    plan = Plan(attempt=state.sandboxes[0].attempt)
    plan.debug = [c for c in ephemeral_containers(pod) if state.container(c["name"]) is None]
    begun = any_regular_started(pod, state)
    initialized = _plan_init(pod, state, health, plan, begun)
    if not initialized and not begun:
        return plan
    keep = 0
    for container in containers(pod):
        keep += _plan_container(pod, container, state.container(container["name"]), health, plan)
    if keep == 0 and all(c in init_containers(pod) for c in plan.start):
        plan.kill_pod = True
        plan.start.clear()
    return plan


def any_regular_started(pod: Object, state: PodState) -> bool:
    """Whether a regular container has ever been started in the newest sandbox, so that initialization is over."""
    box = state.sandbox
    for container in containers(pod):
        found = state.container(container["name"])
        if found is None or not (found.started_at or found.running or found.exited):
            continue
        if box is None or not found.sandbox or found.sandbox == box.id:
            return True
    return False


def _with_new_sandbox(pod: Object, state: PodState) -> Plan:
    attempt = state.sandboxes[0].attempt + 1 if state.sandboxes else 0
    plan = Plan(kill_pod=bool(state.sandboxes), attempt=attempt)
    wanted = [c for c in containers(pod) if should_start(pod, c, _settled(state.container(c["name"])))]
    if not wanted and attempt:
        return plan
    never = pod["spec"].get("restartPolicy") == "Never"
    if never and attempt and any(c.started_at for c in state.containers):
        # It ran, its sandbox died: a pod that is never restarted is over.
        return plan
    plan.create_sandbox = True
    first = init_containers(pod)[:1]
    plan.start = list(first) if first else wanted
    return plan


def _settled(state: ContainerState | None) -> ContainerState | None:
    # A container whose sandbox is gone does not run, whatever is written of it.
    return None if state is not None and not state.exited else state


def _plan_init(pod: Object, state: PodState, health: Mapping[str, Health], plan: Plan, begun: bool) -> bool:
    """Plan init containers and sidecars; whether the regular containers may run."""
    box = state.sandboxes[0].id
    for container in init_containers(pod):
        found = state.container(container["name"])
        if found is not None and found.sandbox and found.sandbox != box:
            found = None  # a new sandbox is initialized anew
        if is_sidecar(container):
            _plan_container(pod, container, found, health, plan)
            if not started(container, found, health):
                if begun:
                    continue
                return False
            continue
        if begun:
            continue
        if found is None or found.state in ("created", "unknown"):
            plan.start.append(container)
            return False
        if found.running:
            return False
        if found.exit_code != 0:
            if not restarts_after(pod, container, found.exit_code):
                plan.kill_pod = True
            else:
                plan.start.append(container)
            return False
    return True


def _plan_container(
    pod: Object, container: Container, found: ContainerState | None, health: Mapping[str, Health], plan: Plan
) -> int:
    """Plan a container that is to keep running; 1 if it stays as it is."""
    name = container["name"]
    if found is None or not found.running:
        if should_start(pod, container, found):
            plan.start.append(container)
        return 0
    first = container in init_containers(pod)
    kind = "Init container" if first else "Container"
    after = "" if first else ", will be restarted"
    if found.hash and found.hash != container_hash(container):
        plan.kill.append(Kill(found, f"{kind} {name} definition changed{after}", ""))
        plan.start.append(container)
        return 0
    seen = health.get(name)
    failed = seen is not None and seen.container == found.id
    if failed and seen is not None and (seen.liveness_failed or seen.startup_failed):
        probe = "liveness" if seen.liveness_failed else "startup"
        again = restart_policy(pod, container) != "Never"
        after = ", will be restarted" if again and not first else ""
        reason = "LivenessProbe" if seen.liveness_failed else "StartupProbe"
        plan.kill.append(Kill(found, f"{kind} {name} failed {probe} probe{after}", reason))
        if again:
            plan.start.append(container)
        return 0
    return 1


def restart_for_resize(pod: Object, plan: Plan, resize: Resize) -> None:
    """Have the containers that must start anew to get other resources killed and started, unless they are already."""
    if plan.kill_pod or plan.create_sandbox:
        return
    killed = {kill.container.id for kill in plan.kill}
    for found in resize.restart:
        container = find_container(pod, found.name)
        if found.id not in killed and container is not None:
            plan.kill.append(Kill(found, f"Container {found.name} resize requires restart", ""))
            plan.start.append(container)


def reset_order(pod: Object, state: PodState) -> list[ContainerState]:
    """The containers to remove so that all run anew: those that asked for it last, init containers after the others."""
    groups: tuple[list[ContainerState], ...] = ([], [], [], [])
    firsts = {c["name"] for c in init_containers(pod)}
    for container in all_containers(pod):
        for found in state.history(container["name"]):
            asked = found.exited and matching_action(container, found.exit_code) == RESTART_ALL
            groups[2 * asked + (found.name in firsts)].append(found)
    return [found for group in groups for found in group]
