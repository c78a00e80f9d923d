"""A pod's phase from its containers' statuses: upstream's `getPhase`, as a pure function."""

from __future__ import annotations

from typing import Any

from kumo.api.objects import Object
from kumo.api.pod_resources import is_sidecar
from kumo.kubernetes.kubelet.spec import containers, init_containers

PENDING, RUNNING, SUCCEEDED, FAILED = "Pending", "Running", "Succeeded", "Failed"
TERMINAL = (SUCCEEDED, FAILED)

Status = dict[str, Any]


def pod_phase(pod: Object, statuses: list[Status], *, terminal: bool = False) -> str:
    """The phase that goes with these container statuses (init and regular). `terminal`: nothing will start any more."""
    by_name = {s["name"]: s for s in statuses}
    policy = pod["spec"].get("restartPolicy") or "Always"
    pending, failed = _initialization(pod, by_name)
    if failed and policy == "Never":
        return FAILED
    unknown = running = waiting = stopped = succeeded = 0
    for container in containers(pod):
        status = by_name.get(container["name"])
        state = (status or {}).get("state") or {}
        if status is None:
            unknown += 1
        elif "running" in state:
            running += 1
        elif "terminated" in state:
            stopped += 1
            succeeded += state["terminated"]["exitCode"] == 0
        elif "terminated" in (status.get("lastState") or {}):
            stopped += 1
        else:
            waiting += 1
    if terminal and not running:
        return SUCCEEDED if stopped and stopped == succeeded and not waiting and not unknown else FAILED
    if pending and not running and not stopped:
        return PENDING
    if waiting:
        return PENDING
    if running and not unknown:
        return RUNNING
    if stopped and not unknown:
        if policy == "Always":
            return RUNNING
        if stopped == succeeded:
            return SUCCEEDED
        return FAILED if policy == "Never" else RUNNING
    return PENDING


def _initialization(pod: Object, by_name: dict[str, Status]) -> tuple[int, int]:
    """How many init containers are still to do, and how many failed."""
    pending = failed = 0
    for container in init_containers(pod):
        status = by_name.get(container["name"])
        state = (status or {}).get("state") or {}
        if status is None:
            pending += 1
        elif is_sidecar(container):
            if "terminated" not in state and not status.get("started"):
                pending += 1
        elif "running" in state:
            pending += 1
        elif "terminated" in state:
            failed += state["terminated"]["exitCode"] != 0
        else:
            last = (status.get("lastState") or {}).get("terminated")
            if last is None:
                pending += 1
            elif last["exitCode"] != 0:
                failed += 1
    return pending, failed
