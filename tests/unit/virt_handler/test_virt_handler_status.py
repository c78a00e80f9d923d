from __future__ import annotations

import copy
from typing import Any

import pytest

from kumo.api.conditions import find
from kumo.kubevirt.virt_handler import guest_agent
from kumo.kubevirt.virt_handler.status import View, updated

pytestmark = pytest.mark.unit

NOW = "2026-01-01T00:00:00Z"
AGENT = {
    "os.id": "debian", "os.name": "Debian", "os.kernel-release": "6.1", "hostname": "vm", "timezone.name": "UTC",
    "timezone.offset": 0, "user.count": 1, "user.0.name": "demo", "user.0.login-time": 1700000000000,
    "fs.count": 1, "fs.0.name": "vda1", "fs.0.mountpoint": "/", "fs.0.fstype": "ext4", "fs.0.total-bytes": 100,
    "fs.0.used-bytes": 40, "fs.0.disk.count": 1, "fs.0.disk.0.bus": "virtio",
    "if.count": 2, "if.0.name": "lo", "if.0.hwaddr": "00:00:00:00:00:00", "if.1.name": "enp1s0",
    "if.1.hwaddr": "52:54:00:00:00:01", "if.1.addr.count": 2, "if.1.addr.0.addr": "10.0.2.2",
    "if.1.addr.1.addr": "fe80::1",
}  # fmt: skip


def vmi(binding: str = "masquerade", **status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "vm", "namespace": "default", "uid": "u"},
        "spec": {"domain": {"devices": {"interfaces": [{"name": "default", binding: {}}]}}},
        "status": {"phase": "Scheduled", "volumeStatus": [{"name": "disk", "target": ""}], **status},
    }


def domain(status: str = "Running", **more: Any) -> dict[str, Any]:
    return {"status": status, "reason": "Unknown", "machine": "pc-q35-7.2", "disks": {"disk": "vda"}, **more}


def view(**more: Any) -> View:
    return View(**{"domain": domain(), "pod_ip": "10.244.0.7", "macs": {"default": "52:54:00:00:00:01"}, **more})


def test_a_started_domain() -> None:
    status = updated(vmi(), view(), NOW)
    assert status["phase"] == "Running"
    assert status["phaseTransitionTimestamps"] == [{"phase": "Running", "phaseTransitionTimestamp": NOW}]
    assert status["machine"] == {"type": "pc-q35-7.2"}
    assert status["guestOSInfo"] == {}
    assert status["volumeStatus"] == [{"name": "disk", "target": "vda"}]
    assert status["interfaces"] == [
        {
            "name": "default",
            "podInterfaceName": "eth0",
            "queueCount": 1,
            "linkState": "up",
            "mac": "52:54:00:00:00:01",
            "infoSource": "domain",
            "ipAddress": "10.244.0.7",
            "ipAddresses": ["10.244.0.7"],
        }
    ]
    assert {c["type"]: c["status"] for c in status["conditions"]} == {
        "LiveMigratable": "False",
        "StorageLiveMigratable": "False",
    }


def test_nothing_new_changes_nothing() -> None:
    machine = vmi()
    machine["status"] = updated(machine, view(), NOW)
    assert updated(machine, view(), "2026-01-02T00:00:00Z") == machine["status"]


def test_the_old_status_is_not_touched() -> None:
    machine = vmi(conditions=[{"type": "Ready", "status": "False"}])
    before = copy.deepcopy(machine)
    updated(machine, view(domain=domain(agentConnected=True), agent=AGENT), NOW)
    assert machine == before


def test_the_agent_adds_what_it_knows() -> None:
    status = updated(vmi(), view(domain=domain(agentConnected=True), agent=AGENT), NOW)
    assert status["guestOSInfo"] == {"id": "debian", "name": "Debian", "kernelRelease": "6.1"}
    interface = status["interfaces"][0]
    assert (interface["infoSource"], interface["interfaceName"]) == ("domain, guest-agent", "enp1s0")
    assert interface["ipAddresses"] == ["10.244.0.7"]
    agent = find(status["conditions"], "AgentConnected")
    assert agent is not None
    assert agent["status"] == "True"
    gone = updated({**vmi(), "status": status}, view(), NOW)
    assert find(gone["conditions"], "AgentConnected") is None


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("User", ("PausedByUser", "VMI was paused by user")),
        ("IOError", ("PausedIOError", "VMI was paused, low-level IO error detected")),
    ],
)
def test_paused(reason: str, expected: tuple[str, str]) -> None:
    status = updated(vmi(phase="Running"), view(domain=domain("Paused", reason=reason)), NOW)
    paused = find(status["conditions"], "Paused")
    assert paused is not None
    assert (paused["reason"], paused["message"]) == expected
    assert status["phase"] == "Running"
    resumed = updated({**vmi(), "status": status}, view(), NOW)
    assert find(resumed["conditions"], "Paused") is None


def test_what_upstream_tells_of_every_running_machine() -> None:
    machine = vmi()
    machine["spec"]["volumes"] = [{"name": "disk", "cloudInitNoCloud": {"userData": "x"}}]
    status = updated(machine, view(sizes={"disk": 4096}), NOW)
    assert (status["selinuxContext"], status["migrationMethod"]) == ("none", "BlockMigration")
    assert status["volumeStatus"] == [{"name": "disk", "target": "vda", "size": 4096}]
    # A virt-handler that did not make the image itself keeps what an earlier one has written.
    assert updated({**machine, "status": status}, view(), NOW)["volumeStatus"][0]["size"] == 4096
    machine["spec"]["volumes"] = [{"name": "disk", "persistentVolumeClaim": {"claimName": "c"}}]
    assert updated(machine, view(), NOW)["migrationMethod"] == "LiveMigration"
    machine["spec"]["domain"]["devices"]["interfaces"][0]["state"] = "down"
    assert updated(machine, view(), NOW)["interfaces"][0]["linkState"] == "down"


def test_a_domain_that_cannot_be_started() -> None:
    status = updated(vmi(), view(domain=None, error="no disk"), NOW)
    assert status["phase"] == "Scheduled"
    failure = find(status["conditions"], "Synchronized")
    assert failure is not None
    assert (failure["status"], failure["message"]) == ("False", "no disk")
    assert failure["reason"] == "Synchronizing with the Domain failed."
    assert find(updated({**vmi(), "status": status}, view(), NOW)["conditions"], "Synchronized") is None


def test_a_launcher_that_is_gone() -> None:
    status = updated(vmi(phase="Running"), view(domain=None, phase="Failed"), NOW)
    assert status["phase"] == "Failed"


def test_bridge_is_not_migratable_for_upstreams_reason() -> None:
    condition = find(updated(vmi("bridge"), view(), NOW)["conditions"], "LiveMigratable")
    assert condition is not None
    assert condition["reason"] == "InterfaceNotLiveMigratable"


def test_agent_shapes() -> None:
    assert guest_agent.users(AGENT) == [{"userName": "demo", "loginTime": 1700000000.0}]
    assert guest_agent.file_systems(AGENT) == [
        {
            "diskName": "vda1",
            "mountPoint": "/",
            "fileSystemType": "ext4",
            "usedBytes": 40,
            "totalBytes": 100,
            "disk": [{"busType": "virtio"}],
        }
    ]
    summary = guest_agent.summary(AGENT)
    assert (summary["hostname"], summary["timezone"]) == ("vm", "UTC, 0")
    assert guest_agent.interfaces({}) == []
