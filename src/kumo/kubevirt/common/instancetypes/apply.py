"""An instance type and a preference applied to a spec; what the two of them and the spec disagree about."""

from __future__ import annotations

import copy
from typing import Any

from kumo.api.quantities import canonical, is_binary, parse, to_text
from kumo.kubevirt.common.instancetypes.cpu import topology
from kumo.kubevirt.common.instancetypes.preferences import apply_preference
from kumo.kubevirt.common.specs import Spec, child, limits, requests


class Conflict(Exception):
    """Fields of the spec that the instance type sets too. `fields` are their paths; `message`, if given, says more."""

    def __init__(self, *fields: str, message: str = "") -> None:
        self.fields = fields
        self.message = message
        super().__init__(message or f"VM field(s) {', '.join(fields)} conflicts with selected instance type")

    def causes(self) -> list[tuple[str, str]]:
        """One (field, message) for each field."""
        return [(f, self.message or f"VM field(s) {f} conflicts with selected instance type") for f in self.fields]


def apply(
    instancetype: dict[str, Any] | None,
    preference: dict[str, Any] | None,
    spec: Spec,
    annotations: dict[str, str],
    path: str = "spec.template.spec",
) -> None:
    """Write what the instance type and the preference say into `spec` and `annotations` (both are changed).

    `instancetype` and `preference` are the objects' specs. Raises Conflict when `spec`, which `path` names, already
    says what the instance type says.
    """
    if instancetype is not None:
        conflicts = _conflicts(instancetype, spec, annotations, path)
        if conflicts:
            raise Conflict(*conflicts)
        _apply_instancetype(instancetype, preference, spec, annotations)
    if preference is not None:
        apply_preference(preference, spec, annotations)


def _conflicts(instancetype: dict[str, Any], spec: Spec, annotations: dict[str, str], path: str) -> list[str]:
    domain = spec.get("domain") or {}
    found: list[str] = []
    if instancetype.get("nodeSelector") and spec.get("nodeSelector"):
        found.append("nodeSelector")
    if instancetype.get("schedulerName") and spec.get("schedulerName"):
        found.append("schedulerName")
    found += _cpu_conflicts(instancetype.get("cpu") or {}, spec)
    found += _memory_conflicts(instancetype.get("memory") or {}, spec)
    if instancetype.get("ioThreads") and domain.get("ioThreads"):
        found.append("domain.ioThreads")
    if instancetype.get("ioThreadsPolicy") and domain.get("ioThreadsPolicy"):
        found.append("domain.ioThreadsPolicy")
    if instancetype.get("launchSecurity") and domain.get("launchSecurity"):
        found.append("domain.launchSecurity")
    for name in ("gpus", "hostDevices"):
        if instancetype.get(name) and (domain.get("devices") or {}).get(name):
            found.append(f"domain.devices.{name}")
    paths = [f"{path}.{name}" for name in found]
    paths += [f"annotations.{k}" for k, v in (instancetype.get("annotations") or {}).items()
              if k in annotations and annotations[k] != v]  # fmt: skip
    return paths


def _cpu_conflicts(wanted: dict[str, Any], spec: Spec) -> list[str]:
    cpu = (spec.get("domain") or {}).get("cpu") or {}
    found = []
    if "cpu" in requests(spec):
        found.append("domain.resources.requests.cpu")
    if "cpu" in limits(spec):
        found.append("domain.resources.limits.cpu")
    found += [f"domain.cpu.{part}" for part in ("sockets", "cores", "threads") if cpu.get(part)]
    pairs = (
        ("model", "model"),
        ("dedicatedCpuPlacement", "dedicatedCPUPlacement"),
        ("isolateEmulatorThread", "isolateEmulatorThread"),
        ("numa", "numa"),
        ("realtime", "realtime"),
    )
    found += [f"domain.cpu.{other}" for own, other in pairs if cpu.get(own) and wanted.get(other) is not None]
    return found


def _memory_conflicts(wanted: dict[str, Any], spec: Spec) -> list[str]:
    memory = (spec.get("domain") or {}).get("memory") or {}
    if memory.get("guest") is not None:
        return ["domain.memory.guest"]
    for name in ("hugepages", "maxGuest"):
        if memory.get(name) is not None and wanted.get(name) is not None:
            return [f"domain.memory.{name}"]
    if "memory" in requests(spec):
        return ["domain.resources.requests.memory"]
    if "memory" in limits(spec):
        return ["domain.resources.limits.memory"]
    return []


def _apply_instancetype(
    instancetype: dict[str, Any], preference: dict[str, Any] | None, spec: Spec, annotations: dict[str, str]
) -> None:
    domain = child(spec, "domain")
    for name in ("nodeSelector", "schedulerName"):
        if instancetype.get(name):
            spec[name] = copy.deepcopy(instancetype[name])
    wanted = instancetype.get("cpu") or {}
    cpu = child(domain, "cpu")
    for own, other in (("dedicatedCpuPlacement", "dedicatedCPUPlacement"), *((n, n) for n in _CPU_FIELDS)):
        if wanted.get(other) is not None:
            cpu[own] = copy.deepcopy(wanted[other])
    cpu.update(topology(int(wanted.get("guest") or 1), preference))
    _apply_memory(instancetype.get("memory") or {}, domain)
    for name in ("ioThreads", "ioThreadsPolicy", "launchSecurity"):
        if instancetype.get(name):
            domain[name] = copy.deepcopy(instancetype[name])
    for name in ("gpus", "hostDevices"):
        if instancetype.get(name):
            child(domain, "devices")[name] = copy.deepcopy(instancetype[name])
    annotations.update(instancetype.get("annotations") or {})


_CPU_FIELDS = ("model", "isolateEmulatorThread", "numa", "realtime", "maxSockets")


def _apply_memory(wanted: dict[str, Any], domain: dict[str, Any]) -> None:
    memory = child(domain, "memory")
    memory["guest"] = canonical(wanted["guest"])
    overcommit = int(wanted.get("overcommitPercent") or 0)
    if overcommit:
        share = int(parse(wanted["guest"]) * (100 - overcommit) / 100)
        child(child(domain, "resources"), "requests")["memory"] = to_text(share, binary=is_binary(wanted["guest"]))
    if wanted.get("hugepages") is not None:
        memory["hugepages"] = copy.deepcopy(wanted["hugepages"])
    if wanted.get("maxGuest") is not None:
        memory["maxGuest"] = canonical(wanted["maxGuest"])
