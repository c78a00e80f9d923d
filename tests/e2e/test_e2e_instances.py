"""A second instance beside the first: pods, VMs and Services in both; reset of one leaves no trace of it alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cloud import KUMO, ROOT, Cloud, fresh, vm_manifest

pytestmark = pytest.mark.e2e
DATA_DIR = Path("/var/tmp/kumo-e2e-2")
PORT = 16463
CGROUPS = Path("/sys/fs/cgroup")


def web(name: str) -> str:
    """A Deployment of one web server, whose page is its pod's name, and its Service."""
    server = "mkdir /tmp/w && hostname > /tmp/w/index.html && exec httpd -f -p 8080 -h /tmp/w"
    container = {"name": "web", "image": "busybox", "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", server]}
    labels = {"app": name}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 1}
    items = [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name},
            "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": spec}},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name},
            "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]},
        },
    ]
    return "\n".join(json.dumps(item) for item in items)


def page(cloud: Cloud, name: str) -> str:
    """What the Service answers to this machine."""
    address = cloud.get("service", name)["spec"]["clusterIP"]
    done = subprocess.run(["curl", "-s", "-m", "2", f"http://{address}"], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def pod_name(cloud: Cloud, app: str) -> str:
    pods = cloud.get("pods", "-l", f"app={app}")["items"]
    return str(pods[0]["metadata"]["name"])


def identity(cloud: Cloud) -> str:
    found: str = json.loads((cloud.data_dir / "instance.json").read_text())["id"]
    return found


def cgroup_pids(name: str) -> set[int]:
    files = [f for d in CGROUPS.glob(f"**/{name}") for f in d.rglob("cgroup.procs")]
    return {int(p) for f in files for p in f.read_text().split()}


def output(*argv: str) -> list[str]:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()


def processes(cloud: Cloud) -> set[int]:
    """Everything that runs for the instance: daemons, shims, what is in its control groups."""
    found = cgroup_pids(f"kumo-{identity(cloud)}")
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if os.fsencode(cloud.data_dir) + b"\0" in line or os.fsencode(cloud.data_dir) + b"/" in line:
                found.add(int(entry.name))
    return found - {os.getpid()}


def alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and waits for the init process to take note does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def footprint(cloud: Cloud, name: str) -> dict[str, set[str]]:
    """What in the kernel carries the instance's id or directory, kind -> names."""
    here = str(cloud.data_dir)
    mounts = {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    return {
        "links": {line.split(":")[1].strip() for line in output("ip", "-o", "link") if f"kumo{name}" in line},
        "tables": {t for t in output("nft", "list", "tables") if f"kumo-{name}" in t},
        "rules": {r.strip() for r in output("nft", "list", "ruleset") if f"kumo{name}" in r},
        "cgroups": {str(p) for p in CGROUPS.glob(f"**/*kumo-{name}*")},
        "mounts": {m for m in mounts if m.startswith(here + "/")},
        "addresses": {a for a in output("ip", "-o", "addr") if f"kumo{name}" in a},
        "files": {str(p) for p in (cloud.data_dir, *Path("/run").glob(f"*{name}*"), *Path("/tmp").glob(f"*{name}*"))
                  if p.exists()},
    }  # fmt: skip


def outside(cloud: Cloud) -> list[Path]:
    """Files of the instance outside its directory: its pods' network namespaces and its shims' sockets."""
    leases = json.loads((cloud.data_dir / "node" / "network" / "leases.json").read_text())["leases"]
    shims = (cloud.data_dir / "containerd" / "state").glob("*/*/*/address")
    return [*(Path(lease["netns"]) for lease in leases), *(Path(s.read_text().removeprefix("unix://")) for s in shims)]


@pytest.fixture
def second(cloud: Cloud) -> Iterator[Cloud]:
    """Another instance with the images, a web server and a VM; the first has a web server too."""
    found = fresh(DATA_DIR, PORT)
    found.up()
    try:
        found.demo_images()
        cloud.apply(web("first"))
        found.apply(web("second"))
        found.apply(vm_manifest("other"))
        cloud.wait(lambda: page(cloud, "first") == pod_name(cloud, "first"), 30, "the first cloud's page")
        found.wait(lambda: page(found, "second") == pod_name(found, "second"), 30, "the second cloud's page")
        found.wait(lambda: found.get("vmi", "other")["status"]["phase"] == "Running", 90, "the VM running")
        yield found
    finally:
        found.kumo("reset", "--yes", check=False)
        cloud.kubectl("delete", "deployment,service", "first", "--ignore-not-found")


def assert_gone(cloud: Cloud, name: str, pids: set[int], files: list[Path]) -> None:
    for kind, left in footprint(cloud, name).items():
        assert not left, (kind, left)
    assert not [f for f in files if f.exists()]
    assert not [p for p in pids if alive(p)]


def test_reset_leaves_no_trace_and_the_other_instance_alone(cloud: Cloud, second: Cloud) -> None:
    assert {n["metadata"]["name"] for n in second.get("vm", "-A")["items"]} == {"other"}
    assert "second" not in [d["metadata"]["name"] for d in cloud.get("deployments")["items"]]
    name, pids, files = identity(second), processes(second), outside(second)
    before = footprint(second, name)
    assert all(before[kind] for kind in ("links", "tables", "cgroups", "mounts", "addresses", "files")), before
    assert len(files) >= 4
    assert len(pids) > 8
    first = footprint(cloud, identity(cloud)) | {"pids": {str(p) for p in processes(cloud)}}
    began = time.monotonic()
    second.reset()
    assert time.monotonic() - began < 10
    assert_gone(second, name, pids, files)
    after = footprint(cloud, identity(cloud)) | {"pids": {str(p) for p in processes(cloud)}}
    assert after == first
    assert page(cloud, "first") == pod_name(cloud, "first")
    # The place can be taken again, and a supervisor that was killed with all its daemons is no hindrance to a reset.
    second.up()
    second.demo_images()
    second.apply(web("second"))
    second.wait(lambda: page(second, "second") == pod_name(second, "second"), 30, "the second cloud's page again")
    name, files = identity(second), outside(second)
    pids = processes(second)
    daemons = [second.pid(p) for p in ("supervisor", "control-plane", "node", "containerd")]
    for pid in daemons:
        os.kill(pid, signal.SIGKILL)
    second.reset()
    assert_gone(second, name, pids, files)
    assert page(cloud, "first") == pod_name(cloud, "first")


def test_two_starts_at_once_make_one_cloud() -> None:
    own = fresh(Path("/var/tmp/kumo-e2e-3"), 16473)
    up = [KUMO, "up", "--detach", "--no-node", "--data-dir", str(own.data_dir), "--port", str(own.port)]
    try:
        starts = [subprocess.Popen(up, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(3)]
        ends = [(*start.communicate(timeout=60), start.returncode) for start in starts]
        assert sorted(code for *_, code in ends) == [0, 1, 1], ends
        assert all(b"Traceback" not in err for _, err, _ in ends)
        status = json.loads(own.kumo("status", "-o", "json").stdout)
        assert [p["name"] for p in status["processes"]] == ["supervisor", "control-plane"]
        assert status["nodes"] == {}
        assert own.kubectl("get", "namespaces").stdout
    finally:
        own.reset()
