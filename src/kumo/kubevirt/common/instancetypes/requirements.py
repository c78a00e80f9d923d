"""What a preference requires: CPUs, memory, architecture; and whether an instance type's CPUs can be spread."""

from __future__ import annotations

from typing import Any

from kumo.api.quantities import canonical, parse
from kumo.kubevirt.common.instancetypes.apply import Conflict
from kumo.kubevirt.common.instancetypes.cpu import THREADS_PER_CORE, preferred_topology, spread_options
from kumo.kubevirt.common.specs import Spec

_CPU_PATH = "spec.template.spec.domain.cpu"
_SPREAD = {
    "SocketsCores": ("sockets", "cores"),
    "CoresThreads": ("cores", "threads"),
    "SocketsCoresThreads": ("sockets", "cores", "threads"),
}


def check_spread(instancetype: dict[str, Any] | None, preference: dict[str, Any] | None) -> None:
    """Raise Conflict when the instance type's CPUs cannot be divided as the preference wants them spread."""
    if instancetype is None or preferred_topology(preference) != "spread":
        return
    count = int((instancetype.get("cpu") or {}).get("guest") or 0)
    ratio, across = spread_options(preference)
    start = f"{count} vCPUs provided by the instance type are not divisible by the "
    named = f"Spec.PreferSpreadSocketToCoreRatio or Spec.CPU.PreferSpreadOptions.Ratio of {ratio}"
    message = ""
    if across == "SocketsCores" and count % ratio:
        message = f"{start}{named} provided by the preference"
    elif across == "CoresThreads" and count % ratio:
        message = f"{start}number of threads per core {ratio}"
    elif across == "SocketsCoresThreads" and (count % THREADS_PER_CORE or count // THREADS_PER_CORE % ratio):
        message = f"{start}number of threads per core {THREADS_PER_CORE} and {named}"
    if message:
        raise Conflict("instancetype.spec.cpu.guest", message=message)


def check_requirements(instancetype: dict[str, Any] | None, preference: dict[str, Any] | None, spec: Spec) -> None:
    """Raise Conflict when the VM (its spec with the instance type and defaults applied) has less than is required."""
    required = (preference or {}).get("requirements") or {}
    if required.get("cpu"):
        _check_cpu(instancetype, preference, spec, int(required["cpu"]["guest"]))
    if required.get("memory"):
        _check_memory(instancetype, spec, required["memory"]["guest"])
    wanted = required.get("architecture")
    if wanted is not None and spec.get("architecture", "") != wanted:
        got = spec.get("architecture", "")
        message = f"preference requires architecture {wanted} but {got} is being requested"
        raise Conflict("spec.template.spec.architecture", message=message)


def _check_cpu(
    instancetype: dict[str, Any] | None, preference: dict[str, Any] | None, spec: Spec, required: int
) -> None:
    if instancetype is not None:
        count = int((instancetype.get("cpu") or {}).get("guest") or 0)
        if count < required:
            message = (
                f"insufficient CPU resources of {count} vCPU provided by instance type, "
                f"preference requires {required} vCPU"
            )
            raise Conflict("spec.instancetype", message=message)
        return
    cpu = (spec.get("domain") or {}).get("cpu")
    if cpu is None:
        message = f"no CPU resources provided by VirtualMachine, preference requires {required} vCPU"
        raise Conflict(_CPU_PATH, message=message)
    wanted = preferred_topology(preference)
    parts: tuple[str, ...] = (wanted,)
    said = wanted
    if wanted == "any":
        parts, said = ("cores", "sockets", "threads"), "cores, sockets and threads"
    elif wanted == "spread":
        said = spread_options(preference).across
        parts = _SPREAD.get(said, ())
    count = 1
    for part in parts:
        count *= int(cpu.get(part) or 0)
    if count < required:
        message = (
            f"insufficient CPU resources of {count} vCPU provided by VirtualMachine, "
            f"preference requires {required} vCPU provided as {said}"
        )
        raise Conflict(*(f"{_CPU_PATH}.{part}" for part in parts), message=message)


def _check_memory(instancetype: dict[str, Any] | None, spec: Spec, required: str) -> None:
    provided, path, by = "0", "spec.template.spec.domain.memory", "VirtualMachine"
    if instancetype is not None:
        provided, path, by = (instancetype.get("memory") or {}).get("guest", "0"), "spec.instancetype", "instance type"
    provided = ((spec.get("domain") or {}).get("memory") or {}).get("guest") or provided
    if parse(provided) < parse(required):
        message = (
            f"insufficient Memory resources of {canonical(provided)} provided by {by}, "
            f"preference requires {canonical(required)}"
        )
        raise Conflict(path, message=message)
