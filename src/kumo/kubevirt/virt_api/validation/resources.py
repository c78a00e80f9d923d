"""Rules on memory, CPU and the rest of what an instance asks for."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

from kumo.api.quantities import canonical, parse
from kumo.kubevirt.common.config import ClusterConfig
from kumo.kubevirt.common.specs import Spec, domain, limits, quantity, requests, vcpus
from kumo.kubevirt.virt_api.validation.causes import Causes, invalid, required, unsupported

_LEAST_MEMORY = 1_000_000
_FEATURE_POLICIES = ("", "force", "require", "optional", "disable", "forbid")
_FORMAT = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


def _text(values: dict[str, Any], name: str) -> str:
    return canonical(values[name]) if name in values else "0"


def memory_rules(field: str, spec: Spec, config: ClusterConfig) -> Causes:
    """Requests and limits of memory, huge pages, and the guest's memory against the limit."""
    want, limit = f"{field}.domain.resources.requests.memory", f"{field}.domain.resources.limits.memory"
    asked, most = quantity(requests(spec), "memory"), quantity(limits(spec), "memory")
    asked_text, most_text = _text(requests(spec), "memory"), _text(limits(spec), "memory")
    if asked < 0:
        yield invalid(want, f"{want} '{asked_text}': must be greater than or equal to 0.")
    elif 0 < asked < _LEAST_MEMORY:
        yield invalid(want, f"{want} '{asked_text}': must be greater than or equal to 1M.")
    if most < 0:
        yield invalid(limit, f"{limit} '{most_text}': must be greater than or equal to 0.")
    if 0 < most < asked:
        yield invalid(want, f"{want} '{asked_text}' is greater than {limit} '{most_text}'")
    yield from _hugepage_rules(field, spec)
    guest = (domain(spec).get("memory") or {}).get("guest")
    if not config.live_update and guest is not None and 0 < most < parse(guest):
        path = f"{field}.domain.memory.guest"
        message = f"{path} '{canonical(guest)}' must be equal to or less than the memory limit {limit} '{most_text}'"
        yield invalid(path, message)


def _hugepage_rules(field: str, spec: Spec) -> Causes:
    memory = domain(spec).get("memory") or {}
    if memory.get("hugepages") is None:
        return
    path, want = f"{field}.domain.memory.hugepages.pageSize", f"{field}.domain.resources.requests.memory"
    text = memory["hugepages"].get("pageSize", "")
    try:
        size = parse(text)
    except ValueError:
        yield invalid(path, f"{path} '{text}': {_FORMAT}")
        return
    total = quantity(requests(spec), "memory") or quantity(memory, "guest") or quantity(limits(spec), "memory")
    asked = _text(requests(spec), "memory")
    if total and total < size:
        yield invalid(want, f"{want} '{asked}' must be equal to or larger than page size {path} '{text}'")
    elif size and total % size:
        yield invalid(want, f"{want} '{asked}' is not a multiple of the page size {path} '{text}'")


def machine_type_rules(field: str, spec: Spec, config: ClusterConfig) -> Causes:
    """The machine type must be one that the cluster emulates."""
    kind = (domain(spec).get("machine") or {}).get("type")
    patterns = config.supported_machines(spec.get("architecture", ""))
    if kind and not any(fnmatchcase(kind, pattern) for pattern in patterns):
        path = f"{field}.domain.machine.type"
        yield invalid(path, f"{path} is not supported: {kind} (allowed values: [{' '.join(patterns)}])")


def cpu_rules(field: str, spec: Spec, config: ClusterConfig) -> Causes:
    """Requests and limits of CPU, pinning, NUMA, features, hot-plug, real time."""
    want, limit = f"{field}.domain.resources.requests.cpu", f"{field}.domain.resources.limits.cpu"
    asked, most = quantity(requests(spec), "cpu"), quantity(limits(spec), "cpu")
    if asked < 0:
        yield invalid(want, f"{want} '{_text(requests(spec), 'cpu')}': must be greater than or equal to 0.")
    if most < 0:
        yield invalid(limit, f"{limit} '{_text(limits(spec), 'cpu')}': must be greater than or equal to 0.")
    if 0 < most < asked:
        texts = _text(requests(spec), "cpu"), _text(limits(spec), "cpu")
        yield invalid(want, f"{want} '{texts[0]}' is greater than {limit} '{texts[1]}'")
    cpu = domain(spec).get("cpu") or {}
    if cpu.get("dedicatedCpuPlacement"):
        yield from _pinning_rules(field, spec, cpu, config)
    yield from _numa_rules(field, spec, cpu)
    if cpu.get("isolateEmulatorThread") and not cpu.get("dedicatedCpuPlacement"):
        yield invalid(
            f"{field}.domain.cpu.isolateEmulatorThread",
            "IsolateEmulatorThread should be only set in combination with DedicatedCPUPlacement",
        )
    for index, feature in enumerate(cpu.get("features") or ()):
        policy = feature.get("policy", "")
        if policy not in _FEATURE_POLICIES:
            path = f"{field}.domain.cpu.features[{index}].policy"
            yield unsupported(path, f"CPU feature {feature.get('name')} uses policy {policy} that is not supported.")
    if cpu.get("maxSockets") and int(cpu.get("sockets") or 0) > int(cpu["maxSockets"]):
        message = "Number of sockets in CPU topology is greater than the maximum sockets allowed"
        yield invalid(f"{field}.domain.cpu.sockets", message)


def _pinning_rules(field: str, spec: Spec, cpu: dict[str, Any], config: ClusterConfig) -> Causes:
    resources, own = f"{field}.domain.resources", f"{field}.domain.cpu"
    asked, most = quantity(requests(spec), "cpu"), quantity(limits(spec), "cpu")
    asked_memory, most_memory = quantity(requests(spec), "memory"), quantity(limits(spec), "memory")
    memory = domain(spec).get("memory") or {}
    if not (most_memory or asked_memory or memory.get("hugepages") is not None or quantity(memory, "guest")):
        paths = f"{resources}.requests.memory, {resources}.limits.memory, {field}.domain.memory.hugepages"
        yield invalid(f"{resources}.limits.memory", f"{paths} or {field}.domain.memory.guest should be provided")
    for amount, kind in ((asked, "requests"), (most, "limits")):
        if amount > 0 and amount.denominator != 1:
            yield invalid(f"{resources}.{kind}.cpu", f"provided resources CPU {kind} must be an interger")
    if asked_memory > 0 and most_memory > 0 and asked_memory != most_memory:
        path = f"{resources}.requests.memory"
        yield invalid(path, f"{path} must be equal to {resources}.limits.memory")
    count, dedicated = vcpus(cpu), f"{own}.dedicatedCpuPlacement"
    names = f"{resources}.requests.cpu or {resources}.limits.cpu"
    if not asked and not most and not count:
        message = f"either {names} or {own}.cores must be provided when DedicatedCPUPlacement is true "
        yield invalid(dedicated, message)
    if asked > 0 and most > 0 and asked != most:
        yield invalid(dedicated, f"{names} must be equal when DedicatedCPUPlacement is true ")
    if (asked > 0 or most > 0) and count > 0 and asked != count and most != count:
        message = f"{names} must not be provided at the same time with {own}.cores when DedicatedCPUPlacement is true "
        yield invalid(dedicated, message)
    threads = int(cpu.get("threads") or 0)
    if threads > 1 and (spec.get("architecture") or config.default_architecture) == "arm64":
        path = f"{field}.architecture"
        yield invalid(path, f"threads must not be greater than 1 at {own}.threads (got {threads}) when {path} is arm64")
    if threads > 2:
        message = f"Not more than two threads must be provided at {own}.threads (got {threads})"
        yield invalid(dedicated, f"{message} when DedicatedCPUPlacement is true")


def _numa_rules(field: str, spec: Spec, cpu: dict[str, Any]) -> Causes:
    path = f"{field}.domain.cpu.numa.guestMappingPassthrough"
    mapped = (cpu.get("numa") or {}).get("guestMappingPassthrough") is not None
    if mapped and not cpu.get("dedicatedCpuPlacement"):
        message = f"{field}.domain.cpu.dedicatedCpuPlacement must be set to true when NUMA topology strategy is set in"
        yield invalid(path, f"{message} {path}")
    if mapped and (domain(spec).get("memory") or {}).get("hugepages") is None:
        message = f"{field}.domain.memory.hugepages must be requested when NUMA topology strategy is set in"
        yield invalid(path, f"{message} {path}")


def realtime_rules(field: str, spec: Spec) -> Causes:
    """What a real-time guest needs."""
    cpu = domain(spec).get("cpu") or {}
    if cpu.get("realtime") is None:
        return
    realtime = f"{field}.domain.cpu.realtime"
    if not cpu.get("dedicatedCpuPlacement"):
        path = f"{field}.domain.cpu.dedicatedCpuPlacement"
        yield required(path, f"{path} must be set to true when {realtime} is used")
    if (cpu.get("numa") or {}).get("guestMappingPassthrough") is None:
        path = f"{field}.domain.cpu.numa.guestMappingPassthrough"
        yield required(path, f"{path} must be defined when {realtime} is used")


def mandatory_rules(field: str, spec: Spec) -> Causes:
    """An instance, after all defaults, must have memory."""
    memory = domain(spec).get("memory") or {}
    if quantity(requests(spec), "memory") == 0 and memory.get("guest") is None and memory.get("hugepages") is None:
        names = (
            f"'{field}.domain.memory.guest', '{field}.domain.memory.hugepages.pageSize' or "
            f"'{field}.domain.resources.requests.memory'"
        )
        yield required("", f"no memory requested, at least one of {names} must be set")
