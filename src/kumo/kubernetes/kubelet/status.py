"""A pod's status from its spec, its state in containerd, its probes and the errors of the last attempts. Pure.

Upstream: `convertToAPIContainerStatuses` and `generateAPIPodStatus` in `pkg/kubelet/kubelet_pods.go`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kumo.api import quantities
from kumo.api.objects import Object, timestamp
from kumo.api.pod_resources import is_sidecar
from kumo.kubernetes.kubelet import phase as phases
from kumo.kubernetes.kubelet.conditions import OWNED, make_conditions
from kumo.kubernetes.kubelet.plan import Health, sandbox_changed, should_start, started
from kumo.kubernetes.kubelet.podstate import ContainerState, PodState
from kumo.kubernetes.kubelet.resources import qos_class
from kumo.kubernetes.kubelet.spec import Container, containers, host_network, init_containers

Status = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a container could not be started: the reason and message of its waiting state."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class View:
    """All that a status is made of besides the pod object."""

    state: PodState
    health: Mapping[str, Health] = field(default_factory=dict)
    troubles: Mapping[str, Trouble] = field(default_factory=dict)
    host_ips: Sequence[str] = ()
    terminal: bool = False
    """Nothing will be started any more."""


def make_status(pod: Object, view: View, now: float) -> Status:
    """The status to write: the kubelet's fields, with the conditions of others left as the pod has them."""
    stamp = timestamp(now)
    old: Status = pod.get("status") or {}
    first = [_container_status(pod, c, view, init=True) for c in init_containers(pod)]
    regular = [_container_status(pod, c, view, init=False) for c in containers(pod)]
    phase = phases.pod_phase(pod, first + regular, terminal=view.terminal)
    if old.get("phase") in phases.TERMINAL:
        phase = old["phase"]
    ready = not sandbox_changed(pod, view.state)
    owned = make_conditions(pod, first + regular, phase, sandbox_ready=ready, now=stamp)
    others = [c for c in old.get("conditions") or () if c["type"] not in OWNED]
    status: Status = {
        "phase": phase,
        "conditions": owned + others,
        "startTime": old.get("startTime") or stamp,
        "containerStatuses": regular,
        "qosClass": old.get("qosClass") or qos_class(pod),
    }
    if first:
        status["initContainerStatuses"] = first
    if "generation" in pod["metadata"]:
        status["observedGeneration"] = pod["metadata"]["generation"]
    for name in ("reason", "message"):
        if old.get(name):
            status[name] = old[name]
    if view.host_ips:
        status["hostIP"] = view.host_ips[0]
        status["hostIPs"] = [{"ip": ip} for ip in view.host_ips]
    ips = _pod_ips(pod, view)
    if ips:
        status["podIP"] = ips[0]
        status["podIPs"] = [{"ip": ip} for ip in ips]
    return status


def _pod_ips(pod: Object, view: View) -> list[str]:
    if host_network(pod):
        return list(view.host_ips) if view.state.sandboxes else []
    box = view.state.sandbox
    if box is not None and box.ready:
        return list(box.ips)
    # An ended pod keeps the address it had (as upstream).
    return [entry["ip"] for entry in (pod.get("status") or {}).get("podIPs") or ()]


def _container_status(pod: Object, container: Container, view: View, *, init: bool) -> Status:
    name = container["name"]
    history = view.state.history(name)
    found = history[0] if history else None
    status: Status = {"name": name, "image": container.get("image", ""), "imageID": "", "restartCount": 0}
    default = {"waiting": {"reason": "ContainerCreating"}}
    if init_containers(pod) and not (init and name == init_containers(pod)[0]["name"]):
        default = {"waiting": {"reason": "PodInitializing"}}
    if found is None:
        _without_container(pod, container, view, status, default)
    else:
        status |= {
            "image": found.image or container.get("image", ""),
            "imageID": found.image_id,
            "containerID": f"containerd://{found.id}",
            "restartCount": found.restarts,
            "state": api_state(found, default),
            "lastState": api_state(history[1], {}) if len(history) > 1 and history[1].exited else {},
        }
        _as_waiting(pod, container, found, view, status)
    _readiness(pod, container, found, view, status, init)
    _resources(container, status)
    return status


def _without_container(pod: Object, container: Container, view: View, status: Status, default: Status) -> None:
    """There is no container (any more): what was said of it before stays true, if it had ended."""
    before = _old_status(pod, container["name"])
    trouble = view.troubles.get(container["name"])
    status |= {"state": default, "lastState": {}}
    if before is not None and ("terminated" in before["state"] or "running" in before["state"]):
        status |= {k: before[k] for k in ("containerID", "imageID", "image", "restartCount") if k in before}
        if "terminated" in before["state"]:
            status |= {"state": before["state"], "lastState": before.get("lastState") or {}}
        else:
            # It ran, and vanished behind our back (the machine was restarted, perhaps).
            gone = {
                "exitCode": 137,
                "reason": "ContainerStatusUnknown",
                "message": "The container could not be located when the pod was terminated",
                "startedAt": None,
                "finishedAt": None,
            }
            if view.terminal:
                status["state"] = {"terminated": gone}
            else:
                gone["message"] = (
                    "The container could not be located when the pod was deleted.  The container used to be Running"
                )
                status |= {"lastState": {"terminated": gone}, "restartCount": before.get("restartCount", 0) + 1}
    if trouble is not None and not view.terminal:
        status["state"] = {"waiting": {"reason": trouble.reason, "message": trouble.message}}


def _old_status(pod: Object, name: str) -> Status | None:
    old = pod.get("status") or {}
    for entry in [*(old.get("initContainerStatuses") or ()), *(old.get("containerStatuses") or ())]:
        if entry["name"] == name:
            found: Status = {"state": {}, **entry}
            return found
    return None


def api_state(found: ContainerState, default: Status) -> Status:
    """The ContainerState of the API; `default` for a container that is created but not started."""
    if found.running:
        return {"running": {"startedAt": timestamp(found.started_at)}}
    if found.exited:
        ended: Status = {
            "exitCode": found.exit_code,
            "reason": found.reason or ("Completed" if found.exit_code == 0 else "Error"),
            "startedAt": timestamp(found.started_at) if found.started_at > 0 else None,
            "finishedAt": timestamp(found.finished_at) if found.finished_at > 0 else None,
            "containerID": f"containerd://{found.id}",
        }
        if found.message:
            ended["message"] = found.message
        return {"terminated": ended}
    if found.state == "unknown":
        return {
            "terminated": {
                "exitCode": 137,
                "reason": "ContainerStatusUnknown",
                "message": "The container could not be located when the pod was terminated",
                "startedAt": None,
                "finishedAt": None,
            }
        }
    return default or {"waiting": {"reason": "ContainerCreating"}}


def _as_waiting(pod: Object, container: Container, found: ContainerState, view: View, status: Status) -> None:
    """A container that will be started again is waiting, with the reason why it is not running yet."""
    trouble = view.troubles.get(container["name"])
    if trouble is None or view.terminal or found.running or not should_start(pod, container, found):
        return
    if container in init_containers(pod) and not is_sidecar(container) and found.exit_code == 0:
        return
    if "terminated" in status["state"]:
        status["lastState"] = status["state"]
    status["state"] = {"waiting": {"reason": trouble.reason, "message": trouble.message}}


def _readiness(
    pod: Object, container: Container, found: ContainerState | None, view: View, status: Status, init: bool
) -> None:
    running = found is not None and found.running and "running" in status["state"]
    if init and not is_sidecar(container):
        ended = status["state"].get("terminated")
        status["ready"] = bool(ended and ended["exitCode"] == 0)
        status["started"] = running
        return
    begun = running and started(container, found, view.health)
    seen = view.health.get(container["name"])
    probed = bool(seen and found and seen.container == found.id and seen.ready)
    status["started"] = begun
    status["ready"] = begun and (probed if "readinessProbe" in container else True)


def _resources(container: Container, status: Status) -> None:
    resources = container.get("resources") or {}
    asked = resources.get("requests")
    if asked:
        status["allocatedResources"] = {k: quantities.canonical(v) for k, v in asked.items()}
    if "running" in status["state"] and resources:
        status["resources"] = {k: resources[k] for k in ("limits", "requests") if resources.get(k)}
    shown = []
    for mount in container.get("volumeMounts") or ():
        entry = {"name": mount["name"], "mountPath": mount["mountPath"]}
        if mount.get("readOnly"):
            entry |= {"readOnly": True, "recursiveReadOnly": mount.get("recursiveReadOnly") or "Disabled"}
        shown.append(entry)
    if shown:
        status["volumeMounts"] = shown
