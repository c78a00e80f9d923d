"""The part of the control groups that systemd leaves to an instance, where systemd owns the rest.

On version 2 systemd is the one writer of the hierarchy: it may take controllers away from groups that it does not know.
A unit with `Delegate=yes` is what it keeps its hands off. The unit of an instance's pods is a transient service whose
only process is the `keeper`, which does nothing: pods outlive the node process and the service that started it. The
keeper has a group of its own beside the pods', since a group that hands controllers down may hold no process.

Standard library only: the supervisor's settings use it too. All functions but the pure ones block.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

_BOOTED = Path("/run/systemd/system")
_GROUPS = Path("/sys/fs/cgroup")
_SLICE = "kumo.slice"
_PROPERTIES = (
    "Delegate=yes",
    "DefaultDependencies=no",  # at a shutdown it goes last: pods end by kumo's order
    "KillMode=process",
    "RefuseManualStop=yes",
    "CollectMode=inactive-or-failed",  # `kumo reset` kills the keeper: no failed unit is to be left, or be in the way
    "OOMPolicy=continue",  # else one container without memory would end the unit
    "TasksMax=infinity",
    "OOMScoreAdjust=-999",
)


class DelegationError(Exception):
    """systemd does not give a unit; the message holds what it said."""


def has_systemd() -> bool:
    """Whether this machine was started by systemd."""
    return _BOOTED.is_dir()


def owned_by_systemd() -> bool:
    """Whether the control groups are systemd's: it started this machine, and they are of version 2."""
    return has_systemd() and (_GROUPS / "cgroup.controllers").exists()


def unit_of(identity: str) -> str:
    """The name of the unit that the pods of the instance `identity` are in."""
    return f"kumo-{identity}-pods.service"


def unit_group(identity: str) -> str:
    """The unit's control group."""
    return f"/{_SLICE}/{unit_of(identity)}"


def pods_group(identity: str) -> str:
    """The control group below which the pods of the instance live."""
    return f"{unit_group(identity)}/pods" if owned_by_systemd() else f"/kumo-{identity}"


def ensure(identity: str, keeper: Path) -> None:
    """Have the unit of the instance's pods, with the program `keeper` in it. Raises DelegationError."""
    if not owned_by_systemd():
        return
    unit, top = unit_of(identity), _GROUPS / unit_group(identity).lstrip("/")
    if _ask("systemctl", "is-active", unit, check=False).strip() != "active":
        words = [w for p in (*_PROPERTIES, f"Description=Pods of kumo ({identity})") for w in ("--property", p)]
        _ask("systemd-run", "--quiet", "--unit", unit, "--slice", _SLICE, "--service-type=exec", *words, str(keeper))
    own = top / "keeper"
    try:
        own.mkdir(exist_ok=True)
        for pid in (top / "cgroup.procs").read_text().split():
            (own / "cgroup.procs").write_text(pid)
    except OSError as error:
        raise DelegationError(f"{unit}: {error}") from error


def release(identity: str) -> None:
    """End the unit, once no pod is in it any more. Never raises."""
    top = _GROUPS / unit_group(identity).lstrip("/")
    pods = top / "pods"
    for folder, _, _ in os.walk(pods, topdown=False):  # groups of pods that have ended may be left
        with contextlib.suppress(OSError):
            Path(folder).rmdir()
    if pods.is_dir():
        return
    with contextlib.suppress(OSError):
        for pid in (top / "keeper" / "cgroup.procs").read_text().split():
            os.kill(int(pid), signal.SIGTERM)


def _ask(*argv: str, check: bool = True) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DelegationError(f"{argv[0]}: {error}") from error
    if check and done.returncode:
        raise DelegationError(f"{argv[0]}: {done.stderr.strip()}")
    return done.stdout
