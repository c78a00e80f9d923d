"""The launcher pod against the golden ones of the real virt-controller; every deviation is written down here."""

import copy
from fractions import Fraction
from pathlib import Path
from random import Random

import pytest
import yaml

from kumo.kubevirt.common.config import ClusterConfig
from kumo.kubevirt.virt_controller.launcher import LauncherConfig, launcher_pod, memory_overhead
from kumo.kubevirt.virt_controller.launcher.volumes import ClaimNotFound

pytestmark = pytest.mark.unit

GOLDEN = Path(__file__).parents[2] / "golden" / "kubevirt"
LAUNCHER = LauncherConfig("0.1.0", "/somewhere/kumo")
MIB = 1 << 20


def read(name):
    found = yaml.safe_load((GOLDEN / name).read_text())
    return found["items"][0] if found["kind"] == "List" else found


def drop_server_fields(golden):
    """What an API server fills in: names, times, defaults of pods, admission plugins' work."""
    golden.pop("status")
    for name in ("creationTimestamp", "generation", "resourceVersion", "uid"):
        del golden["metadata"][name]
    spec = golden["spec"]
    for name in ("dnsPolicy", "preemptionPolicy", "priority", "schedulerName", "serviceAccount", "serviceAccountName"):
        del spec[name]
    del spec["tolerations"]
    for container in (*spec["containers"], *spec["initContainers"]):
        del container["terminationMessagePath"]
        if container["terminationMessagePolicy"] == "File":
            del container["terminationMessagePolicy"]
        for variable in container.get("env", ()):
            variable.get("valueFrom", {}).get("fieldRef", {}).pop("apiVersion", None)


def apply_deviations(golden, made):
    """kumo's own ways, one by one: take them from what we made into what upstream has."""
    assert len(golden["metadata"]["name"]) == len(made["metadata"]["name"])
    golden["metadata"]["name"] = made["metadata"]["name"]
    compute, ours = golden["spec"]["containers"][0], made["spec"]["containers"][0]
    log, our_log = golden["spec"]["initContainers"][0], made["spec"]["initContainers"][0]
    for upstream, own in ((compute, ours), (log, our_log)):
        assert upstream["image"].startswith("quay.io/kubevirt/virt-launcher:")
        upstream["image"] = own["image"]
    compute["command"] = ["/usr/bin/python3", "-m", "kumo.kubevirt.virt_launcher"]
    compute["args"][compute["args"].index("/usr/share/edk2/ovmf")] = "/usr/share/OVMF"
    assert compute["args"][1].endswith("s") and 240 <= int(ours["args"][1][:-1]) < 360
    compute["args"][1] = ours["args"][1]
    compute["env"] = ours["env"]
    del compute["securityContext"]["capabilities"]["add"]
    for part in ("limits", "requests"):
        compute["resources"][part].pop("devices.kubevirt.io/vhost-net", None)
    compute["resources"]["requests"]["memory"] = ours["resources"]["requests"]["memory"]
    golden["metadata"]["annotations"]["kubevirt.io/memory-overhead-bytes"] = made["metadata"]["annotations"][
        "kubevirt.io/memory-overhead-bytes"
    ]
    log["command"], log["args"], log["env"] = our_log["command"], our_log["args"], None
    del log["env"]
    log["resources"] = our_log["resources"]
    usr = {"mountPath": "/usr", "name": "host-usr", "readOnly": True}
    log["volumeMounts"].append(usr)
    compute["volumeMounts"] += [usr, {"mountPath": "/opt/kumo/kumo", "name": "kumo", "readOnly": True}]
    for volume in golden["spec"]["volumes"]:
        if volume["name"] == "launcher-volume":
            volume["image"]["reference"] = ours["image"]
    golden["spec"]["volumes"] += [
        {"hostPath": {"path": "/usr", "type": "Directory"}, "name": "host-usr"},
        {"hostPath": {"path": "/somewhere/kumo", "type": "Directory"}, "name": "kumo"},
    ]


@pytest.mark.parametrize(
    ("pod", "vmi", "config"),
    [
        ("1-pod-pending.yaml", "1-vmi-pending.yaml", ClusterConfig()),
        ("2-pod-masquerade-emulation.yaml", "2-vmi-one.yaml", ClusterConfig(use_emulation=True)),
    ],
)
def test_pod_is_upstreams(pod, vmi, config):
    golden, instance = read(pod), read(vmi)
    made = launcher_pod(instance, config, LAUNCHER, random=Random(1))
    drop_server_fields(golden)
    apply_deviations(golden, made)
    assert made == golden


def test_instance_is_not_changed():
    instance = read("2-vmi-one.yaml")
    before = copy.deepcopy(instance)
    launcher_pod(instance, ClusterConfig(), LAUNCHER)
    assert instance == before


SPEC = {"domain": {"cpu": {"sockets": 1, "cores": 1, "threads": 1}, "devices": {}, "memory": {"guest": "256Mi"}}}


def test_overhead_of_a_small_machine():
    assert memory_overhead(SPEC, emulated=False) == 100 * MIB
    assert memory_overhead(SPEC, emulated=False) < 120 * MIB
    assert memory_overhead(SPEC, emulated=True) == 148 * MIB


def test_overhead_grows_with_cpus_and_ratio():
    big = {"domain": {**SPEC["domain"], "cpu": {"sockets": 4}}}
    assert memory_overhead(big, emulated=False) - memory_overhead(SPEC, emulated=False) == 9 * MIB
    assert memory_overhead(SPEC, emulated=False, ratio=Fraction(2)) == 199 * MIB


def instance_with(domain=None, **spec):
    meta = {"name": "a", "namespace": "n", "uid": "u"}
    return {"metadata": meta, "spec": {"domain": {**SPEC["domain"], **(domain or {})}, **spec}}


def requests_of(vmi, config=None):
    return launcher_pod(vmi, config or ClusterConfig(), LAUNCHER)["spec"]["containers"][0]["resources"]["requests"]


def test_cpu_request_is_a_share():
    assert requests_of(instance_with({"cpu": {"sockets": 4}}))["cpu"] == "400m"
    assert requests_of(instance_with({"cpu": {"sockets": 4}}), ClusterConfig(cpu_allocation_ratio=2))["cpu"] == "2"


def test_asked_memory_gets_the_overhead_on_top():
    vmi = instance_with({"resources": {"requests": {"memory": "64M"}}, "memory": {"guest": "64M"}})
    overhead = memory_overhead(vmi["spec"], emulated=False)
    assert requests_of(vmi)["memory"] == str(64_000_000 + overhead)


def test_memory_overcommit():
    overhead = memory_overhead(SPEC, emulated=False)
    assert (
        requests_of(instance_with(), ClusterConfig(memory_overcommit=200))["memory"]
        == f"{(128 * MIB + overhead) // MIB}Mi"
    )


def test_devices():
    assert "devices.kubevirt.io/kvm" in requests_of(instance_with())
    assert "devices.kubevirt.io/kvm" not in requests_of(instance_with(), ClusterConfig(use_emulation=True))


def test_the_same_instance_has_the_same_pod():
    names = {launcher_pod(instance_with(), ClusterConfig(), LAUNCHER)["metadata"]["name"] for _ in range(3)}
    other = instance_with()
    other["metadata"]["uid"] = "another"
    assert len(names) == 1 and launcher_pod(other, ClusterConfig(), LAUNCHER)["metadata"]["name"] not in names
    long = instance_with()
    long["metadata"]["name"] = "a" * 63
    assert len(launcher_pod(long, ClusterConfig(), LAUNCHER)["metadata"]["name"]) == 63


def test_claims():
    vmi = instance_with(volumes=[{"name": "d", "persistentVolumeClaim": {"claimName": "c"}}])
    with pytest.raises(ClaimNotFound, match="didn't find PVC c"):
        launcher_pod(vmi, ClusterConfig(), LAUNCHER)
    block = {"c": {"spec": {"volumeMode": "Block"}}}
    container = launcher_pod(vmi, ClusterConfig(), LAUNCHER, claims=block)["spec"]["containers"][0]
    assert container["volumeDevices"] == [{"name": "d", "devicePath": "/dev/d"}]


def test_serial_console_log_can_be_switched_off():
    vmi = instance_with({"devices": {"logSerialConsole": False}})
    assert launcher_pod(vmi, ClusterConfig(), LAUNCHER)["spec"]["initContainers"] == []


def test_grace_period_is_padded():
    pod = launcher_pod(instance_with(terminationGracePeriodSeconds=7), ClusterConfig(), LAUNCHER)
    assert pod["spec"]["terminationGracePeriodSeconds"] == 37
    args = pod["spec"]["containers"][0]["args"]
    assert args[args.index("--grace-period-seconds") + 1] == "22"
