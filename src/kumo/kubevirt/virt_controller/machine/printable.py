"""`status.printableStatus`: the one word that `kubectl get vm` shows. The first that applies is it."""

from __future__ import annotations

from dataclasses import dataclass

from kumo.api.objects import Object, is_deleting
from kumo.kubevirt.common.names import PENDING, RUNNING, SCHEDULED, SCHEDULING, WAITING_FOR_SYNC
from kumo.kubevirt.virt_controller.conditions import is_status
from kumo.kubevirt.virt_controller.machine.requests import is_final, phase, run_strategy
from kumo.kubevirt.virt_controller.machine.strategy import set_to_start

_RESTARTING = ("Always", "RerunOnFailure", "Once")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the word depends on besides VM and instance.

    `start_expected`, `stop_expected`: the instance has just been created or deleted, which cannot be seen yet.
    `unbound_claims`, `provisioning`, `data_volume_error`: the state of the claims and data volumes of the VM.
    """

    start_expected: bool = False
    stop_expected: bool = False
    unbound_claims: bool = False
    provisioning: bool = False
    data_volume_error: bool = False


def printable_status(vm: Object, vmi: Object | None, around: Surroundings = Surroundings()) -> str:
    """The word for the VM; `vm` has its new status except for this. Source: `setPrintableStatus` of upstream."""
    conditions = ((vmi or {}).get("status") or {}).get("conditions")
    if is_deleting(vm):
        return "Terminating"
    if vmi is not None and not is_final(vmi) and (is_deleting(vmi) or around.stop_expected):
        return "Stopping"
    migration = ((vmi or {}).get("status") or {}).get("migrationState")
    if migration is not None and not migration.get("completed"):
        return "Migrating"
    if phase(vmi) == RUNNING:
        return "Paused" if is_status(conditions, "Paused", "True") else "Running"
    waiting = _waiting(vm, vmi, around)
    if waiting:
        return waiting
    if _starting(vmi, around):
        return "Starting"
    failures = ((vm.get("status") or {}).get("startFailure") or {}).get("consecutiveFailCount") or 0
    idle = is_final(vmi) if vmi is not None else not around.start_expected
    if idle:
        return "CrashLoopBackOff" if failures > 0 and run_strategy(vm) in _RESTARTING else "Stopped"
    if run_strategy(vm) == "WaitAsReceiver" and phase(vmi) in ("", WAITING_FOR_SYNC):
        return "WaitingForReceiver"
    return "Unknown"


def _waiting(vm: Object, vmi: Object | None, around: Surroundings) -> str:
    conditions = ((vmi or {}).get("status") or {}).get("conditions")
    if is_status(conditions, "Synchronized", "False", "FailedPvcNotFound"):
        return "ErrorPvcNotFound"
    if around.data_volume_error:
        return "DataVolumeError"
    if is_status(conditions, "PodScheduled", "False", "Unschedulable"):
        return "ErrorUnschedulable"
    if around.provisioning:
        return "Provisioning"
    if around.unbound_claims and set_to_start(vm, vmi):
        return "WaitingForVolumeBinding"
    for reason in ("ErrImagePull", "ImagePullBackOff"):
        if is_status(conditions, "Synchronized", "False", reason):
            return reason
    return ""


def _starting(vmi: Object | None, around: Surroundings) -> bool:
    if vmi is None:
        return around.start_expected
    return phase(vmi) in ("", PENDING, SCHEDULING, SCHEDULED)
