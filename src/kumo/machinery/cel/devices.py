"""Expressions that choose devices: `device.driver == "d" && device.attributes["d"].model == "a" && ...`.

The variable `device` of resource.k8s.io/v1 selectors: `driver`, `attributes` and `capacity` (by domain, then by name; a
domain that a device knows nothing of is empty), `allowMultipleAllocations`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from kumo.api import quantities
from kumo.machinery.cel.budget import Budget
from kumo.machinery.cel.environment import Environment, Program
from kumo.machinery.cel.errors import CelError
from kumo.machinery.cel.libraries.quantities import QUANTITY_TYPE, Quantity, Semver
from kumo.machinery.cel.types import BOOL, DYN, STRING, map_of, struct
from kumo.machinery.cel.values import Defaulted

MOST_COST = 1_000_000
"""What looking at one device may cost."""


@cache
def device_environment() -> Environment:
    """Where selectors are compiled."""
    device = struct(
        "kubernetes.DRADevice",
        {
            "driver": STRING,
            "attributes": map_of(STRING, map_of(STRING, DYN)),
            "capacity": map_of(STRING, map_of(STRING, QUANTITY_TYPE)),
            "allowMultipleAllocations": BOOL,
        },
    )
    return Environment({"device": device})


def device_value(driver: str, device: Mapping[str, Any]) -> dict[str, Any]:
    """A ResourceSlice's device as the variable. Raises CelError for an attribute of no known kind."""
    attributes, capacity = Defaulted(), Defaulted()
    for name, attribute in (device.get("attributes") or {}).items():
        _put(attributes, driver, name, _attribute(name, attribute))
    for name, amount in (device.get("capacity") or {}).items():
        text = amount.get("value", "0")
        _put(capacity, driver, name, Quantity(quantities.parse(text), quantities.is_binary(text)))
    shared = bool(device.get("allowMultipleAllocations"))
    return {"driver": driver, "attributes": attributes, "capacity": capacity, "allowMultipleAllocations": shared}


def selects(program: Program, device: Mapping[str, Any]) -> bool:
    """Whether the expression chooses the device (`device_value`). Raises CelError."""
    found = program.value({"device": device}, Budget(MOST_COST, MOST_COST))
    if not isinstance(found, bool):
        raise CelError("CEL result could not be converted to bool")
    return found


def _put(domains: dict[str, Any], driver: str, name: str, value: Any) -> None:
    domain, slash, rest = name.partition("/")
    if not slash:
        domain, rest = driver, name
    domains.setdefault(domain, {})[rest] = value


def _attribute(name: str, attribute: Mapping[str, Any]) -> Any:
    for kind in ("int", "bool", "string"):
        if attribute.get(kind) is not None:
            return attribute[kind]
    if attribute.get("version") is not None:
        return Semver(attribute["version"])
    raise CelError(f"attribute {name}: unsupported attribute value")
