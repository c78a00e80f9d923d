"""How the managers begin: their settings are checked against the machine, and what a former kubelet wrote is taken up.

All of it raises ValueError, in upstream's words, for what an administrator has to mend.
"""

from __future__ import annotations

from pathlib import Path

from kumo.kubernetes.kubelet.placement import state
from kumo.kubernetes.kubelet.placement.cpus import CpuBook, StaticCpus
from kumo.kubernetes.kubelet.placement.hints import NONE, Merger
from kumo.kubernetes.kubelet.placement.memory import MemoryBook, StaticMemory, check_reservation
from kumo.kubernetes.kubelet.placement.options import (
    STATIC_CPUS,
    STATIC_MEMORY,
    PlacementSettings,
    cpu_options,
    topology_options,
)
from kumo.kubernetes.kubelet.placement.topology import Topology


def open_cpus(settings: PlacementSettings, topology: Topology, folder: Path) -> tuple[StaticCpus | None, CpuBook]:
    """The policy, None for `none`, and who has which processors. Raises OSError. Blocking."""
    policy = None
    if settings.cpu_policy == STATIC_CPUS:
        options = cpu_options(settings.cpu_options)
        reserved = len(settings.reserved_cpus) or -(-settings.reserved_milli // 1000)
        if not reserved:
            text = "the static policy requires systemreserved.cpu + kubereserved.cpu to be greater than zero"
            raise ValueError(f"[cpumanager] {text}")
        policy = StaticCpus(topology, reserved, settings.reserved_cpus, options)
    known = state.load(folder, state.CPU_FILE, settings.cpu_policy)
    try:
        book = CpuBook() if known is None else state.cpu_book(known)
        if policy is not None:
            policy.begin(book)
    except ValueError as error:
        raise ValueError(state.unusable(folder, state.CPU_FILE, str(error))) from error
    if known is None:
        state.save(folder, state.CPU_FILE, state.cpu_data(book, settings.cpu_policy))
    return policy, book


def open_memory(
    settings: PlacementSettings, topology: Topology, folder: Path
) -> tuple[StaticMemory | None, MemoryBook]:
    """The policy, None for `None`, and who has which memory. Raises OSError. Blocking."""
    policy = None
    if settings.memory_policy == STATIC_MEMORY:
        check_reservation(topology, settings.reserved_memory, settings.kept_back)
        policy = StaticMemory(topology, settings.reserved_memory)
    known = state.load(folder, state.MEMORY_FILE, settings.memory_policy)
    try:
        book = MemoryBook() if known is None else state.memory_book(known)
        if policy is not None:
            policy.begin(book)
    except ValueError as error:
        raise ValueError(state.unusable(folder, state.MEMORY_FILE, str(error))) from error
    if known is None:
        state.save(folder, state.MEMORY_FILE, state.memory_data(book, settings.memory_policy))
    return policy, book


def open_merger(settings: PlacementSettings, topology: Topology) -> Merger | None:
    """The Topology Manager's policy, None for `none`."""
    if settings.topology_policy == NONE:
        return None
    options = topology_options(settings.topology_options)
    if len(topology.nodes) > options.most_nodes:
        raise ValueError(f"unsupported on machines with more than {options.most_nodes} NUMA Nodes")
    distances = {number: node.distances for number, node in topology.nodes.items()}
    if options.prefer_closest and any(len(d) != len(distances) for d in distances.values()):
        raise ValueError("cannot discover NUMA topology: error getting NUMA distances from cadvisor")
    return Merger(settings.topology_policy, tuple(sorted(topology.nodes)), options, distances)
