"""Room for later: how many sockets and how much memory an instance may be given while it runs (`liveUpdate`)."""

from __future__ import annotations

from fractions import Fraction

from kumo.api.objects import Object
from kumo.api.quantities import canonical, parse, to_text, whole
from kumo.kubevirt.common.config import ClusterConfig
from kumo.kubevirt.common.specs import Spec, child, domain

_MAX_VCPUS = 512
_BLOCK = 2 << 20
_HUGE_BLOCK = 1 << 30
_LEAST_GUEST = 1 << 30


def set_hotplug_room(config: ClusterConfig, vmi: Object) -> None:
    """Fill in `cpu.maxSockets` and `memory.maxGuest` of an instance, which is changed."""
    if not config.live_update:
        return
    spec = vmi["spec"]
    cpu = child(child(spec, "domain"), "cpu")
    sockets, cores, threads = (int(cpu.get(part) or 0) for part in ("sockets", "cores", "threads"))
    if not cpu.get("maxSockets"):
        most = config.max_cpu_sockets
        if not most:
            most = sockets * config.max_hotplug_ratio
            if most * cores * threads > _MAX_VCPUS:
                most = max(_MAX_VCPUS // (cores * threads), sockets)
        most = max(most, sockets)
        if most:
            cpu["maxSockets"] = most
    memory = child(child(spec, "domain"), "memory")
    if memory.get("maxGuest") is None:
        most_memory = _most_memory(config, spec)
        if most_memory is not None and not live_memory_problem(spec, most_memory):
            memory["maxGuest"] = canonical(most_memory)


def _most_memory(config: ClusterConfig, spec: Spec) -> str | None:
    if config.max_guest:
        return config.max_guest
    guest = (domain(spec).get("memory") or {}).get("guest")
    return to_text(Fraction(whole(guest) * config.max_hotplug_ratio), binary=True) if guest is not None else None


def live_memory_problem(spec: Spec, most: str | int | None) -> str:
    """Why memory cannot be added to such an instance up to `most`, in upstream's words; empty if it can."""
    found = domain(spec)
    cpu, memory = found.get("cpu") or {}, found.get("memory") or {}
    if cpu.get("realtime") is not None:
        return "Memory hotplug is not compatible with realtime VMs"
    if (cpu.get("numa") or {}).get("guestMappingPassthrough") is not None:
        return "Memory hotplug is not compatible with guest mapping passthrough"
    if found.get("launchSecurity") is not None:
        return "Memory hotplug is not compatible with encrypted VMs"
    block = _HUGE_BLOCK if (memory.get("hugepages") or {}).get("pageSize") == "1Gi" else _BLOCK
    if memory.get("guest") is None:
        return "Guest memory must be configured when memory hotplug is enabled"
    if most is None:
        return "Max guest memory must be configured when memory hotplug is enabled"
    if parse(memory["guest"]) > parse(most):
        return "Guest memory is greater than the configured maxGuest memory"
    if whole(memory["guest"]) % block:
        return f"Guest memory must be {to_text(block, binary=True)} aligned"
    if whole(most) % block:
        return f"MaxGuest must be {to_text(block, binary=True)} aligned"
    if spec.get("architecture") != "amd64":
        return "Memory hotplug is only available for x86_64 VMs"
    if whole(memory["guest"]) < _LEAST_GUEST:
        return "Memory hotplug is only available for VMs with at least 1Gi of guest memory"
    return ""
