"""The conditions that the kubelet owns in a pod's status. Pure. Upstream: `pkg/kubelet/status/generate.go`."""

from __future__ import annotations

from typing import Any

from kumo.api import conditions as api_conditions
from kumo.api.objects import Object
from kumo.api.pod_resources import is_sidecar
from kumo.kubernetes.kubelet.phase import FAILED, SUCCEEDED
from kumo.kubernetes.kubelet.podstate import PodState
from kumo.kubernetes.kubelet.restarts import ALL_RESTARTING, could_restart_all, nothing_left, restarts_all
from kumo.kubernetes.kubelet.spec import containers, init_containers

RESIZE = ("PodResizePending", "PodResizeInProgress")
OWNED = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled", ALL_RESTARTING)
EVICTED_BY = "TerminationByKubelet"
"""The reason of the condition DisruptionTarget where it is the kubelet's."""

Status = dict[str, Any]


def make_conditions(
    pod: Object, statuses: list[Status], phase: str, *, sandbox_ready: bool, now: str
) -> list[dict[str, Any]]:
    """The kubelet's five conditions, with transition times kept where the status is the same as in the pod's status."""
    old = (pod.get("status") or {}).get("conditions") or []
    by_name = {s["name"]: s for s in statuses}
    ready = containers_ready(pod, by_name, phase)
    wanted = [
        {"type": "PodReadyToStartContainers", "status": _text(sandbox_ready)},
        {"type": "Initialized", **initialized(pod, by_name, phase)},
        {"type": "Ready", **pod_ready(pod, ready, old)},
        {"type": "ContainersReady", **ready},
        {"type": "PodScheduled", "status": "True"},
    ]
    return [_dated(pod, condition, old, now) for condition in wanted]


def _dated(pod: Object, condition: Status, old: list[dict[str, Any]], now: str) -> Status:
    """The condition with its times and generation, the transition's kept where the status is the same."""
    before = api_conditions.find(old, condition["type"])
    same = before is not None and before.get("status") == condition["status"]
    changed = (before or {}).get("lastTransitionTime") if same else None
    condition |= {"lastProbeTime": None, "lastTransitionTime": changed or now}
    generation = pod["metadata"].get("generation")
    if generation is not None:
        condition["observedGeneration"] = generation
    return condition


def restarting_condition(pod: Object, state: PodState, old: Status, phase: str, now: str) -> list[dict[str, Any]]:
    """`AllContainersRestarting`, for pods that have a rule for it; in a list, empty for others."""
    if not could_restart_all(pod):
        return []
    condition: Status = {"type": ALL_RESTARTING, "status": "False"}
    if phase in (SUCCEEDED, FAILED):
        condition["reason"] = "PodCompleted" if phase == SUCCEEDED else "PodFailed"
    elif restarts_all(pod, state, old) and not nothing_left(pod, state):
        text = "container exited with restart policy rule"
        condition |= {"status": "True", "reason": "RestartAllContainersStarted", "message": text}
    return [_dated(pod, condition, old.get("conditions") or [], now)]


def containers_ready(pod: Object, by_name: dict[str, Status], phase: str) -> dict[str, Any]:
    """Whether all containers that should keep running are ready."""
    names = [c["name"] for c in init_containers(pod) if is_sidecar(c)] + [c["name"] for c in containers(pod)]
    unknown = [n for n in names if n not in by_name]
    unready = [n for n in names if n in by_name and not by_name[n].get("ready")]
    if phase == SUCCEEDED and not unknown:
        return {"status": "False", "reason": "PodCompleted"}
    if phase == FAILED:
        return {"status": "False", "reason": "PodFailed"}
    return _verdict(unknown, unready, "unready", "ContainersNotReady")


def pod_ready(pod: Object, ready: dict[str, Any], conditions: list[dict[str, Any]]) -> dict[str, Any]:
    """`Ready`: the containers are, and so is every readiness gate."""
    if ready["status"] != "True":
        return dict(ready)
    messages = []
    for gate in pod["spec"].get("readinessGates") or ():
        name = gate["conditionType"]
        found = api_conditions.find(conditions, name)
        if found is None:
            messages.append(f'corresponding condition of pod readiness gate "{name}" does not exist.')
        elif found.get("status") != "True":
            messages.append(f'the status of pod readiness gate "{name}" is not "True", but {found.get("status")}')
    if messages:
        return {"status": "False", "reason": "ReadinessGatesNotReady", "message": ", ".join(messages)}
    return {"status": "True"}


def initialized(pod: Object, by_name: dict[str, Status], phase: str) -> dict[str, Any]:
    """Whether the init containers have done their work."""
    unknown, incomplete = [], []
    for container in init_containers(pod):
        status = by_name.get(container["name"])
        if status is None:
            unknown.append(container["name"])
        elif not status.get("started" if is_sidecar(container) else "ready"):
            incomplete.append(container["name"])
    if phase == SUCCEEDED and not unknown:
        return {"status": "True", "reason": "PodCompleted"}
    if any(_has_started(by_name.get(c["name"])) for c in containers(pod)):
        return {"status": "True"}
    before = api_conditions.find((pod.get("status") or {}).get("conditions"), "Initialized") or {}
    if before.get("status") == "True":
        return {"status": "True"}  # once initialized, a pod stays so
    return _verdict(unknown, incomplete, "incomplete", "ContainersNotInitialized")


def _has_started(status: Status | None) -> bool:
    if status is None:
        return False
    states = (status.get("state") or {}, status.get("lastState") or {})
    return any("running" in s or "terminated" in s for s in states)


def _verdict(unknown: list[str], wanting: list[str], word: str, reason: str) -> dict[str, Any]:
    messages = []
    if unknown:
        messages.append(f"containers with unknown status: [{' '.join(unknown)}]")
    if wanting:
        messages.append(f"containers with {word} status: [{' '.join(wanting)}]")
    if messages:
        return {"status": "False", "reason": reason, "message": ", ".join(messages)}
    return {"status": "True"}


def _text(value: bool) -> str:
    return "True" if value else "False"
