"""Elastic scaling with real containers: an autoscaler doubles and halves a real CPU burner; kubectl top sees it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from support.cloud import Cloud

pytestmark = pytest.mark.e2e
NAMESPACE = "elastic"
BURN = """\
while :; do
  if [ -f /tmp/idle ]; then sleep 0.2; else i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; fi
done
"""


@pytest.fixture(scope="module")
def space(cloud: Cloud) -> Iterator[Cloud]:
    cloud.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=60s")
    cloud.kubectl("create", "namespace", NAMESPACE)
    yield cloud
    cloud.kubectl("delete", "namespace", NAMESPACE, "--timeout=60s", check=False)


def run(space: Cloud, *words: str, stdin: str = "") -> str:
    return str(space.kubectl("-n", NAMESPACE, *words, stdin=stdin).stdout)


def burner() -> str:
    """A Deployment whose pods burn a fifth of a processor, twice what they ask for, until /tmp/idle is there."""
    main = {
        "name": "main",
        "image": "busybox",
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", BURN],
        "resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": "200m"}},
        "livenessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 1},
    }
    template = {
        "metadata": {"labels": {"app": "burner"}},
        "spec": {"containers": [main], "terminationGracePeriodSeconds": 0},
    }
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": "burner"}}, "template": template}
    return json.dumps({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "burner"}, "spec": spec})


def replicas(space: Cloud) -> int:
    return int(run(space, "get", "deployment", "burner", "-o", "jsonpath={.spec.replicas}"))


def autoscaler(space: Cloud) -> Any:
    return json.loads(run(space, "get", "hpa", "burner", "-o", "json"))


def test_an_autoscaler_doubles_and_halves_a_real_burner(space: Cloud) -> None:
    run(space, "apply", "-f", "-", stdin=burner())
    run(space, "rollout", "status", "deployment/burner", "--timeout=60s")
    run(space, "autoscale", "deployment", "burner", "--min=1", "--max=2", "--cpu-percent=100")
    behavior = {"scaleDown": {"stabilizationWindowSeconds": 0}}
    run(space, "patch", "hpa", "burner", "--type=merge", "-p", json.dumps({"spec": {"behavior": behavior}}))
    space.wait(lambda: replicas(space) == 2, 60, "two replicas")
    run(space, "rollout", "status", "deployment/burner", "--timeout=60s")

    # Both burn now, and kubectl shows how much: each what its limit lets it, seen over a second or two.
    def busy() -> list[str]:
        lines = run(space, "top", "pod", "--containers", "--no-headers").splitlines()
        used = [int(re.split(r"\s+", line)[2].removesuffix("m")) for line in lines]
        return lines if len(used) == 2 and all(120 <= m <= 280 for m in used) else []

    space.wait(busy, 60, "two busy pods in kubectl top")
    events = run(space, "get", "events", "--field-selector=involvedObject.name=burner,reason=SuccessfulRescale")
    assert "New size: 2; reason: cpu resource utilization (percentage of request) above target" in events

    for pod in run(space, "get", "pods", "-l", "app=burner", "-o", "name").split():
        run(space, "exec", pod, "--", "touch", "/tmp/idle")
    space.wait(lambda: replicas(space) == 1, 60, "one replica")
    space.wait(lambda: autoscaler(space)["status"]["currentReplicas"] == 1, 30, "the status of one replica")
    said = {c["type"]: (c["status"], c["reason"]) for c in autoscaler(space)["status"]["conditions"]}
    assert said["ScalingActive"] == ("True", "ValidMetricFound")
    assert "cpu: " in run(space, "get", "hpa", "burner", "--no-headers")


def test_kubectl_top_shows_nodes_and_sorts_pods(space: Cloud) -> None:
    node = space.wait(lambda: space.kubectl("top", "node", "--no-headers").stdout.split(), 60, "the node's usage")
    assert node[1].endswith("m") and node[2].endswith("%") and node[3].endswith("Mi")
    assert "burner-" in space.kubectl("top", "pod", "-A", "--sort-by=memory").stdout
    assert "NAME" in run(space, "get", "pods.metrics.k8s.io")


def test_the_node_tells_who_may_know(space: Cloud) -> None:
    """The Summary by the API server's proxy; a scraper of its own by its token, and only what it is granted."""
    node = space.get("nodes")["items"][0]["metadata"]["name"]
    found = json.loads(space.kubectl("get", "--raw", f"/api/v1/nodes/{node}/proxy/stats/summary").stdout)
    pod = next(p for p in found["pods"] if p["podRef"]["name"].startswith("burner-"))
    assert pod["containers"][0]["memory"]["workingSetBytes"] > 0 and pod["network"]["name"] == "eth0"
    probes = space.kubectl("get", "--raw", f"/api/v1/nodes/{node}/proxy/metrics/probes").stdout
    assert 'prober_probe_total{probe_type="Liveness",result="successful",container="main"' in probes
    run(space, "create", "serviceaccount", "scraper")
    role = f"{NAMESPACE}-scraper"
    space.kubectl("delete", "clusterrole,clusterrolebinding", role, "--ignore-not-found")
    space.kubectl("create", "clusterrole", role, "--verb=get", "--resource=nodes/metrics")
    account = f"--serviceaccount={NAMESPACE}:scraper"
    space.kubectl("create", "clusterrolebinding", role, f"--clusterrole={role}", account)
    try:
        token = run(space, "create", "token", "scraper").strip()
        status = space.get("node", node)["status"]
        host = next(a["address"] for a in status["addresses"] if a["type"] == "InternalIP")
        base = f"https://{host}:{status['daemonEndpoints']['kubeletEndpoint']['Port']}"

        def ask(path: str, *headers: str) -> tuple[int, str]:
            argv = ["curl", "-sk", "-w", "\n%{http_code}", *(w for h in headers for w in ("-H", h)), base + path]
            text, _, code = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.rpartition("\n")
            return int(code), text

        bearer = f"Authorization: Bearer {token}"
        assert ask("/metrics/resource") == (401, "Unauthorized")
        code, page = ask("/metrics/resource", bearer)
        assert code == 200 and "node_cpu_usage_seconds_total" in page
        assert ask("/metrics/cadvisor", bearer)[0] == 200 and "kubelet_running_pods" in ask("/metrics", bearer)[1]
        code, text = ask("/pods", bearer)
        user = f"system:serviceaccount:{NAMESPACE}:scraper"
        assert (code, text) == (
            403,
            f"Forbidden (user={user}, verb=get, resource=nodes, subresource(s)=[pods proxy])\n",
        )
    finally:
        space.kubectl("delete", "clusterrole,clusterrolebinding", role, "--ignore-not-found")
