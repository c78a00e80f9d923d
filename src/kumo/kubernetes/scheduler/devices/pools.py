"""Pools of devices, as a node sees them through ResourceSlices. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

from kumo.api import quantities
from kumo.api.objects import Object, name_of
from kumo.kubernetes.scheduler.plugins.node_affinity import matches_terms

Counters = dict[str, dict[str, Fraction]]
"""Amounts by counter set and counter."""


class DeviceId(NamedTuple):
    """What tells a device apart in the cluster."""

    driver: str
    pool: str
    device: str

    def __str__(self) -> str:
        return "/".join(self)


class InUse(NamedTuple):
    """The devices that claims have for themselves, and how much claims that share devices have of each of them."""

    devices: frozenset[DeviceId] = frozenset()
    shared: Mapping[DeviceId, Mapping[str, Fraction]] = {}

    def has(self, device: DeviceId) -> bool:
        """Whether any claim has it, or a part of it."""
        return device in self.devices or device in self.shared


class Spot(NamedTuple):
    """A node as far as it is matched."""

    name: str
    labels: Mapping[str, str]


class Device(NamedTuple):
    """A device, the ResourceSlice it is in, and its pool."""

    id: DeviceId
    spec: Mapping[str, Any]
    slice: Mapping[str, Any]
    pool: Pool


@dataclass(slots=True)
class Pool:
    """One generation of a driver's pool. `here` are the specs of slices that reach the node, `elsewhere` the others."""

    driver: str
    name: str
    incomplete: bool = False
    invalid: str = ""
    here: list[Mapping[str, Any]] = field(default_factory=list)
    elsewhere: list[Mapping[str, Any]] = field(default_factory=list)
    counters: Counters = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.driver}/{self.name}"

    @property
    def usable(self) -> bool:
        """Whether devices may be taken from it."""
        return not self.incomplete and not self.invalid

    def devices(self) -> Iterable[Device]:
        """The devices of the slices that reach the node."""
        for spec in self.here:
            for device in spec.get("devices") or ():
                yield Device(DeviceId(self.driver, self.name, device["name"]), device, spec, self)


def matches(place: Mapping[str, Any], node: Spot) -> bool:
    """Whether a slice (or a device that says so itself) is to be had on the node."""
    if place.get("nodeName"):
        return bool(place["nodeName"] == node.name)
    if place.get("allNodes"):
        return True
    return bool(place.get("nodeSelector")) and matches_terms(place["nodeSelector"], node.name, node.labels)


def gather(slices: Sequence[Object], node: Spot) -> list[Pool]:
    """The pools that have something for the node, by driver and name; those that are being changed are incomplete."""
    found: dict[tuple[str, str], list[Object]] = {}
    for item in slices:
        spec = item["spec"]
        if not _reaches(spec, node):
            continue
        key = (spec["driver"], spec["pool"]["name"])
        known = found.setdefault(key, [])
        generation = _generation(item)
        if known and generation < _generation(known[0]):
            continue
        if known and generation > _generation(known[0]):
            known.clear()
        known.append(item)
    pools = [p for key in sorted(found) if (p := _pool(key, found[key], slices)) is not None]
    return sorted(pools, key=_has_conditions)


def _reaches(spec: Mapping[str, Any], node: Spot) -> bool:
    if spec.get("sharedCounters"):
        return True
    if spec.get("perDeviceNodeSelection"):
        return any(matches(d, node) for d in spec.get("devices") or ())
    return matches(spec, node)


def _generation(item: Object) -> int:
    return int(item["spec"]["pool"].get("generation") or 0)


def _has_conditions(pool: Pool) -> bool:
    return any(d.get("bindingConditions") is not None for s in pool.here for d in s.get("devices") or ())


def _pool(key: tuple[str, str], here: list[Object], slices: Sequence[Object]) -> Pool | None:
    """The pool of these slices; None for one whose next generation has nothing for the node."""
    generation, wanted = _generation(here[0]), int(here[0]["spec"]["pool"].get("resourceSliceCount") or 0)
    everywhere = here
    if len(here) != wanted:
        same = [s for s in slices if (s["spec"]["driver"], s["spec"]["pool"]["name"]) == key]
        if any(_generation(s) > generation for s in same):
            return None
        everywhere = [s for s in same if _generation(s) == generation]
        if len(everywhere) != wanted:
            return Pool(*key, incomplete=True)
    names = {name_of(s) for s in here}
    ordered = [s["spec"] for s in sorted(here, key=name_of)]
    pool = Pool(
        *key,
        here=[s for s in ordered if not s.get("sharedCounters")],
        elsewhere=[s["spec"] for s in everywhere if name_of(s) not in names],
    )
    pool.invalid = _fill_counters(pool, ordered) or _duplicate(pool) or _unknown_counter(pool)
    return pool


def _duplicate(pool: Pool) -> str:
    seen: set[str] = set()
    for device in pool.devices():
        if device.id.device in seen:
            return f"duplicate device name {device.id.device}"
        seen.add(device.id.device)
    return ""


def _fill_counters(pool: Pool, specs: Iterable[Mapping[str, Any]]) -> str:
    for spec in specs:
        for shared in spec.get("sharedCounters") or ():
            if shared["name"] in pool.counters:
                return f"duplicate counter set name {shared['name']}"
            counters = shared.get("counters") or {}
            pool.counters[shared["name"]] = {n: quantities.parse(c["value"]) for n, c in counters.items()}
    return ""


def _unknown_counter(pool: Pool) -> str:
    for spec in (*pool.here, *pool.elsewhere):
        for device in spec.get("devices") or ():
            for used in device.get("consumesCounters") or ():
                if used["counterSet"] not in pool.counters:
                    return f"counter set {used['counterSet']} not found"
                for name in used.get("counters") or {}:
                    if name not in pool.counters[used["counterSet"]]:
                        return f"counter {name} not found in counter set {used['counterSet']}"
    return ""
