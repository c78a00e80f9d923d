"""What devices there are, which are healthy, and which container has which. No I/O.

Upstream: `devicesToAllocate`, `podDevices` and `GetCapacity` of `pkg/kubelet/cm/devicemanager`; texts are theirs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

NOWHERE = -1
"""The NUMA node of a device that says none."""


class DeviceError(Exception):
    """A container can't have its devices; the text is upstream's."""


class Device(NamedTuple):
    """One device as its plugin told of it."""

    healthy: bool
    nodes: tuple[int, ...] = ()
    """NUMA nodes."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a container was given of one resource."""

    devices: Mapping[int, tuple[str, ...]]
    """The devices' ids by NUMA node; one that is at several is named for each."""
    response: bytes
    """The plugin's `ContainerAllocateResponse`, serialized."""

    @property
    def ids(self) -> frozenset[str]:
        """The devices."""
        return frozenset(i for ids in self.devices.values() for i in ids)


class Ledger:
    """One node's. A resource is known (`managed`) from its registration until its plugin is long gone and unused."""

    def __init__(self) -> None:
        self.healthy: dict[str, set[str]] = {}
        self.unhealthy: dict[str, set[str]] = {}
        self.claims: dict[str, dict[str, dict[str, Claim]]] = {}
        """Pod's uid -> container -> resource -> what it has."""
        self._known: dict[str, dict[str, Device]] = {}

    def managed(self, resource: str) -> bool:
        """Whether the resource is some plugin's, or was."""
        return resource in self.healthy or any(r == resource for _, _, r, _ in self.entries())

    def known(self, resource: str) -> Mapping[str, Device]:
        """The devices that the resource's plugin has told of."""
        return self._known.get(resource, {})

    def entries(self) -> Iterable[tuple[str, str, str, Claim]]:
        """(pod's uid, container, resource, claim) of all that is given away."""
        for uid, containers in self.claims.items():
            for container, resources in containers.items():
                for resource, claim in resources.items():
                    yield uid, container, resource, claim

    def expect(self, resource: str) -> None:
        """A plugin is known, or was before the kubelet restarted; it has told of no device yet."""
        self.healthy.setdefault(resource, set())
        self.unhealthy.setdefault(resource, set())

    def update(self, resource: str, devices: Mapping[str, Device]) -> set[str]:
        """The plugin's devices are these now; the uids of the pods that have one whose health has changed."""
        before = self._known.get(resource, {})
        changed = {i for i, d in devices.items() if i not in before or before[i].healthy != d.healthy}
        self._known[resource] = dict(devices)
        self.healthy[resource] = {i for i, d in devices.items() if d.healthy}
        self.unhealthy[resource] = devices.keys() - self.healthy[resource]
        return {uid for uid, _, r, claim in self.entries() if r == resource and claim.ids & changed}

    def lose(self, resource: str) -> None:
        """The plugin is away: none of its devices can be given."""
        self.unhealthy.setdefault(resource, set()).update(self.healthy.get(resource, ()))
        self.healthy[resource] = set()

    def drop(self, resource: str) -> None:
        """The plugin has been away for long: the node no longer offers the resource."""
        for found in (self.healthy, self.unhealthy, self._known):
            found.pop(resource, None)

    def counts(self) -> tuple[dict[str, int], dict[str, int]]:
        """The resources' capacity and allocatable."""
        offered = {resource: len(ids) for resource, ids in self.healthy.items()}
        return {r: n + len(self.unhealthy.get(r, ())) for r, n in offered.items()}, offered

    def used(self) -> dict[str, set[str]]:
        """The devices that somebody has, by resource."""
        found: dict[str, set[str]] = {}
        for _, _, resource, claim in self.entries():
            found.setdefault(resource, set()).update(claim.ids)
        return found

    def has(self, uid: str, container: str, resource: str) -> frozenset[str] | None:
        """The devices of a container; None if it was given none."""
        claim = self.claims.get(uid, {}).get(container, {}).get(resource)
        return None if claim is None else claim.ids

    def needed(self, uid: str, container: str, resource: str, wanted: int, *, running: bool = False) -> int:
        """How many devices the container is to be given now. Raises DeviceError if it can't have what it wants.

        `running`: it runs since before the kubelet was started, and so has them.
        """
        mine = self.has(uid, container, resource)
        if mine is not None and len(mine) != wanted:
            where = f'pod "{uid}" container "{container}"'
            raise DeviceError(
                f'{where} changed request for resource "{resource}" from {len(mine)} to {wanted}',
            )
        if running:
            return 0
        healthy = self.healthy.get(resource)
        if healthy is None:
            raise DeviceError(f"cannot allocate unregistered device {resource}")
        if not healthy:
            raise DeviceError(f"no healthy devices present; cannot allocate unhealthy devices {resource}")
        if mine is not None and not healthy >= mine:
            text = "previously allocated devices are no longer healthy; cannot allocate unhealthy devices"
            raise DeviceError(f"{text} {resource}")
        return 0 if mine is not None else wanted

    def free(self, resource: str, needed: int) -> list[str]:
        """The healthy devices that nobody has, sorted. Raises DeviceError if they are fewer than `needed`."""
        found = sorted(self.healthy.get(resource, set()) - self.used().get(resource, set()))
        if len(found) < needed:
            text = f"requested number of devices unavailable for {resource}."
            raise DeviceError(f"{text} Requested: {needed}, Available: {len(found)}")
        return found

    def give(self, uid: str, container: str, resource: str, ids: Iterable[str], response: bytes) -> None:
        """Note that the container has these devices."""
        places: dict[int, tuple[str, ...]] = {}
        for device in ids:
            for node in self._known.get(resource, {}).get(device, Device(True)).nodes or (NOWHERE,):
                places[node] = (*places.get(node, ()), device)
        self.claims.setdefault(uid, {}).setdefault(container, {})[resource] = Claim(places, response)

    def health(self, uid: str) -> dict[str, list[dict[str, Any]]]:
        """`ContainerStatus.allocatedResourcesStatus` by container of a pod: core/v1 ResourceStatus."""
        found: dict[str, list[dict[str, Any]]] = {}
        for container, resources in self.claims.get(uid, {}).items():
            found[container] = [
                {
                    "name": resource,
                    "resources": [{"resourceID": i, "health": self._health(resource, i)} for i in sorted(claim.ids)],
                }
                for resource, claim in sorted(resources.items())
            ]
        return found

    def _health(self, resource: str, device: str) -> str:
        known = self._known.get(resource, {}).get(device)
        return "Healthy" if known is None or known.healthy else "Unhealthy"


def fill(needed: int, *groups: Collection[str]) -> list[str]:
    """The first `needed` different devices of the groups, in their order; fewer if they have fewer."""
    return list(dict.fromkeys(device for group in groups for device in group))[:needed]
