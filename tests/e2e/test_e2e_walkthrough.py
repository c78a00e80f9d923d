"""The primer's walk-through to the letter, and a second console session."""

from __future__ import annotations

import re

import pytest
from demo.terminal import Terminal

from support.cloud import KUMO, ROOT, Cloud

pytestmark = pytest.mark.e2e
LOGIN_SECONDS = 180


def log_in(terminal: Terminal) -> None:
    terminal.type("\n")
    terminal.wait_for("login: ", LOGIN_SECONDS)
    terminal.type("cirros\n")
    terminal.wait_for("assword: ", 60)
    terminal.type("gocubsgo\n")
    terminal.wait_for("[$#] ", 60)


def test_the_primers_six_steps(cloud: Cloud) -> None:
    manifest = ROOT / "docs" / "tutorial" / "vm.yaml"
    cloud.kubectl("delete", "vm", "testvm", "--ignore-not-found")
    assert cloud.kubectl("create", "-f", str(manifest)).stdout == "virtualmachine.kubevirt.io/testvm created\n"
    again = cloud.kubectl("create", "-f", str(manifest), check=False)
    assert again.returncode == 1
    assert 'virtualmachines.kubevirt.io "testvm" already exists' in again.stderr
    assert cloud.virt("start", "testvm").stdout == "VM testvm was scheduled to start\n"
    pods = cloud.wait(
        lambda: re.search(
            r"^virt-launcher-testvm-\w{5}\s+2/2\s+Running", cloud.kubectl("get", "pods").stdout, re.MULTILINE
        ),
        60,
        "the launcher pod running with both containers",
    )
    assert pods
    vmi = cloud.wait(
        lambda: re.search(
            r"^NAME +AGE +PHASE +IP +NODENAME +READY\ntestvm +\S+ +Running +10\.\d+\.\d+\.\d+ +\S+ +True",
            cloud.kubectl("get", "vmi").stdout,
            re.MULTILINE,
        ),
        60,
        "the VMI running and ready",
    )
    assert vmi
    with Terminal([KUMO, "virt", "console", "testvm"], env=cloud.env) as first:
        first.wait_for(r"Successfully connected to testvm console\. The escape sequence is \^\]", 60)
        log_in(first)
        first.type("echo sum $((40+2))\n")
        first.wait_for(r"\r\nsum 42\r\n", 60)
        # A second session wins, the first is told that it was disconnected.
        with Terminal([KUMO, "virt", "console", "testvm"], env=cloud.env) as second:
            second.wait_for("Successfully connected", 60)
            first.wait_for("You were disconnected from the console", 60)
            assert first.wait(30) == 1
            second.type("echo sum $((50+3))\n")
            second.wait_for(r"\r\nsum 53\r\n", 60)
            second.type("\x1d")
            assert second.wait(30) == 0
    assert cloud.virt("pause", "vm", "testvm").stdout == "VMI testvm was scheduled to pause\n"
    cloud.wait(lambda: "Paused" in cloud.kubectl("get", "vm", "testvm").stdout, 60, "the VM paused")
    paused = cloud.virt("pause", "vmi", "testvm", check=False)
    assert (paused.returncode, "VMI is already paused" in paused.stderr) == (1, True)
    assert cloud.virt("unpause", "vm", "testvm").stdout == "VMI testvm was scheduled to unpause\n"
    cloud.wait(lambda: "Running" in cloud.kubectl("get", "vm", "testvm").stdout, 60, "the VM running again")
    assert cloud.virt("stop", "testvm").stdout == "VM testvm was scheduled to stop\n"
    cloud.wait(lambda: "Stopped" in cloud.kubectl("get", "vm", "testvm").stdout, 120, "the VM stopped")
    stopped = cloud.virt("stop", "testvm", check=False)
    assert stopped.returncode == 1
    assert stopped.stderr.strip().endswith(
        'Operation cannot be fulfilled on virtualmachine.kubevirt.io "testvm": VM is not running'
    )
    cloud.kubectl("delete", "vm", "testvm")
    assert cloud.get("vm")["items"] == []
    cloud.wait(lambda: not cloud.get("pods", "-l", "kubevirt.io=virt-launcher")["items"], 60, "the pod gone")
