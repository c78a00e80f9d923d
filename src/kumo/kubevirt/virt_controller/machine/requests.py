"""Reading a VirtualMachine: its run strategy and what it has been asked to do (`status.stateChangeRequests`)."""

from __future__ import annotations

from typing import Any

from kumo.api.objects import Object, uid_of
from kumo.kubevirt.common.names import FINAL_PHASES

START = "Start"
STOP = "Stop"


def run_strategy(vm: Object) -> str:
    """The run strategy, also of a VM that still says `running`."""
    spec = vm.get("spec") or {}
    if spec.get("runStrategy"):
        return str(spec["runStrategy"])
    return "Always" if spec.get("running") else "Halted"


def change_requests(vm: Object) -> list[dict[str, Any]]:
    """What has been asked for, oldest first; only the first counts."""
    return (vm.get("status") or {}).get("stateChangeRequests") or []


def has_start_request(vm: Object) -> bool:
    """Whether the next thing to do is to start."""
    found = change_requests(vm)
    return bool(found) and found[0].get("action") == START


def has_paused_start_request(vm: Object) -> bool:
    """Whether the next thing to do is to start paused."""
    return has_start_request(vm) and (change_requests(vm)[0].get("data") or {}).get("paused") == "true"


def has_stop_request(vm: Object, vmi: Object) -> bool:
    """Whether the next thing to do is to stop just this instance."""
    found = change_requests(vm)
    return bool(found) and found[0].get("action") == STOP and found[0].get("uid") == uid_of(vmi)


def phase(vmi: Object | None) -> str:
    """The phase of an instance, empty without one."""
    return str(((vmi or {}).get("status") or {}).get("phase") or "")


def is_final(vmi: Object) -> bool:
    """Whether the instance has ended."""
    return phase(vmi) in FINAL_PHASES
