"""Simulated nodes by the command, and a scheduler by a configuration of one's own: seen with the real kubectl."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.cloud import KUMO, Cloud, fresh

pytestmark = pytest.mark.e2e
DATA_DIR = Path("/var/tmp/kumo-e2e-hollow")
PORT = 16479
DEADLINE = 120
CONFIGURATION = """\
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
- schedulerName: default-scheduler
- schedulerName: packer
  plugins:
    score: {disabled: [{name: '*'}], enabled: [{name: NodeResourcesFit}]}
  pluginConfig:
  - name: NodeResourcesFit
    args: {scoringStrategy: {type: MostAllocated, resources: [{name: cpu, weight: 1}]}}
"""


@pytest.fixture
def own() -> Iterator[Cloud]:
    """An instance that does not run yet; removed in the end."""
    found = fresh(DATA_DIR, PORT)
    yield found
    found.reset()
    assert not DATA_DIR.exists()


@contextmanager
def hollow(cloud: Cloud, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Hollow nodes in a process of their own; killed if the test does not end them."""
    argv = [KUMO, "hollow-node", *cloud.where, *options]
    with subprocess.Popen(argv, env=cloud.env, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert any("are ready: hollow-0 to hollow-2" in line for line in process.stdout)
            yield process
        finally:
            process.kill()


def deployment(name: str, replicas: int, cpu: str, **spec: Any) -> dict[str, Any]:
    container = {"name": "c", "image": "nginx", "resources": {"requests": {"cpu": cpu}}}
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container], **spec}}
    body = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": body}


def test_hollow_nodes_and_a_scheduler_of_ones_own(own: Cloud, tmp_path: Path) -> None:
    file = tmp_path / "scheduler.yaml"
    file.write_text(CONFIGURATION.replace("MostAllocated", "Tetris"))
    done = own.kumo("up", "--detach", "--port", str(PORT), "--no-node", "--scheduler-config", str(file), check=False)
    assert done.returncode == 1 and "scoringStrategy.type: 'Tetris' is none of LeastAllocated" in done.stderr
    file.write_text(CONFIGURATION)
    own.up("--no-node", "--scheduler-config", str(file))
    zone = "topology.kubernetes.io/zone"
    options = ("--count", "3", "--cpu", "2", "--label", f"{zone}=a,b,c", "--delete-at-end")
    with hollow(own, *options) as process:
        own.kubectl("wait", "node", "--all", "--for=condition=Ready", f"--timeout={DEADLINE}s")
        zones = [n["metadata"]["labels"][zone] for n in own.get("nodes")["items"]]
        assert sorted(zones) == ["a", "b", "c"]

        own.wait(lambda: not any(n["spec"].get("taints") for n in own.get("nodes")["items"]), DEADLINE, "nodes open")
        for made in (deployment("wide", 3, "100m"), deployment("packed", 3, "500m", schedulerName="packer")):
            own.apply(made)
            name = made["metadata"]["name"]
            own.kubectl("rollout", "status", f"deployment/{name}", f"--timeout={DEADLINE}s")
        places = {
            name: {p["spec"]["nodeName"] for p in own.get("pods", "-l", f"app={name}")["items"]}
            for name in ("wide", "packed")
        }
        assert (len(places["wide"]), len(places["packed"])) == (3, 1)

        own.apply(deployment("large", 1, "64"))
        told = own.wait(
            lambda: [
                line for line in own.kubectl("describe", "pod", "-l", "app=large").stdout.splitlines() if "0/3" in line
            ],
            DEADLINE,
            "the refusal",
        )
        expected = (
            "0/3 nodes are available: 3 Insufficient cpu. no new claims to deallocate, "
            "preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
        )
        events = own.get("events", "--field-selector", "reason=FailedScheduling")["items"]
        assert told and {(e["message"], e["reportingComponent"], e["action"]) for e in events} == {
            (expected, "default-scheduler", "Scheduling")
        }
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE) == 0
    assert own.get("nodes")["items"] == []
