"""Binding of claims and volumes: which volume a claim gets, and what becomes of both."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.api.objects import Object, annotations_of, name_of
from kumo.api.volume_claims import best_match, bound_volume, default_class, match_on_node, mismatch
from kumo.kubernetes.controller_manager import ephemeral_volumes
from kumo.kubernetes.controller_manager.volume_binding import claims, forms, recycling, volumes
from kumo.kubernetes.controller_manager.volume_binding.claims import ClaimWorld

pytestmark = pytest.mark.unit

RWO, ROX, RWX = "ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany"
DONE = {"pv.kubernetes.io/bind-completed": "yes"}
OURS = {"pv.kubernetes.io/bound-by-controller": "yes"}
REF = {"name": "c", "namespace": "ns", "uid": "u"}


def volume(name: str = "v", size: str = "1Gi", modes: tuple[str, ...] = (RWO,), **more: Any) -> Object:
    meta: Object = {"name": name, "resourceVersion": "7"}
    meta |= {k: more.pop(k) for k in ("labels", "annotations", "deletionTimestamp") if k in more}
    status = {"phase": more.pop("phase", "Available")}
    return {
        "metadata": meta,
        "spec": {"capacity": {"storage": size}, "accessModes": list(modes), **more},
        "status": status,
    }


def freed(policy: str, **more: Any) -> Object:
    return volume(claimRef=REF, persistentVolumeReclaimPolicy=policy, **more)


def claim(size: str = "1Gi", modes: tuple[str, ...] = (RWO,), **more: Any) -> Object:
    meta: Object = {"name": "c", "namespace": "ns", "uid": "u", "resourceVersion": "5"}
    meta |= {k: more.pop(k) for k in ("annotations",) if k in more}
    status = {"phase": more.pop("phase", "Pending")}
    more.setdefault("storageClassName", "")
    spec = {"resources": {"requests": {"storage": size}}, "accessModes": list(modes), **more}
    return {"metadata": meta, "spec": spec, "status": status}


def on(*nodes: str) -> Object:
    term = {"matchExpressions": [{"key": "host", "operator": "In", "values": list(nodes)}]}
    return {"required": {"nodeSelectorTerms": [term]}}


@pytest.mark.parametrize(
    ("wanted", "there", "found"),
    [
        (claim(), [volume("big", "5Gi"), volume("small", "1Gi"), volume("tiny", "1Mi")], "small"),
        (claim("1.5Gi"), [volume("a"), volume("b", "2Gi")], "b"),
        (claim(), [volume("wide", modes=(RWO, ROX)), volume("exact", "9Gi")], "exact"),
        (claim(modes=(ROX,)), [volume("wide", modes=(RWO, ROX)), volume("exact")], "wide"),
        (claim(modes=(RWX,)), [volume("one")], None),
        (claim(storageClassName="fast"), [volume("a"), volume("b", storageClassName="fast")], "b"),
        (claim(), [volume("a", storageClassName="fast")], None),
        (claim(storageClassName=None), [volume("a")], "a"),
        (claim(annotations={"volume.beta.kubernetes.io/storage-class": "old"}), [volume(storageClassName="old")], "v"),
        (claim(volumeMode="Block"), [volume("a"), volume("b", "2Gi", volumeMode="Block")], "b"),
        (claim(selector={"matchLabels": {"a": "b"}}), [volume("a"), volume("b", "2Gi", labels={"a": "b"})], "b"),
        (claim(selector={}), [volume("a")], "a"),
        (claim(volumeAttributesClassName="gold"), [volume("a")], None),
        (claim(), [volume("a", volumeAttributesClassName="gold")], None),
        (claim(), [volume("a", phase="Pending")], None),
        (claim(), [volume("a", phase="Released", claimRef={**REF, "uid": "old"})], None),
        (claim(), [volume("a"), volume("mine", "9Gi", claimRef={"name": "c", "namespace": "ns"})], "mine"),
        (claim(), [volume("mine", phase="Bound", storageClassName="any", claimRef=REF)], "mine"),
        (claim(), [volume("a", claimRef={"name": "c", "namespace": "other"})], None),
        (claim("2Gi"), [volume("mine", claimRef=REF)], None),
        (claim(), [volume("a", deletionTimestamp="2026-01-01T00:00:00Z")], None),
        (claim(), [], None),
    ],
)
def test_volumes_the_best_match(wanted: Object, there: list[Object], found: str | None) -> None:
    got = best_match(wanted, there)
    assert (name_of(got) if got else None) == found
    got = best_match(wanted, [v for v in there if not v["spec"].get("claimRef")], delayed=True)
    assert got is None, "a delayed claim gets only what is meant for it"


def test_volumes_the_match_on_a_node() -> None:
    near, far = volume("near", "2Gi", nodeAffinity=on("a")), volume("far", nodeAffinity=on("b"))
    labels = {"host": "a"}
    assert match_on_node(claim(), [near, far], "a", labels) == near
    assert match_on_node(claim(), [near, far], "a", labels, ["near"]) is None
    assert match_on_node(claim(modes=(RWX,)), [near], "a", labels) is None
    meant = volume("meant", claimRef={"name": "c", "namespace": "ns"}, nodeAffinity=on("b"))
    assert match_on_node(claim(), [near, meant], "a", labels) is None
    assert match_on_node(claim(), [near, meant], "b", {"host": "b"}) == meant


@pytest.mark.parametrize(
    ("there", "why"),
    [
        (volume(), ""),
        (volume(deletionTimestamp="x"), 'the volume is marked for deletion "v"'),
        (volume(size="1Mi"), "requested PV is too small"),
        (volume(storageClassName="s"), "storageClassName does not match"),
        (volume(volumeAttributesClassName="s"), "volumeAttributesClassName does not match"),
        (volume(volumeMode="Block"), "incompatible volumeMode"),
        (volume(modes=(RWX,)), "incompatible accessMode"),
    ],
)
def test_volumes_why_a_named_one_won_t_do(there: Object, why: str) -> None:
    assert mismatch(there, claim()) == why
    made = claims.decide(claim(volumeName="v"), ClaimWorld(named=there))
    if why:
        text = f'Cannot bind to requested volume "v": {why}'
        assert (made.phase, made.event) == ("Pending", ("Warning", "VolumeMismatch", text))
    else:
        assert made.volume == there


def test_volumes_the_newest_default_class() -> None:
    def made(name: str, at: str, mark: str = "true") -> Object:
        notes = {"storageclass.kubernetes.io/is-default-class": mark}
        return {"metadata": {"name": name, "creationTimestamp": at, "annotations": notes}}

    old, new = made("a", "2026-01-01T00:00:00Z"), made("c", "2026-01-02T00:00:00Z")
    same, no = made("b", "2026-01-02T00:00:00Z"), made("d", "2026-01-03T00:00:00Z", "false")
    assert default_class([old, new, same, no]) == same
    assert default_class([no]) is None


WAIT = {"metadata": {"name": "w"}, "provisioner": "example.com/p", "volumeBindingMode": "WaitForFirstConsumer"}
NOW = {"metadata": {"name": "i"}, "provisioner": "example.com/p", "volumeBindingMode": "Immediate"}
IN_TREE = {"metadata": {"name": "t"}, "provisioner": "kubernetes.io/no-provisioner"}


@pytest.mark.parametrize(
    ("wanted", "world", "phase", "reason", "words"),
    [
        (claim(), ClaimWorld(), "Pending", "FailedBinding", claims.NO_VOLUME),
        (claim(volumeName="v"), ClaimWorld(), "Pending", "", ""),
        (
            claim(volumeName="v"),
            ClaimWorld(named=volume(claimRef={**REF, "name": "d"})),
            "Pending",
            "FailedBinding",
            'volume "v" already bound to a different claim.',
        ),
        (
            claim(storageClassName="w"),
            ClaimWorld(storage_class=WAIT),
            "Pending",
            "WaitForFirstConsumer",
            "waiting for first consumer to be created before binding",
        ),
        (
            claim(storageClassName="w"),
            ClaimWorld(storage_class=WAIT, waiting=["a"]),
            "Pending",
            "WaitForPodScheduled",
            "waiting for pod a to be scheduled",
        ),
        (
            claim(storageClassName="w"),
            ClaimWorld(storage_class=WAIT, waiting=["a", "b"]),
            "Pending",
            "WaitForPodScheduled",
            "waiting for pods a,b to be scheduled",
        ),
        (
            claim(storageClassName="x"),
            ClaimWorld(),
            "",
            "ProvisioningFailed",
            'storageclass.storage.k8s.io "x" not found',
        ),
        (
            claim(storageClassName="t"),
            ClaimWorld(storage_class=IN_TREE),
            "",
            "ProvisioningFailed",
            "no volume plugin matched name: kubernetes.io/no-provisioner",
        ),
    ],
)
def test_volumes_a_claim_that_waits(wanted: Object, world: ClaimWorld, phase: str, reason: str, words: str) -> None:
    made = claims.decide(wanted, world)
    assert (made.volume, made.phase, made.provisioner) == (None, phase, "")
    assert (made.event or ("", "", ""))[1:] == (reason, words)


def test_volumes_a_claim_for_a_provisioner() -> None:
    chosen = {"volume.kubernetes.io/selected-node": "n"}
    for wanted, world in (
        (claim(storageClassName="i"), ClaimWorld(storage_class=NOW)),
        (claim(storageClassName="w", annotations=chosen), ClaimWorld(storage_class=WAIT)),
    ):
        made = claims.decide(wanted, world)
        assert (made.provisioner, made.phase) == ("example.com/p", "")
        assert made.event is not None and made.event[1] == "ExternalProvisioning"
        assert "external provisioner 'example.com/p'" in made.event[2]
        told = forms.claim_for_provisioner(wanted, made.provisioner)
        assert annotations_of(told)["volume.kubernetes.io/storage-provisioner"] == "example.com/p"
        assert annotations_of(told)["volume.beta.kubernetes.io/storage-provisioner"] == "example.com/p"
        assert forms.claim_for_provisioner(told, made.provisioner) == told


def test_volumes_the_default_class_comes_late() -> None:
    world = ClaimWorld(default={"metadata": {"name": "std"}})
    assert claims.decide(claim(storageClassName=None), world).storage_class == "std"
    assert claims.decide(claim(storageClassName=""), world).storage_class == ""
    free = ClaimWorld(default={"metadata": {"name": "std"}}, candidates=[volume()])
    assert claims.decide(claim(storageClassName=None), free).volume == volume()


@pytest.mark.parametrize(
    ("wanted", "named", "reason"),
    [
        (claim(annotations=DONE), None, "ClaimLost"),
        (claim(annotations=DONE, volumeName="v"), None, "ClaimLost"),
        (claim(annotations=DONE, volumeName="v"), volume(claimRef={**REF, "uid": "x"}), "ClaimMisbound"),
        (claim(annotations=DONE, volumeName="v"), volume(claimRef=REF), ""),
        (claim(annotations=DONE, volumeName="v"), volume(), ""),
    ],
)
def test_volumes_a_claim_bound_before(wanted: Object, named: Object | None, reason: str) -> None:
    made = claims.decide(wanted, ClaimWorld(named=named))
    assert made.phase == ("Lost" if reason else "") and (made.volume is None) == bool(reason)
    assert (made.lost or ("", "", ""))[1] == reason


@pytest.mark.parametrize(
    ("there", "holder", "phase", "unbind", "failure"),
    [
        (volume(), None, "Available", False, ""),
        (volume(claimRef={"name": "c", "namespace": "ns"}), None, "Available", False, ""),
        (volume(claimRef=REF), claim(volumeName="v"), "Bound", False, ""),
        (volume(claimRef=REF), claim(volumeName="other"), "Available", True, ""),
        (freed("Retain"), None, "Released", False, ""),
        (freed("Retain", phase="Failed"), None, "", False, ""),
        (freed("Recycle"), None, "Released", False, "VolumeFailedRecycle"),
        (freed("Delete"), None, "Released", False, "VolumeFailedDelete"),
        (
            freed("Odd"),
            None,
            "Released",
            False,
            "VolumeUnknownReclaimPolicy",
        ),
        (
            freed("Delete", csi={"driver": "d"}),
            None,
            "Released",
            False,
            "",
        ),
        (
            freed("Delete", annotations={forms.PROVISIONED_BY: "example.com/p"}),
            claim(volumeName="other"),
            "Released",
            False,
            "",
        ),
        (
            freed("Delete", annotations={forms.PROVISIONED_BY: "kubernetes.io/gone"}),
            None,
            "Released",
            False,
            "VolumeFailedDelete",
        ),
    ],
)
def test_volumes_what_becomes_of_one(
    there: Object, holder: Object | None, phase: str, unbind: bool, failure: str
) -> None:
    made = volumes.decide(there, holder)
    assert (made.phase, made.unbind, (made.failure or ("",))[0]) == (phase, unbind, failure)


def test_volumes_the_claim_that_is_not_bound_yet() -> None:
    assert volumes.decide(volume(claimRef=REF), claim()).ask_claim
    made = volumes.decide(volume(claimRef=REF, volumeMode="Block"), claim())
    assert not made.ask_claim
    assert [e[2] for e in (*made.events, *made.claim_events)] == [
        'Cannot bind PersistentVolume to requested PersistentVolumeClaim "c" due to incompatible volumeMode.',
        'Cannot bind PersistentVolume "v" to requested PersistentVolumeClaim due to incompatible volumeMode.',
    ]


@pytest.mark.parametrize(
    ("path", "words"), [("/data/x", "host_path deleter only supports /tmp/.+"), ("/tmp/x", "left")]
)
def test_volumes_the_host_s_files_stay(path: str, words: str) -> None:
    made = volumes.decide(freed("Delete", hostPath={"path": path}), None)
    assert made.failure is not None and words in made.failure[1] and path in made.failure[1]


def test_volumes_both_sides_of_a_binding() -> None:
    bound = bound_volume(volume(), claim())
    kind = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "resourceVersion": "5"}
    assert bound["spec"]["claimRef"] == REF | kind and annotations_of(bound) == OURS
    assert bound_volume(bound, claim()) == bound
    reserved = volume(claimRef={"name": "c", "namespace": "ns"})
    assert annotations_of(bound_volume(reserved, claim())) == {}, "that was the user's wish"
    mine = forms.bound_claim(claim(), volume())
    assert mine["spec"]["volumeName"] == "v" and annotations_of(mine) == OURS | DONE
    assert annotations_of(forms.bound_claim(claim(volumeName="v"), volume())) == DONE
    free = forms.unbound_volume(bound)
    assert "claimRef" not in free["spec"] and "annotations" not in free["metadata"]
    assert forms.unbound_volume(volume(claimRef=REF))["spec"]["claimRef"] == {"name": "c", "namespace": "ns"}


def test_volumes_a_claim_s_status() -> None:
    there = volume(size="5Gi", modes=(RWO, ROX), volumeAttributesClassName="gold")
    status = forms.claim_with_status(claim(), "Bound", there)["status"]
    assert status == {
        "phase": "Bound",
        "accessModes": [RWO, ROX],
        "capacity": {"storage": "5Gi"},
        "currentVolumeAttributesClassName": "gold",
    }
    grown = {**claim(), "status": {**status, "capacity": {"storage": "4Gi"}}}
    assert forms.claim_with_status(grown, "Bound", there)["status"]["capacity"] == {"storage": "4Gi"}
    assert forms.claim_with_status(grown, "Lost")["status"] == {"phase": "Lost"}
    resized = volume(size="5Gi", annotations={forms.SIZE_BEFORE_RESIZE: "3Gi"})
    assert forms.claim_with_status(claim(), "Bound", resized)["status"]["capacity"] == {"storage": "3Gi"}
    garbled = volume(size="5Gi", annotations={forms.SIZE_BEFORE_RESIZE: "much"})
    assert forms.claim_with_status(claim(), "Bound", garbled)["status"]["capacity"] == {"storage": "5Gi"}


def test_volumes_of_a_pod_s_own() -> None:
    template = {"metadata": {"labels": {"a": "b"}, "name": "no"}, "spec": {"accessModes": [RWO]}}
    listed = [{"name": "data", "ephemeral": {"volumeClaimTemplate": template}}, {"name": "x", "emptyDir": {}}]
    pod = {"metadata": {"name": "p", "namespace": "ns", "uid": "1"}, "spec": {"volumes": listed}}
    ((name, made),) = ephemeral_volumes.claims_for(pod)
    owner = made["metadata"].pop("ownerReferences")
    assert (name, made["metadata"]) == ("data", {"name": "p-data", "namespace": "ns", "labels": {"a": "b"}})
    assert owner == [
        {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "1", "controller": True, "blockOwnerDeletion": True}
    ]
    assert ephemeral_volumes.conflict(pod, {"metadata": {"name": "p-data", "ownerReferences": owner}}) == ""
    text = "PVC ns/p-data was not created for pod ns/p (pod is not owner)"
    assert ephemeral_volumes.conflict(pod, {"metadata": {"name": "p-data"}}) == text


@pytest.mark.parametrize(
    ("provisioner", "policy", "before", "annotations", "after"),
    [
        (
            "kubernetes.io/aws-ebs",
            "Delete",
            [forms.OWN_FINALIZER],
            {"pv.kubernetes.io/migrated-to": "ebs.csi.aws.com"},
            [],
        ),
        ("kubernetes.io/gone", "Delete", ["x", forms.EXTERNAL_FINALIZER], {}, ["x", forms.OWN_FINALIZER]),
        ("kubernetes.io/gone", "Retain", [forms.OWN_FINALIZER], {}, []),
        ("d.example.com", "Delete", [forms.EXTERNAL_FINALIZER], {}, [forms.EXTERNAL_FINALIZER]),
    ],
)
def test_volumes_of_plugins_that_became_drivers(
    provisioner: str, policy: str, before: list[str], annotations: dict[str, str], after: list[str]
) -> None:
    made = {"metadata": {"annotations": {forms.PROVISIONED_BY: provisioner}, "finalizers": before}}
    there = forms.migrated_volume({**made, "spec": {"persistentVolumeReclaimPolicy": policy}})
    assert there["metadata"] == {"annotations": {forms.PROVISIONED_BY: provisioner, **annotations}, "finalizers": after}
    assert forms.migrated_volume(there) == there


def test_volumes_a_former_plugin_s_class_is_its_driver_s() -> None:
    world = ClaimWorld(storage_class={"metadata": {"name": "s"}, "provisioner": "kubernetes.io/gce-pd"})
    assert claims.decide(claim(storageClassName="s"), world).provisioner == "pd.csi.storage.gke.io"


def test_volumes_are_emptied_by_a_pod() -> None:
    there = freed("Recycle", hostPath={"path": "/data/x"}, capacity={"storage": "5Gi"})
    made = volumes.decide(there, None)
    assert (made.phase, made.recycle, made.failure) == ("Released", True, None)
    pod = recycling.scrubber(there)
    assert pod["metadata"] == {"name": "recycler-for-v", "namespace": "default"}
    assert pod["spec"]["volumes"] == [{"name": "vol", "hostPath": {"path": "/data/x"}}]
    assert pod["spec"]["activeDeadlineSeconds"] == 150 and recycling.volume_of(pod) == [("", "v")]
    share = freed("Recycle", nfs={"server": "s", "path": "/"})
    assert recycling.scrubber(share)["spec"]["activeDeadlineSeconds"] == 300
    assert recycling.outcome(pod) is None and recycling.outcome({"status": {"phase": "Succeeded"}}) == ""
    failed = {"status": {"phase": "Failed", "message": "no room"}}
    assert recycling.outcome(failed) == "Recycle failed: failed to recycle volume: no room"
