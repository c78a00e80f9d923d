"""What is to be done with a VM's instance, by run strategy. A pure function of the VM, the instance and the time."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from kumo.api.objects import Object, is_deleting, parse_timestamp
from kumo.kubevirt.common.names import FAILED, SUCCEEDED
from kumo.kubevirt.virt_controller.failure import SyncFailure
from kumo.kubevirt.virt_controller.machine.requests import (
    has_start_request,
    has_stop_request,
    is_final,
    phase,
    run_strategy,
)


class Action(Enum):
    """What to do."""

    NOTHING = "nothing"
    START = "start"
    STOP = "stop"
    STOP_AND_RERUN = "stop, and ask for a start"
    TURN_ON = "set the run strategy to Always"
    WAIT = "look again later"


class Plan(NamedTuple):
    """What to do; `delay` in seconds for WAIT."""

    action: Action
    delay: float = 0.0


NOTHING = Plan(Action.NOTHING)


def plan(vm: Object, vmi: Object | None, now: float) -> Plan:
    """The next step for the VM whose instance is `vmi`, at `now` (seconds since the epoch).

    Raises SyncFailure for a run strategy that is not known. Source: `syncRunStrategy` of upstream's VM controller.
    """
    strategy = run_strategy(vm)
    if strategy == "Always":
        return _always(vm, vmi, now)
    if strategy == "RerunOnFailure":
        return _rerun_on_failure(vm, vmi, now)
    if strategy == "Manual":
        if vmi is not None:
            return Plan(Action.STOP) if has_stop_request(vm, vmi) else NOTHING
        return Plan(Action.START) if has_start_request(vm) else NOTHING
    if strategy == "Halted":
        if vmi is not None:
            return Plan(Action.STOP)
        return Plan(Action.TURN_ON) if has_start_request(vm) else NOTHING
    if strategy == "Once":
        return Plan(Action.START) if vmi is None else NOTHING
    raise SyncFailure("FailedCreate", f"unknown runstrategy: {strategy}", retry=False)


def _always(vm: Object, vmi: Object | None, now: float) -> Plan:
    if vmi is not None:
        return Plan(Action.STOP) if has_stop_request(vm, vmi) or is_final(vmi) else NOTHING
    return _start_or_wait(vm, now)


def _rerun_on_failure(vm: Object, vmi: Object | None, now: float) -> Plan:
    if vmi is None:
        return _start_or_wait(vm, now) if wants_rerun(vm) else NOTHING
    if is_deleting(vmi):
        return NOTHING
    if phase(vmi) == FAILED:
        return Plan(Action.STOP_AND_RERUN)
    if has_stop_request(vm, vmi) or phase(vmi) == SUCCEEDED:
        return Plan(Action.STOP)
    return NOTHING


def wants_rerun(vm: Object) -> bool:
    """Whether a VM that reruns on failure is to be started: it was asked to, or it has just got this strategy."""
    return has_start_request(vm) or (vm.get("status") or {}).get("runStrategy") != run_strategy(vm)


def _start_or_wait(vm: Object, now: float) -> Plan:
    retry = ((vm.get("status") or {}).get("startFailure") or {}).get("retryAfterTimestamp")
    left = parse_timestamp(retry) - now if retry else 0.0
    return Plan(Action.WAIT, left) if left > 0 else Plan(Action.START)


def set_to_start(vm: Object, vmi: Object | None) -> bool:
    """Whether the VM is meant to be running."""
    strategy = run_strategy(vm)
    if strategy == "Always":
        return True
    if strategy == "Manual":
        return not has_stop_request(vm, vmi) if vmi is not None else has_start_request(vm)
    if strategy == "RerunOnFailure":
        return phase(vmi) != SUCCEEDED if vmi is not None else wants_rerun(vm)
    return strategy == "Once" and vmi is None
