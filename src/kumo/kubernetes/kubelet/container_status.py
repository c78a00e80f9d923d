"""One container's status from its spec, its state in containerd, its probes and the errors of the last attempts. Pure.

Upstream: `convertToAPIContainerStatuses` in `pkg/kubelet/kubelet_pods.go`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kumo.api import quantities
from kumo.api.objects import Object, timestamp
from kumo.api.pod_resources import is_sidecar
from kumo.kubernetes.kubelet.plan import Health, any_regular_started, should_start, started
from kumo.kubernetes.kubelet.podstate import ContainerState, PodState
from kumo.kubernetes.kubelet.restarts import RESTARTING_ALL
from kumo.kubernetes.kubelet.spec import Container, ephemeral_containers, init_containers

Status = dict[str, Any]

_GONE = {"exitCode": 137, "startedAt": None, "finishedAt": None}
_RESTART_TEXT = "The container is removed because RestartAllContainers in place"


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
    actuated: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The cpu and memory that running containers have, by name, as `ResourceRequirements`."""
    has: Object | None = None
    """The pod with the resources that it has; None: those in its spec."""
    resize: Sequence[Mapping[str, Any]] = ()
    """The conditions about a resize."""
    device_health: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    """`allocatedResourcesStatus` of the containers that have devices of plugins."""
    restarting: bool = False
    """All containers are being removed to run anew."""


def container_status(pod: Object, container: Container, view: View) -> Status:
    """The container's `ContainerStatus`."""
    name = container["name"]
    history = view.state.history(name)
    found = history[0] if history else None
    status: Status = {"name": name, "image": container.get("image", ""), "imageID": "", "restartCount": 0}
    default = {"waiting": {"reason": "PodInitializing" if init_containers(pod) else "ContainerCreating"}}
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
        if found.user is not None:
            uid, gid, groups = found.user
            linux = {"uid": uid, "gid": gid} | ({"supplementalGroups": list(groups)} if groups else {})
            status["user"] = {"linux": linux}
        _remember(pod, name, status)
        _as_waiting(pod, container, found, view, status)
    _readiness(pod, container, found, view, status)
    _resources(container, found, view, status)
    return status


def old_status(pod: Object, name: str) -> Status | None:
    """What the pod's present status says of the container."""
    old = pod.get("status") or {}
    for kind in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"):
        for entry in old.get(kind) or ():
            if entry["name"] == name:
                found: Status = {"state": {}, **entry}
                return found
    return None


def _remember(pod: Object, name: str, status: Status) -> None:
    """What containerd no longer has: the restarts, and how the container before it ended."""
    before = old_status(pod, name)
    if before is None:
        return
    status["restartCount"] = max(status["restartCount"], int(before.get("restartCount") or 0))
    if status["lastState"]:
        return
    if before.get("containerID") != status["containerID"] and "terminated" in before["state"]:
        status["lastState"] = before["state"]
    elif "terminated" in (before.get("lastState") or {}):
        status["lastState"] = before["lastState"]


def _without_container(pod: Object, container: Container, view: View, status: Status, default: Status) -> None:
    """There is no container (any more): what was said of it before stays true, if it had ended."""
    before = old_status(pod, container["name"])
    trouble = view.troubles.get(container["name"])
    status |= {"state": default, "lastState": (before or {}).get("lastState") or {}}
    if before is not None:
        status["restartCount"] = int(before.get("restartCount") or 0)
        if view.restarting and "waiting" not in before["state"]:
            reason = {"reason": RESTARTING_ALL, "message": _RESTART_TEXT}
            status |= {"state": {"waiting": reason}, "lastState": {"terminated": _GONE | reason}}
            status["restartCount"] += 1
            return
    if before is not None and ("terminated" in before["state"] or "running" in before["state"]):
        status |= {k: before[k] for k in ("containerID", "imageID", "image") if k in before}
        if "terminated" in before["state"]:
            status["state"] = before["state"]
        else:
            _vanished(view, before, status)
    elif container in init_containers(pod) and not is_sidecar(container) and any_regular_started(pod, view.state):
        text = (
            "Unable to get init container status from container runtime and pod has been initialized, "
            "treat it as exited normally"
        )
        ended = {"exitCode": 0, "reason": "Completed", "message": text, "startedAt": None, "finishedAt": None}
        status["state"] = {"terminated": ended}
    if trouble is not None and not view.terminal:
        status["state"] = {"waiting": {"reason": trouble.reason, "message": trouble.message}}


def _vanished(view: View, before: Status, status: Status) -> None:
    """It ran, and vanished behind our back (the machine was restarted, perhaps)."""
    gone = _GONE | {"reason": "ContainerStatusUnknown"}
    if view.terminal:
        text = "The container could not be located when the pod was terminated"
        status["state"] = {"terminated": gone | {"message": text}}
    else:
        text = "The container could not be located when the pod was deleted.  The container used to be Running"
        status["lastState"] = {"terminated": gone | {"message": text}}
        status["restartCount"] = before.get("restartCount", 0) + 1


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
        text = "The container could not be located when the pod was terminated"
        return {"terminated": _GONE | {"reason": "ContainerStatusUnknown", "message": text}}
    return default or {"waiting": {"reason": "ContainerCreating"}}


def _as_waiting(pod: Object, container: Container, found: ContainerState, view: View, status: Status) -> None:
    """A container that will be started again is waiting, with the reason why it is not running yet."""
    trouble = view.troubles.get(container["name"])
    if trouble is None or view.terminal or found.running or not should_start(pod, container, found):
        return
    if container in init_containers(pod) and not is_sidecar(container) and found.exited and found.exit_code == 0:
        return
    if "terminated" in status["state"]:
        status["lastState"] = status["state"]
    status["state"] = {"waiting": {"reason": trouble.reason, "message": trouble.message}}


def _readiness(pod: Object, container: Container, found: ContainerState | None, view: View, status: Status) -> None:
    running = found is not None and found.running and "running" in status["state"]
    if container in ephemeral_containers(pod):
        status["ready"] = False
        return
    if container in init_containers(pod) and not is_sidecar(container):
        ended = status["state"].get("terminated")
        status["ready"] = bool(ended and ended["exitCode"] == 0)
        status["started"] = running
        return
    begun = running and started(container, found, view.health)
    seen = view.health.get(container["name"])
    probed = bool(seen and found and seen.container == found.id and seen.ready)
    status["started"] = begun
    status["ready"] = begun and (probed if "readinessProbe" in container else True)


def _resources(container: Container, found: ContainerState | None, view: View, status: Status) -> None:
    resources = container.get("resources") or {}
    if found is not None:
        asked = resources.get("requests")
        if asked:
            status["allocatedResources"] = {k: quantities.canonical(v) for k, v in asked.items()}
        shown = {k: dict(resources[k]) for k in ("limits", "requests") if resources.get(k)}
        actual = view.actuated.get(container["name"]) if found.running else None
        for kind, values in (actual or {}).items():
            if kind in shown:
                shown[kind] |= {k: v for k, v in values.items() if k in ("cpu", "memory")}
        status["resources"] = {
            kind: {k: quantities.canonical(v) for k, v in values.items()} for kind, values in shown.items()
        }
    mounts = []
    for mount in container.get("volumeMounts") or ():
        entry = {"name": mount["name"], "mountPath": mount["mountPath"]}
        if mount.get("readOnly"):
            entry |= {"readOnly": True, "recursiveReadOnly": _recursive(mount)}
        mounts.append(entry)
    if mounts:
        status["volumeMounts"] = mounts


def _recursive(mount: Mapping[str, Any]) -> str:
    # No supported runtime of kumo's offers recursive read-only mounts: `IfPossible` is not possible.
    wanted = str(mount.get("recursiveReadOnly") or "Disabled")
    return wanted if wanted == "Enabled" else "Disabled"
