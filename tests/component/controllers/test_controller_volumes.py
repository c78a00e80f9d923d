"""Claims find volumes, pods wait for claims, and volumes are freed: real API server, controllers and scheduler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kumo.api.objects import Object, annotations_of, name_of, uid_of
from kumo.api.resources import EVENTS, GVR, PODS, core
from support.hollow import HollowCluster, until

pytestmark = pytest.mark.component

CLAIMS, VOLUMES = core("persistentvolumeclaims"), core("persistentvolumes", False)
CLASSES = GVR("storage.k8s.io", "v1", "storageclasses", False)
WAITING = {"provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer"}


def volume(name: str, size: str, storage_class: str = "", host: str = "") -> Object:
    spec: Object = {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "storageClassName": storage_class}
    spec |= {"hostPath": {"path": f"/data/{name}"}}
    if host:
        term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [host]}]}
        spec["nodeAffinity"] = {"required": {"nodeSelectorTerms": [term]}}
    return {"metadata": {"name": name}, "spec": spec}


def claim(name: str, size: str = "1Gi", **more: Any) -> Object:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **more}
    return {"metadata": {"name": name, "namespace": "default"}, "spec": spec}


def pod(name: str, **source: Any) -> Object:
    spec = {"containers": [{"name": "c", "image": "busybox"}], "volumes": [{"name": "data", **source}]}
    return {"metadata": {"name": name, "namespace": "default"}, "spec": spec}


def using(name: str) -> Object:
    return {"persistentVolumeClaim": {"claimName": name}}


class Watcher:
    """What the tests wait for."""

    def __init__(self, cluster: HollowCluster) -> None:
        self.client = cluster.client
        self._informers = cluster.informers

    async def that(self, gvr: GVR, name: str, check: Callable[[Object], Any], namespace: str = "") -> Object:
        """The object once the check holds of it."""
        informer = self._informers.informer(gvr)

        def found() -> Object | None:
            obj = informer.get(name, namespace)
            return obj if obj is not None and check(obj) else None

        made: Object = await until(informer, found)
        return made

    async def claim(self, name: str, phase: str, volume: str = "") -> Object:
        def check(obj: Object) -> bool:
            return bool(obj["status"]["phase"] == phase and obj["spec"].get("volumeName", "") == volume)

        return await self.that(CLAIMS, name, check, "default")

    async def volume(self, name: str, phase: str) -> Object:
        return await self.that(VOLUMES, name, lambda obj: obj["status"]["phase"] == phase)

    async def event(self, name: str, reason: str, words: str) -> None:
        informer = self._informers.informer(EVENTS)

        def told() -> bool:
            return any(
                (e["involvedObject"]["name"], e["reason"]) == (name, reason) and words in e["message"]
                for e in informer.objects()
            )

        await until(informer, told)


async def test_volumes_are_bound_and_freed(cluster: HollowCluster) -> None:
    see, client = Watcher(cluster), cluster.client
    await client.create(CLAIMS, claim("c", storageClassName=""))
    await see.event("c", "FailedBinding", "no persistent volumes available for this claim and no storage class is set")
    for name, size in (("big", "5Gi"), ("small", "2Gi")):
        await client.create(VOLUMES, volume(name, size))
    bound = await see.that(CLAIMS, "c", lambda c: c["status"]["phase"] == "Bound", "default")
    assert bound["status"]["accessModes"] == ["ReadWriteOnce"]
    mine = bound["spec"]["volumeName"]
    held = await see.volume(mine, "Bound")
    assert held["spec"]["claimRef"]["uid"] == uid_of(bound)
    assert bound["status"]["capacity"] == held["spec"]["capacity"]
    for obj in (bound, held):
        assert annotations_of(obj)["pv.kubernetes.io/bound-by-controller"] == "yes"
    await client.delete(VOLUMES, mine)
    await client.delete(CLAIMS, "c", "default")
    await until(cluster.informers.informer(VOLUMES), lambda: cluster.informers.informer(VOLUMES).get(mine) is None)

    other = ({"big", "small"} - {mine}).pop()
    for name in ("d", "e"):
        await client.create(CLAIMS, claim(name, storageClassName="", volumeName=other))
    first = await see.volume(other, "Bound")
    winner = first["spec"]["claimRef"]["name"]
    await see.event(({"d", "e"} - {winner}).pop(), "FailedBinding", f'volume "{other}" already bound')
    await client.delete(CLAIMS, winner, "default")
    await see.volume(other, "Released")
    again = {"metadata": {"name": other}, "spec": {"claimRef": None}}
    await client.patch(VOLUMES, other, again)
    freed = await see.that(VOLUMES, other, lambda v: v["status"]["phase"] == "Bound")
    loser = freed["spec"]["claimRef"]["name"]
    assert loser == ({"d", "e"} - {winner}).pop()
    await see.claim(loser, "Bound", other)
    lost = {"metadata": {"finalizers": None}}
    await client.delete(VOLUMES, other)
    await client.patch(VOLUMES, other, lost)
    await see.claim(loser, "Lost", other)
    await see.event(loser, "ClaimLost", "Data on the volume is lost!")


async def test_volumes_of_classes_and_provisioners(cluster: HollowCluster) -> None:
    see, client = Watcher(cluster), cluster.client
    await client.create(CLAIMS, claim("c"))
    await see.event("c", "FailedBinding", "no storage class is set")
    notes = {"storageclass.kubernetes.io/is-default-class": "true"}
    await client.create(CLASSES, {"metadata": {"name": "std", "annotations": notes}, "provisioner": "example.com/p"})

    def is_told(obj: Object) -> bool:
        told = annotations_of(obj).get("volume.kubernetes.io/storage-provisioner") == "example.com/p"
        return told and obj["spec"].get("storageClassName") == "std"

    asked = await see.that(CLAIMS, "c", is_told, "default")
    await see.event("c", "ExternalProvisioning", "external provisioner 'example.com/p'")
    made = volume("pvc-1", "1Gi", "std")
    made["metadata"]["annotations"] = {"pv.kubernetes.io/provisioned-by": "example.com/p"}
    ref = {"kind": "PersistentVolumeClaim", "name": "c", "namespace": "default", "uid": uid_of(asked)}
    made["spec"] |= {"claimRef": ref, "persistentVolumeReclaimPolicy": "Delete"}
    await client.create(VOLUMES, made)
    await see.claim("c", "Bound", "pvc-1")
    await client.delete(CLAIMS, "c", "default")
    freed = await see.volume("pvc-1", "Released")
    assert "deletionTimestamp" not in freed["metadata"], "its provisioner deletes it"


async def test_pods_wait_for_their_volumes(cluster: HollowCluster) -> None:
    see, client = Watcher(cluster), cluster.client
    cluster.node("n1")
    cluster.node("n2")
    await client.create(CLASSES, {"metadata": {"name": "local"}, **WAITING})
    await client.create(CLASSES, {"metadata": {"name": "ext"}, **WAITING, "provisioner": "example.com/p"})
    await client.create(PODS, pod("early", **using("c")))
    await see.event("early", "FailedScheduling", 'persistentvolumeclaim "c" not found')
    await client.create(CLAIMS, claim("c", storageClassName="local"))
    await see.event("early", "FailedScheduling", "2 node(s) didn't find available persistent volumes to bind")
    await client.create(VOLUMES, volume("here", "1Gi", "local", "n2"))
    placed = await see.that(PODS, "early", lambda p: p["spec"].get("nodeName"), "default")
    assert placed["spec"]["nodeName"] == "n2"
    await see.claim("c", "Bound", "here")

    await client.create(CLAIMS, claim("now", storageClassName=""))
    await client.create(PODS, pod("unbound", **using("now")))
    await see.event("unbound", "FailedScheduling", "pod has unbound immediate PersistentVolumeClaims")

    template = {"spec": claim("", storageClassName="ext")["spec"]}
    await client.create(PODS, pod("own", ephemeral={"volumeClaimTemplate": template}))

    def is_selected(obj: Object) -> bool:
        return "volume.kubernetes.io/selected-node" in annotations_of(obj)

    told = await see.that(CLAIMS, "own-data", is_selected, "default")
    assert told["metadata"]["ownerReferences"][0]["name"] == "own"
    node = annotations_of(told)["volume.kubernetes.io/selected-node"]
    found = await client.get(PODS, "own", "default")
    assert not found["spec"].get("nodeName"), "it waits for the volume"
    made = volume("made", "1Gi", "ext", node)
    made["spec"]["claimRef"] = {"name": "own-data", "namespace": "default", "uid": uid_of(told)}
    await client.create(VOLUMES, made)
    placed = await see.that(PODS, "own", lambda p: p["spec"].get("nodeName"), "default")
    assert placed["spec"]["nodeName"] == node
    await client.delete(PODS, "own", "default", grace_period=0)
    claims = cluster.informers.informer(CLAIMS)
    await until(claims, lambda: "own-data" not in {name_of(c) for c in claims.objects()})

    await client.create(CLAIMS, claim("p-data", storageClassName=""))
    await client.create(PODS, pod("p", ephemeral={"volumeClaimTemplate": template}))
    await see.event("p", "FailedBinding", "PVC default/p-data was not created for pod default/p (pod is not owner)")


async def test_a_volume_is_emptied_and_used_again(cluster: HollowCluster) -> None:
    see, client = Watcher(cluster), cluster.client
    made = volume("again", "1Gi", "old")
    made["spec"]["persistentVolumeReclaimPolicy"] = "Recycle"
    await client.create(VOLUMES, made)
    await client.create(CLAIMS, claim("c", storageClassName="old"))
    await see.claim("c", "Bound", "again")
    await client.delete(CLAIMS, "c", "default")
    for phase, message in (("Failed", "no room"), ("Succeeded", "")):
        scrubber = await see.that(PODS, "recycler-for-again", lambda p: p["status"]["phase"] == "Pending", "default")
        assert scrubber["spec"]["volumes"][0]["hostPath"]["path"] == "/data/again"
        status = {"status": {"phase": phase, "message": message}}
        await client.patch(PODS, "recycler-for-again", status, "default", subresource="status")
        if phase == "Failed":
            await see.event("again", "VolumeFailedRecycle", "Recycle failed: failed to recycle volume: no room")
            await client.patch(VOLUMES, "again", {"metadata": {"labels": {"look": "again"}}})
    await see.event("again", "VolumeRecycled", "Volume recycled")
    free = await see.volume("again", "Available")
    assert "claimRef" not in free["spec"]
    await client.create(CLAIMS, claim("d", storageClassName="old"))
    await see.claim("d", "Bound", "again")
    pods = cluster.informers.informer(PODS)
    await until(pods, lambda: not pods.objects())
