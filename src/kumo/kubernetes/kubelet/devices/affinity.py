"""Devices and NUMA nodes: which nodes would do for so many devices, and which devices are near some nodes. Pure.

Upstream: `pkg/kubelet/cm/devicemanager/topology_hints.go`, `filterByAffinity`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from kumo.kubernetes.kubelet.devices.ledger import Device
from kumo.kubernetes.kubelet.placement.hints import Hint, masks, nodes_of, preferred


def is_placed(devices: Mapping[str, Device]) -> bool:
    """Whether any of a resource's devices says where it is."""
    return any(d.nodes for d in devices.values())


def device_hints(
    devices: Mapping[str, Device],
    free: Collection[str],
    spare: Collection[str],
    wanted: int,
    machine: Iterable[int],
) -> list[Hint]:
    """The sets of NUMA nodes with so many devices, of those that are free and the spare ones, which all must be there.

    `machine` are all its nodes: those that a plugin names beyond them don't count.
    """
    known = set(machine)
    nodes = {n for d in devices.values() for n in d.nodes} & known or known
    smallest, found = len(nodes), []
    for mask in masks(nodes):
        here = set(nodes_of(mask))
        if sum(1 for d in devices.values() if here.intersection(d.nodes)) >= wanted:
            smallest = min(smallest, len(here))
        kept = [i for i in spare if i in devices and devices[i].nodes]
        if not all(here.intersection(devices[i].nodes) for i in kept):
            continue
        if len(kept) + sum(1 for i in free if i in devices and here.intersection(devices[i].nodes)) >= wanted:
            found.append(mask)
    return preferred(found, smallest)


def sorted_by_nearness(
    devices: Mapping[str, Device], free: Iterable[str], mask: int | None
) -> tuple[list[str], list[str], list[str]]:
    """The free devices at the nodes of the mask, elsewhere, and nowhere in particular."""
    listed = sorted(free)
    if mask is None or not is_placed(devices):
        return [], [], listed
    here = set(nodes_of(mask))
    places = {i: set(devices[i].nodes) if i in devices else set() for i in listed}
    near = [i for i in listed if places[i] & here]
    far = [i for i in listed if places[i] and not places[i] & here]
    return near, far, [i for i in listed if not places[i]]
