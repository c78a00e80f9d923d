"""CSI on the node, decided without a node: names, CSINode, requests, attaching, growing."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from kumo.api.csi_names import attachment_name, unique_name
from kumo.api.objects import Object
from kumo.kubernetes.kubelet.csi import calls, csi_node, growth, records
from kumo.kubernetes.kubelet.csi.attachment import attached, attachment_trouble
from kumo.kubernetes.kubelet.csi.node_storage import plugin_root
from kumo.kubernetes.kubelet.csi.places import Places, inline_handle
from kumo.kubernetes.kubelet.csi.registration import highest_version
from kumo.kubernetes.kubelet.csi.specs import inline, persistent
from kumo.kubernetes.kubelet.volumes.directories import change_group

pytestmark = pytest.mark.unit
NODE: Object = {"kind": "Node", "metadata": {"name": "n", "uid": "u", "labels": {"a": "b"}}}
INFO = csi_node.DriverInfo("d", "id", 7, {"zone": "z"})


def test_kubelet_csi_names_are_upstreams() -> None:
    assert unique_name("d", "h") == "kubernetes.io/csi/d^h"
    digest = "9072ed11cc1acb5fa433a877ff339b6311d013f33bddd1d0092711a8ace5b16d"  # sha256 of "hdn"
    assert attachment_name("d", "h", "n") == f"csi-{digest}"
    assert inline_handle("u", "v") != inline_handle("v", "u")
    places = Places(Path("/k"))
    digest = "aaa9402664f1a41f40ebbc52c9993eb66aeb366602958fdfaa283b71e64db123"  # sha256 of "h"
    assert places.stage("d", "h") == Path(f"/k/plugins/kubernetes.io/csi/d/{digest}/globalmount")
    assert places.mount("u", "pv") == Path("/k/pods/u/volumes/kubernetes.io~csi/pv/mount")
    assert places.block_publish("pv", "u") == Path("/k/plugins/kubernetes.io/csi/volumeDevices/publish/pv/u")
    assert places.block_stage("pv") == Path("/k/plugins/kubernetes.io/csi/volumeDevices/staging/pv")
    assert places.block_link("u", "pv") == Path("/k/pods/u/volumeDevices/kubernetes.io~csi/pv")


@pytest.mark.parametrize(
    ("versions", "highest"),
    [
        (["1.0.0"], (1, 0, 0)),
        (["1.0.0", "1.4.0", "0.3.0", "2.0.0"], (1, 4, 0)),
        (["v1.1.0"], (1, 1, 0)),
        (["1"], (1, 0, 0)),
        (["2.0.0", "0.9"], None),
        (["x", ""], None),
        ([], None),
    ],
)
def test_kubelet_csi_versions(versions: list[str], highest: tuple[int, ...] | None) -> None:
    assert highest_version(versions) == highest


def test_kubelet_csi_node_object() -> None:
    made = csi_node.csi_node(NODE)
    assert csi_node.owned(made, NODE)
    assert not csi_node.owned(made, {"metadata": {"name": "n", "uid": "later"}})
    assert made["metadata"]["annotations"]["storage.alpha.kubernetes.io/migrated-plugins"].startswith(
        "kubernetes.io/aws-ebs,kubernetes.io/azure-disk,"
    )
    with_one = csi_node.with_driver(made, INFO)
    assert with_one is not None
    entry = {"name": "d", "nodeID": "id", "topologyKeys": ["zone"], "allocatable": {"count": 7}}
    assert with_one["spec"]["drivers"] == [entry]
    assert csi_node.with_driver(with_one, INFO) is None
    changed = csi_node.with_driver(with_one, csi_node.DriverInfo("d", "id"))
    assert changed is not None
    assert changed["spec"]["drivers"] == [{"name": "d", "nodeID": "id", "topologyKeys": []}]
    assert csi_node.without_driver(with_one, "other") is None
    gone = csi_node.without_driver(with_one, "d")
    assert gone is not None and gone["spec"]["drivers"] == []
    huge = csi_node.with_driver(made, csi_node.DriverInfo("d", "id", 1 << 40))
    assert huge is not None and huge["spec"]["drivers"][0]["allocatable"] == {"count": 2**31 - 1}


def test_kubelet_csi_node_labels_and_annotation() -> None:
    patch = csi_node.node_patch(NODE, INFO)["metadata"]
    assert patch == {"annotations": {csi_node.NODE_ID: '{"d":"id"}'}, "labels": {"zone": "z"}}
    told = {"metadata": {**NODE["metadata"], "labels": {"zone": "z"}, "annotations": patch["annotations"]}}
    assert csi_node.node_patch(told, INFO) == {}
    assert csi_node.node_patch_without(told, "d") == {"metadata": {"annotations": {csi_node.NODE_ID: None}}}
    assert csi_node.node_patch_without(told, "other") == {}
    broken = {"metadata": {**NODE["metadata"], "annotations": {csi_node.NODE_ID: "{"}}}
    assert csi_node.node_patch(broken, INFO)["metadata"]["annotations"] == {csi_node.NODE_ID: '{"d":"id"}'}
    with pytest.raises(csi_node.Collision, match='driver reported "zone":"z" but existing label is "zone":"y"'):
        csi_node.node_patch({"metadata": {"labels": {"zone": "y"}}}, INFO)


@pytest.mark.parametrize(
    ("modes", "finer", "name"),
    [
        (["ReadWriteOnce"], False, "SINGLE_NODE_WRITER"),
        (["ReadWriteOnce"], True, "SINGLE_NODE_MULTI_WRITER"),
        (["ReadWriteOncePod"], False, "SINGLE_NODE_WRITER"),
        (["ReadWriteOncePod"], True, "SINGLE_NODE_SINGLE_WRITER"),
        (["ReadOnlyMany", "ReadWriteOnce"], True, "MULTI_NODE_READER_ONLY"),
        (["ReadWriteMany"], False, "MULTI_NODE_MULTI_WRITER"),
        ([], False, "SINGLE_NODE_WRITER"),
        (["Else"], False, "UNKNOWN"),
    ],
)
def test_kubelet_csi_access_modes(modes: list[str], finer: bool, name: str) -> None:
    assert calls.access_mode(modes, finer=finer) == name


@pytest.mark.parametrize(
    ("policy", "group", "read_only", "fs_type", "modes", "sets"),
    [
        ("File", 1, False, "", ["ReadWriteMany"], True),
        ("File", None, False, "", ["ReadWriteOnce"], False),
        ("File", 1, True, "", ["ReadWriteOnce"], False),
        ("None", 1, False, "ext4", ["ReadWriteOnce"], False),
        (None, 1, False, "ext4", ["ReadWriteOnce"], True),
        (None, 1, False, "", ["ReadWriteOnce"], False),
        (None, 1, False, "ext4", ["ReadWriteMany"], False),
        (None, 1, False, "ext4", None, True),
        ("ReadWriteOnceWithFSType", 1, False, "ext4", ["ReadOnlyMany", "ReadWriteOnce"], True),
    ],
)
def test_kubelet_csi_fs_group(
    policy: str | None, group: int | None, read_only: bool, fs_type: str, modes: list[str] | None, sets: bool
) -> None:
    found = {"spec": {"fsGroupPolicy": policy}} if policy else None
    assert calls.sets_group(found, group, read_only=read_only, fs_type=fs_type, modes=modes) is sets


def test_kubelet_csi_life_cycles() -> None:
    only = {"spec": {"volumeLifecycleModes": ["Persistent"]}}
    both = {"spec": {"volumeLifecycleModes": ["Persistent", "Ephemeral"]}}
    assert calls.unsupported_mode("d", None, ephemeral=False) == ""
    assert calls.unsupported_mode("d", both, ephemeral=True) == ""
    assert (
        calls.unsupported_mode("d", None, ephemeral=True)
        == 'volume mode "Ephemeral" not supported by driver d (no CSIDriver object)'
    )
    assert (
        calls.unsupported_mode("d", only, ephemeral=True)
        == 'volume mode "Ephemeral" not supported by driver d (only supports ["Persistent"])'
    )
    assert calls.attach_required(None)
    assert calls.attach_required({"spec": {}})
    assert not calls.attach_required({"spec": {"attachRequired": False}})


def test_kubelet_csi_specs() -> None:
    volume: Object = {
        "metadata": {"name": "pv"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "claimRef": {"namespace": "ns", "name": "c"},
            "volumeMode": "Block",
            "mountOptions": ["noatime"],
            "csi": {
                "driver": "d",
                "volumeHandle": "h",
                "fsType": "xfs",
                "readOnly": True,
                "volumeAttributes": {"a": "b"},
                "nodeStageSecretRef": {"namespace": "s", "name": "x"},
            },
        },
    }
    spec = persistent(volume, "data", read_only=False)
    assert (spec.name, spec.volume, spec.key, spec.claim) == ("pv", "data", ("d", "h"), ("ns", "c"))
    assert spec.block and spec.read_only and spec.options == ("noatime",)
    assert spec.secrets == {"nodeStageSecretRef": ("s", "x")}
    pod: Object = {"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": {"serviceAccountName": "sa"}}
    own = inline(pod, {"name": "i", "csi": {"driver": "d", "nodePublishSecretRef": {"name": "x"}}})
    assert own.ephemeral and own.handle == inline_handle("u", "i")
    assert own.secrets == {"nodePublishSecretRef": ("ns", "x")}
    assert calls.pod_info(pod, ephemeral=True) == {
        "csi.storage.k8s.io/pod.name": "p",
        "csi.storage.k8s.io/pod.namespace": "ns",
        "csi.storage.k8s.io/pod.uid": "u",
        "csi.storage.k8s.io/serviceAccount.name": "sa",
        "csi.storage.k8s.io/ephemeral": "true",
    }


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (
            None,
            'volume h has GET error for volume attachment a: volumeattachments.storage.k8s.io "a" not found',
        ),
        ({"metadata": {"deletionTimestamp": "t"}, "status": {"attached": True}}, "volume attachment is being deleted"),
        ({"metadata": {}, "status": {"attached": True}}, ""),
        ({"metadata": {}, "status": {"attached": False, "attachError": {"message": "no"}}}, "no"),
        ({"metadata": {}}, "volume h is not attached for volume attachment a"),
    ],
)
def test_kubelet_csi_attachments(found: Object | None, why: str) -> None:
    assert attachment_trouble(found, "h", "a") == why


def test_kubelet_csi_attached_by_the_nodes_status() -> None:
    node = {"status": {"volumesAttached": [{"name": "kubernetes.io/csi/d^h", "devicePath": ""}]}}
    assert attached(node, "kubernetes.io/csi/d^h")
    assert not attached(node, "kubernetes.io/csi/d^i")
    assert not attached(None, "kubernetes.io/csi/d^h")


def claim(have: str, asked: str, state: str = "", allocated: str = "", *conditions: str) -> dict[str, Any]:
    status: dict[str, Any] = {"capacity": {"storage": have}}
    if allocated:
        status["allocatedResources"] = {"storage": allocated}
    if state:
        status["allocatedResourceStatuses"] = {"storage": state}
    if conditions:
        status["conditions"] = [{"type": c, "status": "True"} for c in conditions]
    return {"spec": {"resources": {"requests": {"storage": asked}}}, "status": status}


@pytest.mark.parametrize(
    ("of", "volume", "size"),
    [
        (claim("1Gi", "1Gi"), "1Gi", ""),
        (claim("1Gi", "2Gi"), "1Gi", ""),
        (claim("1Gi", "2Gi", "ControllerResizeInProgress", "2Gi"), "1Gi", ""),
        (claim("1Gi", "2Gi", "NodeResizePending", "2Gi"), "2Gi", "2Gi"),
        (claim("1Gi", "2Gi", "NodeResizeInProgress", "2Gi"), "2Gi", "2Gi"),
        (claim("1Gi", "2Gi", "NodeResizeInfeasible", "2Gi"), "2Gi", ""),
        (claim("1Gi", "2Gi"), "2Gi", "2Gi"),  # a resizer without recovery
        (claim("2Gi", "2Gi", "", "2Gi"), "2Gi", ""),
    ],
)
def test_kubelet_csi_growth_wanted(of: Object, volume: str, size: str) -> None:
    assert growth.wanted(of, {"spec": {"capacity": {"storage": volume}}}) == size
    if size:
        assert growth.unclear(of)


def test_kubelet_csi_growth_patches() -> None:
    pending = claim("1Gi", "2Gi", "NodeResizePending", "2Gi", "Resizing", "FileSystemResizePending", "Mine")
    begun = {"status": {"allocatedResourceStatuses": {"storage": "NodeResizeInProgress"}}}
    assert growth.in_progress(pending) == begun
    assert growth.in_progress(claim("1Gi", "2Gi", "NodeResizeInProgress")) == {}
    assert growth.in_progress(claim("1Gi", "2Gi")) == {}
    done = growth.finished(pending, "2Gi")["status"]
    assert done["capacity"] == {"storage": "2Gi"}
    assert [c["type"] for c in done["conditions"]] == ["Mine"]
    assert done["allocatedResourceStatuses"] is None
    failed = growth.failed(pending, "INTERNAL", "no", "now")["status"]
    assert "allocatedResourceStatuses" not in failed
    assert failed["conditions"][-1]["message"] == "failed to expand pvc with no"
    never = growth.failed(pending, "OUT_OF_RANGE", "no", "now")["status"]
    assert never["allocatedResourceStatuses"] == {"storage": "NodeResizeInfeasible"}


def test_kubelet_csi_records_survive(tmp_path: Path) -> None:
    data = records.VolumeData("d", "h", "pv", records.PERSISTENT, "n", "csi-x", "data", attachable=True)
    folder = tmp_path / "kubernetes.io~csi" / "pv"
    records.write(folder, data)
    assert records.read(folder) == data
    assert records.mount_of(tmp_path, "data") == folder / "mount"
    assert records.mount_of(tmp_path, "other") is None
    (folder / "mount").mkdir()
    records.clear(folder, "mount")
    assert not folder.exists()
    for text in ("", "[]", "{}", '{"driverName":1'):
        folder.mkdir()
        (folder / "vol_data.json").write_text(text)
        assert records.read(folder) is None
        records.clear(folder, "mount")


def test_kubelet_csi_drivers_are_told_the_usual_folder_if_it_is_ours(tmp_path: Path) -> None:
    own, usual = tmp_path / "node", tmp_path / "kubelet"
    own.mkdir()
    assert plugin_root(own, usual) == own
    usual.symlink_to(tmp_path)
    assert plugin_root(own, usual) == own
    usual.unlink()
    usual.symlink_to(own)
    assert plugin_root(own, usual) == usual


def test_kubelet_fs_group_on_root_mismatch(tmp_path: Path) -> None:
    root, inner = tmp_path / "v", tmp_path / "v" / "f"
    root.mkdir()
    inner.touch(mode=0o600)
    group = root.stat().st_gid
    root.chmod(0o2770)
    change_group(root, group, "OnRootMismatch")
    assert stat.S_IMODE(inner.stat().st_mode) == 0o600
    root.chmod(0o750)
    change_group(root, group, "OnRootMismatch")
    assert stat.S_IMODE(inner.stat().st_mode) == 0o660
    inner.chmod(0o600)
    change_group(root, group, "Always")
    assert stat.S_IMODE(inner.stat().st_mode) == 0o660
