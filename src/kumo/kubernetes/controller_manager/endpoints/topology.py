"""Topology aware hints: which zone each endpoint is for, in proportion to the zones' CPUs. Pure.

For services annotated `service.kubernetes.io/topology-mode: Auto`, by upstream's heuristic: no endpoint is to get more
than a fifth above its share, else there are no hints at all and an event says why.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kumo.api import conditions
from kumo.api.objects import Object, annotations_of, labels_of
from kumo.api.quantities import milli
from kumo.kubernetes.controller_manager.endpoints.addresses import ZONE

MODE, OLD_MODE = "service.kubernetes.io/topology-mode", "service.kubernetes.io/topology-aware-hints"
_APART = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")
_OVERLOAD = 0.2
ENABLED = "Topology Aware Hints has been enabled"
DISABLED = "Topology Aware Hints has been disabled"
_NO_ZONE = "One or more endpoints do not have a zone specified"
_NO_NODES = "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes"
_FEW = "Insufficient number of endpoints"
_UNEVEN = "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold"


class NoHints(Exception):
    """Hints can't be given; the text is upstream's reason."""


@dataclass(frozen=True, slots=True)
class Share:
    """How many endpoints a zone has to have, may have, and should have."""

    least: int
    most: int
    wanted: float


def is_wanted(service: Object) -> bool:
    """Whether the service asks for hints."""
    annotations = annotations_of(service)
    mode = annotations.get(OLD_MODE)
    return (annotations.get(MODE) if mode is None else mode) in ("Auto", "auto")


def ratios(nodes: Iterable[Object]) -> dict[str, float]:
    """Each zone's share of the CPUs of ready nodes; empty where that can't be told, or there is one zone only."""
    cpus: Counter[str] = Counter()
    for node in nodes:
        labels = labels_of(node)
        if any(label in labels for label in _APART) or not conditions.is_true(node, "Ready"):
            continue
        text = ((node.get("status") or {}).get("allocatable") or {}).get("cpu")
        cpu = milli(text) if text else 0
        if not labels.get(ZONE) or not cpu:
            return {}
        cpus[labels[ZONE]] += cpu
    return {zone: cpu / cpus.total() for zone, cpu in cpus.items()} if len(cpus) > 1 else {}


def shares(zones: Mapping[str, float], count: int) -> dict[str, Share]:
    """Each zone's part of `count` endpoints. Raises NoHints."""
    if not zones:
        raise NoHints(_NO_NODES)
    size = f"({count} endpoints, {len(zones)} zones)"
    if len(zones) > count:
        raise NoHints(f"{_FEW} {size}")
    least = {zone: math.ceil(ratio * count / (1 + _OVERLOAD)) for zone, ratio in zones.items()}
    spare = count - sum(least.values())
    if spare < 0:
        raise NoHints(f"{_UNEVEN} {size}")
    return {zone: Share(low, low + spare, max(zones[zone] * count, low)) for zone, low in least.items()}


def assign(places: Sequence[tuple[str, str]], now: Mapping[str, str], zones: Mapping[str, float]) -> dict[str, str]:
    """The zone that each ready endpoint is for, by uid. Raises NoHints.

    `places` are the endpoints' uids and own zones, `now` the zones that they are for now; those stay if they will do.
    """
    wanted = shares(zones, len(places))
    if any(not zone for _, zone in places):
        raise NoHints(_NO_ZONE)
    kept = {uid: now.get(uid, "") for uid, _ in places}
    counts = Counter(kept.values())
    if all(zone in wanted and number <= wanted[zone].most for zone, number in counts.items()):
        return kept
    return _spread(dict(places), wanted)


def _spread(hints: dict[str, str], wanted: Mapping[str, Share]) -> dict[str, str]:
    """From every endpoint for its own zone to a distribution that is even enough."""
    have = Counter(hints.values())
    giving = {zone: have[zone] - share.wanted for zone, share in wanted.items() if have[zone] > share.wanted}
    taking = {zone: share.wanted - have[zone] for zone, share in wanted.items() if have[zone] < share.wanted}
    while giving and taking:
        giver, taker = max(giving, key=giving.__getitem__), max(taking, key=taking.__getitem__)
        if max(giving[giver], taking[taker]) < 1 or min(giving[giver], taking[taker]) < 0.5:
            break
        giving[giver] -= 1
        taking[taker] -= 1
        moved = next(uid for uid, zone in hints.items() if zone == giver)
        hints[moved] = taker
    return hints
