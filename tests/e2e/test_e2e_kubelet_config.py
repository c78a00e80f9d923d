"""`kumo up --kubelet-config`: by kubectl, on a cloud of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.cloud import Cloud, fresh

pytestmark = pytest.mark.e2e
DATA_DIR = Path("/var/tmp/kumo-e2e-kubelet")
PORT = 16763
DOCUMENT = """
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
maxPods: 20
systemReserved: {cpu: 500m, memory: 256Mi}
allowedUnsafeSysctls: ["kernel.msg*"]
shutdownGracePeriod: 30s
evictionSoft: {nodefs.available: 0.1%}
evictionSoftGracePeriod: {nodefs.available: 1m}
healthzPort: 4711
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    file = tmp_path_factory.mktemp("kubelet") / "kubelet.yaml"
    cloud = fresh(DATA_DIR, PORT)
    try:
        file.write_text(f"{DOCUMENT}maxPod: 3\nmaxPods: 5\n")
        refused = cloud.kumo("up", "--detach", f"--port={PORT}", f"--kubelet-config={file}", check=False)
        assert refused.returncode == 1
        assert 'key "maxPods" already set in map, unknown field "maxPod"' in refused.stderr
        file.write_text(DOCUMENT)
        said = cloud.up(f"--kubelet-config={file}")
        assert "fields of the KubeletConfiguration that have no effect here: healthzPort" in said
        cloud.demo_images()
        yield cloud
    finally:
        cloud.reset()


def pod(name: str, **spec: Any) -> str:
    container = {"name": "c", "image": "busybox", "imagePullPolicy": "IfNotPresent", "command": ["sleep", "1000"]}
    container |= spec.pop("container", {})
    whole = {"containers": [container], "terminationGracePeriodSeconds": 1, **spec}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": whole})


def test_the_node_is_as_its_configuration_says(own: Cloud) -> None:
    node = own.get("nodes")["items"][0]
    shown = json.loads(own.kubectl("get", "--raw", f"/api/v1/nodes/{node['metadata']['name']}/proxy/configz").stdout)
    found = shown["kubeletconfig"]
    assert (found["maxPods"], found["shutdownGracePeriod"], found["healthzPort"]) == (20, "30s", 10248)
    assert found["evictionHard"]["memory.available"] == "100Mi"
    capacity, allocatable = node["status"]["capacity"], node["status"]["allocatable"]
    assert (capacity["pods"], allocatable["pods"]) == ("20", "20")
    assert int(capacity["memory"].removesuffix("Ki")) - int(allocatable["memory"].removesuffix("Ki")) == 356 * 1024


def test_pods_by_the_configuration(own: Cloud) -> None:
    cpu = own.get("nodes")["items"][0]["status"]["allocatable"]["cpu"]
    milli = int(cpu.removesuffix("m")) if cpu.endswith("m") else int(cpu) * 1000

    def status(name: str) -> Any:
        return own.get("pod", name).get("status") or {}

    def sysctl(name: str) -> dict[str, Any]:
        return {"securityContext": {"sysctls": [{"name": name, "value": "9000"}]}}

    own.apply(pod("unsafe", **sysctl("kernel.shmmax")))
    own.apply(pod("allowed", **sysctl("kernel.msgmax")))
    own.wait(lambda: status("unsafe").get("reason") == "SysctlForbidden", 60, "the unsafe setting is refused")
    own.wait(lambda: status("allowed").get("phase") == "Running", 60, "the allowed setting is set")
    assert own.kubectl("exec", "allowed", "--", "cat", "/proc/sys/kernel/msgmax").stdout.strip() == "9000"
    node = own.get("nodes")["items"][0]["metadata"]["name"]
    wants = {"container": {"resources": {"requests": {"cpu": f"{milli - 300}m"}}}}
    own.apply(pod("victim", **wants))
    own.wait(lambda: status("victim").get("phase") == "Running", 60, "the victim runs")
    # Past the scheduler, as a DaemonSet's pod or one bound by hand comes.
    own.apply(pod("critical", nodeName=node, priorityClassName="system-node-critical", **wants))
    own.wait(lambda: status("critical").get("phase") == "Running", 60, "the critical pod runs")
    ended = status("victim")
    assert (ended["phase"], ended["reason"]) == ("Failed", "Preempting")


def test_the_configuration_is_remembered(own: Cloud) -> None:
    own.kumo("down")
    own.up()
    assert own.get("nodes")["items"][0]["status"]["capacity"]["pods"] == "20"
