"""Every case of golden/invalid.txt: what the real webhooks refuse, in the words in which kubectl prints it."""

import copy
from pathlib import Path

import pytest

from kumo.api.errors import StatusError, not_found
from kumo.kubevirt.common.config import ClusterConfig
from kumo.kubevirt.virt_api.admission import admission_hooks

pytestmark = pytest.mark.unit

GOLDEN = (Path(__file__).parents[2] / "golden" / "kubevirt" / "invalid.txt").read_text()
CASES = {block.split("\n", 1)[0]: block.split("\n", 1)[1].rstrip("\n") for block in GOLDEN.split("## ")[1:]}
DISK = {"name": "a", "containerDisk": {"image": "x:1"}}
MEMORY = {"memory": {"guest": "64Mi"}}


class Nothing:
    """A client of an empty cluster."""

    async def get(self, gvr, name, namespace="", subresource=""):
        raise not_found(gvr.group, gvr.resource, name)

    async def list(self, gvr, namespace="", **selectors):
        raise AssertionError("nobody lists here")


def vmi(domain=None, **spec):
    devices = (domain or {}).pop("devices", {})
    made = {"domain": {"devices": devices, **(MEMORY if domain is None else domain)}, **spec}
    return {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "metadata": {"name": "bad"}, "spec": made}


def vm(**spec):
    template = {"spec": {"domain": {"devices": {}, **MEMORY}}}
    meta = {"name": "bad"}
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": meta,
        "spec": {"template": template} | spec,
    }


def migration(**spec):
    kind = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstanceMigration"}
    return {**kind, "metadata": {"name": "m"}, "spec": spec}


def nic(*interfaces, **domain):
    return {"devices": {"interfaces": list(interfaces)}, **MEMORY, **domain}


INPUTS = {
    "no memory": vmi({}),
    "disk without volume": vmi({"devices": {"disks": [{"name": "a", "disk": {}}]}, **MEMORY}),
    "volume without disk": vmi(volumes=[DISK]),
    "bad bus": vmi({"devices": {"disks": [{"name": "a", "disk": {"bus": "ide"}}]}, **MEMORY}, volumes=[DISK]),
    "two sources": vmi(volumes=[DISK | {"emptyDisk": {"capacity": "1Gi"}}]),
    "iface without network": vmi(nic({"name": "d", "masquerade": {}})),
    "masquerade on multus": vmi(
        nic({"name": "d", "masquerade": {}}), networks=[{"name": "d", "multus": {"networkName": False}}]
    ),
    "two pod networks": vmi(
        nic({"name": "a", "masquerade": {}}, {"name": "b", "masquerade": {}}),
        networks=[{"name": "a", "pod": {}}, {"name": "b", "pod": {}}],
    ),
    "limit < request": vmi({"resources": {"requests": {"memory": "64Mi"}, "limits": {"memory": "32Mi"}}}),
    "guest < request...": vmi({"memory": {"guest": "32Mi"}, "resources": {"requests": {"memory": "64Mi"}}}),
    "unknown machine type": vmi({"machine": {"type": "pc-foo"}, **MEMORY}),
    "dedicated cpu w/o guaranteed": vmi(
        {"cpu": {"dedicatedCpuPlacement": True, "cores": 2}, "resources": {"requests": {"cpu": "1"}}, **MEMORY}
    ),
    "cloudinit two userdata": vmi(
        {"devices": {"disks": [{"name": "a", "disk": {}}]}, **MEMORY},
        volumes=[{"name": "a", "cloudInitNoCloud": {"userData": "a", "userDataBase64": "YQ=="}}],
    ),
    "hostDisk gate": vmi(volumes=[{"name": "a", "hostDisk": {"path": "/a", "type": "DiskOrCreate"}}]),
    "evictionStrategy bad": vmi(evictionStrategy="Foo"),
    "gpu not permitted": vmi({"devices": {"gpus": [{"name": "a", "deviceName": "nvidia.com/x"}]}, **MEMORY}),
    "efi secureboot without smm": vmi({"firmware": {"bootloader": {"efi": {}}}, **MEMORY}),
    "probe without handler": vmi(livenessProbe={"periodSeconds": 3}),
    "VM both running and runStrategy": vm(running=True, runStrategy="Always"),
    "VM neither running nor runStrategy": vm(),
    "VM bad runStrategy": vm(runStrategy="Foo"),
    "VM no template": {k: v for k, v in vm().items() if k != "spec"} | {"spec": {"runStrategy": "Always"}},
    "VM instancetype missing": vm(runStrategy="Always", instancetype={"name": "nope"}),
    "migration of missing vmi": migration(vmiName="nope"),
    "migration empty": migration(),
}
ELSEWHERE = {
    "unknown field": "the API server's strict decoding, by the schema of the CRD",
    "clone bad source": "a kind that is not served yet",
    "snapshot missing source": "a kind that is not served yet",
}


def kubectl(error, hook, kind):
    """What kubectl prints for a refusal by a webhook (`cmd/util.StandardErrorMessage`)."""
    if error["status"].get("reason") == "Invalid":
        lines = [f"{c.get('field', '')}: {c['message']}" for c in error["status"]["details"]["causes"]]
        body = lines[0] if len(lines) == 1 else "\n" + "\n".join(f"* {line}" for line in lines)
        return f"The request is invalid: {body}"
    text = f'admission webhook "{hook}" denied the request: {error["status"]["message"]}'
    return f'Error from server: error when creating "/var/tmp/oracle/inv.yaml": {text}'


async def create(obj, config=None):
    """The way of a created object through the hooks, as far as the first refusal."""
    hooks = admission_hooks(Nothing(), lambda: config or ClusterConfig(default_architecture="amd64"))
    resource = obj["kind"].lower() + "s"
    obj = copy.deepcopy(obj)
    for hook in hooks:
        rule = hook.rules[0]
        if resource not in rule.resources or "CREATE" not in rule.operations:
            continue
        request = {
            "uid": "1",
            "operation": "CREATE",
            "object": obj,
            "namespace": "default",
            "userInfo": {"username": "u"},
        }
        response = (await hook.review({"request": request}))["response"]
        if not response["allowed"]:
            return kubectl(response, hook.name, obj["kind"])
        if "patch" in response:
            import base64
            import json

            for operation in json.loads(base64.b64decode(response["patch"])):
                obj[operation["path"][1:]] = operation["value"]
    kind = obj["kind"].lower()
    return f"{kind}.kubevirt.io/{obj['metadata']['name']} created (server dry run)"


@pytest.mark.parametrize("name", [n for n in CASES if n not in ELSEWHERE])
async def test_refusal_has_upstreams_words(name):
    assert (await create(INPUTS[name])).rstrip() == CASES[name].rstrip()


def test_all_cases_are_accounted_for():
    assert set(CASES) == set(INPUTS) | set(ELSEWHERE)


def review_of(operation, new, old, user="somebody"):
    return {
        "request": {
            "uid": "1",
            "operation": operation,
            "object": new,
            "oldObject": old,
            "namespace": "default",
            "userInfo": {"username": user},
        }
    }


def hook_named(name):
    hooks = admission_hooks(Nothing(), ClusterConfig)
    return next(h for h in hooks if h.name == name + ".kubevirt.io")


COMPONENTS = (
    "system:serviceaccount:kubevirt:kubevirt-controller",
    "system:serviceaccount:kubevirt:kubevirt-handler",
    "system:node:node01",
)


@pytest.mark.parametrize(("user", "allowed"), [("admin", False), *((c, True) for c in COMPONENTS)])
async def test_only_kubevirt_changes_the_spec_of_an_instance(user, allowed):
    old = vmi() | {"status": {"nodeName": "node01"}}
    new = copy.deepcopy(old)
    new["spec"]["hostname"] = "other"
    update = hook_named("virtualmachineinstances-update-validator")
    response = (await update.review(review_of("UPDATE", new, old, user)))["response"]
    assert response["allowed"] is allowed
    if not allowed:
        assert response["status"]["message"] == "update of VMI object is restricted"


async def test_a_node_writes_only_its_own_instances():
    old = vmi() | {"status": {"nodeName": "node02"}}
    update = hook_named("virtualmachineinstances-update-validator")
    response = (await update.review(review_of("UPDATE", old, old, "system:node:node01")))["response"]
    assert response["status"]["message"].startswith("Node restriction, virt-handler is only allowed")


async def test_status_written_by_others_is_reverted():
    old = vmi() | {"status": {"phase": "Pending"}}
    new = copy.deepcopy(old) | {"status": {"phase": "Running"}}
    mutate = hook_named("virtualmachineinstances-mutator")
    assert "patch" in (await mutate.review(review_of("UPDATE", new, old, "admin")))["response"]
    assert "patch" not in (await mutate.review(review_of("UPDATE", new, old, COMPONENTS[0])))["response"]


async def test_reserved_labels():
    labelled = vmi()
    labelled["metadata"]["labels"] = {"kubevirt.io/nodeName": "node01"}
    assert "creation of the following reserved kubevirt.io/ labels" in await create(labelled)


async def test_running_is_deprecated():
    validate = hook_named("virtualmachine-validator")
    response = (await validate.review(review_of("CREATE", vm(running=False), {})))["response"]
    assert response["warnings"] == ["spec.running is deprecated, please use spec.runStrategy instead."]


async def test_feature_gate_opens():
    config = ClusterConfig.from_kubevirt(
        {"spec": {"configuration": {"developerConfiguration": {"featureGates": ["HostDisk"]}}}}
    )
    assert "created" in await create(INPUTS["hostDisk gate"], config)


def test_a_status_error_keeps_its_shape():
    assert StatusError(409, "Conflict", "m").status["code"] == 409
