"""`kubectl rollout` and its neighbours, the real program over HTTPS, against real controllers."""

from __future__ import annotations

from typing import Any

import pytest

from support.commands import kubectl
from support.hollow import HollowCluster

pytestmark = pytest.mark.component


def deployment(replicas: int) -> dict[str, Any]:
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "nginx", "image": "nginx:1"}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}


async def test_controller_kubectl_rollout_status_history_undo_restart(cluster: HollowCluster) -> None:
    cluster.node("n1")
    await kubectl(cluster, "create", "--validate=false", "-f", "-", given=deployment(3))
    done = 'deployment "web" successfully rolled out'
    assert done in await kubectl(cluster, "rollout", "status", "deployment/web", "--timeout=20s")
    await kubectl(cluster, "set", "image", "deployment/web", "nginx=nginx:2")
    await kubectl(cluster, "annotate", "deployment/web", "kubernetes.io/change-cause=to two")
    assert done in await kubectl(cluster, "rollout", "status", "deployment/web", "--timeout=20s")
    history = await kubectl(cluster, "rollout", "history", "deployment/web")
    assert [line.split() for line in history.splitlines()[2:4]] == [["1", "<none>"], ["2", "to", "two"]]
    assert "rolled back" in await kubectl(cluster, "rollout", "undo", "deployment/web")
    assert done in await kubectl(cluster, "rollout", "status", "deployment/web", "--timeout=20s")
    image = "jsonpath={.spec.template.spec.containers[0].image}"
    assert await kubectl(cluster, "get", "deployment", "web", "-o", image) == "nginx:1"
    await kubectl(cluster, "rollout", "restart", "deployment/web")
    assert done in await kubectl(cluster, "rollout", "status", "deployment/web", "--timeout=20s")
    await kubectl(cluster, "rollout", "pause", "deployment/web")
    await kubectl(cluster, "set", "image", "deployment/web", "nginx=nginx:3")
    await kubectl(cluster, "rollout", "resume", "deployment/web")
    assert done in await kubectl(cluster, "rollout", "status", "deployment/web", "--timeout=20s")
    await kubectl(cluster, "scale", "deployment/web", "--replicas=5")
    assert done in await kubectl(cluster, "rollout", "status", "deployment/web", "--timeout=20s")
    described = await kubectl(cluster, "describe", "deployment", "web")
    assert "NewReplicaSetAvailable" in described and "MinimumReplicasAvailable" in described
    assert "5 desired | 5 updated | 5 total | 5 available | 0 unavailable" in described
    await kubectl(cluster, "delete", "deployment", "web", "--cascade=foreground", "--timeout=20s")
    assert "No resources found" in await kubectl(cluster, "get", "pods,rs,deploy")


async def test_controller_kubectl_deletes_a_namespace_and_waits(cluster: HollowCluster) -> None:
    cluster.node("n1")
    await cluster.ensure_namespace("team")
    await kubectl(cluster, "create", "--validate=false", "-n", "team", "-f", "-", given=deployment(2))
    await kubectl(cluster, "rollout", "status", "deployment/web", "-n", "team", "--timeout=20s")
    await kubectl(cluster, "expose", "deployment", "web", "--port=80", "-n", "team")
    await kubectl(cluster, "delete", "namespace", "team", "--timeout=20s")
    assert "team" not in await kubectl(cluster, "get", "namespaces")
