"""The defaults against golden objects, which the real webhooks of KubeVirt made.

The inputs are those objects with the defaults taken away again: what a user has written is what is left.
"""

import copy
from pathlib import Path

import pytest
import yaml

from kumo.kubevirt.common.config import ClusterConfig
from kumo.kubevirt.common.defaults import DefaultsError
from kumo.kubevirt.virt_api.defaults.instance import new_instance, pull_policy
from kumo.kubevirt.virt_api.defaults.machine import new_machine

pytestmark = pytest.mark.unit

GOLDEN = Path(__file__).parents[2] / "golden" / "kubevirt"
FILES = sorted((GOLDEN / "defaults").glob("*.yaml"))
BARE = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "metadata": {"name": "a"}}


def read(path):
    return yaml.safe_load(path.read_text())


def without_defaults(golden):
    """What the user wrote: metadata of the server, firmware ids and everything that has its default value taken out."""
    found = copy.deepcopy(golden)
    found.pop("status", None)
    for name in ("creationTimestamp", "uid", "generation", "finalizers", "resourceVersion", "ownerReferences"):
        found["metadata"].pop(name, None)
    if found["kind"] == "VirtualMachine":
        found["spec"]["template"]["metadata"]["annotations"].pop("kubevirt.io/pci-topology-version")
        strip_spec(found["spec"]["template"]["spec"], template=True)
    else:
        found["metadata"]["annotations"].pop("kubevirt.io/pci-topology-version")
        strip_spec(found["spec"], template=False)
    return found


def strip_spec(spec, *, template):
    domain = spec["domain"]
    del spec["architecture"], domain["machine"]
    if not domain["resources"]:
        del domain["resources"]
    for name in ("uuid", "serial"):
        domain["firmware"].pop(name, None)
    if template:
        return
    del spec["evictionStrategy"]
    cpu = domain["cpu"]
    if cpu.get("sockets") == 1:
        for name in ("cores", "sockets", "threads", "maxSockets"):
            del cpu[name]
    if cpu["model"] == "host-model":
        del cpu["model"]
    if domain["devices"]["interfaces"] == [{"bridge": {}, "name": "default"}]:
        del domain["devices"]["interfaces"], spec["networks"]
    domain["memory"].pop("maxGuest", None)
    for volume in spec.get("volumes", ()):
        volume.get("containerDisk", {}).pop("imagePullPolicy", None)
    strip_enabled(domain["features"])
    strip_enabled(domain.get("clock", {}))


def strip_enabled(node):
    for name in [n for n, value in node.items() if n in ("enabled", "present") and value is True]:
        del node[name]
    for value in node.values():
        if isinstance(value, dict):
            strip_enabled(value)


def made_equal(golden, made):
    """Both as comparable values: random ids and times agree, as far as both have them."""
    golden, made = copy.deepcopy(golden), copy.deepcopy(made)
    for name in ("creationTimestamp", "uid", "generation", "resourceVersion", "ownerReferences"):
        golden["metadata"].pop(name, None)
        made["metadata"].pop(name, None)
    for obj in (golden, made):
        spec = obj["spec"]["template"]["spec"] if obj["kind"] == "VirtualMachine" else obj["spec"]
        firmware = spec["domain"]["firmware"]
        for name in ("uuid", "serial"):
            if name in firmware:
                assert len(firmware[name]) == 36
                firmware[name] = "random"
        for transition in obj.get("status", {}).get("phaseTransitionTimestamps", ()):
            transition["phaseTransitionTimestamp"] = "now"
    return golden, made


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_example_gets_the_defaults_of_the_real_webhooks(path):
    golden = read(path)
    make = new_machine if golden["kind"] == "VirtualMachine" else new_instance
    made = make(ClusterConfig(default_architecture="amd64"), without_defaults(golden))
    want, got = made_equal(golden, made)
    assert got == want


def test_there_are_examples():
    assert len(FILES) == 29


def test_instance_of_a_machine():
    golden = read(GOLDEN / "1-vmi-pending.yaml")
    written = without_defaults(golden)
    written["metadata"]["finalizers"] = ["kubevirt.io/virtualMachineControllerFinalize"]
    written["status"] = {"virtualMachineRevisionName": golden["status"]["virtualMachineRevisionName"]}
    written["spec"]["domain"]["firmware"] = golden["spec"]["domain"]["firmware"]
    want, got = made_equal(golden, new_instance(ClusterConfig(default_architecture="amd64"), written))
    assert got == want


def test_settings_are_obeyed():
    config = ClusterConfig.from_kubevirt(
        {
            "spec": {
                "configuration": {
                    "network": {"defaultNetworkInterface": "masquerade"},
                    "evictionStrategy": "LiveMigrate",
                    "cpuModel": "Nehalem",
                    "cpuRequest": "500m",
                    "vmRolloutStrategy": "Stage",
                    "machineType": "pc-q35-7.2",
                }
            }
        }
    )
    spec = new_instance(config, {**BARE, "spec": {"domain": {"devices": {}, "memory": {"guest": "1Gi"}}}})["spec"]
    assert spec["domain"]["devices"]["interfaces"] == [{"name": "default", "masquerade": {}}]
    assert spec["evictionStrategy"] == "LiveMigrate"
    assert spec["domain"]["cpu"] == {"cores": 1, "sockets": 1, "threads": 1, "model": "Nehalem"}
    assert spec["domain"]["resources"]["requests"] == {"cpu": "500m"}
    assert spec["domain"]["memory"] == {"guest": "1Gi"}
    assert spec["domain"]["machine"] == {"type": "pc-q35-7.2"}


def test_bridge_may_be_forbidden():
    config = ClusterConfig(permit_bridge_on_pod_network=False)
    with pytest.raises(DefaultsError, match="bridge interface is not enabled in kubevirt-config"):
        new_instance(config, {**BARE, "spec": {"domain": {"devices": {}}}})


@pytest.mark.parametrize(
    ("written", "guest"),
    [({"requests": {"memory": "64M"}}, "64M"), ({"limits": {"memory": "0.5Gi"}}, "512Mi")],
)
def test_guest_memory_from_resources(written, guest):
    made = new_instance(ClusterConfig(), {**BARE, "spec": {"domain": {"devices": {}, "resources": written}}})
    assert made["spec"]["domain"]["memory"]["guest"] == guest
    assert made["status"]["memory"]["guestCurrent"] == guest


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("quay.io/a/b", "Always"),
        ("quay.io/a/b:latest", "Always"),
        ("quay.io/a/b:v1", "IfNotPresent"),
        ("quay.io/a/b@sha256:00", "IfNotPresent"),
    ],
)
def test_pull_policy(image, policy):
    assert pull_policy(image) == policy


def test_input_is_not_changed():
    written = {**BARE, "spec": {"domain": {"devices": {}, "memory": {"guest": "1Gi"}}}}
    before = copy.deepcopy(written)
    new_instance(ClusterConfig(), written)
    assert written == before
