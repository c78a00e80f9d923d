"""What a container may use, in the kernel's units: cpu shares and quota, memory limits, oom scores; a pod's QoS class.

The numbers are upstream's (`pkg/kubelet/cm`, `pkg/kubelet/qos`). All pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from kumo.api import quantities
from kumo.api.objects import Object
from kumo.api.pod_resources import is_sidecar, needed
from kumo.kubernetes.kubelet.spec import Container, all_containers, containers, init_containers

GUARANTEED = "Guaranteed"
BURSTABLE = "Burstable"
BEST_EFFORT = "BestEffort"

CPU_PERIOD = 100_000
"""Microseconds over which a cpu quota counts."""
_MIN_SHARES, _MAX_SHARES = 2, 262144
_MIN_QUOTA = 1000
_MIN_MILLI_LIMIT = 10


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


def whole_pod(pod: Object, kind: str) -> Mapping[str, Any]:
    """The requests or limits of the pod as a whole (`spec.resources`), as written."""
    found: Mapping[str, Any] = (pod["spec"].get("resources") or {}).get(kind) or {}
    return found


def container_limits(pod: Object, container: Container) -> Limits:
    """A container's limits; where it has none, those of its pod as a whole."""
    request = _milli(container, "requests") or (
        _milli(container, "limits") if amount(container, "requests", "cpu") is None else 0
    )
    shared = whole_pod(pod, "limits")
    quota = _milli(container, "limits") or quantities.milli(shared.get("cpu", 0))
    memory = _bytes(container, "limits") or quantities.whole(shared.get("memory", 0))
    return Limits(cpu_shares(request), cpu_quota(quota), memory)


def pod_limits(pod: Object) -> Limits:
    """The limits of the pod's cgroup; a limit counts only when every container has one, or the pod itself."""
    overhead = pod["spec"].get("overhead") or {}
    extra_cpu = quantities.milli(overhead["cpu"]) if "cpu" in overhead else 0
    extra_memory = quantities.whole(overhead["memory"]) if "memory" in overhead else 0
    requests = effective(pod, lambda c: _milli(c, "requests") or (
        _milli(c, "limits") if amount(c, "requests", "cpu") is None else 0
    ))  # fmt: skip
    asked, shared = whole_pod(pod, "requests"), whole_pod(pod, "limits")
    if "cpu" in asked:
        requests = quantities.milli(asked["cpu"])
    everyone = list(all_containers(pod))
    quota = memory = 0
    if quantities.parse(shared.get("cpu", 0)):
        quota = cpu_quota(quantities.milli(shared["cpu"]) + extra_cpu)
    elif all(_milli(c, "limits") for c in everyone):
        quota = cpu_quota(effective(pod, lambda c: _milli(c, "limits")) + extra_cpu)
    if quantities.parse(shared.get("memory", 0)):
        memory = quantities.whole(shared["memory"]) + extra_memory
    elif all(_bytes(c, "limits") for c in everyone):
        memory = effective(pod, lambda c: _bytes(c, "limits")) + extra_memory
    return Limits(cpu_shares(requests + extra_cpu), quota, memory)


def milli_of_shares(shares: int) -> int:
    """Thousandths of a cpu that stand behind cpu.shares (upstream's `SharesToMilliCPU`)."""
    return -(-shares * 1000 // 1024) if shares >= _MIN_SHARES else 0


def milli_of_quota(quota: int) -> int:
    """Thousandths of a cpu that a quota allows."""
    return quota * 1000 // CPU_PERIOD


def effective(pod: Object, measure: Callable[[Container], int]) -> int:
    """What a pod needs of one resource at its neediest."""
    return needed(pod["spec"], lambda container: {"": measure(container)}).get("", 0)


def pod_allocation(pod: Object, has: Object | None) -> dict[str, Any]:
    """`status.allocatedResources` and `status.resources`: what the pod as a whole was given, and what it has.

    `has` is the pod with the resources that its cgroup has been told, None for one that does not run (upstream:
    `convertToAPIPodLevelResourcesStatus`).
    """
    asked = _sums(pod, "requests")
    limits = {k: str(v) for k, v in whole_pod(pod, "limits").items()}
    requests = dict(asked)
    if has is not None:
        found = pod_limits(has)
        cpu = milli_of_shares(found.cpu_shares)
        if cpu > _MIN_SHARES:
            requests["cpu"] = _text("cpu", cpu)
        if found.cpu_quota and milli_of_quota(found.cpu_quota) > _MIN_MILLI_LIMIT:
            limits["cpu"] = _text("cpu", milli_of_quota(found.cpu_quota))
        if found.memory:
            limits["memory"] = _text("memory", found.memory)
    else:
        limits = _sums(pod, "limits")
    shown = {k: v for k, v in (("limits", limits), ("requests", requests)) if v}
    return {"resources": shown} | ({"allocatedResources": asked} if asked else {})


def _sums(pod: Object, kind: str) -> dict[str, str]:
    """What the pod needs in all, exactly: the requests or limits of its containers, or its own, and the overhead."""
    texts: dict[str, str] = {}

    def of(container: Container) -> dict[str, Fraction]:
        found = (container.get("resources") or {}).get(kind) or {}
        for name, text in found.items():
            texts.setdefault(name, str(text))
        return {name: quantities.parse(text) for name, text in found.items()}

    total = needed(pod["spec"], of)
    for name, text in whole_pod(pod, kind).items():
        texts[name] = str(text)
        total[name] = quantities.parse(text)
    for name, text in (pod["spec"].get("overhead") or {}).items():
        if kind == "requests" or total.get(name):
            texts.setdefault(name, str(text))
            total[name] = total.get(name, Fraction(0)) + quantities.parse(text)
    return {name: quantities.to_text(total[name], binary=quantities.is_binary(texts[name])) for name in sorted(total)}


def _text(name: str, value: int) -> str:
    if name == "cpu":
        return quantities.canonical(f"{value}m")
    return quantities.to_text(value, binary=True)


def _is_set(pod: Object, *kinds: str) -> bool:
    names = [n for kind in kinds for n in whole_pod(pod, kind)]
    return any(n in ("cpu", "memory") or n.startswith("hugepages-") for n in names)


def has_own_resources(pod: Object) -> bool:
    """Whether the pod as a whole has requests or limits (`spec.resources`) of cpu, memory or huge pages."""
    return _is_set(pod, "requests", "limits")


def qos_class(pod: Object) -> str:
    """Guaranteed, Burstable or BestEffort, by cpu and memory of the pod as a whole, or else of all containers."""
    requests: set[str] = set()
    guaranteed = True
    parts = [pod["spec"]] if has_own_resources(pod) else list(all_containers(pod))
    for part in parts:
        resources = part.get("resources") or {}
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
    extra = _unclaimed_memory(pod) if _is_set(pod, "requests") else 0
    score = 1000 - 1000 * (_bytes(container, "requests") + extra) // max(node_memory, 1)
    if is_sidecar(container) and container in init_containers(pod):
        # A sidecar is not to be killed before the containers that it serves.
        least = min(_bytes(c, "requests") for c in containers(pod))
        score = min(score, 1000 - 1000 * (least + extra) // max(node_memory, 1))
    if score < 1000 + -997:
        return 1000 + -997
    return 999 if score == 1000 else score


def _unclaimed_memory(pod: Object) -> int:
    """Each container's part of the memory that the pod asks for beyond its containers."""
    everyone = [*containers(pod), *(c for c in init_containers(pod) if is_sidecar(c))]
    whole = quantities.whole(whole_pod(pod, "requests").get("memory", 0))
    left = whole - effective(pod, lambda c: _bytes(c, "requests"))
    return max(0, left) // max(1, len(everyone))
