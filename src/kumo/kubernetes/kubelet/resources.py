"""What a container may use, in the kernel's units: cpu shares and quota, memory limits, oom scores; a pod's QoS class.

The numbers are upstream's (`pkg/kubelet/cm`, `pkg/kubelet/qos`). All pure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kumo.api import quantities
from kumo.api.objects import Object
from kumo.api.pod_resources import needed
from kumo.kubernetes.kubelet.spec import Container, all_containers

GUARANTEED = "Guaranteed"
BURSTABLE = "Burstable"
BEST_EFFORT = "BestEffort"

CPU_PERIOD = 100_000
"""Microseconds over which a cpu quota counts."""
_MIN_SHARES, _MAX_SHARES = 2, 262144
_MIN_QUOTA = 1000


@dataclass(frozen=True, slots=True)
class Limits:
    """Kernel limits of one container or pod; 0 means none (quota, memory)."""

    cpu_shares: int = _MIN_SHARES
    cpu_quota: int = 0
    memory: int = 0


def cpu_shares(milli: int) -> int:
    """cgroup v1 cpu.shares for thousandths of a cpu."""
    return max(_MIN_SHARES, min(milli * 1024 // 1000, _MAX_SHARES)) if milli else _MIN_SHARES


def cpu_quota(milli: int) -> int:
    """Microseconds of cpu per `CPU_PERIOD`; 0 for no limit."""
    return max(milli * CPU_PERIOD // 1000, _MIN_QUOTA) if milli else 0


def amount(container: Container, kind: str, name: str) -> str | None:
    """The container's request or limit (`kind` is requests or limits) of a resource, as written."""
    found: str | None = ((container.get("resources") or {}).get(kind) or {}).get(name)
    return found


def _milli(container: Container, kind: str) -> int:
    text = amount(container, kind, "cpu")
    return quantities.milli(text) if text is not None else 0


def _bytes(container: Container, kind: str) -> int:
    text = amount(container, kind, "memory")
    return quantities.whole(text) if text is not None else 0


def container_limits(container: Container) -> Limits:
    """A container's limits."""
    request = _milli(container, "requests") or (
        _milli(container, "limits") if amount(container, "requests", "cpu") is None else 0
    )
    return Limits(cpu_shares(request), cpu_quota(_milli(container, "limits")), _bytes(container, "limits"))


def pod_limits(pod: Object) -> Limits:
    """The limits of the pod's cgroup; a limit counts only when every container has one (as upstream)."""
    overhead = pod["spec"].get("overhead") or {}
    extra_cpu = quantities.milli(overhead["cpu"]) if "cpu" in overhead else 0
    extra_memory = quantities.whole(overhead["memory"]) if "memory" in overhead else 0
    requests = effective(pod, lambda c: _milli(c, "requests") or (
        _milli(c, "limits") if amount(c, "requests", "cpu") is None else 0
    ))  # fmt: skip
    everyone = list(all_containers(pod))
    quota = memory = 0
    if all(_milli(c, "limits") for c in everyone):
        quota = cpu_quota(effective(pod, lambda c: _milli(c, "limits")) + extra_cpu)
    if all(_bytes(c, "limits") for c in everyone):
        memory = effective(pod, lambda c: _bytes(c, "limits")) + extra_memory
    return Limits(cpu_shares(requests + extra_cpu), quota, memory)


def effective(pod: Object, measure: Callable[[Container], int]) -> int:
    """What a pod needs of one resource at its neediest."""
    return needed(pod["spec"], lambda container: {"": measure(container)}).get("", 0)


def qos_class(pod: Object) -> str:
    """Guaranteed, Burstable or BestEffort, by cpu and memory of all containers."""
    requests: set[str] = set()
    guaranteed = True
    for container in all_containers(pod):
        resources = container.get("resources") or {}
        asked, limits = resources.get("requests") or {}, resources.get("limits") or {}
        for name in ("cpu", "memory"):
            limit = quantities.parse(limits[name]) if name in limits else 0
            request = quantities.parse(asked[name]) if name in asked else limit
            if request or limit:
                requests.add(name)
            if not limit or request != limit:
                guaranteed = False
    if not requests:
        return BEST_EFFORT
    return GUARANTEED if guaranteed else BURSTABLE


def oom_score(pod: Object, container: Container, node_memory: int) -> int:
    """oom_score_adj: who is killed first when the node is out of memory."""
    quality = qos_class(pod)
    if pod["spec"].get("priorityClassName") == "system-node-critical" or quality == GUARANTEED:
        return -997
    if quality == BEST_EFFORT:
        return 1000
    request = _bytes(container, "requests")
    score = 1000 - 1000 * request // max(node_memory, 1)
    if score < 1000 + -997:
        return 1000 + -997
    return 999 if score == 1000 else score
