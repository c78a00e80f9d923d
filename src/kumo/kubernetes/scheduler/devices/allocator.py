"""The search: devices for the requests of a pod's claims on one node, the first combination that fits. Pure.

Requests are taken in their order, alternatives from the best on, pools, slices and devices in the order of their names
and lists; a dead end goes back to the device before. What can be found is what kube-scheduler finds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, Protocol

from kumo.api import quantities
from kumo.api.device_taints import tolerates
from kumo.api.objects import Object, name_of
from kumo.api.pod_resources import add
from kumo.kubernetes.scheduler.devices.capacity import consumed, fits, parsed
from kumo.kubernetes.scheduler.devices.pools import Counters, Device, DeviceId, InUse, Pool, Spot, gather, matches
from kumo.kubernetes.scheduler.devices.results import Taken, allocation
from kumo.kubernetes.scheduler.devices.wishes import (
    MOST_DEVICES,
    FindClass,
    Impossible,
    Wish,
    alternatives,
    constraints_of,
    full_name,
    requests_of,
    wish_for,
)

MOST_STEPS = 50_000
"""So many devices are tried on one node: upstream gives a search ten seconds."""


class NotHere(Exception):
    """The node's pools are such that nothing can be said; other nodes may do."""


class TooLong(Exception):
    """The search was given up."""


class _TooMany(Exception):
    """The claim would get more devices than a result can hold."""


class Selectors(Protocol):
    """Asks CEL expressions about devices."""

    def matches(self, where: str, selectors: Sequence[Mapping[str, Any]], device: Device) -> bool:
        """Whether all of them choose the device; `where` says whose they are. Raises Impossible."""


class Allocator:
    """Allocates claims as long as nothing changes: `taken` are the devices that others have."""

    def __init__(self, slices: Sequence[Object], taken: InUse, find_class: FindClass, selectors: Selectors) -> None:
        self.slices = slices
        self.taken = taken
        self.find_class = find_class
        self.selectors = selectors

    def allocate(self, node: Spot, claims: Sequence[Object]) -> list[dict[str, Any]] | None:
        """An AllocationResult for each claim; None if there are too few devices.

        Raises Impossible, NotHere and TooLong.
        """
        search = _Search(self, node, claims)
        try:
            done = search.go_on(0, 0)
        except _TooMany:
            done = False
        except RecursionError:
            raise TooLong from None
        if done:
            return [allocation(c, search.results[i], search.chosen[i]) for i, c in enumerate(claims)]
        if any(p.invalid for p in search.pools):
            raise NotHere("invalid resource pools were encountered")
        return None


class _Search:
    def __init__(self, allocator: Allocator, node: Spot, claims: Sequence[Object]) -> None:
        self._given = allocator
        self._node = node
        self._claims = claims
        self.pools = gather(allocator.slices, node)
        self.results: list[list[Taken]] = [[] for _ in claims]
        self.chosen: list[list[Wish]] = [[] for _ in claims]
        self._fits: dict[tuple[int, str, DeviceId], bool] = {}
        self._holders: dict[DeviceId, list[int]] = {}
        self._shared: dict[DeviceId, list[dict[str, Fraction]]] = {}
        self._usable = [d for pool in self.pools if pool.usable for d in pool.devices()]
        self._counters: dict[tuple[str, str], Counters] = {}
        self._steps = 0
        self._constraints = [constraints_of(c) for c in claims]
        self._wishes = [[self._ways(i, r) for r in requests_of(c)] for i, c in enumerate(claims)]
        for claim, wishes in zip(claims, self._wishes):
            least = sum(min((w.count for w in ways), default=0) for ways in wishes)
            if least > MOST_DEVICES:
                text = f"number of requested devices {least} exceeds the claim limit of {MOST_DEVICES}"
                raise Impossible(f"claim {full_name(claim)}: {text}")

    def _ways(self, index: int, request: Mapping[str, Any]) -> list[Wish]:
        claim, made = self._claims[index], []
        for name, spec in alternatives(request):
            wish = wish_for(claim, request["name"], name, spec, self._given.find_class)
            if wish.all is not None:
                wish.all = self._all(index, wish)
                wish.count = len(wish.all)
            made.append(wish)
        return made

    def _all(self, index: int, wish: Wish) -> list[Device]:
        found = []
        for pool in self.pools:
            if not pool.usable:
                state = "being updated" if pool.incomplete else "invalid"
                where = f"claim {full_name(self._claims[index])}, request {wish.name.rpartition('/')[2]}"
                raise Impossible(f"{where}: asks for all devices, but resource pool {pool} is currently {state}")
            found += [d for d in pool.devices() if self._selects(index, wish, d) and self._has_room(wish, d)]
        return found

    # -- the search -------------------------------------------------------------------------------------------------

    def go_on(self, claim: int, request: int) -> bool:
        """Satisfy this request and all that follow."""
        if claim == len(self._claims):
            return True
        if request == len(self._wishes[claim]):
            try:
                return self.go_on(claim + 1, 0)
            except _TooMany:
                return False
        too_many = True
        for wish in self._wishes[claim][request]:
            self.chosen[claim].append(wish)
            try:
                if self._devices(claim, request, wish, 0):
                    return True
                too_many = False
            except _TooMany:
                pass
            self.chosen[claim].pop()
        if too_many:
            raise _TooMany
        return False

    def _devices(self, claim: int, request: int, wish: Wish, index: int, start: int = 0) -> bool:
        """Find the request's devices from the `index`-th on, and everything after.

        Within a request only devices from the `start`-th on are looked at: their order does not matter.
        """
        if wish.all is not None and not wish.all:
            return False
        if index >= wish.count:
            return self.go_on(claim, request + 1)
        if len(self.results[claim]) + wish.count - index > MOST_DEVICES:
            raise _TooMany
        if wish.all is not None:
            return self._with(claim, request, wish, index, wish.all[index], 0, must=True)
        for place in range(start, len(self._usable)):
            device = self._usable[place]
            if not self._free(claim, wish, device.id) or not self._selects(claim, wish, device):
                continue
            if self._has_room(wish, device) and self._with(claim, request, wish, index, device, place + 1):
                return True
        return False

    def _with(
        self, claim: int, request: int, wish: Wish, index: int, device: Device, start: int, *, must: bool = False
    ) -> bool:
        self._steps += 1
        if self._steps > MOST_STEPS:
            raise TooLong
        if not self._take(claim, wish, device, must=must):
            return False
        try:
            done = self._devices(claim, request, wish, index + 1, start)
        except _TooMany:
            self._give_back(claim, wish, device)
            raise
        if not done:
            self._give_back(claim, wish, device)
        return done

    # -- one device -------------------------------------------------------------------------------------------------

    def _free(self, claim: int, wish: Wish, device: DeviceId) -> bool:
        holders = self._holders.get(device) or ()
        if wish.admin:
            return claim not in holders
        return not holders and device not in self._given.taken.devices

    def _has_room(self, wish: Wish, device: Device) -> bool:
        """Whether the device has what is asked for of its capacity, less what others have of it."""
        before, now = self._given.taken.shared.get(device.id) or {}, self._shared.get(device.id) or ()
        used = dict(before)
        for amounts in now:
            add(used, amounts)
        return fits(wish.capacity, device.spec, used)

    def _selects(self, index: int, wish: Wish, device: Device) -> bool:
        key = (index, wish.name, device.id)
        known = self._fits.get(key)
        if known is None:
            known = self._fits[key] = self._judge(index, wish, device)
        return known

    def _judge(self, index: int, wish: Wish, device: Device) -> bool:
        of_class = (wish.device_class.get("spec") or {}).get("selectors") or ()
        asked = self._given.selectors.matches
        if not asked(f"class {name_of(wish.device_class)}", of_class, device):
            return False
        if not asked(f"claim {full_name(self._claims[index])}", wish.spec.get("selectors") or (), device):
            return False
        return not device.slice.get("perDeviceNodeSelection") or matches(device.spec, self._node)

    def _take(self, claim: int, wish: Wish, device: Device, *, must: bool) -> bool:
        if not self._free(claim, wish, device.id) or _is_tainted(device, wish):
            return False
        if not self._has_room(wish, device) or not self._has_counters(device):
            return False
        for i, constraint in enumerate(self._constraints[claim]):
            if constraint.add(wish, device):
                continue
            if must:
                where = f"claim {full_name(self._claims[claim])}, request {wish.name.rpartition('/')[2]}"
                text = f"cannot add device {device.id} because a claim constraint would not be satisfied"
                raise Impossible(f"{where}: {text}")
            for earlier in self._constraints[claim][:i]:
                earlier.remove(wish)
            return False
        if not device.spec.get("allowMultipleAllocations"):
            self._count(device, -1)
            self._holders.setdefault(device.id, []).append(claim)
            self.results[claim].append(Taken(wish, device))
            return True
        if not self._is_shared(device):
            self._count(device, -1)
        amounts = consumed(wish.capacity, device.spec)
        self._shared.setdefault(device.id, []).append(parsed(amounts))
        self.results[claim].append(Taken(wish, device, amounts))
        return True

    def _is_shared(self, device: Device) -> bool:
        """Whether somebody has a part of the device: then its counters are taken already."""
        return device.id in self._given.taken.shared or bool(self._shared.get(device.id))

    def _give_back(self, claim: int, wish: Wish, device: Device) -> None:
        for constraint in self._constraints[claim]:
            constraint.remove(wish)
        self.results[claim].pop()
        if device.spec.get("allowMultipleAllocations"):
            self._shared[device.id].pop()
            if not self._is_shared(device):
                self._count(device, 1)
            return
        self._count(device, 1)
        self._holders[device.id].remove(claim)

    # -- counters ---------------------------------------------------------------------------------------------------

    def _has_counters(self, device: Device) -> bool:
        shared = device.spec.get("allowMultipleAllocations") and self._is_shared(device)
        if shared or not device.spec.get("consumesCounters"):
            return True
        left, wanted = self._left(device.pool), _consumed(device.spec)
        return all(left[s][n] >= amount for s, counters in wanted.items() for n, amount in counters.items())

    def _count(self, device: Device, sign: int) -> None:
        if device.spec.get("consumesCounters"):
            _add(self._left(device.pool), _consumed(device.spec), sign)

    def _left(self, pool: Pool) -> Counters:
        """What those who have devices of the pool have left of its counters."""
        key = (pool.driver, pool.name)
        if key not in self._counters:
            left = self._counters[key] = {name: dict(counters) for name, counters in pool.counters.items()}
            for spec in (*pool.here, *pool.elsewhere):
                for device in spec.get("devices") or ():
                    if self._given.taken.has(DeviceId(*key, device["name"])):
                        _add(left, _consumed(device), -1)
        return self._counters[key]


def _consumed(device: Mapping[str, Any]) -> Counters:
    made: Counters = {}
    for used in device.get("consumesCounters") or ():
        counters = made.setdefault(used["counterSet"], {})
        for name, counter in (used.get("counters") or {}).items():
            counters[name] = counters.get(name, Fraction(0)) + quantities.parse(counter["value"])
    return made


def _add(to: Counters, amounts: Counters, sign: int) -> None:
    for name, counters in amounts.items():
        for counter, amount in counters.items():
            to[name][counter] += sign * amount


def _is_tainted(device: Device, wish: Wish) -> bool:
    return any(
        taint.get("effect") in ("NoSchedule", "NoExecute") and not any(tolerates(t, taint) for t in wish.tolerations)
        for taint in device.spec.get("taints") or ()
    )
