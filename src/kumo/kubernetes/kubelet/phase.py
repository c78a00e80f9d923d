"""A pod's phase from its containers' statuses: upstream's `getPhase`, as a pure function."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kumo.api.objects import Object
from kumo.api.pod_resources import is_sidecar
from kumo.kubernetes.kubelet.restarts import RESTARTING_ALL, restarts_after
from kumo.kubernetes.kubelet.spec import Container, containers, init_containers, is_static

PENDING, RUNNING, SUCCEEDED, FAILED = "Pending", "Running", "Succeeded", "Failed"
TERMINAL = (SUCCEEDED, FAILED)

Status = dict[str, Any]


@dataclass(slots=True)
class _Count:
    """How many containers are in which state."""

    unknown: int = 0
    running: int = 0
    waiting: int = 0
    stopped: int = 0
    for_good: int = 0
    """Of the stopped ones, those that will not be started again."""
    succeeded: int = 0
    starting: int = 0
    """Sidecars that have not started yet."""


def pod_phase(pod: Object, statuses: list[Status], *, terminal: bool = False, begun: bool = False) -> str:
    """The phase that goes with these container statuses (init and regular).

    `terminal`: nothing will start any more. `begun`: a regular container has started, so that initialization is over.
    """
    by_name = {s["name"]: s for s in statuses}
    pending, failed = _initialization(pod, by_name)
    if failed:
        return FAILED
    count = _Count()
    for container in init_containers(pod):
        if is_sidecar(container):
            _count_sidecar(by_name.get(container["name"]), count)
    for container in containers(pod):
        _count_regular(pod, container, by_name.get(container["name"]), count)
    if terminal and not is_static(pod) and not count.running:
        whole = count.stopped and count.stopped == count.succeeded and not count.waiting and not count.unknown
        return SUCCEEDED if whole else FAILED
    if pending or (count.starting and not begun) or count.waiting:
        return PENDING
    if count.running and not count.unknown:
        return RUNNING
    if count.stopped and not count.unknown:
        if count.stopped != count.for_good:
            return RUNNING
        return SUCCEEDED if count.stopped == count.succeeded else FAILED
    return PENDING


def _ended(status: Status) -> Status | None:
    """How the container ended, if it does not run and has run."""
    state = status.get("state") or {}
    found: Status | None = state.get("terminated") or (status.get("lastState") or {}).get("terminated")
    return found


def _again(pod: Object, container: Container, ended: Status) -> bool:
    return restarts_after(pod, container, ended["exitCode"]) or ended.get("reason") == RESTARTING_ALL


def _initialization(pod: Object, by_name: dict[str, Status]) -> tuple[int, int]:
    """How many init containers are still to do, and how many failed for good; sidecars aside."""
    pending = failed = 0
    for container in init_containers(pod):
        if is_sidecar(container):
            continue
        status = by_name.get(container["name"])
        if status is None or "running" in (status.get("state") or {}):
            pending += 1
            continue
        ended = _ended(status)
        if ended is None:
            pending += 1
        elif ended["exitCode"] != 0:
            failed += not _again(pod, container, ended)
    return pending, failed


def _count_sidecar(status: Status | None, count: _Count) -> None:
    state = (status or {}).get("state") or {}
    if "running" in state:
        count.starting += not (status or {}).get("started")
        count.running += 1
    elif "waiting" in state:
        if "terminated" not in ((status or {}).get("lastState") or {}):
            count.starting += 1
            count.waiting += 1
    elif "terminated" not in state:
        count.starting += status is not None
        count.unknown += 1


def _count_regular(pod: Object, container: Container, status: Status | None, count: _Count) -> None:
    state = (status or {}).get("state") or {}
    if status is None or not state:
        count.unknown += 1
    elif "running" in state:
        count.running += 1
    elif (ended := _ended(status)) is not None:
        count.stopped += 1
        count.for_good += not _again(pod, container, ended)
        count.succeeded += "terminated" in state and ended["exitCode"] == 0
    else:
        count.waiting += 1
