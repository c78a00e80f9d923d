"""The status of a VirtualMachine, from its old one and its instance. Pure."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from kumo.api.conditions import find
from kumo.api.objects import Object, annotations_of, is_deleting, parse_timestamp, timestamp, uid_of
from kumo.kubevirt.common.names import RUNNING, VM_GENERATION_ANNOTATION
from kumo.kubevirt.virt_controller.conditions import condition, is_status, remove, update
from kumo.kubevirt.virt_controller.failure import SyncFailure
from kumo.kubevirt.virt_controller.machine.printable import Surroundings, printable_status
from kumo.kubevirt.virt_controller.machine.requests import START, STOP, change_requests, is_final, run_strategy

MAX_BACKOFF = 300
_NOT_COPIED = frozenset({"Ready", "Failure", "RestartRequired"})
_SNAPSHOTTABLE = ("persistentVolumeClaim", "dataVolume", "memoryDump")


def backoff(failures: int, spread: Callable[[int], int]) -> int:
    """Seconds to wait after that many failed starts: 10, 40, 90, ... and up to half as much again, at most 300.

    `spread(n)` gives a number from 0 to n - 1, so that many VMs do not come back in step.
    """
    delay = 10 * max(failures, 1) ** 2
    return min(delay + spread(delay // 2 + 1), MAX_BACKOFF)


def new_status(
    vm: Object,
    vmi: Object | None,
    failure: SyncFailure | None,
    now: str,
    spread: Callable[[int], int],
    around: Surroundings = Surroundings(),  # noqa: B008
) -> dict[str, Any]:
    """The status that the VM should have; `vm` is not changed. `now` is a metav1.Time."""
    made = copy.deepcopy(vm)
    status: dict[str, Any] = made.setdefault("status", {})
    _set(status, "created", vmi is not None)
    _set(status, "ready", vmi is not None and is_status((vmi.get("status") or {}).get("conditions"), "Ready", "True"))
    generation = annotations_of(vmi or {}).get(VM_GENERATION_ANNOTATION)
    if generation is not None:
        status["observedGeneration"] = int(generation)
        status["desiredGeneration"] = (vm.get("metadata") or {}).get("generation", 0)
    if status.get("runStrategy") or status.get("created"):
        status["runStrategy"] = run_strategy(vm)
    if _first_request_done(made, vmi):
        rest = change_requests(made)[1:]
        status.pop("stateChangeRequests")
        if rest:
            status["stateChangeRequests"] = rest
    _trim_volume_requests(made)
    _sync_start_failure(made, vmi, now, spread)
    _sync_conditions(status, vmi, failure, now)
    _sync_snapshot_statuses(made)
    status["printableStatus"] = printable_status(made, vmi, around)
    return status


def _set(status: dict[str, Any], name: str, value: bool) -> None:
    if value:
        status[name] = True
    else:
        status.pop(name, None)


def _first_request_done(vm: Object, vmi: Object | None) -> bool:
    found = change_requests(vm)
    if not found:
        return False
    if found[0].get("action") == STOP:
        return vmi is None or found[0].get("uid") != uid_of(vmi)
    return found[0].get("action") == START and vmi is not None and not is_deleting(vmi) and not is_final(vmi)


def _trim_volume_requests(vm: Object) -> None:
    asked = vm["status"].get("volumeRequests")
    if not asked:
        return
    spec = ((vm.get("spec") or {}).get("template") or {}).get("spec") or {}
    volumes = {v.get("name") for v in spec.get("volumes") or ()}
    disks = {d.get("name") for d in ((spec.get("domain") or {}).get("devices") or {}).get("disks") or ()}
    left = []
    for request in asked:
        adding = request.get("addVolumeOptions")
        name = (adding or request.get("removeVolumeOptions") or {}).get("name")
        present = (name in volumes, name in disks)
        if present != ((True, True) if adding else (False, False)):
            left.append(request)
    vm["status"]["volumeRequests"] = left
    if not left:
        del vm["status"]["volumeRequests"]


def _sync_start_failure(vm: Object, vmi: Object | None, now: str, spread: Callable[[int], int]) -> None:
    status = vm["status"]
    history = ((vmi or {}).get("status") or {}).get("phaseTransitionTimestamps") or ()
    has_run = any(entry.get("phase") == RUNNING for entry in history)
    if has_run or run_strategy(vm) not in ("Always", "RerunOnFailure", "Once"):
        status.pop("startFailure", None)
        return
    if vmi is None or not is_final(vmi):
        return
    last = status.get("startFailure") or {}
    if last.get("lastFailedVMIUID") == uid_of(vmi):
        return
    count = int(last.get("consecutiveFailCount") or 0) + 1
    status["startFailure"] = {
        "consecutiveFailCount": count,
        "lastFailedVMIUID": uid_of(vmi),
        "retryAfterTimestamp": timestamp(parse_timestamp(now) + backoff(count, spread)),
    }


def _sync_conditions(status: dict[str, Any], vmi: Object | None, failure: SyncFailure | None, now: str) -> None:
    conditions: list[dict[str, Any]] = status.setdefault("conditions", [])
    own = ((vmi or {}).get("status") or {}).get("conditions") or []
    ready = find(own, "Ready")
    if vmi is None:
        update(conditions, condition("Ready", "False", "VMINotExists", "VMI does not exist", now))
    elif ready is None:
        message = "VMI is missing the Ready condition"
        update(conditions, condition("Ready", "False", "VMIConditionMissing", message, now))
    else:
        update(conditions, _copied(ready))
    if failure is None:
        remove(conditions, "Failure")
    else:
        made = condition("Failure", "True", failure.reason, str(failure), now)
        made["lastProbeTime"] = None
        update(conditions, made)
    if vmi is None:
        return
    for other in own:
        if other.get("type") not in _NOT_COPIED:
            update(conditions, _copied(other))
    present = {c.get("type") for c in own} | _NOT_COPIED
    conditions[:] = [c for c in conditions if c.get("type") in present]


def _copied(of: dict[str, Any]) -> dict[str, Any]:
    made = {k: v for k, v in of.items() if v not in (None, "")}
    return {**made, **{k: of.get(k) for k in ("lastProbeTime", "lastTransitionTime")}}


def _sync_snapshot_statuses(vm: Object) -> None:
    """No volume can be snapshotted yet; the reasons are those that upstream gives."""
    spec = ((vm.get("spec") or {}).get("template") or {}).get("spec") or {}
    found = []
    for volume in spec.get("volumes") or ():
        name = volume.get("name")
        reason = f"Snapshot is not supported for this volumeSource type [{name}]"
        if any(volume.get(kind) is not None for kind in _SNAPSHOTTABLE):
            reason = f"No VolumeSnapshotClass: Volume snapshots are not configured for this StorageClass [] [{name}]"
        found.append({"enabled": False, "name": name, "reason": reason})
    vm["status"].pop("volumeSnapshotStatuses", None)
    if found:
        vm["status"]["volumeSnapshotStatuses"] = found
