"""Machines as KubeVirt's users have them: cloud-init, ssh and VNC through the API server, services, run strategies."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.cloud import KUMO, ROOT, Cloud

pytestmark = pytest.mark.e2e
IMAGE = "quay.io/kubevirt/cirros-container-disk-demo"
GONE = "kubevirt.io=virt-launcher"


def template(user_data: dict[str, Any], *, default_network: bool = False, label: str = "") -> dict[str, Any]:
    devices: dict[str, Any] = {"disks": [{"name": n, "disk": {"bus": "virtio"}} for n in ("disk", "seed")]}
    spec: dict[str, Any] = {
        "domain": {"devices": devices, "memory": {"guest": "80Mi"}},
        "terminationGracePeriodSeconds": 10,
        "volumes": [
            {"name": "disk", "containerDisk": {"image": IMAGE, "imagePullPolicy": "IfNotPresent"}},
            {"name": "seed", "cloudInitNoCloud": user_data},
        ],
    }
    if not default_network:
        devices["interfaces"] = [{"name": "default", "masquerade": {}}]
        spec["networks"] = [{"name": "default", "pod": {}}]
    return {"metadata": {"labels": {"app": label}}, "spec": spec}


def machine(
    name: str, strategy: str, user_data: dict[str, Any], namespace: str = "default", **more: Any
) -> dict[str, Any]:
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"runStrategy": strategy, "template": template(user_data, **more)},
    }


class Guests:
    """A cloud, and the key that its guests know."""

    def __init__(self, cloud: Cloud, key: Path) -> None:
        self.cloud = cloud
        self.key = key

    def ssh(self, target: str, command: str) -> str:
        """What the command prints in the guest; waits for the guest's ssh server."""
        options = ["BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"]
        local = [f"--local-ssh-opts=-o{o}" for o in options]
        argv = ["ssh", f"cirros@{target}", "-i", str(self.key), *local, "-c", command]

        def run() -> subprocess.CompletedProcess[str] | None:
            done = self.cloud.virt(*argv, check=False)
            return done if "refused" not in done.stderr and "Connection" not in done.stderr else None

        done: subprocess.CompletedProcess[str] = self.cloud.wait(run, 60, f"ssh to {target}")
        assert done.returncode == 0, done.stderr
        return done.stdout

    def await_agent(self, name: str, namespace: str = "default") -> dict[str, Any]:
        """The instance, once its guest has booted as far as its agent."""

        def booted() -> Any:
            vmi = self.cloud.get("vmi", name, "-n", namespace)
            return vmi if any(c["type"] == "AgentConnected" for c in vmi["status"]["conditions"]) else None

        found: dict[str, Any] = self.cloud.wait(booted, 120, f"the agent of {namespace}/{name}")
        return found


@pytest.fixture(scope="module")
def guests(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guests]:
    """Four VMs that know a key: user data plain, in base64, in a Secret; bridge and masquerade; two namespaces."""
    if shutil.which("ssh") is None:
        pytest.skip("needs the ssh client")
    key = tmp_path_factory.mktemp("ssh") / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    public = key.with_suffix(".pub").read_text().strip()
    plain = f"#cloud-config\nhostname: named\nssh_authorized_keys: ['{public}']\nruncmd:\n- echo ran > /tmp/ran\n"
    encoded = subprocess.run(["base64", "-w0"], input=plain, capture_output=True, text=True, check=True).stdout
    secret = {
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "seed"}, "stringData": {"userdata": plain},
    }  # fmt: skip
    cloud.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "elsewhere"}})
    cloud.apply(secret)
    cloud.apply(machine("always", "Always", {"userData": plain}, label="server"))
    cloud.apply(machine("rerun", "RerunOnFailure", {"secretRef": {"name": "seed"}}, default_network=True))
    cloud.apply(machine("once", "Once", {"userDataBase64": encoded}, namespace="elsewhere"))
    cloud.apply(machine("manual", "Manual", {"userData": plain}))
    try:
        yield Guests(cloud, key)
    finally:
        cloud.kubectl("delete", "namespace", "elsewhere", "--wait=false")
        cloud.kubectl("delete", "vm", "always", "rerun", "manual")
        cloud.kubectl("delete", "secret", "seed")
        cloud.kubectl("delete", "service", "web", "--ignore-not-found")
        cloud.wait(lambda: not cloud.get("pods", "-A", "-l", GONE)["items"], 60, "the launcher pods gone")


def test_cloud_init_in_each_form_and_ssh_by_the_api_server(guests: Guests) -> None:
    guests.await_agent("always")
    assert guests.ssh("vm/always", "hostname; cat /tmp/ran") == "named\nran\n"
    vmi = guests.await_agent("rerun")
    assert vmi["spec"]["domain"]["devices"]["interfaces"] == [{"name": "default", "bridge": {}}]
    address = vmi["status"]["interfaces"][0]["ipAddress"]
    assert address in guests.ssh("vmi/rerun", "ip -4 addr show eth0")
    guests.await_agent("once", "elsewhere")
    assert guests.ssh("vm/once/elsewhere", "hostname") == "named\n"
    failed = guests.cloud.virt(
        "ssh", "cirros@vm/always", "-i", str(guests.key), "-t-oStrictHostKeyChecking=no", "-t-oBatchMode=yes",
        "-t-oUserKnownHostsFile=/dev/null", "-c", "exit 3", check=False,
    )  # fmt: skip
    assert (failed.returncode, failed.stderr.splitlines()[-1]) == (1, "exit status 3")


def test_the_status_tells_what_kubevirt_tells(guests: Guests) -> None:
    status = guests.await_agent("always")["status"]
    golden = {
        "activePods", "conditions", "currentCPUTopology", "guestOSInfo", "interfaces", "launcherContainerImageVersion",
        "machine", "memory", "migrationMethod", "migrationTransport", "nodeName", "phase", "phaseTransitionTimestamps",
        "qosClass", "runtimeUser", "selinuxContext", "virtualMachineRevisionName", "volumeStatus",
    }  # fmt: skip
    assert set(status) == golden
    assert [c["type"] for c in status["conditions"]] == [
        "Ready", "LiveMigratable", "StorageLiveMigratable", "AgentConnected",
    ]  # fmt: skip
    interface = status["interfaces"][0]
    assert (interface["infoSource"], interface["interfaceName"], interface["linkState"]) == (
        "domain, guest-agent", "eth0", "up",
    )  # fmt: skip
    assert {v["name"]: v["target"] for v in status["volumeStatus"]} == {"disk": "vda", "seed": "vdb"}


def test_a_service_by_its_name_from_another_machine_and_namespace(guests: Guests) -> None:
    cloud = guests.cloud
    guests.ssh("vm/always", "mkdir -p /tmp/w; echo served > /tmp/w/index.html; httpd -p 8080 -h /tmp/w")
    service = {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": {"app": "server"}, "ports": [{"port": 80, "targetPort": 8080}]},
    }  # fmt: skip
    cloud.apply(service)
    fetch = "for i in 1 2 3 4 5 6 7 8; do wget -qO- http://web.default/ && break; sleep 1; done"
    guests.await_agent("once", "elsewhere")
    assert guests.ssh("vm/once/elsewhere", fetch) == "served\n"
    assert guests.ssh("vm/rerun", fetch.replace("web.default", "web")) == "served\n"
    address = guests.await_agent("always")["status"]["interfaces"][0]["ipAddress"]
    assert guests.ssh("vm/once/elsewhere", f"wget -qO- http://{address}:8080/") == "served\n"


@contextlib.contextmanager
def screen(cloud: Cloud, name: str) -> Iterator[subprocess.Popen[str]]:
    argv = [KUMO, "virt", "vnc", name, "--proxy-only"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(argv, env=cloud.env, text=True, **pipes) as proxy:  # type: ignore[call-overload]
        try:
            yield proxy
        finally:
            proxy.kill()


def test_the_screen_by_vnc_the_newer_session_wins(guests: Guests, tmp_path: Path) -> None:
    guests.await_agent("always")
    with screen(guests.cloud, "always") as first:
        assert first.stdout
        assert first.stderr
        with socket.create_connection(("127.0.0.1", json.loads(first.stdout.readline())["port"])) as viewer:
            viewer.settimeout(30)
            stream = viewer.makefile("rwb")
            assert stream.read(12) == b"RFB 003.008\n"
            stream.write(b"RFB 003.008\n")
            stream.flush()
            assert stream.read(2) == b"\x01\x01"
            stream.write(b"\x01")
            stream.flush()
            assert stream.read(4) == b"\0\0\0\0"
            stream.write(b"\x01")
            stream.flush()
            width, height = (int.from_bytes(stream.read(2)) for _ in range(2))
            assert (width, height) == (720, 400)
            with screen(guests.cloud, "always") as second:
                assert second.stdout
                assert "port" in second.stdout.readline()
                assert first.wait(30) == 1
                assert "error encountered: websocket: close 1006" in first.stderr.read()
                refused = guests.cloud.virt("vnc", "always", "--proxy-only", "--preserve-session", check=False)
                words = "can't access VMI always: Active VNC connection. Request denied.\n"
                assert (refused.returncode, refused.stderr) == (1, words)
    picture = tmp_path / "screen.png"
    guests.cloud.virt("vnc", "screenshot", "always", "-f", str(picture))
    content = picture.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert [int.from_bytes(content[i : i + 4]) for i in (16, 20)] == [720, 400]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("start always", 'Error starting VirtualMachine {vm} "always": VM is already running'),
        ("start nope", 'Error starting VirtualMachine virtualmachine.kubevirt.io "nope" not found'),
        ("stop manual", 'error stopping VirtualMachine {vm} "manual": VM is not running'),
        ("restart manual", 'error restarting VirtualMachine: {vm} "manual": VM is not running: Halted'),
        ("unpause vmi always", 'Error unpausing VirtualMachineInstance always: {vmi} "always": VMI is not paused'),
        ("console nope", 'virtualmachineinstance.kubevirt.io "nope" not found'),
        ("vnc nope --proxy-only", 'can\'t access VMI nope: virtualmachineinstance.kubevirt.io "nope" not found'),
        ("port-forward vm/manual 22 --stdio", '{vm} "manual": VMI is not started'),
        (
            "reset nope",
            'Error reseting VirtualMachineInstance nope: virtualmachineinstance.kubevirt.io "nope" not found',
        ),
    ],
)
def test_refusals_word_for_word(guests: Guests, arguments: str, says: str) -> None:
    guests.await_agent("always")
    before = "Operation cannot be fulfilled on "
    wanted = says.replace("{vm}", f"{before}virtualmachine.kubevirt.io")
    wanted = wanted.replace("{vmi}", f"{before}virtualmachineinstance.kubevirt.io")
    refused = guests.cloud.virt(*arguments.split(), check=False)
    assert (refused.returncode, refused.stdout, refused.stderr) == (1, "", wanted + "\n")


def test_kubectl_virt_is_the_same_program(guests: Guests) -> None:
    path = os.pathsep.join([str(ROOT / ".venv" / "bin"), guests.cloud.env.get("PATH") or os.environ["PATH"]])
    argv = [shutil.which("kubectl") or "kubectl", "virt", "start", "manual", "--dry-run"]
    done = guests.cloud.run(["env", f"PATH={path}", *argv])
    assert done.stdout == "Dry Run execution\nVM manual was scheduled to start\n"


def test_a_guest_that_powers_off_under_each_strategy(guests: Guests) -> None:
    cloud = guests.cloud
    assert cloud.virt("start", "manual").stdout == "VM manual was scheduled to start\n"
    before = guests.await_agent("always")["metadata"]["uid"]
    guests.await_agent("rerun")
    guests.await_agent("once", "elsewhere")
    guests.await_agent("manual")
    for target in ("vm/always", "vm/rerun", "vm/once/elsewhere", "vm/manual"):
        guests.ssh(target, "(sleep 1; sudo poweroff) >/dev/null 2>&1 &")

    def printable(name: str, namespace: str = "default") -> str:
        found: str = cloud.get("vm", name, "-n", namespace)["status"].get("printableStatus", "")
        return found

    for name, namespace in (("rerun", "default"), ("once", "elsewhere"), ("manual", "default")):
        cloud.wait(lambda n=name, ns=namespace: printable(n, ns) == "Stopped", 60, f"{name} stopped")
    again = cloud.wait(
        lambda: (vmi := cloud.get("vmi", "always"))["metadata"]["uid"] != before and vmi["status"].get("phase"),
        60,
        "always came back",
    )
    assert again in ("Pending", "Scheduling", "Scheduled", "Running")
    for name, namespace in (("once", "elsewhere"), ("manual", "default")):
        assert cloud.get("vmi", name, "-n", namespace)["status"]["phase"] == "Succeeded"
    assert printable("rerun") == "Stopped"
    refused = cloud.virt("start", "once", "-n", "elsewhere", check=False)
    assert refused.stderr.endswith("Once does not support manual start requests\n")


def test_the_kubevirt_objects_settings_are_obeyed_at_once(guests: Guests) -> None:
    cloud = guests.cloud

    def settings(**wanted: Any) -> None:
        patch = json.dumps({"spec": {"configuration": wanted}})
        cloud.kubectl("patch", "kubevirt", "kubevirt", "-n", "kubevirt", "--type=merge", "-p", patch)

    def admitted() -> dict[str, Any]:
        instance = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "metadata": {"name": "x"},
                    "spec": template({"userData": "x"}, default_network=True)["spec"]}  # fmt: skip
        answer = cloud.kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", stdin=json.dumps(instance))
        found: dict[str, Any] = json.loads(answer.stdout)["spec"]
        return found

    settings(network={"defaultNetworkInterface": "masquerade"}, cpuModel="Nehalem", cpuRequest="70m")
    try:
        found = cloud.wait(
            lambda: (spec := admitted())["domain"]["cpu"].get("model") == "Nehalem" and spec, 10, "the settings obeyed"
        )
        assert found["domain"]["devices"]["interfaces"] == [{"name": "default", "masquerade": {}}]
        cloud.virt("start", "manual", check=False)

        def requested() -> Any:
            pods = cloud.get("pods", "-l", "vm.kubevirt.io/name=manual")["items"]
            running = [p for p in pods if p["status"]["phase"] in ("Pending", "Running")]
            containers = running[0]["spec"]["containers"]
            return next(c for c in containers if c["name"] == "compute")["resources"]["requests"]["cpu"]

        assert cloud.wait(requested, 30, "the pod of the next instance") == "70m"
    finally:
        settings(network=None, cpuModel=None, cpuRequest=None)
    wrong = json.dumps({"spec": {"configuration": {"developerConfiguration": {"cpuAllocationRatio": "many"}}}})
    refused = cloud.kubectl(
        "patch", "kubevirt", "kubevirt", "-n", "kubevirt", "--type=merge", "-p", wrong, check=False
    )  # fmt: skip
    assert (refused.returncode, "cpuAllocationRatio in body must be of type integer" in refused.stderr) == (1, True)
