from __future__ import annotations

from typing import Any

import pytest

from kumo.kubevirt.common.launcher_options import Volume
from kumo.kubevirt.virt_handler.cloud_init import Seed
from kumo.kubevirt.virt_handler.config import VirtHandlerConfig
from kumo.kubevirt.virt_handler.heartbeat import node_patch, virtualization
from kumo.kubevirt.virt_handler.network.plan import PodInterface
from kumo.kubevirt.virt_handler.prepare import macs
from kumo.kubevirt.virt_handler.volumes import container_disks, memory_bytes, sources

pytestmark = pytest.mark.unit


def vmi(*volumes: dict[str, Any], **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "vm", "uid": "u"}, "spec": {"domain": {}, "volumes": list(volumes)}, "status": status}


def test_the_files_behind_volumes() -> None:
    claim = {"capacity": {"storage": "1Gi"}}
    machine = vmi(
        {"name": "seed", "cloudInitNoCloud": {}},
        {"name": "root", "containerDisk": {"image": "x"}},
        {"name": "empty", "emptyDisk": {"capacity": "2Mi"}},
        {"name": "data", "persistentVolumeClaim": {"claimName": "c"}},
        {"name": "raw", "dataVolume": {"name": "c"}},
        {"name": "over", "ephemeral": {"persistentVolumeClaim": {"claimName": "c"}}},
        {"name": "cfg", "configMap": {"name": "c"}},
        volumeStatus=[
            {"name": "data", "persistentVolumeClaimInfo": claim},
            {"name": "raw", "persistentVolumeClaimInfo": {"volumeMode": "Block"}},
        ],
    )
    assert set(container_disks(machine)) == {1}
    seed = Seed("seed", {}, "cidata", "/iso")
    assert sources(machine, {1: "/image/disk.img"}, seed) == {
        "root": Volume(
            "/var/run/kubevirt-ephemeral-disks/disk-data/root/disk.qcow2",
            "qcow2",
            backing_path="/var/run/kubevirt/container-disks/disk_1.img",
            backing_source="/image/disk.img",
        ),
        "empty": Volume("/var/run/libvirt/empty-disks/empty.qcow2", "qcow2", capacity=2 << 20),
        "data": Volume("/var/run/kubevirt-private/vmi-disks/data/disk.img", capacity=1 << 30),
        "raw": Volume("/dev/raw", block=True),
        "over": Volume(
            "/var/run/kubevirt-ephemeral-disks/disk-data/over/disk.qcow2",
            "qcow2",
            backing_path="/var/run/kubevirt-private/vmi-disks/over/disk.img",
            backing_format="raw",
        ),
        "cfg": Volume("/var/run/kubevirt-private/config-disks/cfg.iso"),
        "seed": Volume("/iso"),
    }


@pytest.mark.parametrize(
    ("domain", "size"),
    [
        ({"memory": {"guest": "128Mi"}}, 128 << 20),
        ({"memory": {"guest": "1024M"}}, 1024000000),
        ({"resources": {"requests": {"memory": "64M"}}}, 64000000),
    ],
)
def test_memory(domain: dict[str, Any], size: int) -> None:
    assert memory_bytes({"spec": {"domain": domain}}) == size


def test_no_memory() -> None:
    with pytest.raises(ValueError, match=r"memory\.guest"):
        memory_bytes({"spec": {"domain": {}}})


def test_macs_of_interfaces() -> None:
    machine = vmi()
    machine["spec"]["domain"] = {
        "devices": {"interfaces": [{"name": "a", "macAddress": "02-00-00-00-00-AA"}, {"name": "b", "bridge": {}}]}
    }
    pod = PodInterface("0a:58:00:00:00:01", 1500, "10.0.0.2", 24)
    assert macs(machine, pod) == {"a": "02:00:00:00:00:aa", "b": "0a:58:00:00:00:01"}


def test_the_nodes_labels(tmp_path: Any) -> None:
    config = VirtHandlerConfig("n", tmp_path, tmp_path, "10.0.0.1:10250")
    patch = node_patch(config, kvm=True, now="2026-01-01T00:00:00Z")["metadata"]
    assert patch["labels"] == {
        "kubevirt.io/schedulable": "true",
        "machine-type.node.kubevirt.io/q35": "true",
        "kumo.dev/kvm": "true",
    }
    assert patch["annotations"] == {
        "kubevirt.io/heartbeat": "2026-01-01T00:00:00Z",
        "kumo.dev/virt-handler-address": "10.0.0.1:10250",
    }
    assert node_patch(config, kvm=False, now="")["metadata"]["labels"]["kumo.dev/kvm"] is None


def test_the_node_says_how_guests_run_and_says_it_once() -> None:
    told = virtualization(False, None, "2026-01-01T00:00:00Z")
    assert told == {
        "type": "kumo.dev/HardwareVirtualization",
        "status": "False",
        "reason": "NoUsableKVM",
        "message": "no usable KVM: guests run in software (TCG)",
        "lastHeartbeatTime": "2026-01-01T00:00:00Z",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    node = {"status": {"conditions": [told]}}
    assert virtualization(False, node, "later") is None
    assert (virtualization(True, node, "later") or {})["status"] == "True"
