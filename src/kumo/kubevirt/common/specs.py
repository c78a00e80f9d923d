"""Questions about the spec of a virtual machine instance, asked on both sides of the API."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from kumo.api.quantities import parse

Spec = dict[str, Any]


def child(parent: dict[str, Any], name: str) -> dict[str, Any]:
    """The object below `parent` under that name, made if missing: the caller writes into it."""
    found = parent.get(name)
    if not isinstance(found, dict):
        found = parent[name] = {}
    return found


def domain(spec: Spec) -> dict[str, Any]:
    """`spec.domain`, or an empty one."""
    return spec.get("domain") or {}


def devices(spec: Spec) -> dict[str, Any]:
    """`spec.domain.devices`, or an empty one."""
    return domain(spec).get("devices") or {}


def interfaces(spec: Spec) -> list[dict[str, Any]]:
    """The interfaces of the domain."""
    return devices(spec).get("interfaces") or []


def networks(spec: Spec) -> list[dict[str, Any]]:
    """The networks of the instance."""
    return spec.get("networks") or []


def volumes(spec: Spec) -> list[dict[str, Any]]:
    """The volumes of the instance."""
    return spec.get("volumes") or []


def disks(spec: Spec) -> list[dict[str, Any]]:
    """The disks of the domain."""
    return devices(spec).get("disks") or []


def requests(spec: Spec) -> dict[str, Any]:
    """`spec.domain.resources.requests`, or none."""
    return (domain(spec).get("resources") or {}).get("requests") or {}


def limits(spec: Spec) -> dict[str, Any]:
    """`spec.domain.resources.limits`, or none."""
    return (domain(spec).get("resources") or {}).get("limits") or {}


def quantity(values: dict[str, Any], name: str) -> Fraction:
    """The quantity of that name, zero if missing. Raises ValueError for what is no quantity."""
    found = values.get(name)
    return parse(found) if found not in (None, "") else Fraction(0)


def vcpus(cpu: dict[str, Any] | None) -> int:
    """The number of virtual CPUs: sockets x cores x threads, each 1 where it is not said; 0 where nothing is said."""
    numbers = [int((cpu or {}).get(part) or 0) for part in ("sockets", "cores", "threads")]
    if not any(numbers):
        return 0
    count = 1
    for number in numbers:
        count *= number or 1
    return count


def pod_network(spec: Spec) -> dict[str, Any] | None:
    """The network that is the pod's, if there is one."""
    return next((n for n in networks(spec) if n.get("pod") is not None), None)


def acpi_enabled(spec: Spec) -> bool:
    """Whether the guest can be told to shut down by ACPI."""
    acpi = (domain(spec).get("features") or {}).get("acpi")
    return acpi is None or acpi.get("enabled") is not False


def serial_console(spec: Spec) -> bool:
    """Whether the instance has a serial console."""
    return devices(spec).get("autoattachSerialConsole") is not False


def graphics_device(spec: Spec) -> bool:
    """Whether the instance has a graphics device, and so VNC."""
    return devices(spec).get("autoattachGraphicsDevice") is not False
