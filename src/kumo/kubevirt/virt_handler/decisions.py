"""What to do next with a VMI, and which phase it is in. Pure: the shell is `handler`.

Upstream: `pkg/virt-handler/vm.go` (execute, calculateVmPhaseForStatusReason, handleVMIShutdown).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from kumo.api.objects import Object, is_deleting, parse_timestamp
from kumo.kubevirt.common import names

Domain = dict[str, Any]

DEFAULT_GRACE = 30.0
SHUTDOWN_INTERVAL = 5.0
"""Seconds after which the power button is pressed again: a guest that boots may miss it."""
ACTIVE = frozenset({"Running", "Blocked", "Paused", "PMSuspended", "Shutdown"})
STOPPED = frozenset({"Shutoff", "Crashed"})


class Step(Enum):
    """What to do with the launcher now."""

    NOTHING = auto()
    START = auto()
    SHUT_DOWN = auto()
    KILL = auto()
    FORGET = auto()
    """The domain's end is written down: let the launcher delete it and end."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The step, and in how many seconds to look again (None: when something changes)."""

    step: Step
    again: float | None = None


def phase_of(vmi: Object) -> str:
    """`status.phase`."""
    return str((vmi.get("status") or {}).get("phase") or "")


def grace_period(vmi: Object) -> float:
    """Seconds between the power button and the plug."""
    wanted = vmi["spec"].get("terminationGracePeriodSeconds")
    return DEFAULT_GRACE if wanted is None else float(wanted)


def has_acpi(vmi: Object) -> bool:
    """Whether the guest can be asked to power off."""
    acpi = (vmi["spec"]["domain"].get("features") or {}).get("acpi")
    return acpi is None or bool(acpi.get("enabled", True))


def decide(vmi: Object, domain: Domain | None, now: float) -> Decision:
    """The next step for a VMI whose launcher answers; `domain` is its last known state, `now` the wall clock.

    NoState, or no domain at all, is that of a launcher that has not been asked to start one.
    """
    status = (domain or {}).get("status", "NoState")
    final = phase_of(vmi) in names.FINAL_PHASES
    if final:
        if status in STOPPED or status == "NoState":
            return Decision(Step.FORGET)
        return Decision(Step.KILL, 1.0)  # nobody expects a guest to run any more
    if is_deleting(vmi):
        if status not in ACTIVE:
            return Decision(Step.FORGET if status == "NoState" else Step.NOTHING)
        if not has_acpi(vmi):
            return Decision(Step.KILL, SHUTDOWN_INTERVAL)
        left = parse_timestamp(vmi["metadata"]["deletionTimestamp"]) + grace_period(vmi) - now
        if left <= 0:
            return Decision(Step.KILL, SHUTDOWN_INTERVAL)
        return Decision(Step.SHUT_DOWN, min(SHUTDOWN_INTERVAL, left))
    if status == "NoState" and phase_of(vmi) == names.SCHEDULED:
        return Decision(Step.START)
    return Decision(Step.NOTHING)


def next_phase(vmi: Object, domain: Domain | None) -> str:
    """The phase that the domain's state means; the present one when it says nothing new."""
    present = phase_of(vmi)
    status = (domain or {}).get("status", "NoState")
    reason = (domain or {}).get("reason", "Unknown")
    if status in STOPPED:
        if reason in ("Crashed", "Panicked", "Failed"):
            return names.FAILED
        if reason == "Destroyed":
            # With ACPI, pulling the plug means that the guest did not react in time.
            return names.FAILED if has_acpi(vmi) else names.SUCCEEDED
        if reason in ("Shutdown", "Saved", "FromSnapshot"):
            return names.SUCCEEDED
        return present
    if status == "Paused" and reason == "PostcopyFailed":
        return names.FAILED
    if status in ("Running", "Blocked", "Paused", "PMSuspended") and present not in names.FINAL_PHASES:
        return present if reason == "StartingUp" else names.RUNNING
    return present
