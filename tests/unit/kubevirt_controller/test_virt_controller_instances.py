"""Tables for the VMI controller's decisions, and for nodes that are silent."""

import copy

import pytest

from kumo.api.conditions import condition
from kumo.api.objects import timestamp
from kumo.kubevirt.virt_controller.failure import SyncFailure
from kumo.kubevirt.virt_controller.instance import pods
from kumo.kubevirt.virt_controller.instance.patch import instance_patch
from kumo.kubevirt.virt_controller.instance.state import View, new_state
from kumo.kubevirt.virt_controller.node import is_silent, lost_instances
from kumo.kubevirt.virt_controller.pending import Pending

pytestmark = pytest.mark.unit

NOW = "2026-01-01T00:00:00Z"
FINALIZERS = ["kubevirt.io/virtualMachineControllerFinalize", "kubevirt.io/foregroundDeleteVirtualMachine"]


def vmi(phase, *, deleting=False, **status):
    meta = {"name": "a", "namespace": "n", "uid": "u", "finalizers": list(FINALIZERS)}
    if deleting:
        meta["deletionTimestamp"] = NOW
    volumes = [{"name": "z"}, {"name": "b"}]
    spec = {
        "domain": {"devices": {"interfaces": [{"name": "d"}]}},
        "networks": [{"name": "d", "pod": {}}],
        "volumes": volumes,
    }
    return {"metadata": meta, "spec": spec, "status": {"phase": phase, **status}}


def pod(phase="Running", *, up=True, deleting=False, **status):
    state = {"running": {}} if up else {"terminated": {"exitCode": 1}}
    containers = [{"name": "compute", "state": state, "ready": up}]
    meta = {"name": "p", "uid": "pod", "creationTimestamp": NOW, "annotations": {}}
    if deleting:
        meta["deletionTimestamp"] = NOW
    spec = {"nodeName": "node01", "containers": [{"name": "compute", "image": "l:1"}]}
    return {"metadata": meta, "spec": spec, "status": {"phase": phase, "containerStatuses": containers, **status}}


def state(instance, found=None, **view):
    return new_state(instance, View([found] if found else [], found, "l:1", **view), NOW)


PENDING_POD = pod("Pending", containerStatuses=[])
TABLE = [
    (vmi(""), None, "Pending"),
    (vmi("Pending"), None, "Pending"),
    (vmi("Pending", deleting=True), None, "Failed"),
    (vmi("Pending"), PENDING_POD, "Scheduling"),
    (vmi("Scheduling"), PENDING_POD, "Scheduling"),
    (vmi("Scheduling"), pod(), "Scheduled"),
    (vmi("Scheduling", deleting=True), pod(), "Scheduling"),
    (vmi("Scheduling"), pod(up=False), "Failed"),
    (vmi("Scheduling"), pod("Failed"), "Failed"),
    (vmi("Scheduling"), pod(deleting=True), "Failed"),
    (vmi("Scheduling"), None, "Failed"),
    (vmi("Scheduled"), pod(), "Scheduled"),
    (vmi("Scheduled"), None, "Failed"),
    (vmi("Running"), pod("Failed"), "Running"),
    (vmi("Running"), None, "Failed"),
    (vmi("Succeeded"), None, "Succeeded"),
]


@pytest.mark.parametrize(("instance", "found", "phase"), TABLE)
def test_phase(instance, found, phase):
    assert state(instance, found)["status"]["phase"] == phase


READY = [
    (vmi("Pending"), None, "PodNotExists"),
    (vmi("Scheduled"), pod(deleting=True), "PodTerminating"),
    (vmi("Scheduled"), pod(), "GuestNotRunning"),
    (vmi("Running"), pod(), "PodConditionMissing"),
]


@pytest.mark.parametrize(("instance", "found", "reason"), READY)
def test_ready_says_why_not(instance, found, reason):
    ready = condition(state(instance, found), "Ready")
    assert (ready["status"], ready["reason"]) == ("False", reason)


def test_ready_is_the_pods():
    own = {"type": "Ready", "status": "True", "lastProbeTime": None, "lastTransitionTime": NOW}
    ready = condition(state(vmi("Running"), pod(conditions=[own])), "Ready")
    assert ready == own


def test_handing_over():
    made = state(vmi("Scheduling"), pod(qosClass="Burstable"))
    assert made["status"]["nodeName"] == "node01" and made["status"]["qosClass"] == "Burstable"
    assert made["metadata"]["labels"] == {"kubevirt.io/nodeName": "node01"}
    assert [v["name"] for v in made["status"]["volumeStatus"]] == ["b", "z"]
    assert made["status"]["interfaces"] == [{"name": "d", "podInterfaceName": "eth0"}]


def test_what_virt_handler_knows_stays():
    known = [{"name": "b", "target": "vda"}]
    interfaces = [{"name": "d", "mac": "m"}]
    made = state(vmi("Running", volumeStatus=known, interfaces=interfaces), pod())
    assert made["status"]["volumeStatus"] == [*known, {"name": "z", "target": ""}]
    assert made["status"]["interfaces"] == [{"name": "d", "mac": "m", "podInterfaceName": "eth0"}]


@pytest.mark.parametrize(
    ("owned", "has_machine", "left"),
    [
        ([pod()], True, FINALIZERS),
        ([], True, FINALIZERS[:1]),
        ([], False, None),
        ([pod()], False, FINALIZERS[1:]),
    ],
)
def test_finalizers_of_an_instance_that_has_ended(owned, has_machine, left):
    made = new_state(vmi("Failed"), View(owned, owned[0] if owned else None, "", has_machine), NOW)
    assert made["metadata"].get("finalizers") == left


def test_failures_are_told_and_forgotten():
    made = state(vmi("Pending"), failure=SyncFailure("FailedPvcNotFound", "no claim"))
    assert condition(made, "Synchronized")["message"] == "no claim"
    assert condition(made, "PodScheduled")["reason"] == "Unschedulable"
    cured = state(made, PENDING_POD)
    assert condition(cured, "Synchronized") is None and condition(cured, "PodScheduled") is None


def test_image_failure():
    waiting = {"state": {"waiting": {"reason": "ErrImagePull", "message": "no"}}}
    made = state(vmi("Scheduling"), pod("Pending", initContainerStatuses=[waiting]))
    assert condition(made, "Synchronized")["reason"] == "ErrImagePull"


def test_unschedulable():
    own = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}
    made = state(vmi("Scheduling"), pod("Pending", containerStatuses=[], conditions=[own]))
    assert condition(made, "PodScheduled") == own


def test_other_launcher_image_is_noted():
    found = pod()
    made = new_state(vmi("Running"), View([found], found, "l:2"), NOW)
    assert made["metadata"]["labels"] == {"kubevirt.io/outdatedLauncherImage": ""}


def test_marked_for_eviction():
    made = state(vmi("Running", evacuationNodeName="node01"), pod())
    assert condition(made, "EvictionRequested")["status"] == "True"


def test_state_settles():
    made = state(vmi("Scheduling"), pod())
    assert state(made, pod()) == made


def test_input_is_not_changed():
    instance = vmi("Scheduling")
    before = copy.deepcopy(instance)
    state(instance, pod())
    assert instance == before


def test_patch_says_what_changed():
    old = {"metadata": {}, "status": {"phase": "Running", "conditions": [{"type": "A"}], "nodeName": "x"}}
    new = {"metadata": {"labels": {"a": "b"}}, "status": {"phase": "Failed", "conditions": [{"type": "A"}]}}
    assert instance_patch(old, new) == [
        {"op": "test", "path": "/status/phase", "value": "Running"},
        {"op": "replace", "path": "/status/phase", "value": "Failed"},
        {"op": "add", "path": "/metadata/labels", "value": {"a": "b"}},
    ]
    assert instance_patch(old, old) == []


def test_current_pod_is_the_newest_on_the_node():
    older, newer, elsewhere, target = pod(), pod(), pod(), pod()
    newer["metadata"]["creationTimestamp"] = "2026-01-02T00:00:00Z"
    elsewhere["spec"]["nodeName"] = "node02"
    target["metadata"] |= {"labels": {"kubevirt.io/migrationJobUID": "m"}, "creationTimestamp": "2027-01-01T00:00:00Z"}
    found = pods.current_pod(vmi("Running", nodeName="node01"), [older, newer, elsewhere, target])
    assert found is newer
    assert pods.current_pod(vmi("Pending"), []) is None


@pytest.mark.parametrize(("age", "silent"), [(10, False), (299, False), (301, True)])
def test_silent_nodes(age, silent):
    now = 1_800_000_000.0
    node = {"metadata": {"annotations": {"kubevirt.io/heartbeat": timestamp(now - age)}}}
    assert is_silent(node, now) is silent


def test_nodes_without_virt_handler_are_not_silent():
    assert not is_silent({"metadata": {}}, 0)
    assert not is_silent({"metadata": {"annotations": {"kubevirt.io/heartbeat": "soon"}}}, 0)


def test_lost_instances():
    owner = [{"kind": "VirtualMachineInstance", "uid": "u", "controller": True, "name": "a"}]
    alive = pod()
    alive["metadata"]["ownerReferences"] = owner
    assert lost_instances([vmi("Running")], [alive]) == []
    assert lost_instances([vmi("Running"), vmi("Pending")], []) == [vmi("Running")]


def test_pending_is_forgotten_in_time():
    clock = [0.0]
    pending = Pending(lambda: clock[0])
    pending.expect(("n", "a"), "u")
    assert pending.uid(("n", "a")) == "u"
    clock[0] = 31.0
    assert pending.uid(("n", "a")) == ""
