"""Virtual machines through the real API server, hooks and controllers; the test plays the kubelet and virt-handler."""

import asyncio
from pathlib import Path

import pytest
import yaml

from kumo.api.conditions import condition
from kumo.api.errors import StatusError
from kumo.api.resources import CONTROLLERREVISIONS, EVENTS, INSTANCETYPES, KUBEVIRTS, PODS, VMIS, VMS
from kumo.kubevirt.virt_api.install import install
from kumo.machinery.client import Client
from support.kubevirt_cluster import NAMESPACE, NODE, kubevirt_cluster

pytestmark = pytest.mark.component

GOLDEN = Path(__file__).parents[2] / "golden" / "kubevirt"
PAUSED = {"type": "Paused", "status": "True", "reason": "PausedByUser", "message": "VMI was paused by user"}


@pytest.fixture
async def cluster(tmp_path):
    async with kubevirt_cluster(tmp_path) as running:
        yield running


def gate(pod):
    return condition(pod, "kubevirt.io/virtual-machine-unpaused")


async def test_the_whole_life(cluster):
    await cluster.create_vm("testvm", running=False)
    vm = await cluster.until_vm("testvm", "Stopped")
    assert vm["metadata"]["finalizers"] == ["kubevirt.io/virtualMachineControllerFinalize"]
    assert condition(vm, "Ready")["reason"] == "VMINotExists"
    assert "created" not in vm["status"] and "runStrategy" not in vm["status"]

    await cluster.put("testvm", "start")
    vm = await cluster.until_vm("testvm", "Starting")
    assert vm["spec"]["running"] is True
    pod = await cluster.run_pod("testvm")
    vmi = await cluster.until_vmi("testvm", "Scheduled")
    assert vmi["status"]["activePods"] == {pod["metadata"]["uid"]: NODE}
    assert vmi["metadata"]["labels"]["kubevirt.io/nodeName"] == NODE
    assert vmi["status"]["interfaces"] == [{"name": "default", "podInterfaceName": "eth0"}]
    phases = [entry["phase"] for entry in vmi["status"]["phaseTransitionTimestamps"]]
    assert phases == ["Pending", "Scheduling", "Scheduled"]
    assert condition(vmi, "Ready")["reason"] == "GuestNotRunning"

    vm = await cluster.start_fully("testvm")
    vm = await cluster.until("VM ready", lambda: _ready(cluster, "testvm"))
    assert vm["status"]["ready"] is True and vm["status"]["created"] is True
    assert vm["status"]["runStrategy"] == "Always"
    assert condition(vm, "LiveMigratable") == {
        "type": "LiveMigratable", "status": "True", "lastProbeTime": None, "lastTransitionTime": None
    }  # fmt: skip
    pod = await cluster.the_pod("testvm")
    assert gate(pod)["status"] == "True" and pod["metadata"]["labels"]["kubevirt.io/nodeName"] == NODE

    await cluster.handler_writes("testvm", [PAUSED])
    await cluster.until_vm("testvm", "Paused")
    await cluster.until("gate", lambda: _gate_is(cluster, "testvm", "False"))
    await cluster.handler_writes("testvm", [{"type": "Paused"}])
    await cluster.until_vm("testvm", "Running")
    await cluster.until("gate", lambda: _gate_is(cluster, "testvm", "True"))

    await cluster.put("testvm", "stop")
    await cluster.until_vm("testvm", "Stopping")
    await cluster.until("pod deletion", lambda: _pods_going(cluster, "testvm"))
    await cluster.handler_writes("testvm", phase="Succeeded")
    await cluster.finish_pod("testvm")
    vm = await cluster.until_vm("testvm", "Stopped")
    assert vm["spec"]["running"] is False
    await cluster.until("VMI gone", lambda: _vmi_gone(cluster, "testvm"))

    await cluster.client.delete(VMS, "testvm", NAMESPACE)
    await cluster.until_gone("testvm")


async def _ready(cluster, name):
    vm = await cluster.vm(name)
    return vm if vm["status"].get("ready") else None


async def _gate_is(cluster, name, status):
    return gate(await cluster.the_pod(name))["status"] == status


async def _pods_going(cluster, name):
    pods = await cluster.pods(name)
    return not pods or all("deletionTimestamp" in p["metadata"] for p in pods)


async def _vmi_gone(cluster, name):
    try:
        await cluster.vmi(name)
    except StatusError as error:
        return error.code == 404
    return False


async def test_instance_reads_like_upstreams(cluster):
    """An instance that is scheduled, against the golden one of the real virt-controller."""
    golden = yaml.safe_load((GOLDEN / "3-vmi-scheduled.yaml").read_text())
    wanted = yaml.safe_load((GOLDEN / "1-vm-starting.yaml").read_text())
    template = wanted["spec"]["template"]
    vm = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": "vm-cirros", "namespace": "default", "labels": {"kubevirt.io/vm": "vm-cirros"}},
        "spec": {"runStrategy": "Always", "template": template},
    }
    await cluster.client.create(VMS, vm)
    await cluster.run_pod("vm-cirros")
    made = await cluster.until_vmi("vm-cirros", "Scheduled")
    for obj in (golden, made):
        meta, status = obj["metadata"], obj["status"]
        for name in ("creationTimestamp", "resourceVersion", "uid", "generation", "managedFields"):
            meta.pop(name, None)
        meta["ownerReferences"][0]["uid"] = "uid"
        meta["annotations"]["kubevirt.io/vm-generation"] = "n"
        status["activePods"] = sorted(status["activePods"].values())
        status["virtualMachineRevisionName"] = status["virtualMachineRevisionName"][: len("revision-start-vm-")]
        for entry in status["phaseTransitionTimestamps"]:
            entry["phaseTransitionTimestamp"] = "now"
        for entry in status["conditions"]:
            entry["lastProbeTime"] = entry["lastTransitionTime"] = "now"
    # kumo's own: its launcher image, and what it measured as overhead.
    assert made["status"].pop("launcherContainerImageVersion") == "kumo.dev/virt-launcher:0.1.0"
    assert made["status"]["memory"].pop("memoryOverhead") == "148Mi"
    del golden["status"]["launcherContainerImageVersion"], golden["status"]["memory"]["memoryOverhead"]
    assert made == golden
    await _machine_reads_like_upstreams(cluster)


async def _machine_reads_like_upstreams(cluster):
    golden = yaml.safe_load((GOLDEN / "3-vm-starting.yaml").read_text())

    async def told():
        vm = await cluster.vm("vm-cirros")
        return vm if condition(vm, "Ready")["reason"] == "GuestNotRunning" else None

    made = await cluster.until("the VM tells of its instance", told)
    for obj in (golden, made):
        for name in ("creationTimestamp", "resourceVersion", "uid", "generation", "managedFields"):
            obj["metadata"].pop(name, None)
        # The golden VM was started by a change of its spec, ours at creation: its generation is 2.
        obj["status"] |= {"desiredGeneration": 0, "observedGeneration": 0}
        for entry in obj["status"]["conditions"]:
            entry["lastProbeTime"] = entry["lastTransitionTime"] = "now"
    assert made == golden


async def test_killed_guest_is_back(cluster):
    await cluster.create_vm("a", runStrategy="Always")
    await cluster.start_fully("a")
    first = (await cluster.vmi("a"))["metadata"]["uid"]
    await cluster.handler_writes("a", phase="Failed")
    await cluster.until("pod deletion", lambda: _pods_going(cluster, "a"))
    await cluster.finish_pod("a", "Failed")

    async def another():
        vmi = await cluster.vmi("a")
        return vmi["metadata"]["uid"] != first

    await cluster.until("another instance", another)
    vm = await cluster.start_fully("a")
    assert "startFailure" not in vm["status"]


async def test_crash_loop(cluster):
    await cluster.create_vm("a", runStrategy="Always")
    await cluster.the_pod("a")
    await cluster.until_vmi("a", "Scheduling")
    await cluster.finish_pod("a", "Failed")
    vm = await cluster.until_vm("a", "CrashLoopBackOff")
    assert vm["status"]["startFailure"]["consecutiveFailCount"] == 1
    await cluster.put("a", "stop")
    await cluster.until_vm("a", "Stopped")


async def test_manual(cluster):
    await cluster.create_vm("a", runStrategy="Manual")
    await cluster.until_vm("a", "Stopped")
    await cluster.put("a", "start")
    await cluster.start_fully("a")
    vm = await cluster.vm("a")
    assert vm["spec"]["runStrategy"] == "Manual" and "stateChangeRequests" not in vm["status"]
    await cluster.handler_writes("a", phase="Succeeded")
    await cluster.finish_pod("a")
    await cluster.until_vm("a", "Stopped")
    first = (await cluster.vmi("a"))["metadata"]["uid"]
    await cluster.put("a", "start")

    async def another():
        await cluster.finish_deleted_pods("a")
        return (await cluster.vmi("a"))["metadata"]["uid"] != first

    await cluster.until("another instance", another)
    await cluster.start_fully("a")
    await cluster.put("a", "stop")
    await cluster.until_vm("a", "Stopping")


async def test_rerun_on_failure(cluster):
    await cluster.create_vm("a", runStrategy="RerunOnFailure")
    await cluster.start_fully("a")
    first = (await cluster.vmi("a"))["metadata"]["uid"]
    await cluster.handler_writes("a", phase="Failed")
    await cluster.until("pod deletion", lambda: _pods_going(cluster, "a"))
    await cluster.finish_pod("a", "Failed")

    async def another():
        return (await cluster.vmi("a"))["metadata"]["uid"] != first

    await cluster.until("another instance", another)
    await cluster.start_fully("a")
    await cluster.handler_writes("a", phase="Succeeded")
    await cluster.until("pod deletion", lambda: _pods_going(cluster, "a"))
    await cluster.finish_pod("a")
    await cluster.until_vm("a", "Stopped")
    await cluster.until("VMI gone", lambda: _vmi_gone(cluster, "a"))


async def test_once(cluster):
    await cluster.create_vm("a", runStrategy="Once")
    await cluster.start_fully("a")
    await cluster.handler_writes("a", phase="Succeeded")
    await cluster.finish_pod("a")
    await cluster.until_vm("a", "Stopped")
    assert (await cluster.vmi("a"))["status"]["phase"] == "Succeeded"


async def test_start_paused(cluster):
    await cluster.create_vm("a", runStrategy="Halted")
    await cluster.until_vm("a", "Stopped")
    await cluster.put("a", "start", {"paused": True})
    vmi = await cluster.until_vmi("a", "Scheduling")
    assert vmi["spec"]["startStrategy"] == "Paused"
    vm = await cluster.until_vm("a", "Starting")
    assert vm["spec"]["runStrategy"] == "Always"


async def test_restart(cluster):
    await cluster.create_vm("a", runStrategy="Always")
    await cluster.start_fully("a")
    first = (await cluster.vmi("a"))["metadata"]["uid"]
    await cluster.put("a", "restart")
    await cluster.until_vm("a", "Stopping")
    await cluster.handler_writes("a", phase="Succeeded")
    await cluster.until("pod deletion", lambda: _pods_going(cluster, "a"))
    await cluster.finish_pod("a")

    async def another():
        return (await cluster.vmi("a"))["metadata"]["uid"] != first

    await cluster.until("another instance", another)

    async def requests_done():
        return "stateChangeRequests" not in (await cluster.vm("a"))["status"]

    await cluster.until("requests done", requests_done)


async def test_image_that_cannot_be_pulled(cluster):
    await cluster.create_vm("a", runStrategy="Always")
    await cluster.until_vmi("a", "Scheduling")
    await cluster.pod_waits("a", "ErrImagePull", "no such host")
    vm = await cluster.until_vm("a", "ErrImagePull")
    assert condition(vm, "Synchronized")["message"] == "no such host"
    await cluster.pod_waits("a", "ImagePullBackOff", "Back-off pulling image")
    await cluster.until_vm("a", "ImagePullBackOff")


async def test_claim_that_does_not_exist(cluster):
    claim = {"volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "nope"}}]}
    domain = {"domain": {"devices": {}, "memory": {"guest": "64Mi"}}, "networks": []}
    await cluster.create_vm("a", claim | domain, runStrategy="Always")
    vm = await cluster.until_vm("a", "ErrorPvcNotFound")
    message = condition(vm, "Synchronized")["message"]
    assert message == "failed to render launch manifest: didn't find PVC nope"


async def test_changed_template_requires_a_restart(cluster):
    await cluster.create_vm("a", runStrategy="Always")
    await cluster.start_fully("a")
    patch = {"spec": {"template": {"spec": {"hostname": "other"}}}}
    await cluster.client.patch(VMS, "a", patch, NAMESPACE)

    async def required():
        return condition(await cluster.vm("a"), "RestartRequired")

    found = await cluster.until("RestartRequired", required)
    assert found["message"] == "a non-live-updatable field was changed in the template spec"
    vm = await cluster.vm("a")
    assert vm["status"]["observedGeneration"] == 1 and vm["status"]["desiredGeneration"] == 2


async def test_label_change_is_no_restart(cluster):
    await cluster.create_vm("a", runStrategy="Always")
    await cluster.start_fully("a")
    await cluster.client.patch(VMS, "a", {"metadata": {"labels": {"x": "y"}}}, NAMESPACE)
    await cluster.put("a", "stop")
    vm = await cluster.until_vm("a", "Stopping")
    assert condition(vm, "RestartRequired") is None


async def test_instancetype(cluster):
    spec = {"cpu": {"guest": 2}, "memory": {"guest": "128Mi"}}
    kind = {"apiVersion": "instancetype.kubevirt.io/v1beta1", "kind": "VirtualMachineInstancetype"}
    made = await cluster.client.create(INSTANCETYPES, {**kind, "metadata": {"name": "small"}, "spec": spec}, NAMESPACE)
    matcher = {"kind": "VirtualMachineInstancetype", "name": "small"}
    domain = {"domain": {"devices": {}}, "volumes": [], "networks": []}
    await cluster.create_vm("a", domain, runStrategy="Always", instancetype=matcher)
    vmi = await cluster.until_vmi("a", "Scheduling")
    assert vmi["spec"]["domain"]["cpu"]["sockets"] == 2
    assert vmi["spec"]["domain"]["memory"]["guest"] == "128Mi"
    assert vmi["metadata"]["annotations"]["kubevirt.io/instancetype-name"] == "small"
    vm = await cluster.vm("a")
    name = f"a-small-v1beta1-{made['metadata']['uid']}-1"
    assert vm["status"]["instancetypeRef"]["controllerRevisionRef"] == {"name": name}
    revision = await cluster.client.get(CONTROLLERREVISIONS, name, NAMESPACE)
    assert revision["data"]["spec"] == spec
    conflicting = {**domain, "domain": {"devices": {}, "memory": {"guest": "64Mi"}}}
    with pytest.raises(StatusError, match="conflicts with selected instance type"):
        await cluster.create_vm("b", conflicting, runStrategy="Always", instancetype=matcher)


async def test_instance_without_machine(cluster):
    spec = {"domain": {"devices": {}, "memory": {"guest": "64Mi"}}, "terminationGracePeriodSeconds": 0}
    kind = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance"}
    await cluster.client.create(VMIS, {**kind, "metadata": {"name": "a"}, "spec": spec}, NAMESPACE)
    await cluster.run_pod("a")
    await cluster.until_vmi("a", "Scheduled")
    await cluster.handler_writes("a", phase="Running")
    await cluster.client.delete(VMIS, "a", NAMESPACE)
    await cluster.until("pod deletion", lambda: _pods_going(cluster, "a"))
    await cluster.handler_writes("a", phase="Succeeded")
    await cluster.finish_pod("a")
    await cluster.until("VMI gone", lambda: _vmi_gone(cluster, "a"))


async def test_settings_are_obeyed_live(cluster):
    settings = {"cpuAllocationRatio": 2, "useEmulation": True}
    patch = {"spec": {"configuration": {"developerConfiguration": settings, "evictionStrategy": "LiveMigrate"}}}
    await cluster.client.patch(KUBEVIRTS, "kubevirt", patch, "kubevirt")

    async def obeyed():
        spec = {"domain": {"devices": {}, "memory": {"guest": "64Mi"}}}
        body = {
            "apiVersion": "kubevirt.io/v1",
            "kind": "VirtualMachineInstance",
            "metadata": {"name": "x"},
            "spec": spec,
        }
        made = await cluster.client.request("POST", VMIS.path(NAMESPACE), query={"dryRun": "All"}, body=body)
        return made["spec"]["evictionStrategy"] == "LiveMigrate"

    await cluster.until("new settings", obeyed)
    await cluster.create_vm("a", runStrategy="Always")
    pod = await cluster.the_pod("a")
    assert pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] == "500m"


async def test_events(cluster):
    await cluster.create_vm("a", runStrategy="Always")
    pod = await cluster.the_pod("a")

    async def messages():
        found = {e["message"] for e in (await cluster.client.list(EVENTS, NAMESPACE)).items}
        wanted = {
            "Started the virtual machine by creating the new virtual machine instance a",
            f"Created virtual machine pod {pod['metadata']['name']}",
        }
        return wanted <= found

    await cluster.until("events", messages)


async def test_kubectl_columns(tmp_path):
    async with kubevirt_cluster(tmp_path, https=True) as cluster:
        await cluster.create_vm("testvm", runStrategy="Always")
        await cluster.start_fully("testvm")
        await cluster.until("VM ready", lambda: _ready(cluster, "testvm"))

        async def kubectl(*args):
            command = ["kubectl", "--kubeconfig", cluster.server.kubeconfig, "get", *args]
            process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
            out, _ = await process.communicate()
            assert process.returncode == 0
            return [line.split() for line in out.decode().splitlines()]

        header, row = await kubectl("vm")
        assert header == ["NAME", "AGE", "STATUS", "READY"]
        assert [row[0], *row[2:]] == ["testvm", "Running", "True"]
        header, row = await kubectl("vmi", "-o", "wide")
        assert header == ["NAME", "AGE", "PHASE", "IP", "NODENAME", "READY", "LIVE-MIGRATABLE", "PAUSED"]
        assert [row[0], *row[2:]] == ["testvm", "Running", "10.244.0.7", NODE, "True", "True"]
        header, row = await kubectl("kubevirt", "-n", "kubevirt")
        assert header == ["NAME", "AGE", "PHASE"] and row[2] == "Deployed"


async def test_many_at_once_get_one_pod_each(cluster):
    names = [f"m{n}" for n in range(20)]
    await asyncio.gather(*(cluster.create_vm(name, runStrategy="Always") for name in names))
    for name in names:
        await cluster.until_vmi(name, "Scheduling")
    assert [len(await cluster.pods(name)) for name in names] == [1] * len(names)


async def test_a_new_controller_takes_over(tmp_path):
    """The controllers are killed and started again at an arbitrary moment: nothing is made twice."""
    async with kubevirt_cluster(tmp_path) as cluster:
        names = [f"m{n}" for n in range(10)]
        await asyncio.gather(*(cluster.create_vm(name, runStrategy="Always") for name in names))
        await cluster.until("some pods", lambda: _some_pods(cluster))
        await cluster.restart_controllers()
        for name in names:
            await cluster.until_vmi(name, "Scheduling")
            await cluster.until_vm(name, "Starting")
        assert [len(await cluster.pods(name)) for name in names] == [1] * len(names)
        await cluster.start_fully(names[0])


async def _some_pods(cluster):
    return (await cluster.client.list(PODS, NAMESPACE)).items


async def test_unknown_field_and_missing_template(cluster):
    body = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {"name": "bad"},
        "spec": {"domain": {"devices": {}, "memory": {"guest": "64Mi"}}, "foo": 1},
    }
    with pytest.raises(StatusError) as caught:
        path = VMIS.path(NAMESPACE)
        await cluster.client.request("POST", path, query={"fieldValidation": "Strict"}, body=body)
    kind = 'VirtualMachineInstance in version "v1" cannot be handled as a VirtualMachineInstance'
    assert caught.value.message == f'{kind}: strict decoding error: unknown field "spec.foo"'
    with pytest.raises(StatusError) as caught:
        machine = {**body, "kind": "VirtualMachine", "spec": {"runStrategy": "Always"}}
        await cluster.client.create(VMS, machine, NAMESPACE)
    assert caught.value.details["causes"][0]["message"] == "spec.template in body is required"


async def test_a_second_installation_writes_nothing(cluster):
    class Reader(Client):
        async def update(self, gvr, obj, *, subresource=""):
            raise AssertionError(f"{obj['kind']} {obj['metadata']['name']} is written again")

    await install(Reader(cluster.client.transport), use_emulation=True)
