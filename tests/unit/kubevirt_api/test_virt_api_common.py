"""What the components share: quantities, settings, instance types; and the CRDs."""

from fractions import Fraction

import pytest

from kumo.api.quantities import canonical, to_text
from kumo.kubevirt.common import launcher_contract as contract
from kumo.kubevirt.common.config import ClusterConfig
from kumo.kubevirt.common.instancetypes import Conflict, apply, check_requirements, check_spread
from kumo.kubevirt.virt_api.crds import custom_resource_definitions
from kumo.kubevirt.virt_api.install import deployed_status, kubevirt_object
from kumo.kubevirt.virt_api.validation.schema_check import check_schema

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("1024M", "1024M"), ("1024Mi", "1Gi"), ("0.5Gi", "512Mi"), ("1.5Gi", "1536Mi"), ("1000m", "1"), ("0.1", "100m"),
        ("64M", "64M"), ("1Ki", "1Ki"), ("512", "512"), ("1e3", "1e3"), (2, "2"), ("0Mi", "0"), ("100000", "100k"),
    ],
)  # fmt: skip
def test_canonical(text, wanted):
    assert canonical(text) == wanted


def test_render():
    assert to_text(154 << 20, binary=True) == "154Mi"
    assert to_text(1_325_989_888, binary=False) == "1325989888"
    assert to_text(Fraction(1, 10), binary=False) == "100m"


def test_settings_defaults_and_gates():
    config = ClusterConfig.from_kubevirt(kubevirt_object(use_emulation=True))
    assert config.use_emulation and config.cpu_allocation_ratio == 10 and config.gate("ImageVolume")
    spec = {"configuration": {"developerConfiguration": {"disabledFeatureGates": ["ImageVolume"]}}}
    assert not ClusterConfig.from_kubevirt({"spec": spec}).gate("ImageVolume")
    spec = {"configuration": {"additionalGuestMemoryOverheadRatio": "1.25", "architectureConfiguration": {
        "amd64": {"machineType": "pc-q35-7.2"}}}}  # fmt: skip
    config = ClusterConfig.from_kubevirt({"spec": spec})
    assert config.overhead_ratio == Fraction(5, 4) and config.machine_type("amd64") == "pc-q35-7.2"


def test_settings_that_make_no_sense():
    spec = {"configuration": {"additionalGuestMemoryOverheadRatio": "much"}}
    with pytest.raises(ValueError):
        ClusterConfig.from_kubevirt({"spec": spec})


TYPE = {"cpu": {"guest": 8}, "memory": {"guest": "1Gi", "overcommitPercent": 50}}


@pytest.mark.parametrize(
    ("preference", "cpu"),
    [
        (None, {"sockets": 8, "cores": 1, "threads": 1}),
        ({"cpu": {"preferredCPUTopology": "preferCores"}}, {"sockets": 1, "cores": 8, "threads": 1}),
        ({"cpu": {"preferredCPUTopology": "spread"}}, {"sockets": 4, "cores": 2, "threads": 1}),
        (
            {"cpu": {"preferredCPUTopology": "spread", "spreadOptions": {"across": "SocketsCoresThreads"}}},
            {"sockets": 2, "cores": 2, "threads": 2},
        ),
    ],
)
def test_instancetype_topology(preference, cpu):
    spec = {"domain": {"devices": {}}}
    apply(TYPE, preference, spec, {})
    assert spec["domain"]["cpu"] == cpu
    assert spec["domain"]["memory"]["guest"] == "1Gi"
    assert spec["domain"]["resources"]["requests"]["memory"] == "512Mi"


def test_preference_fills_gaps_only():
    preference = {
        "devices": {"preferredDiskBus": "virtio", "preferredInterfaceModel": "e1000", "preferredRng": {}},
        "firmware": {"preferredUseEfi": True, "preferredUseSecureBoot": True},
        "machine": {"preferredMachineType": "pc-q35-7.2"},
        "features": {"preferredSmm": {}, "preferredHyperv": {"vapic": {}}},
        "annotations": {"a": "b"},
    }
    devices = {"disks": [{"name": "x"}, {"name": "y", "disk": {"bus": "sata"}}], "interfaces": [{"name": "d"}]}
    spec, annotations = {"domain": {"devices": devices}}, {"a": "c"}
    apply(None, preference, spec, annotations)
    assert [d["disk"]["bus"] for d in devices["disks"]] == ["virtio", "sata"]
    assert devices["interfaces"][0]["model"] == "e1000" and devices["rng"] == {}
    assert spec["domain"]["firmware"]["bootloader"] == {"efi": {"secureBoot": True}}
    assert spec["domain"]["features"] == {"smm": {}, "hyperv": {"vapic": {}}}
    assert spec["domain"]["machine"] == {"type": "pc-q35-7.2"} and annotations == {"a": "c"}


def test_conflicts_name_the_fields():
    spec = {"domain": {"cpu": {"sockets": 1}, "memory": {"guest": "1Gi"}, "devices": {}}}
    with pytest.raises(Conflict) as caught:
        apply(TYPE, None, spec, {})
    path = "spec.template.spec.domain"
    assert caught.value.fields == (f"{path}.cpu.sockets", f"{path}.memory.guest")
    assert caught.value.causes()[0][1] == f"VM field(s) {path}.cpu.sockets conflicts with selected instance type"


def test_requirements():
    preference = {"requirements": {"cpu": {"guest": 10}}}
    with pytest.raises(Conflict, match="insufficient CPU resources of 8 vCPU provided by instance type, preference"):
        check_requirements(TYPE, preference, {})
    with pytest.raises(Conflict, match="are not divisible"):
        check_spread({"cpu": {"guest": 3}}, {"cpu": {"preferredCPUTopology": "spread"}})
    check_requirements(TYPE, {"requirements": {"memory": {"guest": "1Gi"}}}, {})


def test_crds_are_upstreams():
    found = {crd["metadata"]["name"]: crd["spec"] for crd in custom_resource_definitions()}
    assert len(found) == 10
    instances = found["virtualmachineinstances.kubevirt.io"]
    assert instances["names"]["shortNames"] == ["vmi", "vmis"]
    for version in instances["versions"]:
        assert "subresources" not in version
    machines = found["virtualmachines.kubevirt.io"]
    assert [v["name"] for v in machines["versions"] if v["storage"]] == ["v1"]
    assert [c["name"] for c in machines["versions"][0]["additionalPrinterColumns"]] == ["Age", "Status", "Ready"]
    assert found["virtualmachineclusterinstancetypes.instancetype.kubevirt.io"]["scope"] == "Cluster"


def test_schemas_are_structural():
    def walk(schema, path):
        assert schema.get("type") or schema.get("x-kubernetes-int-or-string"), path
        for name, part in (schema.get("properties") or {}).items():
            walk(part, f"{path}.{name}")
        if schema.get("type") == "array":
            walk(schema["items"], f"{path}[]")
        if isinstance(schema.get("additionalProperties"), dict):
            walk(schema["additionalProperties"], f"{path}{{}}")
        assert set(schema.get("required", ())) <= set(schema.get("properties", ())), path

    for crd in custom_resource_definitions():
        for version in crd["spec"]["versions"]:
            walk(version["schema"]["openAPIV3Schema"], crd["metadata"]["name"])


def test_schema_check_words():
    schema = {
        "required": ["spec"],
        "properties": {"spec": {"type": "object", "required": ["a"], "properties": {
            "a": {"type": "array", "items": {"type": "object", "properties": {"b": {"type": "integer"}}}},
            "c": {"type": "string", "enum": ["x", "y"]}}}},
    }  # fmt: skip
    assert [c.message for c in check_schema(schema, {})] == ["spec in body is required"]
    found = check_schema(schema, {"spec": {"a": [{"b": "1"}, {"b": 2}], "c": "z"}})
    assert [c.message for c in found] == [
        'spec.a.b in body must be of type integer: "string"',
        "spec.c in body should be one of [x y]",
    ]


def test_deployed_status_settles():
    status = deployed_status(None, 1, "2026-01-01T00:00:00Z")
    assert status["phase"] == "Deployed"
    assert {c["type"]: c["status"] for c in status["conditions"]} == {
        "Created": "True", "Available": "True", "Progressing": "False", "Degraded": "False"
    }  # fmt: skip
    assert deployed_status(status, 1, "2027-01-01T00:00:00Z") == status


@pytest.mark.parametrize(("machine", "number"), [("x86_64", 62), ("aarch64", 183)])
def test_the_no_op_program_is_an_executable(machine, number):
    program = contract.no_op_program(machine)
    assert program[:4] == b"\x7fELF" and program[18] == number and len(program) < 200


def test_console_log_command_ends_when_told():
    command = contract.console_log_command("u")
    assert command[:2] == ["/bin/sh", "-c"] and command[-1].endswith("/u/virt-serial0-log")
    assert "trap" in command[2] and "tail -n +1 -F" in command[2]
