"""A CSI driver on a real node: it registers, its volumes come and go with pods, whatever is killed in between."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from kumo.api.csi_names import attachment_name, unique_name
from kumo.api.errors import StatusError
from kumo.api.objects import Object
from kumo.api.resources import GVR, NODES, SECRETS, core
from kumo.host.csi.errors import CsiError
from support.csi_driver import FolderDriver
from support.kubelet import NODE, Node, running, running_node

pytestmark = [pytest.mark.component, pytest.mark.asyncio(loop_scope="module")]
CSI_NODES = GVR("storage.k8s.io", "v1", "csinodes", False)
CSI_DRIVERS = GVR("storage.k8s.io", "v1", "csidrivers", False)
ATTACHMENTS = GVR("storage.k8s.io", "v1", "volumeattachments", False)
CLAIMS, VOLUMES = core("persistentvolumeclaims"), core("persistentvolumes", False)
NODE_ID = "csi.volume.kubernetes.io/nodeid"
QUICK = ("sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait")
"""A command that ends when it is told to."""
DRIVER, LOOSE = "folders.example.com", "loose.example.com"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    async with running_node(tmp_path_factory.mktemp("node"), resync_seconds=0.3) as found:
        await _driver_object(found, DRIVER, attachRequired=True, fsGroupPolicy="File")
        await _driver_object(
            found,
            LOOSE,
            attachRequired=False,
            podInfoOnMount=True,
            requiresRepublish=True,
            volumeLifecycleModes=["Persistent", "Ephemeral"],
            tokenRequests=[{"audience": "vault", "expirationSeconds": 600}],
        )
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def driver(node: Node, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[FolderDriver]:
    made = FolderDriver(DRIVER, tmp_path_factory.mktemp("folders"), "STAGE_UNSTAGE_VOLUME", "EXPAND_VOLUME")
    async with made.registered(registry(node)):
        await until(node, lambda o: any(d["name"] == DRIVER for d in drivers(o)), CSI_NODES)
        yield made


def drivers(found: Object) -> list[dict[str, Any]]:
    return found["spec"].get("drivers") or []


def registry(node: Node) -> Path:
    return node.config.directory / "plugins_registry"


async def _driver_object(node: Node, name: str, **spec: Any) -> None:
    made = {"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": name}, "spec": spec}
    await node.api.client.create(CSI_DRIVERS, made)


async def until(node: Node, check: Callable[[Object], Any], gvr: GVR, name: str = NODE, space: str = "") -> Object:
    """The object once `check` holds of it."""
    async with asyncio.timeout(60):
        while True:
            try:
                found = await node.api.client.get(gvr, name, space)
                if check(found):
                    return found
            except StatusError as error:
                if error.code != 404:
                    raise
            await asyncio.sleep(0.03)


async def volume(
    node: Node, name: str, driver: str = DRIVER, mode: str = "ReadWriteOnce", host_path: Path | None = None, **csi: Any
) -> dict[str, Any]:
    """A volume of the driver (or a folder of the machine) with a claim bound to it; the pod's volume."""
    source: Object = {"csi": {"driver": driver, "volumeHandle": f"h-{name}", **csi}}
    if host_path is not None:
        source = {"hostPath": {"path": str(host_path)}}
    ref = {"name": name, "namespace": "default"}
    capacity = {"storage": "1Gi"}
    claim = await node.api.client.create(
        CLAIMS,
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {
                "accessModes": [mode],
                "storageClassName": "",
                "volumeName": f"pv-{name}",
                "resources": {"requests": capacity},
            },
        },
        "default",
    )
    await node.api.client.create(
        VOLUMES,
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": f"pv-{name}"},
            "spec": {
                "accessModes": [mode],
                "capacity": capacity,
                "claimRef": {**ref, "uid": claim["metadata"]["uid"]},
                **source,
            },
        },
    )
    status = {"phase": "Bound", "capacity": capacity, "accessModes": [mode]}
    await node.api.client.patch(CLAIMS, name, {"status": status}, "default", subresource="status")
    return {"name": "data", "persistentVolumeClaim": {"claimName": name}}


async def attach(node: Node, name: str, **metadata: str) -> None:
    """What the attach/detach controller and an attacher do, once the kubelet says that it wants the volume."""
    handle = f"h-{name}"
    wanted = unique_name(DRIVER, handle)
    found = await until(node, lambda n: wanted in (n["status"].get("volumesInUse") or ()), NODES)
    key = attachment_name(DRIVER, handle, NODE)
    spec = {"attacher": DRIVER, "nodeName": NODE, "source": {"persistentVolumeName": f"pv-{name}"}}
    made = {"apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment", "metadata": {"name": key}, "spec": spec}
    await node.api.client.create(ATTACHMENTS, made)
    status = {"attached": True, "attachmentMetadata": metadata}
    await node.api.client.patch(ATTACHMENTS, key, {"status": status}, subresource="status")
    others = [v for v in found["status"].get("volumesAttached") or () if v["name"] != wanted]
    patch = {"status": {"volumesAttached": [*others, {"name": wanted, "devicePath": ""}]}}
    await node.api.client.patch(NODES, NODE, patch, subresource="status")


def mounted(volume: dict[str, Any]) -> dict[str, Any]:
    return {"volumes": [volume], "container": {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}}


async def test_kubelet_csi_driver_is_known_while_it_is_there(node: Node, tmp_path: Path) -> None:
    found = await until(node, lambda o: o, CSI_NODES)
    assert found["metadata"]["ownerReferences"][0]["kind"] == "Node"
    short = FolderDriver("short.example.com", tmp_path)
    async with short.registered(registry(node)):
        entry = {
            "name": "short.example.com",
            "nodeID": "node-1",
            "topologyKeys": ["topology.short.example.com/rack"],
            "allocatable": {"count": 5},
        }
        await until(node, lambda o: entry in drivers(o), CSI_NODES)
        short.limit = 7
        await node.kubelet.storage.handler.ask_again("short.example.com")
        await until(node, lambda o: {**entry, "allocatable": {"count": 7}} in drivers(o), CSI_NODES)
        known = (await node.api.client.get(NODES, NODE))["metadata"]
        assert known["labels"]["topology.short.example.com/rack"] == "r1"
        assert json.loads(known["annotations"][NODE_ID])["short.example.com"] == "node-1"
        async with asyncio.timeout(30):
            while not short.told:
                await asyncio.sleep(0.02)
        assert short.told == [(True, "")]
    await until(node, lambda o: all(d["name"] != short.name for d in drivers(o)), CSI_NODES)
    await until(
        node, lambda o: short.name not in o["metadata"]["annotations"].get("csi.volume.kubernetes.io/nodeid", ""), NODES
    )
    old = FolderDriver("old.example.com", tmp_path, versions=("0.3.0",))
    async with old.registered(registry(node)), asyncio.timeout(30):
        while not old.told:
            await asyncio.sleep(0.02)
    assert old.told[0] == (
        False,
        "RegisterPlugin error -- plugin registration failed with err: RegisterPlugin for CSI driver "
        '"old.example.com" failed. None of the versions specified ["0.3.0"] are supported',
    )


async def test_kubelet_csi_volume_is_attached_staged_published_and_undone(node: Node, driver: FolderDriver) -> None:
    await node.api.client.create(
        SECRETS,
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "key", "namespace": "default"},
            "data": {"word": base64.b64encode(b"open").decode()},
        },
        "default",
    )
    ref = {"name": "key", "namespace": "default"}
    source = await volume(node, "one", nodeStageSecretRef=ref, volumeAttributes={"a": "b"}, fsType="ext4")
    driver.failures["stage"] = [CsiError("INTERNAL", "no disk")]
    write = ("sh", "-c", f"echo $$ > /data/f; {QUICK[2]}")
    pod = await node.create("one", *write, securityContext={"fsGroup": 4321}, **mounted(source))
    assert not driver.of("stage")
    await attach(node, "one", where="slot-7")
    await node.until("one", running, timeout=60)
    failed, staged = driver.of("stage")[:2]
    assert failed == staged
    assert (staged.volume_id, dict(staged.secrets), dict(staged.volume_context)) == (
        "h-one",
        {"word": "open"},
        {"a": "b"},
    )
    assert dict(staged.publish_context) == {"where": "slot-7"}
    assert staged.volume_capability.mount.fs_type == "ext4"
    published = driver.of("publish")[-1]
    uid = pod["metadata"]["uid"]
    assert published.target_path.endswith(f"/pods/{uid}/volumes/kubernetes.io~csi/pv-one/mount")
    assert published.staging_target_path == staged.staging_target_path
    assert (driver.root / "volumes" / "h-one" / "f").stat().st_gid == 4321
    text = await node.until_event("one", "FailedMount")
    assert text == 'MountVolume.MountDevice failed for volume "pv-one" : rpc error: code = Internal desc = no disk'
    # A second pod on the node has the same volume: it is staged once, and as long as one of them has it.
    count = len(driver.of("stage"))
    await node.create("two", *QUICK, **mounted(source))
    await node.until("two", running, timeout=60)
    assert len(driver.of("stage")) == count
    await node.remove("one")
    assert len(driver.of("unpublish")) == 1 and not driver.of("unstage")
    await node.remove("two")
    assert len(driver.of("unpublish")) == 2 and driver.of("unstage")[0].volume_id == "h-one"
    await until(node, lambda n: unique_name(DRIVER, "h-one") not in (n["status"].get("volumesInUse") or ()), NODES)
    assert not Path(staged.staging_target_path).parent.exists()


async def test_kubelet_csi_kubelet_that_was_killed_undoes_what_no_pod_wants(node: Node, driver: FolderDriver) -> None:
    source = await volume(node, "left")
    pod = await node.create("left", *QUICK, **mounted(source))
    await attach(node, "left")
    await node.until("left", running, timeout=60)
    await node.stop()
    await node.api.client.delete(core("pods"), "left", "default", grace_period=0)
    before = len(driver.of("unstage"))
    await node.start()
    assert (await driver.until("unstage", before + 1)).volume_id == "h-left"
    gone = node.config.pods_directory / pod["metadata"]["uid"]
    async with asyncio.timeout(30):
        while gone.exists():
            await asyncio.sleep(0.05)
    await until(node, lambda n: unique_name(DRIVER, "h-left") not in (n["status"].get("volumesInUse") or ()), NODES)


async def test_kubelet_csi_pod_ends_only_when_its_driver_has_let_go(node: Node, driver: FolderDriver) -> None:
    source = await volume(node, "stuck")
    await node.create("stuck", *QUICK, **mounted(source))
    await attach(node, "stuck")
    await node.until("stuck", running, timeout=60)
    before = len(driver.of("unpublish"))
    driver.failures["unpublish"] = [CsiError("INTERNAL", "busy")] * 2
    await node.remove("stuck")
    assert len(driver.of("unpublish")) == before + 3


async def test_kubelet_csi_volume_grows_when_its_claim_says_so(node: Node, driver: FolderDriver) -> None:
    source = await volume(node, "small")
    await node.create("small", *QUICK, **mounted(source))
    await attach(node, "small")
    await node.until("small", running, timeout=60)
    status = {
        "allocatedResources": {"storage": "2Gi"},
        "allocatedResourceStatuses": {"storage": "NodeResizePending"},
        "conditions": [{"type": "FileSystemResizePending", "status": "True"}],
    }
    await node.api.client.patch(CLAIMS, "small", {"status": status}, "default", subresource="status")
    driver.failures["expand"] = [CsiError("INTERNAL", "not now")]
    request = await driver.until("expand", 2)
    assert request.capacity_range.required_bytes == 2 << 30
    assert request.volume_path.endswith("/pv-small/mount") and request.staging_target_path.endswith("/globalmount")
    done = await until(node, lambda c: c["status"]["capacity"]["storage"] == "2Gi", CLAIMS, "small", "default")
    assert not done["status"].get("conditions") and not done["status"].get("allocatedResourceStatuses")
    assert await node.until_event("small", "FileSystemResizeSuccessful") == (
        f'MountVolume.NodeExpandVolume succeeded for volume "pv-small" {NODE}'
    )
    assert (await node.until_event("small", "VolumeResizeFailed")).startswith(
        'NodeExpandVolume.NodeExpandVolume failed for volume "pv-small" : Expander.NodeExpand failed to expand the '
        "volume : rpc error: code = Internal desc = not now"
    )
    await node.remove("small")


async def test_kubelet_csi_inline_volume_is_told_of_its_pod(node: Node, tmp_path: Path) -> None:
    loose = FolderDriver(LOOSE, tmp_path, "VOLUME_MOUNT_GROUP")
    async with loose.registered(registry(node)):
        source = {"name": "data", "csi": {"driver": LOOSE, "volumeAttributes": {"k": "v"}}}
        pod = await node.create("inline", *QUICK, securityContext={"fsGroup": 77}, **mounted(source))
        await node.until("inline", running, timeout=60)
        published = loose.of("publish")[0]
        context = dict(published.volume_context)
        tokens = json.loads(context.pop("csi.storage.k8s.io/serviceAccount.tokens"))
        assert set(tokens) == {"vault"} and set(tokens["vault"]) == {"token", "expirationTimestamp"}
        assert context == {
            "k": "v",
            "csi.storage.k8s.io/pod.name": "inline",
            "csi.storage.k8s.io/pod.namespace": "default",
            "csi.storage.k8s.io/pod.uid": pod["metadata"]["uid"],
            "csi.storage.k8s.io/serviceAccount.name": "default",
            "csi.storage.k8s.io/ephemeral": "true",
        }
        assert published.volume_capability.mount.volume_mount_group == "77"
        assert published.staging_target_path == "" and not loose.of("stage")
        # requiresRepublish: it is told again while the pod runs.
        await loose.until("publish", 3)
        await node.remove("inline")
        assert loose.of("unpublish")
    source["csi"]["driver"] = DRIVER  # type: ignore[index]
    await node.create("refused", *QUICK, **mounted(source))
    assert await node.until_event("refused", "FailedMount") == (
        'MountVolume.SetUp failed for volume "data" : kubernetes.io/csi: mounter.SetupAt failed to check volume '
        f'lifecycle mode: volume mode "Ephemeral" not supported by driver {DRIVER} (only supports ["Persistent"])'
    )
    await node.remove("refused")


async def test_kubelet_csi_pod_waits_for_its_driver(node: Node, tmp_path: Path) -> None:
    source = await volume(node, "late", "loose.example.com")
    await node.create("late", *QUICK, **mounted(source))
    assert await node.until_event("late", "FailedMount", timeout=30) == (
        'MountVolume.MountDevice failed for volume "pv-late" : kubernetes.io/csi: attacher.MountDevice failed to '
        f"create newCsiDriverClient: driver name {LOOSE} not found in the list of registered CSI drivers"
    )
    async with FolderDriver(LOOSE, tmp_path).registered(registry(node)):
        await node.until("late", running, timeout=60)
        await node.remove("late")


async def test_kubelet_csi_volume_for_one_pod_alone(node: Node, tmp_path: Path) -> None:
    source = await volume(node, "alone", LOOSE, "ReadWriteOncePod")
    async with FolderDriver(LOOSE, tmp_path, "SINGLE_NODE_MULTI_WRITER").registered(registry(node)):
        await node.create("holder", *QUICK, **mounted(source))
        await node.until("holder", running, timeout=60)
        await node.create("rival", *QUICK, **mounted(source))
        assert await node.until_event("rival", "FailedMount") == (
            'MountVolume.SetUp failed for volume "pv-alone" : volume uses the ReadWriteOncePod access mode and is '
            "already in use by another pod"
        )
        await node.remove("holder")
        await node.until("rival", running, timeout=60)
        await node.remove("rival")


async def test_kubelet_folder_for_one_pod_alone_also_after_a_restart(node: Node, tmp_path: Path) -> None:
    source = await volume(node, "lonely", mode="ReadWriteOncePod", host_path=tmp_path)
    await node.create("first", *QUICK, **mounted(source))
    await node.until("first", running, timeout=60)
    await node.stop()
    await node.start()
    await node.create("second", *QUICK, **mounted(source))
    assert await node.until_event("second", "FailedMount") == (
        'MountVolume.SetUp failed for volume "pv-lonely" : volume uses the ReadWriteOncePod access mode and is '
        "already in use by another pod"
    )
    await node.remove("first")
    await node.until("second", running, timeout=60)
    await node.remove("second")
