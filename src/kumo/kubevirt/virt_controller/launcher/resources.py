"""What the pod's containers ask for."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from kumo.api.quantities import canonical, is_binary, parse, to_text
from kumo.kubevirt.common.config import ClusterConfig
from kumo.kubevirt.common.specs import Spec, domain, limits, requests, vcpus

KVM_DEVICE = "devices.kubevirt.io/kvm"
TUN_DEVICE = "devices.kubevirt.io/tun"
EPHEMERAL_STORAGE = "50M"

CONSOLE_LOG = {"limits": {"cpu": "15m", "memory": "16M"}, "requests": {"cpu": "5m", "memory": "4M"}}
"""For the shell and the `tail` of guest-console-log, which really take 2 MB (upstream's are 35M and 60M)."""
NO_OP = {
    "limits": {"cpu": "10m", "memory": "40M"},
    "requests": {"cpu": "1m", "ephemeral-storage": EPHEMERAL_STORAGE, "memory": "1M"},
}


def compute_resources(spec: Spec, config: ClusterConfig, overhead: int) -> dict[str, Any]:
    """Requests and limits of the container `compute`; `overhead` is in bytes.

    CPU: a share of the virtual CPUs (`cpuAllocationRatio`) unless the VM says more. Memory: what the VM asks for, or
    the guest's memory over `memoryOvercommit`, and the overhead on top. Without KVM no /dev/kvm is asked for.
    """
    own, most = dict(requests(spec)), dict(limits(spec))
    memory = domain(spec).get("memory") or {}
    dedicated = (domain(spec).get("cpu") or {}).get("dedicatedCpuPlacement")
    count = max(vcpus(domain(spec).get("cpu")), 1)
    if dedicated:
        own["cpu"] = most["cpu"] = own.get("cpu") or most.get("cpu") or str(count)
    elif "cpu" not in own:
        own["cpu"] = to_text(Fraction(count, config.cpu_allocation_ratio), binary=False)
    asked = own.get("memory")
    if asked is None and memory.get("guest") is not None:
        share = parse(memory["guest"]) * 100 / config.memory_overcommit
        own["memory"] = to_text(share if config.memory_overcommit != 100 else parse(memory["guest"]), binary=True)
    binary = is_binary(asked if asked is not None else memory.get("guest", "1Mi"))
    if not (domain(spec).get("resources") or {}).get("overcommitGuestOverhead"):
        own["memory"] = to_text(_whole(parse(own.get("memory", 0)) + overhead), binary=binary)
        if "memory" in most:
            most["memory"] = to_text(_whole(parse(most["memory"]) + overhead), binary=is_binary(limits(spec)["memory"]))
    if dedicated:
        own["memory"] = most["memory"] = most.get("memory", own["memory"])
    own["ephemeral-storage"] = _with_storage(own.get("ephemeral-storage"))
    if "ephemeral-storage" in most:
        most["ephemeral-storage"] = _with_storage(most["ephemeral-storage"])
    for device in (TUN_DEVICE,) if config.use_emulation else (KVM_DEVICE, TUN_DEVICE):
        own[device] = most[device] = "1"
    return {
        "limits": {k: canonical(v) for k, v in most.items()},
        "requests": {k: canonical(v) for k, v in own.items()},
    }


def _whole(value: Fraction) -> int:
    return -(-value.numerator // value.denominator)


def _with_storage(asked: str | None) -> str:
    total = parse(asked or 0) + parse(EPHEMERAL_STORAGE)
    return to_text(total, binary=is_binary(asked or ""))
