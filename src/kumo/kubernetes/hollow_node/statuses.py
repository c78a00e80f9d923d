"""The statuses of pods on a hollow node, pure. Fields, conditions and reasons are those that a kubelet writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kumo.api.objects import Object, annotations_of, timestamp, uid_of
from kumo.api.pod_resources import is_sidecar
from kumo.kubernetes.hollow_node.config import READY

Status = dict[str, Any]
KILLED = 137
"""The exit code of what was ended by a signal it did not heed."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a pod is: the node's address, how to get one for the pod, when pods without an annotation end."""

    node_ip: str
    new_ip: Callable[[], str]
    run_seconds: float | None = None


def running(pod: Object, place: Place, now: float) -> Status:
    """All containers run, the init containers have done their work."""
    old, spec = pod.get("status") or {}, pod["spec"]
    ready = annotations_of(pod).get(READY) != "false"
    status: Status = {
        "phase": "Running",
        "conditions": _running_conditions(pod, ready, now),
        "startTime": old.get("startTime") or timestamp(now),
        **_addresses(place),
        "containerStatuses": [_runs(pod, c, ready, now) for c in spec["containers"]],
        **_generation(pod),
    }
    ip = old.get("podIP") or (place.node_ip if spec.get("hostNetwork") else place.new_ip())
    status |= {"podIP": ip, "podIPs": [{"ip": ip}]}
    if spec.get("initContainers"):
        status["initContainerStatuses"] = [
            _runs(pod, c, True, now) if is_sidecar(c) else _stopped(pod, c, 0, now, ready=True)
            for c in spec["initContainers"]
        ]
    return status


def ended(pod: Object, code: int, now: float) -> Status:
    """All containers have ended with `code`."""
    old, spec = pod.get("status") or {}, pod["spec"]
    word = "PodFailed" if code else "PodCompleted"
    status: Status = {
        "phase": "Failed" if code else "Succeeded",
        "conditions": [
            _condition(pod, "PodReadyToStartContainers", "False", now),
            _condition(pod, "Initialized", "True", now, "" if code else "PodCompleted"),
            _condition(pod, "Ready", "False", now, word),
            _condition(pod, "ContainersReady", "False", now, word),
            _condition(pod, "PodScheduled", "True", now),
        ],
        "containerStatuses": [_stopped(pod, c, code, now) for c in spec["containers"]],
        **{f: old[f] for f in ("startTime", "hostIP", "hostIPs", "podIP", "podIPs") if old.get(f)},
        **_generation(pod),
    }
    if spec.get("initContainers"):
        status["initContainerStatuses"] = [
            _stopped(pod, c, code if is_sidecar(c) else 0, now) for c in spec["initContainers"]
        ]
    return status


def refused(pod: Object, reason: str, message: str, now: float) -> Status:
    """The node does not take the pod."""
    text = f"Pod was rejected: {message}"
    return {"phase": "Failed", "reason": reason, "message": text, "startTime": timestamp(now), **_generation(pod)}


def stuck(pod: Object, place: Place, fault: tuple[str, str], now: float) -> Status:
    """A container (the first of `fault`) can't be made, and its message says why: the pod stays Pending."""
    names = [c["name"] for c in pod["spec"]["containers"]]
    why = ("ContainersNotReady", f"containers with unready status: [{' '.join(names)}]")
    return {
        "phase": "Pending",
        "conditions": [
            _condition(pod, "PodReadyToStartContainers", "True", now),
            _condition(pod, "Initialized", "True", now),
            _condition(pod, "Ready", "False", now, *why),
            _condition(pod, "ContainersReady", "False", now, *why),
            _condition(pod, "PodScheduled", "True", now),
        ],
        "startTime": timestamp(now),
        **_addresses(place),
        "containerStatuses": [_waits(c, fault) for c in pod["spec"]["containers"]],
        **_generation(pod),
    }


def same(old: Status, fresh: Status) -> bool:
    """Whether writing `fresh` would change nothing but times."""
    if any(old.get(k) != v for k, v in fresh.items() if k != "conditions"):
        return False
    known = {c["type"]: c for c in old.get("conditions") or ()}
    return all(
        all(known.get(c["type"], {}).get(k) == v for k, v in c.items() if v is not None) for c in fresh["conditions"]
    )


def containers_of(pod: Object) -> list[Status]:
    """What is known of the pod's containers; empty before the first word about them."""
    return (pod.get("status") or {}).get("containerStatuses") or []


# -- containers -----------------------------------------------------------------------------------------------------


def _runs(pod: Object, container: Object, ready: bool, now: float) -> Status:
    """A running container; another image than before makes another container."""
    before = _before(pod, container["name"])
    image = container.get("image") or ""
    state = before.get("state") or {}
    changed = "running" in state and before.get("image") != image
    count = int(before.get("restartCount") or 0) + changed
    last = before.get("lastState") or {}
    if changed:
        last = {"terminated": _termination(before, KILLED, now)}
    made: Status = {
        "name": container["name"],
        "image": image,
        "imageID": f"hollow://{image}",
        "containerID": _id(pod, container, count),
        "ready": ready,
        "started": True,
        "restartCount": count,
        "state": state if "running" in state and not changed else {"running": {"startedAt": timestamp(now)}},
        "lastState": last,
    }
    resources = container.get("resources") or {}
    if resources:
        made["resources"] = {k: v for k, v in resources.items() if k in ("requests", "limits")}
        if resources.get("requests"):
            made["allocatedResources"] = resources["requests"]
    return made


def _stopped(pod: Object, container: Object, code: int, now: float, *, ready: bool = False) -> Status:
    before = _before(pod, container["name"])
    if "terminated" in (before.get("state") or {}):
        return before
    count, image = int(before.get("restartCount") or 0), container.get("image") or ""
    termination = _termination(before, code, now) | {"containerID": _id(pod, container, count)}
    return {
        "name": container["name"],
        "image": image,
        "imageID": f"hollow://{image}",
        "containerID": _id(pod, container, count),
        "ready": ready,
        "started": False,
        "restartCount": count,
        "state": {"terminated": termination},
        "lastState": before.get("lastState") or {},
    }


def _termination(before: Status, code: int, now: float) -> Status:
    started = ((before.get("state") or {}).get("running") or {}).get("startedAt")
    return {
        "exitCode": code,
        "reason": "Error" if code else "Completed",
        "startedAt": started or timestamp(now),
        "finishedAt": timestamp(now),
        "containerID": before.get("containerID") or "",
    }


def _waits(container: Object, fault: tuple[str, str]) -> Status:
    waiting = {"reason": "ContainerCreating"}
    if container["name"] == fault[0]:
        waiting = {"reason": "CreateContainerConfigError", "message": fault[1]}
    return {
        "name": container["name"],
        "image": container.get("image") or "",
        "imageID": "",
        "ready": False,
        "started": False,
        "restartCount": 0,
        "state": {"waiting": waiting},
        "lastState": {},
    }


def _before(pod: Object, name: str) -> Status:
    """What was said of the container; empty if nothing was."""
    status = pod.get("status") or {}
    for entry in (*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())):
        if entry.get("name") == name:
            found: Status = entry
            return found
    return {}


def _id(pod: Object, container: Object, count: int) -> str:
    return f"hollow://{uid_of(pod)}-{container['name']}-{count}"


# -- conditions -----------------------------------------------------------------------------------------------------


def _running_conditions(pod: Object, ready: bool, now: float) -> list[Status]:
    names = " ".join(c["name"] for c in pod["spec"]["containers"])
    why = ("", "") if ready else ("ContainersNotReady", f"containers with unready status: [{names}]")
    word = "True" if ready else "False"
    gates = _gates(pod) if ready else ""
    whole = ("False", now, "ReadinessGatesNotReady", gates) if gates else (word, now, *why)
    return [
        _condition(pod, "PodReadyToStartContainers", "True", now),
        _condition(pod, "Initialized", "True", now),
        _condition(pod, "Ready", *whole),
        _condition(pod, "ContainersReady", word, now, *why),
        _condition(pod, "PodScheduled", "True", now),
    ]


def _gates(pod: Object) -> str:
    """What the pod's readiness gates have against its being ready."""
    found = {c["type"]: c.get("status") for c in (pod.get("status") or {}).get("conditions") or ()}
    texts = []
    for gate in pod["spec"].get("readinessGates") or ():
        kind = gate["conditionType"]
        if kind not in found:
            texts.append(f'corresponding condition of pod readiness gate "{kind}" does not exist.')
        elif found[kind] != "True":
            texts.append(f'the status of pod readiness gate "{kind}" is not "True", but {found[kind]}')
    return ", ".join(texts)


def _condition(pod: Object, kind: str, status: str, now: float, reason: str = "", message: str = "") -> Status:
    before: Status = next((c for c in (pod.get("status") or {}).get("conditions") or () if c.get("type") == kind), {})
    moved = before.get("lastTransitionTime") if before.get("status") == status else None
    made: Status = {
        "type": kind,
        "status": status,
        "lastProbeTime": None,
        "lastTransitionTime": moved or timestamp(now),
    }
    # null takes away what an earlier state of the condition said
    made |= {"reason": reason or None, "message": message or None}
    return made | ({"observedGeneration": pod["metadata"]["generation"]} if "generation" in pod["metadata"] else {})


def _addresses(place: Place) -> Status:
    return {"hostIP": place.node_ip, "hostIPs": [{"ip": place.node_ip}]}


def _generation(pod: Object) -> Status:
    return {"observedGeneration": pod["metadata"]["generation"]} if "generation" in pod["metadata"] else {}
