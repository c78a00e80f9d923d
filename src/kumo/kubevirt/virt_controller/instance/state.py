"""What a VirtualMachineInstance should say of itself, as far as virt-controller is to say it. Pure.

Phases until the launcher is up are virt-controller's (Pending, Scheduling, Scheduled, and Failed when there is no pod),
those after it virt-handler's. Source: `updateStatus` of upstream's VMI controller.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kumo.api.conditions import find
from kumo.api.objects import Object, is_deleting, metadata, timestamp, uid_of
from kumo.api.quantities import to_text
from kumo.kubevirt.common import names
from kumo.kubevirt.common.specs import Spec, domain, interfaces, networks, volumes
from kumo.kubevirt.virt_controller.conditions import condition, is_status, remove, update
from kumo.kubevirt.virt_controller.failure import SyncFailure
from kumo.kubevirt.virt_controller.instance import pods

OUTDATED_LABEL = "kubevirt.io/outdatedLauncherImage"
HANDLER_PHASES = (names.SCHEDULED, names.RUNNING)
"""While an instance is in one of these, virt-handler owns the object: virt-controller patches, and does not replace."""


@dataclass(frozen=True, slots=True)
class View:
    """What the instance's state depends on besides itself.

    `owned`: all pods that it owns; `pod`: the one it runs in; `image`: the launcher image of today; `has_machine`:
    whether its VirtualMachine is still there; `failure`: what went wrong just now.
    """

    owned: Sequence[Object] = ()
    pod: Object | None = None
    image: str = ""
    has_machine: bool = False
    failure: SyncFailure | None = None


def new_state(vmi: Object, view: View, now: str | None = None) -> Object:
    """The instance as it should be: labels, annotations, finalizers and status. A copy; `now` is a metav1.Time."""
    now = now or timestamp()
    made = copy.deepcopy(vmi)
    status: dict[str, Any] = made.setdefault("status", {})
    conditions: list[dict[str, Any]] = status.setdefault("conditions", [])
    old_phase, failure = status.get("phase") or "", view.failure
    annotations = metadata(made).setdefault("annotations", {})
    for key in (names.LATEST_API_ANNOTATION, names.STORAGE_API_ANNOTATION):
        annotations.setdefault(key, names.VERSION)
    active = {uid_of(p): (p.get("spec") or {}).get("nodeName") or "" for p in view.owned}
    if active or status.get("activePods"):
        status["activePods"] = active
    _sync_ready(vmi, conditions, view.pod, now)
    if view.pod is not None:
        _sync_launcher(made, view.pod, view.image)
    if old_phase in ("", names.PENDING):
        _unprocessed(made, view)
    elif old_phase == names.SCHEDULING:
        failure = _scheduling(made, view) or failure
    elif old_phase in names.FINAL_PHASES:
        _final(made, view)
    elif old_phase in HANDLER_PHASES:
        if view.pod is None:
            status["phase"] = names.FAILED
        else:
            status["volumeStatus"] = volume_status(made)
            if old_phase == names.RUNNING:
                status["interfaces"] = interface_status(made)
    _sync_eviction(status, conditions, now)
    if old_phase not in HANDLER_PHASES:
        _sync_failure(conditions, failure, now)
        if status["phase"] != old_phase:
            moment = {"phase": status["phase"], "phaseTransitionTimestamp": now}
            status["phaseTransitionTimestamps"] = [*(status.get("phaseTransitionTimestamps") or ()), moment]
    for name in ("conditions", "activePods", "volumeStatus", "interfaces"):
        if name in status and not status[name]:
            del status[name]
    return made


def _sync_ready(vmi: Object, conditions: list[dict[str, Any]], pod: Object | None, now: str) -> None:
    running = (vmi.get("status") or {}).get("phase") == names.RUNNING
    ready = pods.pod_condition(pod, "Ready") if pod is not None else None
    if pod is None:
        made = ("False", "PodNotExists", "virt-launcher pod has not yet been scheduled")
    elif pods.is_down_or_going(pod):
        made = ("False", "PodTerminating", "virt-launcher pod is terminating")
    elif not running:
        made = ("False", "GuestNotRunning", "Guest VM is not reported as running")
    elif ready is None:
        made = ("False", "PodConditionMissing", "virt-launcher pod is missing the Ready condition")
    else:
        copied = {k: v for k, v in ready.items() if k != "observedGeneration" and (v or k.startswith("last"))}
        update(conditions, copied)
        return
    update(conditions, condition("Ready", *made, now))


def _sync_launcher(made: Object, pod: Object, image: str) -> None:
    current, labels = pods.compute_image(pod), metadata(made).setdefault("labels", {})
    if current and image and current != image:
        labels[OUTDATED_LABEL] = ""
    else:
        labels.pop(OUTDATED_LABEL, None)
    if not labels:
        del made["metadata"]["labels"]
    made["status"]["launcherContainerImageVersion"] = current
    overhead = pods.overhead(pod)
    if overhead is not None:
        made["status"].setdefault("memory", {})["memoryOverhead"] = to_text(overhead, binary=True)


def _unprocessed(made: Object, view: View) -> None:
    status, conditions = made["status"], made["status"]["conditions"]
    if view.pod is not None:
        status["phase"] = names.SCHEDULING
        remove(conditions, "Provisioning")
        if is_status(conditions, "PodScheduled", "False"):
            remove(conditions, "PodScheduled")
        return
    status["phase"] = names.FAILED if is_deleting(made) else names.PENDING
    if view.failure is not None and view.failure.reason == "FailedPvcNotFound" and status["phase"] == names.PENDING:
        remove(conditions, "PodScheduled")
        why = {"reason": "Unschedulable", "message": str(view.failure)}
        conditions.append({"type": "PodScheduled", "status": "False", **why})


def _scheduling(made: Object, view: View) -> SyncFailure | None:
    status, conditions, pod = made["status"], made["status"]["conditions"], view.pod
    remove(conditions, "Provisioning")
    if pod is None:
        status["phase"] = names.FAILED
        return None
    quality = (pod.get("status") or {}).get("qosClass")
    status.pop("qosClass", None)
    if quality:
        status["qosClass"] = quality
    scheduled = pods.pod_condition(pod, "PodScheduled")
    remove(conditions, "PodScheduled")
    if scheduled is not None and scheduled.get("status") == "False":
        conditions.append({k: v for k, v in scheduled.items() if k != "observedGeneration"})
    failure = pods.image_failure(pod)
    if pods.is_ready(pod) and not is_deleting(made):
        if quality != "Guaranteed" and (domain(made["spec"]).get("cpu") or {}).get("dedicatedCpuPlacement"):
            return SyncFailure("FailedGuaranteePodResources", "failed to guarantee pod resources", retry=False)
        _hand_over(made, pod)
    elif pods.is_down_or_going(pod):
        status["phase"] = names.FAILED
    return failure


def _hand_over(made: Object, pod: Object) -> None:
    """The launcher is up: from here on the instance is virt-handler's."""
    status, node = made["status"], pod["spec"].get("nodeName") or ""
    status["volumeStatus"] = volume_status(made)
    status["interfaces"] = interface_status(made)
    status["phase"] = names.SCHEDULED
    status["nodeName"] = node
    status["migrationTransport"] = "Unix"
    metadata(made).setdefault("labels", {})[names.NODE_NAME_LABEL] = node


def _final(made: Object, view: View) -> None:
    finalizers = metadata(made).get("finalizers") or []
    if not view.owned:
        finalizers = [f for f in finalizers if f != names.VMI_FINALIZER]
        (made["metadata"].get("labels") or {}).pop(OUTDATED_LABEL, None)
        made["status"].pop("launcherContainerImageVersion", None)
    if not view.has_machine:
        finalizers = [f for f in finalizers if f != names.VM_FINALIZER]
    made["metadata"]["finalizers"] = finalizers
    if not finalizers:
        del made["metadata"]["finalizers"]


def _sync_eviction(status: dict[str, Any], conditions: list[dict[str, Any]], now: str) -> None:
    if not status.get("evacuationNodeName"):
        remove(conditions, "EvictionRequested")
    elif not is_status(conditions, "EvictionRequested", "True"):
        made = condition("EvictionRequested", "True", "EvictionRequested", "VMI is marked for eviction", now)
        update(conditions, made)


def _sync_failure(conditions: list[dict[str, Any]], failure: SyncFailure | None, now: str) -> None:
    present = find(conditions, "Synchronized")
    if failure is None:
        remove(conditions, "Synchronized")
    elif present is None or present.get("reason") != failure.reason or present.get("message") != str(failure):
        made = condition("Synchronized", "False", failure.reason, str(failure), now)
        remove(conditions, "Synchronized")
        conditions.append({k: v for k, v in made.items() if k != "lastProbeTime"})


def volume_status(vmi: Object) -> list[dict[str, Any]]:
    """One entry for each volume, by name; what virt-handler has written into one stays."""
    known = {v.get("name"): v for v in (vmi.get("status") or {}).get("volumeStatus") or ()}
    names_ = sorted(v["name"] for v in volumes(vmi["spec"]))
    return [known.get(name) or {"name": name, "target": ""} for name in names_]


def interface_status(vmi: Object) -> list[dict[str, Any]]:
    """The instance's interfaces with the name that each has in the pod; what virt-handler knows of one stays."""
    spec: Spec = vmi["spec"]
    found: list[dict[str, Any]] = copy.deepcopy((vmi.get("status") or {}).get("interfaces") or [])
    wanted = {i.get("name") for i in interfaces(spec)}
    for network in networks(spec):
        if network.get("pod") is None or network.get("name") not in wanted:
            continue
        own = next((i for i in found if i.get("name") == network["name"]), None)
        if own is None:
            found.insert(0, {"name": network["name"], "podInterfaceName": "eth0"})
        else:
            own.setdefault("podInterfaceName", "eth0")
    return found
