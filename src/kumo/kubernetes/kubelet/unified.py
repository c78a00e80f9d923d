"""What only control groups of version 2 know: who dies together, and how much of a container may be swapped out.

Upstream: `calculateLinuxResources` and `configureContainerSwapResources` of `pkg/kubelet/kuberuntime`. All pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from kumo.api import quantities
from kumo.api.objects import Object
from kumo.kubernetes.kubelet.resources import BURSTABLE, amount, qos_class
from kumo.kubernetes.kubelet.spec import Container, containers, init_containers, is_critical

LIMITED_SWAP = "LimitedSwap"
_OOM_GROUP = "memory.oom.group"
_SWAP_MAX = "memory.swap.max"


@dataclass(frozen=True, slots=True)
class MemoryPolicy:
    """What the node's configuration wants: `singleProcessOOMKill` and `memorySwap.swapBehavior`."""

    single_kill: bool = False
    """Whether the kernel kills one process of a container that takes too much memory, not all of them."""
    limited_swap: bool = False
    """Whether burstable containers may be swapped out, each to its share; else none may."""


@dataclass(frozen=True, slots=True)
class NodeMemory:
    """The node's memory and swap, in bytes."""

    memory: int
    swap: int
    counts_swap: bool
    """Whether its control groups can limit swap."""


def group_settings(pod: Object, container: Container, policy: MemoryPolicy, node: NodeMemory) -> dict[str, str]:
    """The files of the container's control group that are written, by name, and what they then hold."""
    wanted = {} if policy.single_kill else {_OOM_GROUP: "1"}
    if node.counts_swap:
        limited = policy.limited_swap and _may_swap(pod, container)
        wanted[_SWAP_MAX] = str(_share(container, node) if limited else 0)
    return wanted


def unresizable(old: Object, new: Object, policy: MemoryPolicy) -> str:
    """Why the pod can't have the new resources while it runs, empty if it can: a share of swap stays as it is."""
    if not policy.limited_swap:
        return ""
    before = {c["name"]: c for c in _resizable(old)}
    for container in _resizable(new):
        was = before.get(container["name"])
        if was is None or _memory(was, "requests") == _memory(container, "requests") or _starts_again(was):
            continue
        if _may_swap(old, was) or _may_swap(new, container):
            return "In-place resize of containers with swap is not supported."
    return ""


def _resizable(pod: Object) -> list[Container]:
    return [*containers(pod), *init_containers(pod)]


def _starts_again(container: Container) -> bool:
    policies = container.get("resizePolicy") or ()
    return any(p["resourceName"] == "memory" and p["restartPolicy"] == "RestartContainer" for p in policies)


def _may_swap(pod: Object, container: Container) -> bool:
    if is_critical(pod) or qos_class(pod) != BURSTABLE:
        return False
    request, limit = _memory(container, "requests"), _memory(container, "limits")
    return bool(request or limit) and request != limit


def _share(container: Container, node: NodeMemory) -> int:
    """As much of the swap as the container asks of the memory; 0 if that is more than there is."""
    asked = _memory(container, "requests")
    return asked * node.swap // node.memory if 0 < node.memory >= asked else 0


def _memory(container: Container, kind: str) -> int:
    text = amount(container, kind, "memory")
    return quantities.whole(text) if text is not None else 0
