"""kill -9 of each daemon and of all: nothing that runs notices, and the state is right within seconds."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cloud import Cloud, vm_manifest

pytestmark = pytest.mark.e2e
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "steady"},
    "spec": {"containers": [{"name": "main", "image": "busybox", "command": ["sleep", "100000"]}]},
}


def phase(cloud: Cloud, kind: str, name: str) -> str:
    found: str = cloud.get(kind, name)["status"]["phase"]
    return found


def qemu_pid(cloud: Cloud) -> int:
    wanted = b"guest=default_survivor"
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if b"qemu-system" in line.split(b"\0")[0] and wanted in line:
                return int(entry.name)
    raise StopIteration


@pytest.fixture(scope="module")
def survivors(cloud: Cloud) -> Iterator[Cloud]:
    """A pod and a VM that run."""
    cloud.apply(POD)
    cloud.apply(vm_manifest("survivor"))
    cloud.wait(lambda: phase(cloud, "pod", "steady") == "Running", 60, "the pod running")
    cloud.wait(lambda: phase(cloud, "vmi", "survivor") == "Running", 90, "the VM running")
    yield cloud
    cloud.kubectl("delete", "vm", "survivor")
    cloud.kubectl("delete", "pod", "steady", "--grace-period=0", "--force")


@pytest.mark.parametrize(
    "victims", [("control-plane",), ("node",), ("containerd",), ("control-plane", "node", "containerd")]
)
def test_killed_daemons_disturb_nothing(survivors: Cloud, victims: tuple[str, ...]) -> None:
    before = (qemu_pid(survivors), survivors.get("pod", "steady")["status"]["containerStatuses"][0]["containerID"])
    for pid in [survivors.pid(name) for name in victims]:
        os.kill(pid, signal.SIGKILL)

    def all_well() -> bool:
        nodes = survivors.get("nodes")["items"]
        ready = [c["status"] for n in nodes for c in n["status"]["conditions"] if c["type"] == "Ready"]
        return (
            ready == ["True"]
            and phase(survivors, "vmi", "survivor") == "Running"
            and phase(survivors, "pod", "steady") == "Running"
            and survivors.kubectl("exec", "steady", "--", "echo", "alive").stdout == "alive\n"
        )

    survivors.wait(all_well, 30, f"everything well after kill -9 of {victims}")
    status = survivors.get("pod", "steady")["status"]["containerStatuses"][0]
    assert (qemu_pid(survivors), status["containerID"]) == before
    assert status["restartCount"] == 0


def test_killed_qemu_fails_the_instance_and_always_brings_it_back(survivors: Cloud) -> None:
    uid = survivors.get("vmi", "survivor")["metadata"]["uid"]
    os.kill(qemu_pid(survivors), signal.SIGKILL)

    def back() -> bool:
        vmi = survivors.get("vmi", "survivor")
        return vmi["metadata"]["uid"] != uid and vmi["status"].get("phase") == "Running"

    survivors.wait(back, 120, "a new instance running")
