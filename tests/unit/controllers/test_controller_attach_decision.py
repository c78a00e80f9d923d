"""What is attached to and detached from a node, and what pods are told of it."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from kumo.api import csi_names
from kumo.api.objects import Object, timestamp
from kumo.kubernetes.controller_manager.attach_detach import messages, volumes
from kumo.kubernetes.controller_manager.attach_detach.decision import FORCE_AFTER, NodeWorld, Plan, Wanted, decide

pytestmark = pytest.mark.unit

NOW = 1_700_000_000.0
UNIQUE = "kubernetes.io/csi/d.example.com^h1"


def volume(*modes: str) -> Object:
    spec = {"accessModes": list(modes), "csi": {"driver": "d.example.com", "volumeHandle": "h1"}}
    return {"metadata": {"name": "pv1"}, "spec": spec}


def pod(name: str, namespace: str = "default", **status: Any) -> Object:
    return {"metadata": {"name": name, "namespace": namespace, "uid": f"u-{name}"}, "status": status}


def attachment(*, age: float = 1.0, deleting: bool = False, **status: Any) -> Object:
    meta = {"name": "csi-1", "uid": "a1", "creationTimestamp": timestamp(NOW - age)}
    return {"metadata": meta | ({"deletionTimestamp": timestamp(NOW)} if deleting else {}), "status": status}


def node(*listed: str, ready: str = "True", taint: str = "") -> Object:
    status = {"conditions": [{"type": "Ready", "status": ready}], "volumesAttached": [{"name": n} for n in listed]}
    return {"spec": {"taints": [{"key": taint}] if taint else []}, "status": status}


def plan(**more: Any) -> Plan:
    world: dict[str, Any] = {"name": "n1", "node": node(), "wanted": {}, "attachments": {}, "now": NOW}
    return decide(NodeWorld(**(world | more)))


WANTED = {UNIQUE: Wanted(volume("ReadWriteOnce"), (pod("p"),))}
ATTACHED = {UNIQUE: attachment(attached=True)}


def test_names_are_upstreams() -> None:
    assert volumes.unique_name(volume()) == UNIQUE
    assert csi_names.split_name(UNIQUE) == ("d.example.com", "h1")
    assert csi_names.split_name("kubernetes.io/iscsi/x") is None
    name = csi_names.attachment_name("d.example.com", "h1", "n1")
    assert name == "csi-" + hashlib.sha256(b"h1d.example.comn1").hexdigest()
    assert volumes.names_by_attachment([UNIQUE, "other"], "n1") == {name: UNIQUE}


def test_a_wanted_volume_is_attached_then_listed_and_told_once_it_is() -> None:
    assert plan(wanted=WANTED).attach == [UNIQUE]
    waiting = plan(wanted=WANTED, attachments={UNIQUE: attachment()})
    assert (waiting.attach, waiting.report, waiting.events) == ([], [], [])
    assert waiting.again is not None and 100 < waiting.again < 120
    done = plan(wanted=WANTED, attachments=ATTACHED)
    assert done.report == [UNIQUE]
    assert [e.message for e in done.events] == ['AttachVolume.Attach succeeded for volume "pv1" ']
    again = plan(wanted=WANTED, attachments=ATTACHED, node=node("kubernetes.io/other/x", UNIQUE))
    assert again.report == ["kubernetes.io/other/x", UNIQUE] and not again.events


@pytest.mark.parametrize(
    ("held", "why"),
    [
        (attachment(attachError={"message": "no luck", "time": "t"}), "no luck"),
        (attachment(deleting=True, attached=True), "volume attachment is being deleted"),
        (
            attachment(age=130),
            "timed out waiting for external-attacher of d.example.com CSI driver to attach volume h1",
        ),
    ],
)
def test_pods_are_told_why_a_volume_is_not_attached(held: Object, why: str) -> None:
    made = plan(wanted=WANTED, attachments={UNIQUE: held})
    assert [(e.reason, e.message) for e in made.events] == [
        ("FailedAttachVolume", f'AttachVolume.Attach failed for volume "pv1" : {why}')
    ]
    assert made.report == [] and made.attach == [] and made.detach == []


def test_a_volume_is_detached_when_the_node_has_let_go_of_it() -> None:
    held = plan(attachments=ATTACHED, node=node(UNIQUE), in_use=frozenset({UNIQUE}))
    assert held.detach == [] and held.report == [UNIQUE] and held.waiting == {UNIQUE}
    assert held.again is not None and held.again > FORCE_AFTER - 1
    free = plan(attachments=ATTACHED, node=node(UNIQUE))
    assert free.detach == [UNIQUE] and free.report == [] and not free.forced
    gone = plan(attachments={UNIQUE: attachment(deleting=True, attached=True)}, node=node(UNIQUE))
    assert gone.detach == [] and gone.report == []


@pytest.mark.parametrize(
    ("machine", "waited", "forced"),
    [
        (node(UNIQUE), FORCE_AFTER + 1, None),
        (node(UNIQUE, ready="Unknown"), FORCE_AFTER - 1, None),
        (node(UNIQUE, ready="Unknown"), FORCE_AFTER + 1, True),
        (None, FORCE_AFTER + 1, True),
        (node(UNIQUE, taint="node.kubernetes.io/out-of-service"), 0.0, True),
    ],
)
def test_by_force_only_from_what_is_not_healthy(machine: Object | None, waited: float, forced: bool | None) -> None:
    made = plan(node=machine, attachments=ATTACHED, in_use=frozenset({UNIQUE}), asked={UNIQUE: NOW - waited})
    assert made.detach == ([] if forced is None else [UNIQUE])
    assert made.forced == ({UNIQUE} if forced else set())


def test_a_volume_for_one_node_waits_for_the_other_to_give_it_up() -> None:
    there = {UNIQUE: [pod("q"), pod("r", "elsewhere")]}
    made = plan(wanted=WANTED, elsewhere=there)
    assert made.attach == [] and made.blocked == {UNIQUE}
    assert [e.message for e in made.events] == [
        'Multi-Attach error for volume "pv1" Volume is already used by pod(s) q and 1 pod(s) in different namespaces'
    ]
    shared = {UNIQUE: Wanted(volume("ReadWriteMany"), (pod("p"),))}
    assert plan(wanted=shared, elsewhere=there).attach == [UNIQUE]


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ([], "Volume is already exclusively attached to one node and can't be attached to another"),
        ([pod("a"), pod("b")], "Volume is already used by pod(s) a, b"),
        ([pod("a", "x")], "Volume is already used by 1 pod(s) in different namespaces"),
    ],
)
def test_nobody_is_told_the_names_of_foreign_pods(others: list[Object], words: str) -> None:
    assert messages.multi_attach("v", pod("p"), others) == f'Multi-Attach error for volume "v" {words}'


def test_what_is_attachable() -> None:
    claim = {
        "metadata": {"name": "c", "namespace": "default", "uid": "c1"},
        "spec": {"volumeName": "pv1"},
        "status": {"phase": "Bound"},
    }
    mine = volume("ReadWriteOnce")
    mine["spec"]["claimRef"] = {"uid": "c1"}
    user = pod("p") | {"spec": {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]}}

    def found(driver: Object | None, wanted: Object = claim) -> list[Object]:
        return list(volumes.volumes_of(user, lambda n, ns: wanted, lambda n: mine, lambda n: driver))

    assert found(None) == [mine] and found({"spec": {"attachRequired": True}}) == [mine]
    assert found({"spec": {"attachRequired": False}}) == []
    assert found(None, {**claim, "status": {"phase": "Pending"}}) == []
    assert found(None, {**claim, "metadata": {**claim["metadata"], "uid": "another"}}) == []


def test_a_deleted_pod_keeps_its_volumes_while_a_container_runs() -> None:
    running = {"containerStatuses": [{"state": {"running": {}}}]}
    deleted = pod("p", **running)
    deleted["metadata"]["deletionTimestamp"] = timestamp(NOW)
    assert not volumes.is_terminated(pod("p", **running)) and not volumes.is_terminated(deleted)
    deleted["status"] = {"containerStatuses": [{"state": {"terminated": {}}}]}
    assert volumes.is_terminated(deleted) and volumes.is_terminated(pod("p", phase="Succeeded"))
