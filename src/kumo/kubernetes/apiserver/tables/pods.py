"""Columns of pods and of what carries a pod template."""

from __future__ import annotations

from typing import Any

from kumo.api.conditions import condition, is_true
from kumo.api.objects import Object, parse_timestamp
from kumo.api.pod_resources import is_sidecar
from kumo.kubernetes.apiserver.tables.cells import NONE, age, containers, labels, name, part, text
from kumo.kubernetes.apiserver.tables.columns import Columns, columns
from kumo.kubernetes.apiserver.tables.duration import human_duration

_COMPLETED = {
    "Succeeded": "The pod has completed successfully.",
    "Failed": "The pod failed.",
}


class _Count:
    """Restarts, and when the last one was."""

    def __init__(self) -> None:
        self.restarts = 0
        self.last = 0.0

    def add(self, status: dict[str, Any]) -> None:
        self.restarts += status.get("restartCount") or 0
        finished = part(status, "lastState", "terminated", "finishedAt")
        if finished:
            self.last = max(self.last, parse_timestamp(finished))

    def shown(self, now: float) -> str:
        if not self.restarts or not self.last:
            return str(self.restarts)
        return f"{self.restarts} ({human_duration(now - self.last)} ago)"


def _terminated(state: dict[str, Any], prefix: str = "") -> str:
    """Why a container ended, as the STATUS column says it."""
    if state.get("reason"):
        return f"{prefix}{state['reason']}"
    if state.get("signal"):
        return f"{prefix}Signal:{state['signal']}"
    return f"{prefix}ExitCode:{state.get('exitCode') or 0}"


def pod_status(pod: Object) -> tuple[str, int, int, _Count]:
    """The STATUS of a pod, its ready and total containers, and its restarts; upstream's `printPod`."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    reason = status.get("reason") or status.get("phase") or ""
    if (condition(pod, "PodScheduled") or {}).get("reason") == "SchedulingGated":
        reason = "SchedulingGated"
    sidecars = {c["name"] for c in spec.get("initContainers") or () if is_sidecar(c)}
    total = len(spec.get("containers") or ()) + len(sidecars)
    ready, counted, sidecar_count = 0, _Count(), _Count()
    initializing = False
    for index, container in enumerate(status.get("initContainerStatuses") or ()):
        counted.add(container)
        sidecar = container.get("name") in sidecars
        if sidecar:
            sidecar_count.add(container)
        waiting = _initializing(container, sidecar, index, len(spec.get("initContainers") or ()))
        if waiting is None:
            ready += bool(sidecar and container.get("ready") and not part(container, "state", "terminated"))
            continue
        reason, initializing = waiting, True
        break
    if not initializing or is_true(pod, "Initialized"):
        counted = sidecar_count
        reason, running = _containers(pod, reason, counted)
        ready += running
    if part(pod, "metadata", "deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            reason = "Unknown"
        elif status.get("phase") not in ("Succeeded", "Failed"):
            reason = "Terminating"
    return reason, ready, total, counted


def _initializing(container: dict[str, Any], sidecar: bool, index: int, total: int) -> str | None:
    """The STATUS while this init container holds the pod up, or None if it does not."""
    state = container.get("state") or {}
    ended = state.get("terminated")
    if ended is not None and not ended.get("exitCode"):
        return None
    if sidecar and container.get("started"):
        return None
    if ended is not None:
        return _terminated(ended, "Init:")
    waiting = part(state, "waiting", "reason")
    if waiting and waiting != "PodInitializing":
        return f"Init:{waiting}"
    return f"Init:{index}/{total}"


def _containers(pod: Object, reason: str, counted: _Count) -> tuple[str, int]:
    ready, has_running = 0, False
    for container in reversed((pod.get("status") or {}).get("containerStatuses") or ()):
        counted.add(container)
        state = container.get("state") or {}
        if part(state, "waiting", "reason"):
            reason = state["waiting"]["reason"]
        elif state.get("terminated") is not None:
            reason = _terminated(state["terminated"])
        elif container.get("ready") and state.get("running") is not None:
            has_running = True
            ready += 1
    if reason == "Completed" and has_running:
        reason = "Running" if is_true(pod, "Ready") else "NotReady"
    return reason, ready


def _pod(pod: Object, now: float) -> list[Any]:
    reason, ready, total, counted = pod_status(pod)
    status = pod.get("status") or {}
    ips = status.get("podIPs") or ()
    address = (ips[0].get("ip") if ips else status.get("podIP")) or NONE
    return [
        name(pod),
        f"{ready}/{total}",
        reason,
        counted.shown(now),
        age(pod, now),
        address,
        text(pod, "spec", "nodeName", missing=NONE),
        status.get("nominatedNodeName") or NONE,
        _readiness_gates(pod),
    ]


def _readiness_gates(pod: Object) -> str:
    gates = part(pod, "spec", "readinessGates") or ()
    if not gates:
        return NONE
    return f"{sum(is_true(pod, g.get('conditionType') or '') for g in gates)}/{len(gates)}"


def _ended(pod: Object) -> list[dict[str, Any]] | None:
    phase = part(pod, "status", "phase")
    if phase not in _COMPLETED:
        return None
    return [{"type": "Completed", "status": "True", "reason": phase, "message": _COMPLETED[phase]}]


def _template(obj: Object, now: float) -> list[Any]:
    template = obj.get("template") or {}
    return [name(obj), *containers(template), labels(part(template, "metadata", "labels"))]


def tables() -> dict[str, Columns]:
    """The columns by resource."""
    return {
        "pods": columns(
            "Name|Ready|Status|Restarts|Age|+IP|+Node|+Nominated Node|+Readiness Gates", _pod, conditions=_ended
        ),
        "podtemplates": columns("Name|Containers|Images|Pod Labels", _template),
    }
