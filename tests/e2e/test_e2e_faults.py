"""kill -9 of each daemon and of all, a reboot, down and up: what runs goes on or comes back, within seconds."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from demo.terminal import Terminal

from kumo.cli import leftovers
from kumo.cli.instance import load
from support.cloud import KUMO, Cloud, vm_manifest

pytestmark = pytest.mark.e2e
RECOVERY_SECONDS = 5.0
SLACK = 10.0
"""What a busy machine may add to a time that is promised of an idle one."""
DAEMONS = ("control-plane", "node", "containerd")


def pod(name: str, **spec: object) -> dict[str, object]:
    """A pod that says when it is told to end, and ends."""
    script = "trap 'echo told to end; exit 0' TERM; echo began; while :; do sleep 0.2; done"
    container = {"name": "main", "image": "busybox", "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", script]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [container], **spec},
    }


def phase(cloud: Cloud, kind: str, name: str) -> str:
    found: str = cloud.get(kind, name)["status"]["phase"]
    return found


def qemu_pids(name: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if b"qemu-system" in line.split(b"\0")[0] and b"guest=default_" + name.encode() in line:
                found.append(int(entry.name))
    return found


def qemu_pid() -> int:
    return next(iter(qemu_pids("survivor")))


@pytest.fixture(scope="module")
def survivors(cloud: Cloud) -> Iterator[Cloud]:
    """A pod and a VM that run."""
    cloud.apply(pod("steady"))
    cloud.apply(vm_manifest("survivor"))
    cloud.wait(lambda: phase(cloud, "pod", "steady") == "Running", 60, "the pod running")
    cloud.wait(lambda: phase(cloud, "vmi", "survivor") == "Running", 90, "the VM running")
    yield cloud
    cloud.kubectl("delete", "vm", "survivor", "--ignore-not-found")
    cloud.kubectl("delete", "pod", "steady", "--grace-period=0", "--force", "--ignore-not-found")


def well(cloud: Cloud) -> bool:
    """Node ready, pod and VM running, the pod reachable."""
    nodes = cloud.get("nodes")["items"]
    ready = [c["status"] for n in nodes for c in n["status"]["conditions"] if c["type"] == "Ready"]
    return (
        ready == ["True"]
        and phase(cloud, "vmi", "survivor") == "Running"
        and phase(cloud, "pod", "steady") == "Running"
        and cloud.kubectl("exec", "steady", "--", "echo", "alive").stdout == "alive\n"
    )


def unchanging(cloud: Cloud) -> tuple[int, str, int, str]:
    """What no death of a daemon may change: QEMU's process, the container, its restarts, the instance."""
    status = cloud.get("pod", "steady")["status"]["containerStatuses"][0]
    return qemu_pid(), status["containerID"], status["restartCount"], cloud.get("vmi", "survivor")["metadata"]["uid"]


def kill(cloud: Cloud, names: tuple[str, ...]) -> None:
    for pid in [cloud.pid(name) for name in names]:
        os.kill(pid, signal.SIGKILL)


def console_answers(cloud: Cloud) -> bool:
    with Terminal([KUMO, "virt", "console", "survivor"], env=cloud.env) as terminal:
        terminal.wait_for("Successfully connected", 30)
        terminal.type("\x1d")
        return terminal.wait(30) == 0


@pytest.mark.parametrize("victims", [(name,) for name in DAEMONS] + [DAEMONS])
def test_killed_daemons_disturb_nothing(survivors: Cloud, victims: tuple[str, ...]) -> None:
    before = unchanging(survivors)
    began = time.monotonic()
    kill(survivors, victims)
    survivors.wait(lambda: well(survivors), RECOVERY_SECONDS + SLACK, f"everything well after kill -9 of {victims}")
    print(f"recovered from kill -9 of {', '.join(victims)} in {time.monotonic() - began:.1f} s")
    assert unchanging(survivors) == before
    assert console_answers(survivors)


def test_killed_many_times_in_a_row(survivors: Cloud) -> None:
    before = unchanging(survivors)
    for _ in range(4):
        for name in DAEMONS:
            survivors.wait(lambda name=name: kill(survivors, (name,)) is None, 30, f"{name} there again")
    began = time.monotonic()
    # The supervisor waits longer from death to death, 5 s at most.
    survivors.wait(lambda: well(survivors), 2 * RECOVERY_SECONDS + SLACK, "everything well after 12 deaths")
    print(f"recovered from 12 times kill -9 in {time.monotonic() - began:.1f} s")
    assert unchanging(survivors) == before


@pytest.mark.parametrize("victims", [("supervisor",), ("supervisor", *DAEMONS)])
def test_killed_with_the_supervisor_and_started_again(survivors: Cloud, victims: tuple[str, ...]) -> None:
    before = unchanging(survivors)
    kill(survivors, victims)
    status, down = (survivors.kumo(command, check=False) for command in ("status", "down"))
    assert (status.returncode, down.returncode) == (3, 1)
    for told in (status.stdout, down.stderr):
        assert "Its supervisor was killed and " in told and " pods still run: 'kumo up --detach --data-dir" in told
    instance = load(survivors.data_dir)
    assert instance is not None
    survivors.wait(lambda: not leftovers.daemons(instance), 30, "the end of the daemons")
    began = time.monotonic()
    survivors.up()
    survivors.wait(lambda: well(survivors), RECOVERY_SECONDS + SLACK, f"everything well after kill -9 of {victims}")
    print(f"up again after kill -9 of {', '.join(victims)} in {time.monotonic() - began:.1f} s")
    assert unchanging(survivors) == before
    assert console_answers(survivors)


def test_killed_qemu_fails_the_instance_and_always_brings_it_back(survivors: Cloud) -> None:
    uid = survivors.get("vmi", "survivor")["metadata"]["uid"]
    os.kill(qemu_pid(), signal.SIGKILL)

    def back() -> bool:
        vmi = survivors.get("vmi", "survivor")
        return bool(vmi["metadata"]["uid"] != uid and vmi["status"].get("phase") == "Running")

    survivors.wait(back, 120, "a new instance running")


def reboot(cloud: Cloud) -> None:
    """Everything gone that a reboot takes: processes, and the pods' network namespaces."""
    instance = load(cloud.data_dir)
    assert instance is not None
    kill(cloud, ("supervisor", *DAEMONS))
    spaces = leftovers.namespaces(instance)
    leftovers.end_pods(instance)
    for path in spaces:
        leftovers.remove_namespace(path)


def test_after_a_reboot_what_should_run_runs_again(survivors: Cloud) -> None:
    survivors.apply(pod("once", restartPolicy="Never"))
    survivors.wait(lambda: phase(survivors, "pod", "once") == "Running", 30, "the other pod running")
    before = unchanging(survivors)
    reboot(survivors)
    began = time.monotonic()
    survivors.up()
    survivors.wait(lambda: well(survivors) and unchanging(survivors)[1] != before[1], 90, "all running after a reboot")
    print(f"all running {time.monotonic() - began:.1f} s after the start that followed a reboot")
    after = unchanging(survivors)
    assert (after[0], after[3]) != (before[0], before[3])
    survivors.wait(
        lambda: phase(survivors, "pod", "once") == "Failed", 30, "the pod that is not to be restarted failed"
    )
    survivors.kubectl("delete", "pod", "once")
    address = survivors.get("pod", "steady")["status"]["podIP"]
    assert survivors.kubectl("exec", "steady", "--", "hostname", "-i").stdout.strip() == address
    assert console_answers(survivors)


def test_down_ends_everything_cleanly_and_up_brings_it_back(survivors: Cloud) -> None:
    survivors.wait(lambda: well(survivors), 60, "everything well before")
    with Terminal([KUMO, "virt", "console", "survivor"], env=survivors.env) as terminal:
        terminal.wait_for("Successfully connected", 30)
        terminal.type("\n")
        terminal.wait_for("login: ", 180)  # a guest that has booted answers the power button
    before = unchanging(survivors)
    began = time.monotonic()
    assert "Ended in" in survivors.kumo("down").stdout
    print(f"down in {time.monotonic() - began:.1f} s")
    assert not qemu_pids("survivor")
    log = sorted((survivors.data_dir / "node" / "pods").glob("default_steady_*/main/*.log")) or sorted(
        survivors.data_dir.rglob("default_steady_*/main/*.log")
    )
    assert "told to end" in log[-1].read_text()
    serial = sorted(survivors.data_dir.rglob("virt-serial0-log"), key=lambda p: p.stat().st_mtime)
    if serial:
        assert "Power down" in serial[-1].read_text(errors="replace")
    began = time.monotonic()
    survivors.up()
    survivors.wait(lambda: well(survivors) and unchanging(survivors)[1] != before[1], 90, "all running again")
    print(f"all running {time.monotonic() - began:.1f} s after up")
