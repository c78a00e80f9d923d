"""Tables for the VM controller's decisions: run strategies, the printable status, back-off, conditions."""

import pytest

from kumo.api.objects import timestamp
from kumo.kubevirt.virt_controller.failure import SyncFailure
from kumo.kubevirt.virt_controller.machine import restart
from kumo.kubevirt.virt_controller.machine.printable import Surroundings, printable_status
from kumo.kubevirt.virt_controller.machine.requests import run_strategy
from kumo.kubevirt.virt_controller.machine.status import backoff, new_status
from kumo.kubevirt.virt_controller.machine.strategy import Action, plan

pytestmark = pytest.mark.unit

NOW = 1_800_000_000.0
UID = "instance-uid"


def machine(strategy="Always", status=None, **meta):
    return {
        "metadata": {"name": "a", "generation": 1, **meta},
        "spec": {"runStrategy": strategy},
        "status": status or {},
    }


def instance(phase="Running", conditions=(), **more):
    deleting = {"deletionTimestamp": "now"} if more.pop("deleting", False) else {}
    meta = {"name": "a", "uid": UID, **deleting}
    return {"metadata": meta, "status": {"phase": phase, "conditions": list(conditions), **more}}


STOP = {"stateChangeRequests": [{"action": "Stop", "uid": UID}]}
STOP_OTHER = {"stateChangeRequests": [{"action": "Stop", "uid": "other"}]}
START = {"stateChangeRequests": [{"action": "Start"}]}
RERUN = {"runStrategy": "RerunOnFailure"}
TABLE = [
    ("Always", {}, None, Action.START),
    ("Always", {}, instance(), Action.NOTHING),
    ("Always", STOP, instance(), Action.STOP),
    ("Always", STOP_OTHER, instance(), Action.NOTHING),
    ("Always", {}, instance("Failed"), Action.STOP),
    ("Always", {}, instance("Succeeded"), Action.STOP),
    ("Always", {"startFailure": {"retryAfterTimestamp": timestamp(NOW + 5)}}, None, Action.WAIT),
    ("Always", {"startFailure": {"retryAfterTimestamp": timestamp(NOW - 5)}}, None, Action.START),
    ("RerunOnFailure", {}, None, Action.START),
    ("RerunOnFailure", RERUN, None, Action.NOTHING),
    ("RerunOnFailure", RERUN | START, None, Action.START),
    ("RerunOnFailure", RERUN, instance(), Action.NOTHING),
    ("RerunOnFailure", RERUN, instance("Failed"), Action.STOP_AND_RERUN),
    ("RerunOnFailure", RERUN, instance("Failed", deleting=True), Action.NOTHING),
    ("RerunOnFailure", RERUN, instance("Succeeded"), Action.STOP),
    ("RerunOnFailure", RERUN | STOP, instance(), Action.STOP),
    ("Manual", {}, None, Action.NOTHING),
    ("Manual", START, None, Action.START),
    ("Manual", {}, instance("Failed"), Action.NOTHING),
    ("Manual", STOP, instance(), Action.STOP),
    ("Halted", {}, None, Action.NOTHING),
    ("Halted", START, None, Action.TURN_ON),
    ("Halted", {}, instance(), Action.STOP),
    ("Once", {}, None, Action.START),
    ("Once", {}, instance("Succeeded"), Action.NOTHING),
]


@pytest.mark.parametrize(("strategy", "status", "vmi", "action"), TABLE)
def test_plan(strategy, status, vmi, action):
    assert plan(machine(strategy, status), vmi, NOW).action is action


def test_waiting_time():
    waiting = machine(status={"startFailure": {"retryAfterTimestamp": timestamp(NOW + 30)}})
    assert plan(waiting, None, NOW).delay == 30


def test_unknown_strategy():
    with pytest.raises(SyncFailure, match="unknown runstrategy: Sometimes"):
        plan(machine("Sometimes"), None, NOW)


def test_running_counts_as_strategy():
    assert run_strategy({"spec": {"running": True}}) == "Always"
    assert run_strategy({"spec": {"running": False}}) == "Halted"


def synchronized(reason):
    return [{"type": "Synchronized", "status": "False", "reason": reason}]


UNSCHEDULABLE = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]
PAUSED = [{"type": "Paused", "status": "True"}]
CRASHED = {"startFailure": {"consecutiveFailCount": 2}}
PRINTABLE = [
    (machine(deletionTimestamp="now"), instance(), {}, "Terminating"),
    (machine(), instance(deleting=True), {}, "Stopping"),
    (machine(), instance(), {"stop_expected": True}, "Stopping"),
    (machine(), instance("Failed", deleting=True), {}, "Stopped"),
    (machine(), instance(migrationState={}), {}, "Migrating"),
    (machine(), instance(migrationState={"completed": True}), {}, "Running"),
    (machine(), instance(conditions=PAUSED), {}, "Paused"),
    (machine(), instance(), {}, "Running"),
    (machine(), instance("Pending", synchronized("FailedPvcNotFound") + UNSCHEDULABLE), {}, "ErrorPvcNotFound"),
    (machine(), instance("Pending"), {"data_volume_error": True}, "DataVolumeError"),
    (machine(), instance("Scheduling", UNSCHEDULABLE), {"provisioning": True}, "ErrorUnschedulable"),
    (machine(), instance("Pending"), {"provisioning": True, "unbound_claims": True}, "Provisioning"),
    (machine(), instance("Pending"), {"unbound_claims": True}, "WaitingForVolumeBinding"),
    (machine(), instance("Scheduling", synchronized("ErrImagePull")), {}, "ErrImagePull"),
    (machine(), instance("Scheduling", synchronized("ImagePullBackOff")), {}, "ImagePullBackOff"),
    (machine(), instance("Scheduled"), {}, "Starting"),
    (machine(), None, {"start_expected": True}, "Starting"),
    (machine(status=CRASHED), None, {"start_expected": True}, "Starting"),
    (machine(status=CRASHED), None, {}, "CrashLoopBackOff"),
    (machine("Halted", CRASHED), None, {}, "Stopped"),
    (machine(status=CRASHED), instance("Failed"), {}, "CrashLoopBackOff"),
    (machine(), instance("Failed"), {}, "Stopped"),
    (machine("Halted"), None, {}, "Stopped"),
    (machine(), instance("Odd"), {}, "Unknown"),
]


@pytest.mark.parametrize(("vm", "vmi", "around", "word"), PRINTABLE)
def test_printable_status(vm, vmi, around, word):
    assert printable_status(vm, vmi, Surroundings(**around)) == word


@pytest.mark.parametrize(("failures", "least", "most"), [(1, 10, 15), (2, 40, 60), (3, 90, 135), (6, 300, 300)])
def test_backoff(failures, least, most):
    assert backoff(failures, lambda n: 0) == least
    assert backoff(failures, lambda n: n - 1) == most


def told(vm, vmi=None, failure=None):
    return new_status(vm, vmi, failure, timestamp(NOW), lambda n: 0)


def test_early_failures_are_counted_once():
    vm = machine()
    status = told(vm, instance("Failed"))
    assert status["startFailure"]["consecutiveFailCount"] == 1
    assert status["startFailure"]["retryAfterTimestamp"] == timestamp(NOW + 10)
    again = told(machine(status=status), instance("Failed"))
    assert again["startFailure"] == status["startFailure"]
    other = instance("Failed")
    other["metadata"]["uid"] = "other"
    assert told(machine(status=status), other)["startFailure"]["consecutiveFailCount"] == 2


def test_a_guest_that_has_run_is_no_crash_loop():
    ran = instance("Failed", phaseTransitionTimestamps=[{"phase": "Running"}])
    assert "startFailure" not in told(machine(status=CRASHED), ran)


@pytest.mark.parametrize(
    ("requests", "vmi", "left"),
    [
        (STOP, None, []),
        (STOP, instance(), STOP["stateChangeRequests"]),
        (STOP_OTHER, instance(), []),
        (START, None, START["stateChangeRequests"]),
        (START, instance("Scheduling"), []),
        (START, instance("Failed"), START["stateChangeRequests"]),
        (START, instance(deleting=True), START["stateChangeRequests"]),
    ],
)
def test_requests_are_dropped_when_done(requests, vmi, left):
    assert told(machine("Manual", dict(requests)), vmi).get("stateChangeRequests", []) == left


def test_failure_comes_and_goes():
    failure = SyncFailure("FailedCreate", "no")
    status = told(machine(), None, failure)
    found = next(c for c in status["conditions"] if c["type"] == "Failure")
    assert (found["status"], found["reason"], found["message"]) == ("True", "FailedCreate", "no")
    assert all(c["type"] != "Failure" for c in told(machine(status=status))["conditions"])


def test_conditions_of_the_instance_are_the_machines():
    vmi = instance(conditions=[{"type": "AgentConnected", "status": "True"}, {"type": "Ready", "status": "True"}])
    status = told(machine(), vmi)
    assert {c["type"]: c["status"] for c in status["conditions"]} == {"Ready": "True", "AgentConnected": "True"}
    assert status["ready"] is True
    kept = told(machine(status=status), instance())
    assert [c["type"] for c in kept["conditions"]] == ["Ready"]


def test_status_settles():
    status = told(machine(), instance())
    assert told(machine(status=status), instance()) == status


def test_snapshots_are_not_supported():
    vm = machine()
    volumes = [{"name": "a", "containerDisk": {}}, {"name": "b", "persistentVolumeClaim": {}}]
    vm["spec"]["template"] = {"spec": {"volumes": volumes}}
    reasons = [v["reason"] for v in told(vm)["volumeSnapshotStatuses"]]
    assert reasons[0] == "Snapshot is not supported for this volumeSource type [a]"
    assert reasons[1].startswith("No VolumeSnapshotClass")


def test_a_filled_in_uuid_needs_no_restart():
    before = {"template": {"spec": {"domain": {"firmware": {}}}}}
    after = {"spec": {"template": {"spec": {"domain": {"firmware": {"uuid": "x"}}}, "metadata": {"labels": {}}}}}
    assert not restart.differs(before, after)
    after["spec"]["template"]["spec"]["hostname"] = "y"
    assert restart.differs(before, after)
