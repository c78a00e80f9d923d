"""A driver's volumes from claim to deletion: real API server, controllers and scheduler, a driver behind real gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from kumo.api.errors import StatusError
from kumo.api.objects import Object, annotations_of, labels_of, name_of, uid_of
from kumo.api.resources import CRDS, EVENTS, GVR, NODES, PODS, core
from kumo.api.users import AUTHENTICATED_GROUP, UserInfo, service_account_user
from kumo.cli.node_rights import CSI_USER
from kumo.cli.node_storage import snapshot_objects, storage_rights
from kumo.host.csi.stubs import csi_pb2 as pb
from kumo.kubernetes.csi_controllers.component import CsiControllers
from kumo.kubernetes.csi_controllers.config import CsiControllersConfig
from kumo.kubernetes.snapshot_controller.controller import SnapshotController
from kumo.kubernetes.snapshot_controller.names import CLASSES as SNAPSHOT_CLASSES
from kumo.kubernetes.snapshot_controller.names import CONTENTS, SNAPSHOTS
from kumo.machinery.client import Client
from kumo.machinery.informer import Informers
from kumo.machinery.transport import InProcessTransport
from support.csi_memory import NAME, ZONE, MemoryDriver
from support.hollow import HollowCluster, until

pytestmark = pytest.mark.component

CLAIMS, VOLUMES = core("persistentvolumeclaims"), core("persistentvolumes", False)
STORAGE = "storage.k8s.io"
CLASSES = GVR(STORAGE, "v1", "storageclasses", False)
ATTACHMENTS = GVR(STORAGE, "v1", "volumeattachments", False)
CSI_NODES = GVR(STORAGE, "v1", "csinodes", False)
CAPACITIES = GVR(STORAGE, "v1", "csistoragecapacities")
ATTRIBUTES = GVR(STORAGE, "v1", "volumeattributesclasses", False)
MANAGED = "volumes.kubernetes.io/controller-managed-attach-detach"


class Store:
    """The cluster with a driver, and what the tests wait for."""

    def __init__(self, cluster: HollowCluster, driver: MemoryDriver, socket: Path) -> None:
        self.cluster, self.driver, self.socket = cluster, driver, socket
        self.client = cluster.client

    def controllers(self, **config: Any) -> list[asyncio.Task[None]]:
        """Start the driver's controllers, with their own rights; their tasks."""
        user = UserInfo(CSI_USER, (AUTHENTICATED_GROUP,))
        client = Client(InProcessTransport(self.cluster.handler, user))
        settings = CsiControllersConfig(socket=str(self.socket), retry=0.1, **config)
        return self.cluster.start(CsiControllers(settings, client))

    async def that(self, gvr: GVR, name: str, check: Callable[[Object], Any], namespace: str = "") -> Object:
        informer = self.cluster.informers.informer(gvr)

        def found() -> Object | None:
            obj = informer.get(name, namespace)
            return obj if obj is not None and check(obj) else None

        made: Object = await until(informer, found, 60.0)
        return made

    async def gone(self, gvr: GVR, name: str, namespace: str = "") -> None:
        informer = self.cluster.informers.informer(gvr)
        await until(informer, lambda: informer.get(name, namespace) is None, 60.0)

    async def bound(self, name: str) -> tuple[Object, Object]:
        claim = await self.that(CLAIMS, name, lambda c: c["status"]["phase"] == "Bound", "default")
        volume = claim["spec"]["volumeName"]
        return claim, await self.that(VOLUMES, volume, lambda v: v["status"]["phase"] == "Bound")

    async def events(self, name: str, *reasons: str) -> list[str]:
        """The messages of the events of those reasons about the object, once all are there."""
        informer = self.cluster.informers.informer(EVENTS)

        def told() -> list[str]:
            mine = [e for e in informer.objects() if e["involvedObject"]["name"] == name]
            found = {e["reason"]: e["message"] for e in mine}
            return [found[r] for r in reasons] if set(reasons) <= set(found) else []

        messages: list[str] = await until(informer, told, 60.0)
        return messages

    async def claim(self, name: str, size: str = "1Gi", **more: Any) -> Object:
        spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": "fast"}
        spec |= {"resources": {"requests": {"storage": size}}, **more}
        return await self.client.create(CLAIMS, {"metadata": {"name": name}, "spec": spec}, "default")

    async def pod(self, name: str, claim: str, node: str = "") -> Object:
        volume = {"name": "data", "persistentVolumeClaim": {"claimName": claim}}
        spec: Object = {"containers": [{"name": "c", "image": "busybox"}], "volumes": [volume]}
        if node:
            spec["nodeSelector"] = {"kubernetes.io/hostname": node}
        return await self.client.create(PODS, {"metadata": {"name": name}, "spec": spec}, "default")

    async def node(self, name: str, zone: str) -> None:
        """A node that has registered the driver."""
        self.cluster.node(name)
        await self.that(NODES, name, lambda n: n.get("status", {}).get("conditions"))
        await self.client.patch(NODES, name, {"metadata": {"labels": {ZONE: zone}, "annotations": {MANAGED: "true"}}})
        driver = {"name": NAME, "nodeID": f"id-{name}", "topologyKeys": [ZONE]}
        await self.client.create(CSI_NODES, {"metadata": {"name": name}, "spec": {"drivers": [driver]}})

    async def storage_class(self, name: str = "fast", mode: str = "Immediate", **more: Any) -> None:
        made = {"provisioner": NAME, "volumeBindingMode": mode, "allowVolumeExpansion": True, **more}
        await self.client.create(CLASSES, {"metadata": {"name": name}, **made})


def custom(kind: str, name: str) -> Object:
    api = "snapshot.storage.k8s.io/v1"
    return {"apiVersion": api, "kind": f"VolumeSnapshot{kind}", "metadata": {"name": name}}


@pytest.fixture
async def store(cluster: HollowCluster, tmp_path: Path) -> AsyncIterator[Store]:
    driver, socket = MemoryDriver(), tmp_path / "csi.sock"
    for gvr, obj in [*storage_rights(), *snapshot_objects()]:
        await cluster.client.create(gvr, obj)
    established = cluster.informers.informer(CRDS)
    for name in ("volumesnapshots", "volumesnapshotcontents", "volumesnapshotclasses"):
        whole = f"{name}.snapshot.storage.k8s.io"

        def served(whole: str = whole) -> bool:
            crd = established.get(whole)
            conditions = (crd or {}).get("status", {}).get("conditions") or ()
            return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)

        await until(established, served, 60.0)
    user = service_account_user("kube-system", "snapshot-controller")
    client = Client(InProcessTransport(cluster.handler, user))
    informers = Informers(client)
    cluster.start(informers, SnapshotController(client, informers))
    async with driver.serving(socket):
        yield Store(cluster, driver, socket)
        await cluster.stop()


async def test_a_volume_from_claim_to_deletion(store: Store) -> None:
    await store.node("n1", "a")
    store.controllers()
    await store.storage_class(mountOptions=["noatime"], parameters={"csi.storage.k8s.io/fstype": "ext4", "speed": "1"})
    store.driver.refuse("CreateVolume", "UNAVAILABLE", "not yet", times=2)
    made = await store.claim("data")
    _, volume = await store.bound("data")
    assert name_of(volume) == f"pvc-{uid_of(made)}"
    source = volume["spec"]["csi"]
    assert source["volumeHandle"] == f"vol-{name_of(volume)}" and source["fsType"] == "ext4"
    attributes = dict(source["volumeAttributes"])
    assert attributes.pop("storage.kubernetes.io/csiProvisionerIdentity").endswith(f"-{NAME}")
    assert attributes == {"made": "yes"}
    term = {"matchExpressions": [{"key": ZONE, "operator": "In", "values": ["a"]}]}
    assert volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"] == [term]
    assert volume["spec"]["mountOptions"] == ["noatime"] and volume["spec"]["capacity"] == {"storage": "1Gi"}
    assert annotations_of(volume)["pv.kubernetes.io/provisioned-by"] == NAME
    assert annotations_of(volume)["volume.kubernetes.io/provisioner-deletion-secret-name"] == ""
    assert "external-provisioner.volume.kubernetes.io/finalizer" in volume["metadata"]["finalizers"]
    asked = store.driver.requests[source["volumeHandle"]]
    assert dict(asked.parameters) == {"speed": "1"} and asked.volume_capabilities[0].mount.fs_type == "ext4"
    told = await store.events("data", "Provisioning", "ProvisioningFailed", "ProvisioningSucceeded")
    assert told == [
        'External provisioner is provisioning volume for claim "default/data"',
        "rpc error: code = Unavailable desc = not yet",
        f"Successfully provisioned volume {name_of(volume)}",
    ]
    assert (store.driver.made, store.driver.calls["CreateVolume"]) == (1, 3), "two refusals, and no call too many"
    store.driver.refuse("DeleteVolume", "INTERNAL", "busy")
    await store.client.delete(CLAIMS, "data", "default")
    await store.gone(VOLUMES, name_of(volume))
    assert not store.driver.volumes
    assert await store.events(name_of(volume), "VolumeFailedDelete") == ["rpc error: code = Internal desc = busy"]


async def test_nodes_that_race_for_a_volume_never_have_it_both(store: Store) -> None:
    names = ["n1", "n2", "n3"]
    for name in names:
        await store.node(name, "a")
    attachments = store.cluster.informers.informer(ATTACHMENTS)
    holders: list[set[str]] = []
    attachments.on_change(lambda old, new: holders.append({a["spec"]["nodeName"] for a in attachments.objects()}))
    store.controllers()
    await store.storage_class()
    await store.claim("shared")
    _, volume = await store.bound("shared")
    await asyncio.gather(*(store.pod(f"on-{name}", "shared", name) for name in names))
    events = store.cluster.informers.informer(EVENTS)

    def refused() -> set[str]:
        found = [e for e in events.objects() if e["reason"] == "FailedAttachVolume"]
        return {e["involvedObject"]["name"] for e in found if "Multi-Attach error for volume" in e["message"]}

    def settled() -> bool:
        return len(refused()) == 2 and any(a["status"].get("attached") for a in attachments.objects())

    await until(events, settled, 60.0)
    (there,) = attachments.objects()
    assert refused() == {f"on-{n}" for n in names} - {f"on-{there['spec']['nodeName']}"}
    assert there["spec"]["source"]["persistentVolumeName"] == name_of(volume)
    assert holders and all(len(nodes) <= 1 for nodes in holders)


async def test_a_pods_volume_is_made_attached_moved_and_let_go(store: Store) -> None:
    await store.node("n1", "a")
    await store.node("n2", "a")
    killed = store.controllers()
    await store.storage_class(mode="WaitForFirstConsumer")
    await store.claim("data")
    await store.events("data", "WaitForFirstConsumer")
    await store.pod("first", "data", "n1")
    _, volume = await store.bound("data")
    listed = [{"name": f"kubernetes.io/csi/{NAME}^vol-{name_of(volume)}", "devicePath": ""}]
    node = await store.that(NODES, "n1", lambda n: n["status"].get("volumesAttached"))
    assert node["status"]["volumesAttached"] == listed
    assert await store.events("first", "SuccessfulAttachVolume") == [
        f'AttachVolume.Attach succeeded for volume "{name_of(volume)}" '
    ]
    attachments = store.cluster.informers.informer(ATTACHMENTS)
    attachment = (await until(attachments, attachments.objects, 60.0))[0]
    assert attachment["status"] == {"attached": True, "attachmentMetadata": {"device": "/dev/x"}}
    assert annotations_of(attachment)["csi.alpha.kubernetes.io/node-id"] == "id-n1"
    assert store.driver.calls["ControllerPublishVolume"] == 1
    assert attachment["metadata"]["finalizers"] == ["external-attacher/memory-csi-example-com"]

    in_use = {"status": {"volumesInUse": [listed[0]["name"]]}}
    await store.client.patch(NODES, "n1", in_use, subresource="status")
    await store.pod("second", "data", "n2")
    words = f'Multi-Attach error for volume "{name_of(volume)}" Volume is already used by pod(s) first'
    assert await store.events("second", "FailedAttachVolume") == [words]
    for task in killed:
        task.cancel()
    await store.client.delete(PODS, "first", "default")
    await store.gone(PODS, "first", "default")
    assert store.driver.published == {f"vol-{name_of(volume)}": "id-n1"}
    await store.client.patch(NODES, "n1", {"status": {"volumesInUse": None}}, subresource="status")
    await store.that(ATTACHMENTS, name_of(attachment), lambda a: a["metadata"].get("deletionTimestamp"))
    store.controllers()  # As after a kill: what was begun is finished.
    await store.gone(ATTACHMENTS, name_of(attachment))
    await store.that(NODES, "n2", lambda n: n["status"].get("volumesAttached") == listed)
    assert store.driver.published == {f"vol-{name_of(volume)}": "id-n2"}
    await store.client.delete(PODS, "second", "default")
    await store.client.delete(CLAIMS, "data", "default")
    await store.gone(VOLUMES, name_of(volume))
    assert (store.driver.volumes, store.driver.published, store.driver.made) == ({}, {}, 1)


async def test_a_volume_grows_and_changes(store: Store) -> None:
    await store.node("n1", "a")
    store.controllers()
    await store.storage_class()
    await store.claim("data")
    await store.claim("raw", volumeMode="Block")
    _, volume = await store.bound("data")
    store.driver.refuse("ControllerExpandVolume", "INTERNAL", "later")
    larger = {"spec": {"resources": {"requests": {"storage": "3Gi"}}}}
    await store.client.patch(CLAIMS, "data", larger, "default")

    def waits(c: Object) -> bool:
        return any(x["type"] == "FileSystemResizePending" for x in c["status"].get("conditions") or ())

    grown = await store.that(CLAIMS, "data", waits, "default")
    assert grown["status"]["allocatedResources"] == {"storage": "3Gi"}
    assert grown["status"]["allocatedResourceStatuses"] == {"storage": "NodeResizePending"}
    assert grown["status"]["capacity"] == {"storage": "1Gi"}
    larger_volume = await store.that(VOLUMES, name_of(volume), lambda v: v["spec"]["capacity"]["storage"] == "3Gi")
    assert annotations_of(larger_volume)["volume.alpha.kubernetes.io/pre-resize-capacity"] == "1Gi"
    told = await store.events("data", "ExternalExpanding", "Resizing", "VolumeResizeFailed", "FileSystemResizeRequired")
    assert told[0] == "waiting for an external controller to expand this PVC"
    assert told[1] == f"External resizer is resizing volume {name_of(volume)}"
    why = "rpc error: code = Internal desc = later"
    assert told[2] == f'resize volume "{name_of(volume)}" by resizer "{NAME}" failed: {why}'

    await store.bound("raw")
    await store.client.patch(CLAIMS, "raw", larger, "default")
    raw = await store.that(CLAIMS, "raw", lambda c: c["status"]["capacity"]["storage"] == "3Gi", "default")
    assert not raw["status"].get("conditions") and not raw["status"].get("allocatedResourceStatuses")
    assert annotations_of(raw)["volume.kubernetes.io/node-expansion-not-required"] == "true"

    gold = {"metadata": {"name": "gold"}, "driverName": NAME, "parameters": {"iops": "9"}}
    await store.client.patch(CLAIMS, "raw", {"spec": {"volumeAttributesClassName": "gold"}}, "default")
    pending = {"status": "Pending"}
    await store.that(CLAIMS, "raw", lambda c: c["status"].get("modifyVolumeStatus") == pending, "default")
    await store.client.create(ATTRIBUTES, gold)

    def is_gold(c: Object) -> bool:
        return c["status"].get("currentVolumeAttributesClassName") == "gold"

    changed = await store.that(CLAIMS, "raw", is_gold, "default")
    assert not changed["status"].get("modifyVolumeStatus") and not changed["status"].get("conditions")
    handle = f"vol-{changed['spec']['volumeName']}"
    assert store.driver.attributes[handle] == {"iops": "9"}


async def test_snapshots_restores_and_clones(store: Store) -> None:
    await store.node("n1", "a")
    store.controllers()
    await store.storage_class()
    meta = {"name": "snap", "annotations": {"snapshot.storage.kubernetes.io/is-default-class": "true"}}
    group = "snapshot.storage.k8s.io/v1"
    snapshot_class = {"apiVersion": group, "kind": "VolumeSnapshotClass", "metadata": meta, "driver": NAME}
    await store.client.create(SNAPSHOT_CLASSES, snapshot_class | {"deletionPolicy": "Delete"})
    await store.claim("data")
    await store.bound("data")

    async def snapshot(name: str, **source: str) -> Object:
        obj = {"apiVersion": group, "kind": "VolumeSnapshot", "metadata": {"name": name}, "spec": {"source": source}}
        return await store.client.create(SNAPSHOTS, obj, "default")

    store.driver.refuse("CreateSnapshot", "INTERNAL", "no")
    made = await snapshot("s", persistentVolumeClaimName="data")
    ready = await store.that(SNAPSHOTS, "s", lambda s: (s.get("status") or {}).get("readyToUse"), "default")
    assert ready["spec"]["volumeSnapshotClassName"] == "snap"
    assert ready["status"]["restoreSize"] == "1Gi" and "error" not in ready["status"]
    name = f"snapcontent-{uid_of(made)}"
    assert ready["status"]["boundVolumeSnapshotContentName"] == name
    content = await store.that(CONTENTS, name, lambda c: c["status"].get("readyToUse"))
    assert labels_of(content) == {"snapshot.storage.kubernetes.io/managed-by": "n1"}
    told = await store.events("s", "CreatingSnapshot", "SnapshotCreated", "SnapshotReady")
    assert told[0] == "Waiting for a snapshot default/s to be created by the CSI driver."
    await store.that(
        CLAIMS, "data", lambda c: c["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"], "default"
    )

    of = {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "s"}
    await store.claim("restored", "2Gi", dataSource=of)
    _, volume = await store.bound("restored")
    source = store.driver.requests[volume["spec"]["csi"]["volumeHandle"]].volume_content_source
    assert source.snapshot.snapshot_id == content["status"]["snapshotHandle"]
    await store.claim("clone", dataSource={"kind": "PersistentVolumeClaim", "name": "data"})
    _, volume = await store.bound("clone")
    source = store.driver.requests[volume["spec"]["csi"]["volumeHandle"]].volume_content_source
    assert source.volume.volume_id.startswith("vol-pvc-")
    await store.claim("small", "512Mi", dataSource=of)
    words = await store.events("small", "ProvisioningFailed")
    assert "requested volume size 536870912 is less than the size 1073741824 for the source snapshot s" in words[0]
    await store.client.delete(CLAIMS, "small", "default")

    given: Object = {"apiVersion": group, "kind": "VolumeSnapshotContent", "metadata": {"name": "given"}}
    ref = {"name": "static", "namespace": "default"}
    handle = {"snapshotHandle": content["status"]["snapshotHandle"]}
    given["spec"] = {"driver": NAME, "deletionPolicy": "Retain", "source": handle, "volumeSnapshotRef": ref}
    await store.client.create(CONTENTS, given)
    await snapshot("static", volumeSnapshotContentName="given")
    await store.that(SNAPSHOTS, "static", lambda s: (s.get("status") or {}).get("readyToUse"), "default")
    await store.client.delete(SNAPSHOTS, "static", "default")
    await store.gone(SNAPSHOTS, "static", "default")
    assert len(store.driver.snapshots) == 1, "a retained snapshot is nobody's to delete"

    await store.client.delete(SNAPSHOTS, "s", "default")
    await store.gone(SNAPSHOTS, "s", "default")
    await store.gone(CONTENTS, name)
    assert not store.driver.snapshots
    for claim in ("clone", "data", "restored"):
        await store.client.delete(CLAIMS, claim, "default")
        await store.gone(CLAIMS, claim, "default")
    informer = store.cluster.informers.informer(VOLUMES)
    await until(informer, lambda: not informer.objects(), 60.0)
    assert not store.driver.volumes


async def test_each_node_makes_its_own_and_one_makes_what_nobody_waits_for(store: Store, tmp_path: Path) -> None:
    other, socket = MemoryDriver(zone="b", capacity=0), tmp_path / "other.sock"
    await store.node("n1", "a")
    await store.node("n2", "b")
    async with other.serving(socket):
        store.controllers(node="n1")
        mine, store.socket = store.socket, socket
        store.controllers(node="n2")
        store.socket = mine
        await store.storage_class(mode="WaitForFirstConsumer")
        await store.storage_class("now")
        capacities = store.cluster.informers.informer(CAPACITIES)

        def published() -> dict[str, str]:
            found = capacities.objects("kube-system")
            places = {c["nodeTopology"]["matchLabels"][ZONE]: c["capacity"] for c in found}
            return places if len(places) == 2 else {}

        assert await until(capacities, published, 60.0) == {"a": "1Ti", "b": "0"}
        await store.claim("now", storageClassName="now")
        claim, volume = await store.bound("now")
        assert annotations_of(claim)["volume.kubernetes.io/selected-node"] == "n1", "n2 has no room"
        other.capacity = 1 << 40
        await store.claim("data")
        await store.pod("p", "data", "n2")
        _, second = await store.bound("data")
        assert second["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0]["values"] == [
            "b"
        ]
        assert (store.driver.made, other.made) == (1, 1)
        await store.claim("clone", dataSource={"kind": "PersistentVolumeClaim", "name": "data"})
        wrong = {"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "n1"}}}
        await store.client.patch(CLAIMS, "clone", wrong, "default")
        clone, third = await store.bound("clone")
        assert annotations_of(clone)["volume.kubernetes.io/selected-node"] == "n2", "where its source is"
        assert (store.driver.made, other.made) == (1, 2)
        other.snapshots["theirs"] = pb.Snapshot(snapshot_id="theirs", ready_to_use=True, size_bytes=1 << 30)
        ref = {"name": "static", "namespace": "default"}
        spec = {"driver": NAME, "deletionPolicy": "Retain", "source": {"snapshotHandle": "theirs"}}
        await store.client.create(CONTENTS, custom("Content", "given") | {"spec": spec | {"volumeSnapshotRef": ref}})
        of = {"source": {"volumeSnapshotContentName": "given"}}
        await store.client.create(SNAPSHOTS, custom("", "static") | {"spec": of}, "default")
        await store.that(SNAPSHOTS, "static", lambda s: (s.get("status") or {}).get("readyToUse"), "default")
        given = await store.that(CONTENTS, "given", labels_of)
        assert labels_of(given) == {"snapshot.storage.kubernetes.io/managed-by": "n2"}, "whose driver knows it"
        await store.client.delete(PODS, "p", "default")
        for name, gone in (("now", volume), ("clone", third), ("data", second)):
            await store.client.delete(CLAIMS, name, "default")
            await store.gone(VOLUMES, name_of(gone))
        assert (store.driver.volumes, other.volumes) == ({}, {})
        await store.cluster.stop()


async def test_by_force_from_a_node_that_is_out_of_service(store: Store) -> None:
    await store.node("n1", "a")
    spec: Object = {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "storageClassName": "far"}
    spec["csi"] = {"driver": "far.example.com", "volumeHandle": "h"}
    await store.client.create(VOLUMES, {"metadata": {"name": "far"}, "spec": spec})
    await store.claim("data", storageClassName="far")
    await store.pod("p", "data", "n1")
    attachments = store.cluster.informers.informer(ATTACHMENTS)
    attachment = (await until(attachments, attachments.objects, 60.0))[0]
    assert attachment["spec"] == {
        "attacher": "far.example.com",
        "nodeName": "n1",
        "source": {"persistentVolumeName": "far"},
    }
    name = "kubernetes.io/csi/far.example.com^h"
    await store.client.patch(NODES, "n1", {"status": {"volumesInUse": [name]}}, subresource="status")
    await store.client.patch(ATTACHMENTS, name_of(attachment), {"status": {"attached": True}}, subresource="status")
    await store.that(NODES, "n1", lambda n: n["status"].get("volumesAttached"))
    await store.client.delete(PODS, "p", "default", grace_period=0)
    await store.gone(PODS, "p", "default")
    # What is still mounted stays attached: the Node is looked at once more, and nothing happens.
    await store.client.patch(NODES, "n1", {"metadata": {"labels": {"seen": "yes"}}})
    await store.that(NODES, "n1", lambda n: labels_of(n).get("seen"))
    assert attachments.get(name_of(attachment)) is not None
    taint = {"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute"}
    await store.client.patch(NODES, "n1", {"spec": {"taints": [taint]}})
    await store.gone(ATTACHMENTS, name_of(attachment))
    await store.that(NODES, "n1", lambda n: not n["status"].get("volumesAttached"))


@pytest.mark.parametrize(
    ("gvr", "kind", "spec", "words"),
    [
        (SNAPSHOTS, "", {"source": {}}, "exactly one of volumeSnapshotContentName and persistentVolumeClaimName"),
        (
            SNAPSHOTS,
            "",
            {"source": {"persistentVolumeClaimName": "c"}, "volumeSnapshotClassName": ""},
            "must not be the empty string when set",
        ),
        (
            CONTENTS,
            "Content",
            {"driver": "d", "deletionPolicy": "Delete", "source": {}, "volumeSnapshotRef": {"name": "s"}},
            "exactly one of volumeHandle and snapshotHandle must be set",
        ),
    ],
)
async def test_snapshots_that_can_t_be(store: Store, gvr: GVR, kind: str, spec: Object, words: str) -> None:
    with pytest.raises(StatusError, match=words):
        await store.client.create(gvr, custom(kind, "s") | {"spec": spec}, "default" if gvr.namespaced else "")


async def test_what_a_snapshot_is_of_stays(store: Store) -> None:
    of = {"source": {"persistentVolumeClaimName": "absent"}}
    await store.client.create(SNAPSHOTS, custom("", "s") | {"spec": of}, "default")
    words = "Failed to set default snapshot class with error failed to retrieve PVC absent from the lister: "
    failed = await store.that(SNAPSHOTS, "s", lambda s: (s.get("status") or {}).get("error"), "default")
    assert failed["status"]["error"]["message"].startswith(words)
    with pytest.raises(StatusError, match="persistentVolumeClaimName is immutable"):
        other = {"spec": {"source": {"persistentVolumeClaimName": "other"}}}
        await store.client.patch(SNAPSHOTS, "s", other, "default")
    await store.client.delete(SNAPSHOTS, "s", "default")
    await store.gone(SNAPSHOTS, "s", "default")


async def test_a_claim_that_goes_while_its_volume_is_made_leaks_nothing(store: Store) -> None:
    await store.node("n1", "a")
    store.controllers()
    await store.storage_class()
    store.driver.refuse("CreateVolume", "DEADLINE_EXCEEDED", "still at it", times=10_000)
    made = await store.claim("data")
    await store.events("data", "ProvisioningFailed")
    await store.client.delete(CLAIMS, "data", "default")
    await store.gone(CLAIMS, "data", "default")
    store.driver.refusals.clear()
    told = await store.events("data", "ProvisioningSucceeded")
    assert told == [f"Successfully provisioned volume pvc-{uid_of(made)}"]
    volumes = store.cluster.informers.informer(VOLUMES)
    await until(volumes, lambda: not volumes.objects() and not store.driver.volumes, 60.0)
    assert store.driver.made == 1
