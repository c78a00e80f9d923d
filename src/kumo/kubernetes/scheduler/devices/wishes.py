"""What a claim asks for: its requests (and their alternatives) with their classes, its constraints. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from kumo.api.objects import Object, name_of, namespace_of
from kumo.kubernetes.scheduler.devices.pools import Device

FindClass = Callable[[str], Object | None]
MOST_DEVICES = 32
"""So many devices one claim may have (`AllocationResultsMaxSize`)."""


class Impossible(Exception):
    """The claim can't be allocated on any node as things are (upstream's status `Error`)."""


@dataclass(slots=True)
class Wish:
    """A request, or one alternative: `count` devices of a class, or all of them (then `all` lists them)."""

    name: str
    """As results name it: `request` or `request/alternative`."""
    parent: str
    spec: Mapping[str, Any]
    device_class: Object
    count: int = 1
    all: list[Device] | None = None

    @property
    def admin(self) -> bool:
        """Whether devices are looked at that others have."""
        return bool(self.spec.get("adminAccess"))

    @property
    def capacity(self) -> Mapping[str, Any]:
        """What is asked for of a device's capacity."""
        return (self.spec.get("capacity") or {}).get("requests") or {}

    @property
    def tolerations(self) -> list[Mapping[str, Any]]:
        """The taints of devices that don't matter."""
        return self.spec.get("tolerations") or []

    def is_named(self, names: frozenset[str]) -> bool:
        """Whether a constraint's list of requests means this one."""
        return not names or self.parent in names or self.name in names


@dataclass(slots=True)
class MatchAttribute:
    """All devices of some requests share an attribute's value."""

    attribute: str
    requests: frozenset[str]
    values: list[Any] = field(default_factory=list)

    def add(self, wish: Wish, device: Device) -> bool:
        """Whether the device fits those that are there; then it is one of them."""
        if not wish.is_named(self.requests):
            return True
        value = attribute_of(device, self.attribute)
        if value is None or (self.values and value != self.values[0]):
            return False
        self.values.append(value)
        return True

    def remove(self, wish: Wish) -> None:
        """The last device that was added is not taken after all."""
        if wish.is_named(self.requests):
            self.values.pop()


@dataclass(slots=True)
class DistinctAttribute:
    """No two devices of some requests share an attribute's value."""

    attribute: str
    requests: frozenset[str]
    values: list[Any] = field(default_factory=list)

    def add(self, wish: Wish, device: Device) -> bool:
        """Whether the device fits those that are there; then it is one of them."""
        if not wish.is_named(self.requests):
            return True
        value = attribute_of(device, self.attribute)
        if value is None or value in self.values:
            return False
        self.values.append(value)
        return True

    def remove(self, wish: Wish) -> None:
        """The last device that was added is not taken after all."""
        if wish.is_named(self.requests):
            self.values.pop()


Constraint = MatchAttribute | DistinctAttribute


def attribute_of(device: Device, name: str) -> tuple[str, Any] | None:
    """An attribute by its full name, as its kind and value; names without a domain are the driver's."""
    attributes = device.spec.get("attributes") or {}
    found = attributes.get(name)
    domain, slash, rest = name.partition("/")
    if found is None and slash and domain == device.id.driver:
        found = attributes.get(rest)
    for kind in ("string", "int", "bool", "version"):
        if found is not None and found.get(kind) is not None:
            return kind, found[kind]
    return None


def full_name(claim: Object) -> str:
    """A claim as messages name it."""
    return f"{namespace_of(claim)}/{name_of(claim)}"


def alternatives(request: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The name and the details of each way to satisfy a request, the best first."""
    if request.get("exactly") is not None:
        yield request["name"], request["exactly"]
    for other in request.get("firstAvailable") or ():
        yield f"{request['name']}/{other['name']}", other


def requests_of(claim: Object) -> list[Mapping[str, Any]]:
    """A claim's requests."""
    return ((claim.get("spec") or {}).get("devices") or {}).get("requests") or []


def wish_for(claim: Object, parent: str, name: str, spec: Mapping[str, Any], find: FindClass) -> Wish:
    """A request with its class. Raises Impossible."""
    where = f"claim {full_name(claim)}, request {name.rpartition('/')[2]}"
    for i, selector in enumerate(spec.get("selectors") or ()):
        if selector.get("cel") is None:
            raise Impossible(f"{where}, selector #{i}: CEL expression empty (unsupported selector type?)")
    wanted = spec.get("deviceClassName")
    if not wanted:
        raise Impossible(f"{where}: missing device class name (unsupported request type?)")
    found = find(wanted)
    if found is None:
        text = f'could not retrieve device class {wanted}: deviceclass.resource.k8s.io "{wanted}" not found'
        raise Impossible(f"{where}: {text}")
    mode = spec.get("allocationMode") or "ExactCount"
    if mode == "ExactCount":
        return Wish(name, parent, spec, found, int(spec.get("count") or 1))
    if mode == "All":
        return Wish(name, parent, spec, found, 0, [])
    raise Impossible(f"{where}: unsupported count mode {mode}")


def constraints_of(claim: Object) -> list[Constraint]:
    """What the claim's devices must have in common. Raises Impossible."""
    made: list[Constraint] = []
    for i, item in enumerate(((claim.get("spec") or {}).get("devices") or {}).get("constraints") or ()):
        requests = frozenset(item.get("requests") or ())
        if item.get("distinctAttribute") and not item.get("matchAttribute"):
            made.append(DistinctAttribute(item["distinctAttribute"], requests))
            continue
        if not item.get("matchAttribute"):
            text = "empty constraint (unsupported constraint type?)"
            raise Impossible(f"claim {full_name(claim)}, constraint #{i}: {text}")
        made.append(MatchAttribute(item["matchAttribute"], requests))
    return made
