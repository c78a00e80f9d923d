"""Who goes first, and what is said of it. No I/O. Upstream: `pkg/kubelet/eviction/helpers.go`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kumo.api import quantities
from kumo.api.objects import Object
from kumo.api.pod_requests import pod_requests
from kumo.kubernetes.kubelet.eviction.thresholds import PIDS, RESOURCES, Observation, Threshold
from kumo.kubernetes.kubelet.spec import is_critical

REASON = "Evicted"


@dataclass(frozen=True, slots=True)
class Usage:
    """What a pod uses: bytes of memory's working set, of disk (layers, logs, volumes), inodes and processes."""

    pod: Object
    memory: int = 0
    disk: int = 0
    inodes: int = 0
    processes: int = 0
    container_memory: Mapping[str, int] = field(default_factory=dict)
    container_disk: Mapping[str, int] = field(default_factory=dict)


def _request(pod: Object, resource: str) -> int:
    return int(pod_requests(pod).get(resource, 0))


def _over(usage: Usage, used: int, resource: str) -> tuple[bool, int, int]:
    """Over its request first, then the less important, then who uses most beyond its request."""
    beyond = used - _request(usage.pod, resource)
    return (beyond <= 0, int(usage.pod["spec"].get("priority") or 0), -beyond)


def ranked(signal: str, pods: Iterable[Usage]) -> list[Usage]:
    """The pods that may be evicted for the signal, the first to go first."""
    order: Callable[[Usage], tuple[Any, ...]]
    if RESOURCES[signal] == "memory":
        order = lambda u: _over(u, u.memory, "memory")  # noqa: E731 - one of three, side by side
    elif signal == PIDS:
        order = lambda u: (int(u.pod["spec"].get("priority") or 0), -u.processes)  # noqa: E731
    elif RESOURCES[signal] == "inodes":
        order = lambda u: (u.inodes <= 0, int(u.pod["spec"].get("priority") or 0), -u.inodes)  # noqa: E731
    else:
        order = lambda u: _over(u, u.disk, "ephemeral-storage")  # noqa: E731
    return sorted((u for u in pods if not is_critical(u.pod)), key=order)


def node_message(threshold: Threshold, seen: Observation, usage: Usage) -> str:
    """What the status and the event of a pod say that goes since the node is short of something."""
    resource = RESOURCES[threshold.signal]
    text = f"The node was low on resource: {resource}. "
    quantity, available = threshold.quantity(seen.capacity), seen.available
    if resource in ("memory", "ephemeral-storage"):
        shown = threshold.value if not threshold.value.endswith("%") else _binary(quantity)
        text += f"Threshold quantity: {shown}, available: {_binary(available)}. "
    else:
        text += f"Threshold quantity: {quantity}, available: {available}. "
    used = {"memory": usage.container_memory, "ephemeral-storage": usage.container_disk}.get(resource, {})
    spec = usage.pod["spec"]
    for container in [*spec["containers"], *(spec.get("initContainers") or ())]:
        name = container["name"]
        request = ((container.get("resources") or {}).get("requests") or {}).get(resource, "0")
        if name in used and used[name] > quantities.whole(str(request)):
            shown = _binary(used[name])
            text += f"Container {name} was using {shown}, request is {request}, has larger consumption of {resource}. "
    return text


def _binary(number: int) -> str:
    return quantities.to_text(number, binary=True)


def limit_message(pod: Object, empty_dirs: Mapping[str, int], containers: Mapping[str, int], whole: int) -> str | None:
    """Why a pod goes that uses more disk than it may: bytes by emptyDir volume and container, and in all. Else None."""
    for volume in pod["spec"].get("volumes") or ():
        limit = (volume.get("emptyDir") or {}).get("sizeLimit")
        if limit and 0 < quantities.whole(str(limit)) < empty_dirs.get(volume["name"], 0):
            return f'Usage of EmptyDir volume "{volume["name"]}" exceeds the limit "{limit}". '
    total = pod_limit(pod)
    if total is not None and whole > quantities.whole(total):
        return f"Pod ephemeral local storage usage exceeds the total limit of containers {total}. "
    for container in pod["spec"]["containers"]:
        limit = _disk_limit(container)
        if (
            limit is not None
            and quantities.whole(limit)
            and containers.get(container["name"], 0) > quantities.whole(limit)
        ):
            return f'Container {container["name"]} exceeded its local ephemeral storage limit "{limit}". '
    return None


def limit_signal(message: str) -> str:
    """Which limit such a message is about, as upstream's metrics name it."""
    if message.startswith("Usage of EmptyDir"):
        return "emptydirfs.limit"
    return "ephemeralpodfs.limit" if message.startswith("Pod ") else "ephemeralcontainerfs.limit"


def has_limits(pod: Object) -> bool:
    """Whether the pod's use of disk has to be looked at for its own sake."""
    volumes = pod["spec"].get("volumes") or ()
    return pod_limit(pod) is not None or any((v.get("emptyDir") or {}).get("sizeLimit") for v in volumes)


def pod_limit(pod: Object) -> str | None:
    """The sum of the containers' limits of ephemeral storage; None if none has one."""
    limits = [limit for c in pod["spec"]["containers"] if (limit := _disk_limit(c)) is not None]
    if not limits:
        return None
    return limits[0] if len(limits) == 1 else _binary(sum(quantities.whole(x) for x in limits))


def _disk_limit(container: Mapping[str, Any]) -> str | None:
    found = ((container.get("resources") or {}).get("limits") or {}).get("ephemeral-storage")
    return None if found is None else str(found)
