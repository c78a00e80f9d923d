"""What Nova says of a machine's state, from the VirtualMachine, its instance, and what was last asked of it. Pure.

Nova's `status` follows from vm_state and task_state; the table is in the project's mapping of OpenStack to KubeVirt.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from kumo.api.objects import Object, annotations_of, is_deleting
from kumo.openstack.common import names

LAUNCHED = f"{names.PREFIX}/launched"
"""Annotation of a server that has been stopped or started by hand, so that its next start is no build any more."""
NOSTATE, RUNNING, PAUSED, SHUTDOWN = 0, 1, 3, 4
_ERRORS = (
    "ErrorUnschedulable", "ErrImagePull", "ImagePullBackOff", "ErrorPvcNotFound", "DataVolumeError", "CrashLoopBackOff",
)  # fmt: skip


class State(NamedTuple):
    """Nova's four views of one state; `fault` says what went wrong."""

    status: str
    vm_state: str
    task_state: str | None
    power_state: int
    fault: str = ""


_BY_PRINTABLE = {
    "Running": State("ACTIVE", "active", None, RUNNING),
    "Paused": State("PAUSED", "paused", None, PAUSED),
    "Stopping": State("ACTIVE", "active", "powering-off", RUNNING),
    "Stopped": State("SHUTOFF", "stopped", None, SHUTDOWN),
    "Migrating": State("MIGRATING", "active", "migrating", RUNNING),
    "Unknown": State("UNKNOWN", "active", None, NOSTATE),
}


def state_of(vm: Object, vmi: Object | None) -> State:
    """The state of a server."""
    status: dict[str, Any] = vm.get("status") or {}
    printable = status.get("printableStatus") or ""
    if is_deleting(vm):
        return State("ACTIVE", "active", "deleting", RUNNING if vmi is not None else NOSTATE)
    if printable in _ERRORS:
        return State("ERROR", "error", None, NOSTATE, _fault(vm, printable))
    starts = printable == "Stopped" and _always(vm)  # the controller has not begun, or has not said so yet
    if printable in _BY_PRINTABLE and not starts:
        return _BY_PRINTABLE[printable]
    if LAUNCHED in annotations_of(vm):
        return State("SHUTOFF", "stopped", "powering-on", SHUTDOWN)
    phase = ((vmi or {}).get("status") or {}).get("phase")
    return State("BUILD", "building", "spawning" if phase in ("Scheduled", "Running") else "scheduling", NOSTATE)


def _always(vm: Object) -> bool:
    """Whether the machine is to run, whatever happens."""
    return vm["spec"].get("runStrategy") == "Always" or vm["spec"].get("running") is True


def _fault(vm: Object, printable: str) -> str:
    for condition in (vm.get("status") or {}).get("conditions") or ():
        if condition.get("status") == "False" and condition.get("message"):
            return str(condition["message"])
    return printable


def launched_at(vmi: Object | None) -> str:
    """When the instance began to run, empty if it did not yet."""
    for moment in ((vmi or {}).get("status") or {}).get("phaseTransitionTimestamps") or ():
        if moment.get("phase") == "Running":
            return str(moment["phaseTransitionTimestamp"])
    return ""
