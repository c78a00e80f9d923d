"""Stateful sets and daemon sets with real pods: order, names, rollout there and back by the real kubectl."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from support.cloud import Cloud

pytestmark = pytest.mark.e2e
NAMESPACE = "sets"


@pytest.fixture(scope="module")
def space(cloud: Cloud) -> Iterator[Cloud]:
    cloud.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=60s")
    cloud.kubectl("create", "namespace", NAMESPACE)
    yield cloud
    cloud.kubectl("delete", "namespace", NAMESPACE, "--timeout=60s", check=False)


def workload(kind: str, name: str, **spec: Any) -> str:
    main = {
        "name": "main",
        "image": "busybox",
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", "hostname; trap 'exit 0' TERM; while :; do sleep 0.2; done"],
        "env": [{"name": "PAGE", "value": "one"}],
    }
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [main], "terminationGracePeriodSeconds": 1},
    }
    spec = {"selector": {"matchLabels": {"app": name}}, "template": template, **spec}
    return json.dumps({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": spec})


def run(space: Cloud, *words: str, stdin: str = "") -> str:
    return str(space.kubectl("-n", NAMESPACE, *words, stdin=stdin).stdout)


def page(space: Cloud, name: str) -> str:
    return run(space, "exec", name, "--", "sh", "-c", "echo $PAGE on $(hostname)").strip()


def names(space: Cloud, app: str) -> list[str]:
    return run(space, "get", "pods", "-l", f"app={app}", "-o", "name").split()


def test_a_stateful_set_keeps_names_and_order(space: Cloud) -> None:
    run(space, "apply", "-f", "-", stdin=workload("StatefulSet", "web", replicas=2, serviceName="web"))
    run(space, "rollout", "status", "sts/web", "--timeout=60s")
    assert [page(space, f"web-{n}") for n in (0, 1)] == ["one on web-0", "one on web-1"]
    assert run(space, "logs", "web-1").split() == ["web-1"]
    run(space, "set", "env", "sts/web", "PAGE=two")
    run(space, "rollout", "status", "sts/web", "--timeout=60s")
    assert [page(space, f"web-{n}") for n in (0, 1)] == ["two on web-0", "two on web-1"]
    run(space, "rollout", "undo", "sts/web")
    run(space, "rollout", "status", "sts/web", "--timeout=60s")
    assert page(space, "web-0") == "one on web-0"
    run(space, "scale", "sts/web", "--replicas=1")
    space.wait(lambda: names(space, "web") == ["pod/web-0"], 20, "one pod left")
    run(space, "delete", "sts", "web", "--cascade=foreground", "--timeout=30s")


def test_a_daemon_set_runs_on_the_node(space: Cloud) -> None:
    run(space, "apply", "-f", "-", stdin=workload("DaemonSet", "agent"))
    run(space, "rollout", "status", "ds/agent", "--timeout=60s")
    (first,) = names(space, "agent")
    run(space, "set", "env", "ds/agent", "PAGE=two")
    run(space, "rollout", "status", "ds/agent", "--timeout=60s")
    space.wait(lambda: len(names(space, "agent")) == 1, 20, "the new pod alone")
    (second,) = names(space, "agent")
    assert second != first and page(space, second).startswith("two on")
    assert "agent" in run(space, "rollout", "history", "ds/agent")
    run(space, "rollout", "undo", "ds/agent")
    run(space, "rollout", "status", "ds/agent", "--timeout=60s")
    space.wait(lambda: len(names(space, "agent")) == 1, 20, "the old template's pod alone")
    assert page(space, names(space, "agent")[0]).startswith("one on")
    run(space, "delete", "ds", "agent", "--cascade=foreground", "--timeout=30s")
