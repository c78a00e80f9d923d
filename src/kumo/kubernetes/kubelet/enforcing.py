"""All pods together are held to what the node does not keep for itself.

Upstream: `enforceNodeAllocatableCgroups` in `pkg/kubelet/cm/node_container_manager_linux.go`.
"""

from __future__ import annotations

import asyncio

from kumo.api import quantities
from kumo.host.cgroups import CgroupLimits
from kumo.kubernetes.kubelet.actions import Tools
from kumo.kubernetes.kubelet.config import KubeletConfig
from kumo.kubernetes.kubelet.eviction.signals import most_processes
from kumo.kubernetes.kubelet.machine import Machine
from kumo.kubernetes.kubelet.node import NodeKeeper
from kumo.kubernetes.kubelet.resources import cpu_shares

_AGAIN = 60.0


def limits(config: KubeletConfig, machine: Machine, processes: int) -> CgroupLimits:
    """The limits of the control group of all pods: without reservations, those of the machine. Pure."""
    milli = machine.cpus * 1000 - quantities.milli(config.reserved.get("cpu", "0"))
    kept = quantities.whole(config.reserved.get("pid", "0"))
    return CgroupLimits(
        cpu_shares(max(0, milli)),
        memory=machine.memory_of_pods(config),
        pids=max(1, processes - kept) if processes else 0,
    )


async def enforce(tools: Tools, node: NodeKeeper) -> None:
    """Set the limits, again and again until that is done, and say so on the Node."""
    config = tools.config
    if not config.enforce_allocatable:
        return

    def make() -> None:
        tools.cgroups.create(config.cgroup_parent, limits(config, tools.machine, most_processes()))

    while True:
        try:
            await asyncio.to_thread(make)
        except OSError as error:
            await node.registered.wait()
            group = config.cgroup_parent.strip("/")
            text = f'Failed to update Node Allocatable Limits ["{group}"]: {error}'
            node.warn("FailedNodeAllocatableEnforcement", text)
            await asyncio.sleep(_AGAIN)
            continue
        await node.registered.wait()
        node.tell("NodeAllocatableEnforced", "Updated Node Allocatable limit across pods")
        return
