"""How machines look as servers: their state, their keys at each microversion."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.openstack.nova.servers import view
from kumo.openstack.nova.servers.state import LAUNCHED, state_of
from kumo.openstack.nova.servers.view import Server

pytestmark = pytest.mark.unit
RUNNING = {
    "metadata": {"uid": "u"},
    "status": {
        "phase": "Running",
        "nodeName": "node01",
        "interfaces": [{"ipAddress": "10.244.0.7", "mac": "02:00:00:00:00:01"}],
        "phaseTransitionTimestamps": [{"phase": "Running", "phaseTransitionTimestamp": "2026-11-23T04:45:42Z"}],
    },
}
BASE = {
    "accessIPv4",
    "accessIPv6",
    "addresses",
    "created",
    "flavor",
    "hostId",
    "id",
    "image",
    "links",
    "metadata",
    "name",
    "status",
    "tenant_id",
    "user_id",
    "updated",
    "OS-DCF:diskConfig",
    "progress",
    "OS-EXT-AZ:availability_zone",
    "config_drive",
    "key_name",
    "OS-SRV-USG:launched_at",
    "OS-SRV-USG:terminated_at",
    "OS-EXT-STS:task_state",
    "OS-EXT-STS:vm_state",
    "OS-EXT-STS:power_state",
    "os-extended-volumes:volumes_attached",
    "security_groups",
}
ADMIN = {"OS-EXT-SRV-ATTR:host", "OS-EXT-SRV-ATTR:instance_name", "OS-EXT-SRV-ATTR:hypervisor_hostname"}
SINCE_47 = {
    "OS-EXT-SRV-ATTR:hostname",
    "OS-EXT-SRV-ATTR:kernel_id",
    "OS-EXT-SRV-ATTR:launch_index",
    "OS-EXT-SRV-ATTR:ramdisk_id",
    "OS-EXT-SRV-ATTR:reservation_id",
    "OS-EXT-SRV-ATTR:root_device_name",
    "OS-EXT-SRV-ATTR:user_data",
    "locked",
    "description",
    "tags",
    "host_status",
}
SINCE_96 = {"trusted_image_certificates", "locked_reason", "pinned_availability_zone"}


def vm(printable: str = "Running", strategy: str = "Always", **meta: Any) -> dict[str, Any]:
    found = {"name": "m", "namespace": "ns", "uid": "v", "creationTimestamp": "2026-11-23T04:45:40Z", **meta}
    domain = {"cpu": {"cores": 2}, "resources": {"requests": {"memory": "64M"}}}
    spec = {"runStrategy": strategy, "template": {"spec": {"domain": domain}}}
    return {"metadata": found, "spec": spec, "status": {"printableStatus": printable}}


@pytest.mark.parametrize(
    ("machine", "vmi", "status", "vm_state", "task", "power"),
    [
        (vm(""), None, "BUILD", "building", "scheduling", 0),
        (vm("Stopped"), None, "BUILD", "building", "scheduling", 0),
        (vm("Stopped"), {"status": {"phase": "Pending"}}, "BUILD", "building", "scheduling", 0),
        (vm("Stopped", annotations={LAUNCHED: "true"}), None, "SHUTOFF", "stopped", "powering-on", 4),
        (vm("Stopped", "RerunOnFailure"), None, "SHUTOFF", "stopped", None, 4),
        (vm("Stopped", "Halted"), None, "SHUTOFF", "stopped", None, 4),
        (vm("Provisioning"), None, "BUILD", "building", "scheduling", 0),
        (vm("Starting"), {"status": {"phase": "Scheduled"}}, "BUILD", "building", "spawning", 0),
        (vm("Starting", annotations={LAUNCHED: "true"}), None, "SHUTOFF", "stopped", "powering-on", 4),
        (vm("Running"), RUNNING, "ACTIVE", "active", None, 1),
        (vm("Paused"), RUNNING, "PAUSED", "paused", None, 3),
        (vm("Stopping"), RUNNING, "ACTIVE", "active", "powering-off", 1),
        (vm("Migrating"), RUNNING, "MIGRATING", "active", "migrating", 1),
        (vm("ErrorUnschedulable"), None, "ERROR", "error", None, 0),
        (vm("ErrImagePull"), None, "ERROR", "error", None, 0),
        (vm("Running", deletionTimestamp="x"), RUNNING, "ACTIVE", "active", "deleting", 1),
    ],
)
def test_states(machine: Any, vmi: Any, status: str, vm_state: str, task: str | None, power: int) -> None:
    found = state_of(machine, vmi)
    assert found[:4] == (status, vm_state, task, power)
    assert bool(found.fault) == (status == "ERROR")


@pytest.mark.parametrize(
    ("minor", "keys"),
    [(1, BASE | ADMIN), (47, BASE | ADMIN | SINCE_47), (96, BASE | ADMIN | SINCE_47 | SINCE_96)],
)
def test_keys_of_a_server_by_microversion(minor: int, keys: set[str]) -> None:
    """As measured on the real service, entries of a detailed list."""
    shown = view.detail(Server(vm(), RUNNING, "p", {}), "https://x", minor, admin=True)
    assert set(shown) == keys
    assert set(view.detail(Server(vm(), RUNNING, "p", {}), "https://x", 1, admin=False)) == BASE


def test_a_machine_of_kubectls_has_a_flavor_all_the_same() -> None:
    server = Server(vm(), RUNNING, "p", {})
    shown = view.detail(server, "https://x", 47, admin=False)
    assert shown["flavor"] == {
        "vcpus": 2, "ram": 61, "disk": 0, "ephemeral": 0, "swap": 0,
        "original_name": "2 vCPU, 61 MiB", "extra_specs": {},
    }  # fmt: skip
    assert (shown["name"], shown["image"]) == ("m", "")
    assert shown["addresses"] == {
        "pod": [{"version": 4, "addr": "10.244.0.7", "OS-EXT-IPS:type": "fixed",
                 "OS-EXT-IPS-MAC:mac_addr": "02:00:00:00:00:01"}]
    }  # fmt: skip
    assert shown["OS-SRV-USG:launched_at"] == "2026-11-23T04:45:42.000000"
