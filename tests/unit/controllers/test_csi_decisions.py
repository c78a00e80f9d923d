"""The decisions of a driver's controllers and of the snapshot controller, as tables."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.api.objects import Object, timestamp
from kumo.api.volume_secrets import SecretError, driver_parameters, reference, snapshot_reference
from kumo.kubernetes.csi_controllers import topology, volumes
from kumo.kubernetes.csi_controllers.capacity import changes
from kumo.kubernetes.csi_controllers.provisioner import decision as provisioning
from kumo.kubernetes.csi_controllers.provisioner import sources
from kumo.kubernetes.csi_controllers.provisioner.decision import Turn
from kumo.kubernetes.csi_controllers.resizer import decision as resizing
from kumo.kubernetes.csi_controllers.resizer import forms as resize_forms
from kumo.kubernetes.csi_controllers.snapshotter import is_to_be_deleted, new_status
from kumo.kubernetes.snapshot_controller import decision as snapshots
from kumo.kubernetes.snapshot_controller import forms as snapshot_forms

pytestmark = pytest.mark.unit

PREFIX = "csi.storage.k8s.io/"


# -- growing ---------------------------------------------------------------------------------------------------------


def grown(asked: str, has: str, allocated: str = "", status: str = "", conditions: Any = ()) -> Object:
    found: Object = {"phase": "Bound", "capacity": {"storage": has}, "conditions": list(conditions)}
    if allocated:
        found["allocatedResources"] = {"storage": allocated}
    if status:
        found["allocatedResourceStatuses"] = {"storage": status}
    meta = {"name": "c", "namespace": "ns", "uid": "u"}
    return {"metadata": meta, "spec": {"resources": {"requests": {"storage": asked}}}, "status": found}


def disk(size: str) -> Object:
    return {"spec": {"capacity": {"storage": size}, "claimRef": {"uid": "u", "namespace": "ns", "name": "c"}}}


PENDING = {"type": "FileSystemResizePending", "status": "True"}


@pytest.mark.parametrize(
    ("claim", "size", "failed", "controls", "goal"),
    [
        (grown("3", "1"), "1", False, True, 3),
        (grown("5", "1", "3", "ControllerResizeInProgress"), "1", False, True, 3),
        (grown("2", "1", "3", "ControllerResizeInProgress"), "1", True, True, 2),
        (grown("5", "1", "3", "NodeResizePending"), "3", False, True, None),
        (grown("5", "1", "3", "NodeResizeInProgress"), "1", False, True, 3),
        (grown("5", "1", "3", "NodeResizeInfeasible"), "3", False, True, 3),
        (grown("5", "1", "9", "ControllerResizeInfeasible"), "1", False, True, 5),
        (grown("3", "1", "3", "NodeResizePending"), "3", False, True, None),
        (grown("3", "1", "3", "NodeResizeInfeasible"), "3", False, False, 3),
        (grown("3", "1", "3", "ControllerResizeInProgress"), "3", False, True, 3),
        (grown("3", "1", conditions=[PENDING]), "3", False, True, None),
        (grown("3", "1"), "3", False, True, 3),
    ],
)
def test_to_what_size_a_volume_is_grown(
    claim: Object, size: str, failed: bool, controls: bool, goal: int | None
) -> None:
    assert resizing.needs_resize(claim, disk(size))
    assert resizing.target(claim, disk(size), failed=failed, controls=controls) == goal


def test_what_a_claim_says_while_it_grows() -> None:
    claim = grown("3Gi", "1Gi", conditions=[{"type": "ControllerResizeError", "status": "True"}, {"type": "Other"}])
    claim["status"] = resize_forms.in_progress(claim, 3 << 30, fresh=True)
    assert [c["type"] for c in claim["status"]["conditions"]] == ["Other", "Resizing"]
    assert claim["status"]["allocatedResources"] == {"storage": "3Gi"}
    claim["status"] = resize_forms.failed(claim, "x", infeasible=True)
    assert claim["status"]["allocatedResourceStatuses"] == {"storage": "ControllerResizeInfeasible"}
    assert claim["status"]["conditions"][-1]["message"] == "failed to expand pvc with x"
    claim["status"] = resize_forms.waiting_for_node(claim)
    assert claim["status"]["allocatedResourceStatuses"] == {"storage": "NodeResizePending"}
    done = resize_forms.finished(claim, 3 << 30)
    assert done["capacity"] == {"storage": "3Gi"} and done["allocatedResourceStatuses"] == {}
    assert [c["type"] for c in done["conditions"]] == ["Other"]


# -- making ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("selected", "mode", "node", "whose"),
    [
        ("", "Immediate", "", Turn.OURS),
        ("", "Immediate", "n1", Turn.NOBODYS),
        ("", "WaitForFirstConsumer", "", Turn.OTHERS),
        ("", "WaitForFirstConsumer", "n1", Turn.OTHERS),
        ("n1", "WaitForFirstConsumer", "n1", Turn.OURS),
        ("n1", "Immediate", "n1", Turn.OURS),
        ("n2", "WaitForFirstConsumer", "n1", Turn.OTHERS),
        ("n2", "WaitForFirstConsumer", "", Turn.OURS),
    ],
)
def test_whose_turn_it_is(selected: str, mode: str, node: str, whose: Turn) -> None:
    annotations = {"volume.kubernetes.io/selected-node": selected} if selected else {}
    claim: Object = {"metadata": {"annotations": annotations}}
    assert provisioning.turn(claim, {"volumeBindingMode": mode}, node) is whose


@pytest.mark.parametrize(
    ("phase", "policy", "finalizers", "deleting", "wanted", "delete"),
    [
        ("Bound", "Delete", [], False, [provisioning.FINALIZER], False),
        ("Bound", "Retain", [provisioning.FINALIZER], False, [], False),
        ("Released", "Delete", [provisioning.FINALIZER], False, [provisioning.FINALIZER], True),
        ("Released", "Delete", [provisioning.FINALIZER], True, [provisioning.FINALIZER], True),
        ("Released", "Delete", [], True, [], False),
        ("Released", "Retain", [], False, [], False),
        ("Failed", "Delete", [provisioning.FINALIZER], False, [provisioning.FINALIZER], False),
    ],
)
def test_what_is_held_and_what_is_deleted(
    phase: str, policy: str, finalizers: list[str], deleting: bool, wanted: list[str], delete: bool
) -> None:
    meta: Object = {"finalizers": finalizers} | ({"deletionTimestamp": timestamp()} if deleting else {})
    volume = {"metadata": meta, "spec": {"persistentVolumeReclaimPolicy": policy}, "status": {"phase": phase}}
    assert provisioning.wanted_finalizers(volume) == wanted
    assert provisioning.is_to_be_deleted(volume) == delete


@pytest.mark.parametrize(
    ("modes", "many", "expected"),
    [
        (["ReadWriteOnce"], False, "SINGLE_NODE_WRITER"),
        (["ReadWriteOnce"], True, "SINGLE_NODE_MULTI_WRITER"),
        (["ReadWriteOncePod"], False, "SINGLE_NODE_WRITER"),
        (["ReadWriteOncePod"], True, "SINGLE_NODE_SINGLE_WRITER"),
        (["ReadOnlyMany"], True, "MULTI_NODE_READER_ONLY"),
        (["ReadWriteOnce", "ReadWriteMany"], True, "MULTI_NODE_MULTI_WRITER"),
    ],
)
def test_access_modes_as_csi_has_them(modes: list[str], many: bool, expected: str) -> None:
    assert volumes.access_mode(modes, many_writers=many) == expected


@pytest.mark.parametrize("modes", [["ReadOnlyMany", "ReadWriteOnce"], []])
def test_access_modes_that_csi_has_not(modes: list[str]) -> None:
    with pytest.raises(volumes.Unsupported):
        volumes.access_mode(modes, many_writers=False)


def test_places() -> None:
    def csi_node(name: str, *keys: str) -> Object:
        return {"metadata": {"name": name}, "spec": {"drivers": [{"name": "d", "topologyKeys": list(keys)}]}}

    def node(name: str, **labels: str) -> Object:
        return {"metadata": {"name": name, "labels": labels}}

    csi_nodes = [csi_node("n1", "zone"), csi_node("n2", "zone"), csi_node("n3")]
    nodes = [node("n1", zone="b"), node("n2", zone="a"), node("n3")]
    assert topology.requirement("d", [], "", csi_nodes, nodes) == [{"zone": "a"}, {"zone": "b"}]
    assert topology.requirement("d", [], "n1", csi_nodes, nodes) == [{"zone": "b"}]
    allowed = topology.flatten([{"matchLabelExpressions": [{"key": "zone", "values": ["a", "c"]}]}])
    assert allowed == [{"zone": "a"}, {"zone": "c"}]
    for selected, words in (
        ("n1", "is not in allowed topologies"),
        ("n3", "no topology key found"),
        ("n9", "not found"),
    ):
        with pytest.raises(topology.NoPlace, match=words):
            topology.requirement("d", allowed, selected, csi_nodes, nodes)
    affinity = topology.node_affinity([{"zone": "a"}])
    assert topology.is_accessible({"spec": {"nodeAffinity": affinity}}, {"zone": "a"})
    assert not topology.is_accessible({"spec": {"nodeAffinity": affinity}}, {"zone": "b"})
    assert topology.node_affinity([]) is None


def test_copies_are_judged() -> None:
    def origin(phase: str = "Bound", size: str = "2Gi") -> Object:
        spec = {"storageClassName": "s", "volumeName": "v", "resources": {"requests": {"storage": size}}}
        return {"metadata": {"name": "o", "namespace": "ns", "uid": "o1"}, "spec": spec, "status": {"phase": phase}}

    claim: Object = {"metadata": {"name": "c", "namespace": "ns"}, "spec": dict(origin()["spec"])}
    assert sources.claim_trouble(origin(), claim) == ""
    assert "must have a status of Bound" in sources.claim_trouble(origin("Pending"), claim)
    assert "greater than or equal in size" in sources.claim_trouble(origin(size="3Gi"), claim)
    ref = {"uid": "o1", "name": "o", "namespace": "ns"}
    volume: Object = {"spec": {"claimRef": ref, "csi": {"driver": "d"}}, "status": {"phase": "Bound"}}
    assert sources.volume_trouble(volume, origin(), claim, {"provisioner": "d"}) == ""
    assert (
        sources.volume_trouble(volume, origin(), claim, {"provisioner": "e"})
        == "claim in dataSource not bound or invalid"
    )
    claim["spec"]["volumeMode"] = "Block"
    assert "same volume mode" in sources.volume_trouble(volume, origin(), claim, {"provisioner": "d"})


# -- secrets ---------------------------------------------------------------------------------------------------------


def secret(name: str, namespace: str, kind: str = "provisioner") -> dict[str, str]:
    return {f"{PREFIX}{kind}-secret-name": name, f"{PREFIX}{kind}-secret-namespace": namespace}


CLAIM: Object = {"metadata": {"name": "c", "namespace": "ns", "annotations": {"example.com/s": "mine"}}}


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, None),
        (secret("s", "n"), {"name": "s", "namespace": "n"}),
        (secret("${pvc.name}-${pv.name}", "${pvc.namespace}"), {"name": "c-pv", "namespace": "ns"}),
        (secret("${pvc.annotations['example.com/s']}", "n"), {"name": "mine", "namespace": "n"}),
        ({f"{PREFIX}secret-name": "d", f"{PREFIX}secret-namespace": "n"}, {"name": "d", "namespace": "n"}),
        ({"csiProvisionerSecretName": "o", "csiProvisionerSecretNamespace": "n"}, {"name": "o", "namespace": "n"}),
    ],
)
def test_secrets_of_a_class(parameters: dict[str, str], expected: dict[str, str] | None) -> None:
    assert reference("Provisioner", parameters, "pv", CLAIM) == expected


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({f"{PREFIX}provisioner-secret-name": "s"}, "Both must be specified"),
        (secret("", "n"), "is empty"),
        (secret("${pvc.uid}", "n"), r"invalid tokens: \[\"pvc.uid\"\]"),
        (secret("s", "${pvc.name}"), "invalid tokens"),
        (secret("${pvc.annotations['example.com/s']}", "${pv.name}!"), "not a valid namespace name"),
        (secret("s", "n") | {"csiProvisionerSecretName": "s"}, "with both"),
    ],
)
def test_secrets_that_can_t_be(parameters: dict[str, str], words: str) -> None:
    with pytest.raises(SecretError, match=words):
        reference("Provisioner", parameters, "pv", CLAIM)


def test_what_the_driver_is_told() -> None:
    assert driver_parameters(secret("s", "n") | {"speed": "1", f"{PREFIX}fstype": "xfs"}) == {"speed": "1"}
    with pytest.raises(SecretError, match="unknown parameter key"):
        driver_parameters({f"{PREFIX}oops": "x"})
    given = secret("${volumesnapshot.name}", "${volumesnapshot.namespace}", "snapshotter")
    assert snapshot_reference(given, "content", CLAIM) == {"name": "c", "namespace": "ns"}


# -- capacity --------------------------------------------------------------------------------------------------------


def test_capacities_are_kept_up_to_date() -> None:
    def obj(name: str, zone: str, capacity: str) -> Object:
        place = {"matchLabels": {"zone": zone}}
        return {"metadata": {"name": name}, "storageClassName": "s", "nodeTopology": place, "capacity": capacity}

    wanted = {("s", (("zone", "a"),)): {"capacity": "2Gi"}, ("s", (("zone", "b"),)): {"capacity": "1Gi"}}
    update, delete = changes(
        wanted, [obj("1", "a", "1Gi"), obj("2", "b", "1Gi"), obj("3", "b", "1Gi"), obj("4", "c", "1")]
    )
    assert [(o["metadata"]["name"], f) for o, f in update] == [("1", {"capacity": "2Gi"})]
    assert [o["metadata"]["name"] for o in delete] == ["3", "4"]


# -- snapshots -------------------------------------------------------------------------------------------------------


def snapshot(name: str = "s", content: str = "", **status: Any) -> Object:
    source = {"volumeSnapshotContentName": content} if content else {"persistentVolumeClaimName": "c"}
    return {"metadata": {"name": name, "namespace": "ns", "uid": "u"}, "spec": {"source": source}, "status": status}


def content(uid: str = "u", given: bool = False, **status: Any) -> Object:
    ref = {"name": "s", "namespace": "ns", "uid": uid}
    source = {"snapshotHandle": "h"} if given else {"volumeHandle": "h"}
    return {"metadata": {"name": "k"}, "spec": {"source": source, "volumeSnapshotRef": ref}, "status": status}


@pytest.mark.parametrize(
    ("wish", "there", "reason"),
    [
        (snapshot(), content(), ""),
        (snapshot(content="k"), content("", given=True), ""),
        (snapshot(content="k"), content(given=True), ""),
        (snapshot(), content(""), "SnapshotContentMisbound"),
        (snapshot(content="k"), content("other", given=True), "SnapshotContentMisbound"),
        (snapshot("t", content="k"), content("", given=True), "SnapshotContentMisbound"),
        (snapshot(), content(given=True), "SnapshotContentMismatch"),
        (snapshot(content="k"), content(), "SnapshotContentMismatch"),
    ],
)
def test_a_content_is_one_snapshot_s(wish: Object, there: Object, reason: str) -> None:
    if not reason:
        snapshots.check_content(wish, there)
        return
    with pytest.raises(snapshots.Trouble) as caught:
        snapshots.check_content(wish, there)
    assert caught.value.reason == reason


def test_a_snapshot_says_what_its_content_says() -> None:
    ready = content(readyToUse=True, creationTime=1_700_000_000_000_000_000, restoreSize=1 << 30)
    status = snapshot_forms.status_of(snapshot(error={"message": "x"}), ready)
    assert status == {
        "boundVolumeSnapshotContentName": "k",
        "readyToUse": True,
        "creationTime": "2023-11-14T22:13:20Z",
        "restoreSize": "1Gi",
    }
    failed = snapshot_forms.status_of(snapshot(), content(readyToUse=False, error={"message": "y"}))
    assert failed["error"] == {"message": "y"} and failed["readyToUse"] is False
    once = snapshot_forms.failed_status(snapshot(), "z", unready=True)
    assert once is not None and snapshot_forms.failed_status({"status": once}, "z", unready=True) is None


def test_the_default_class_is_the_driver_s() -> None:
    def made(name: str, driver: str, default: str = "true") -> Object:
        annotations = {"snapshot.storage.kubernetes.io/is-default-class": default}
        return {"metadata": {"name": name, "annotations": annotations}, "driver": driver}

    classes = [made("a", "d"), made("b", "e"), made("c", "d", "false")]
    assert snapshots.default_class(classes, "d")["metadata"]["name"] == "a"
    for among, words in (
        (classes, "cannot find default snapshot class"),
        ([*classes, made("x", "f"), made("y", "f")], "2"),
    ):
        with pytest.raises(snapshots.Trouble, match=words):
            snapshots.default_class(among, "f")


def test_what_is_used_stays() -> None:
    wanted = {"dataSource": {"kind": "VolumeSnapshot", "apiGroup": "snapshot.storage.k8s.io", "name": "s"}}
    claim = {"metadata": {"name": "c", "namespace": "ns"}, "spec": wanted, "status": {"phase": "Pending"}}
    assert snapshots.is_being_restored(snapshot(), [claim])
    assert not snapshots.is_being_restored(snapshot(), [{**claim, "status": {"phase": "Bound"}}])
    assert snapshots.is_being_cut(claim, [snapshot()]) and not snapshots.is_being_cut(claim, [snapshot()], "s")
    assert not snapshots.is_being_cut(claim, [snapshot(readyToUse=True)])


def test_when_a_snapshot_is_deleted() -> None:
    being = "snapshot.storage.kubernetes.io/volumesnapshot-being-"

    def gone(obj: Object, *marks: str) -> Object:
        meta = {"deletionTimestamp": timestamp(), "annotations": {being + m: "yes" for m in marks}}
        return {**obj, "metadata": meta}

    assert not is_to_be_deleted(content()) and not is_to_be_deleted(gone(content()))
    assert is_to_be_deleted(gone(content(), "deleted")) and is_to_be_deleted(gone(content("", given=True)))
    assert not is_to_be_deleted(gone(content(), "deleted", "created")), "the driver has not answered yet"
    status = new_status({"status": {"error": {"message": "x"}}}, "h", ready=True, created=5, size=0)
    assert status == {"snapshotHandle": "h", "creationTime": 5, "readyToUse": True}
