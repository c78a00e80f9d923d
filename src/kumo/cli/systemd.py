"""What a supervisor that systemd runs tells it and asks it. Standard library only. Protocol: sd_notify(3)."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path


def notify(*lines: str) -> None:
    """Send `NAME=VALUE` lines (`READY=1`, `STATUS=...`) to systemd, if it listens."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    address = f"\0{path[1:]}" if path.startswith("@") else path
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.sendto("\n".join(lines).encode(), address)


def without_notification(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for children: containerd, for one, would tell systemd itself that it is ready."""
    return {name: value for name, value in environment.items() if name != "NOTIFY_SOCKET"}


def is_restarting() -> bool:
    """Whether the service that this process runs in is being restarted, not merely stopped; False when nobody says."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        unit = unit_of(Path("/proc/self/cgroup").read_text().splitlines())
        argv = ["systemctl", "list-jobs", "--no-legend", "--plain"]
        listed = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=20).stdout
        return (unit, "restart") in jobs(listed.splitlines())
    return False


def unit_of(lines: Iterable[str]) -> str:
    """The service whose control group `/proc/self/cgroup` names; empty outside of any."""
    for line in lines:
        number, controllers, path = [*line.split(":", 2), "", ""][:3]
        last = path.rsplit("/", 1)[-1]
        if last.endswith(".service") and (controllers == "name=systemd" or number == "0"):
            return last
    return ""


def jobs(lines: Iterable[str]) -> set[tuple[str, str]]:
    """Units and the types of their jobs, from what `systemctl list-jobs` prints (number, unit, type, state)."""
    return {(words[1], words[2]) for line in lines if len(words := line.split()) >= 3}
