"""What a kubelet that was started again says of containers whose probes have not answered it yet."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.kubernetes.kubelet.container_status import View
from kumo.kubernetes.kubelet.podstate import ContainerState, PodState, SandboxState
from kumo.kubernetes.kubelet.probes import Prober
from kumo.kubernetes.kubelet.status import make_status

pytestmark = pytest.mark.unit


def pod(said: dict[str, Any]) -> dict[str, Any]:
    container = {"name": "main", "image": "i", "readinessProbe": {"exec": {"command": ["true"]}}}
    status = {"containerStatuses": [{"name": "main", "restartCount": 0, "lastState": {}, **said}], "phase": "Running"}
    meta = {"name": "p", "namespace": "n", "uid": "u"}
    return {"metadata": meta, "spec": {"containers": [container]}, "status": status}


RUNS = {"state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}


@pytest.mark.parametrize(
    ("said", "ready"),
    [
        ({"containerID": "containerd://c", "ready": True, **RUNS}, True),
        ({"containerID": "containerd://c", "ready": False, **RUNS}, False),
        ({"containerID": "containerd://before", "ready": True, **RUNS}, False),
        ({"containerID": "containerd://c", "ready": True, "state": {"waiting": {}}}, False),
        ({}, False),
    ],
)
def test_who_was_ready_stays_so_until_a_probe_says_otherwise(said: dict[str, Any], ready: bool) -> None:
    prober = Prober(None, None, lambda: None, None)  # type: ignore[arg-type]
    state = PodState(
        (SandboxState("s", True, 1.0, 0, ("10.0.0.1",)),), (ContainerState("c", "main", "running", started_at=1.0),)
    )
    prober.seed(pod(said), state)
    status = make_status(pod(said), View(state=state, health=prober.health), 2.0)
    assert status["containerStatuses"][0]["ready"] is ready
