"""Carries out a resize: the pod's own control group and its containers', in the order in which nothing is squeezed.

Upstream: `doPodResizeAction` in `pkg/kubelet/kuberuntime`: what the pod gains it gets before its containers do, what it
loses it loses after them; memory first, then cpu.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from kumo.api.objects import Object, uid_of
from kumo.host.cgroups import CgroupLimits
from kumo.host.containerd.rpc import EngineError
from kumo.host.containerd.stubs import cri_pb2 as cri
from kumo.kubernetes.kubelet.actions import Tools
from kumo.kubernetes.kubelet.allocation import Book
from kumo.kubernetes.kubelet.resizing import (
    Resize,
    Resources,
    Update,
    resources_of,
    shrinking_below_use,
    with_actuated,
)
from kumo.kubernetes.kubelet.resources import CPU_PERIOD, Limits, pod_limits
from kumo.kubernetes.kubelet.sandbox import pod_cgroup


async def carry_out(tools: Tools, pod: Object, book: Book, plan: Resize) -> str:
    """Do what the plan says for a pod with the resources it was given; why it failed, empty if it did not."""
    path = pod_cgroup(tools.config.cgroup_parent, uid_of(pod))
    before = pod_limits(with_actuated(pod, book.actuated))
    after = pod_limits(pod)
    try:
        if plan.memory or plan.pod:
            why = await _too_small(tools, plan, path, before, after)
            if why:
                return why
            await _memory(tools, pod, plan.memory, path, before, after)
        if plan.cpu or plan.pod:
            await _cpu(tools, pod, plan.cpu, path, before, after)
    except EngineError as error:
        return error.wire
    except OSError as error:
        return str(error)
    tools.allocations.actuate_pod(pod)
    return ""


async def _too_small(tools: Tools, plan: Resize, path: str, before: Limits, after: Limits) -> str:
    names = {u.found.id: u.container["name"] for u in plan.memory}

    def look() -> tuple[int, dict[str, int]]:
        used = tools.cgroups.usage(path).get("memory", 0)
        return used, {n: tools.cgroups.usage(f"{path}/{i}").get("memory", 0) for i, n in names.items()}

    used, each = await asyncio.to_thread(look)
    return shrinking_below_use(plan, before, after, used, each)


async def _memory(
    tools: Tools, pod: Object, updates: Iterable[Update], path: str, before: Limits, after: Limits
) -> None:
    wanted = after.memory or before.memory  # a limit can't be taken away from a running pod
    if wanted > before.memory > 0:
        await asyncio.to_thread(tools.cgroups.set_memory, path, wanted)
    for update in updates:
        await _update(tools, pod, update)
    if wanted and (wanted < before.memory or not before.memory):
        await asyncio.to_thread(tools.cgroups.set_memory, path, wanted)


async def _cpu(tools: Tools, pod: Object, updates: Iterable[Update], path: str, before: Limits, after: Limits) -> None:
    quota = after.cpu_quota or before.cpu_quota
    first = CgroupLimits(
        max(before.cpu_shares, after.cpu_shares), max(before.cpu_quota, quota) if before.cpu_quota else 0, CPU_PERIOD
    )
    await asyncio.to_thread(tools.cgroups.set_cpu, path, first)
    for update in updates:
        await _update(tools, pod, update)
    await asyncio.to_thread(tools.cgroups.set_cpu, path, CgroupLimits(after.cpu_shares, quota, CPU_PERIOD))


async def _update(tools: Tools, pod: Object, update: Update) -> None:
    """Tell containerd of one resource of one container; the other one stays as it is."""
    name, limits = update.container["name"], update.limits
    if update.key == "cpu":
        wanted = cri.LinuxContainerResources(
            cpu_shares=limits.cpu_shares,
            cpu_quota=limits.cpu_quota,
            cpu_period=CPU_PERIOD if limits.cpu_quota else 0,
        )
    else:
        wanted = cri.LinuxContainerResources(memory_limit_in_bytes=limits.memory)
    if update.key == "cpu" or limits.memory:
        await tools.engine.runtime.update_resources(update.found.id, wanted)
    book = tools.allocations.book(uid_of(pod))
    if book is not None:
        given = resources_of(pod)["containers"][name]
        old = book.actuated["containers"].get(name) or {}
        tools.allocations.actuate(pod, name, _mixed(old, given, update.key))


def _mixed(old: Resources, given: Resources, key: str) -> Resources:
    """The resources as they were, with those of `key` as they were given."""
    made: Resources = {}
    for kind in ("limits", "requests"):
        values = {k: v for k, v in (old.get(kind) or {}).items() if k != key}
        if key in (given.get(kind) or {}):
            values[key] = given[kind][key]
        if values:
            made[kind] = values
    return made
