"""kill -9 of each daemon in the middle of a rollout and of a drain: the end is as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.cloud import Cloud, program
from support.traces import Traces

pytestmark = pytest.mark.e2e
SPACE = "rollout-faults"
DAEMONS = ("control-plane", "node", "containerd")
PODS = 6


class Site:
    """A Deployment whose pods take half a second to end."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.traces = Traces(cloud.data_dir)
        self.node = str(cloud.get("nodes")["items"][0]["metadata"]["name"])
        self.version = 0
        self.kubectl("apply", "-f", "-", stdin=json.dumps(self.manifest()))
        self.settled()

    def manifest(self) -> dict[str, Any]:
        container = {
            "name": "main",
            "image": "busybox",
            "imagePullPolicy": "IfNotPresent",
            "command": ["sh", "-c", "trap 'sleep 0.5; exit 0' TERM; while :; do sleep 0.1; done"],
            "env": [{"name": "VERSION", "value": "0"}],
        }
        labels = {"app": "site"}
        template = {
            "metadata": {"labels": labels},
            "spec": {"containers": [container], "terminationGracePeriodSeconds": 5},
        }
        strategy = {"rollingUpdate": {"maxSurge": 2, "maxUnavailable": 1}}
        spec = {"replicas": PODS, "strategy": strategy, "selector": {"matchLabels": labels}, "template": template}
        return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "site"}, "spec": spec}

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        return self.cloud.kubectl("-n", SPACE, *arguments, stdin=stdin).stdout

    def pods(self) -> list[dict[str, Any]]:
        self.traces.note()
        found: list[dict[str, Any]] = self.cloud.get("-n", SPACE, "pods")["items"]
        return found

    def versions(self) -> list[str]:
        """The versions of the pods that are not being deleted, as far as they are ready."""
        return sorted(version(p) for p in self.pods() if "deletionTimestamp" not in p["metadata"] and ready(p))

    def settled(self) -> None:
        """Wait for the Deployment, then hold the API and the node to each other."""
        self.cloud.wait(self._done, 60, "the rollout done")
        self.nothing(self.wrong)

    def nothing(self, check: Callable[[], dict[str, Any]]) -> None:
        """Wait until the check finds nothing."""
        found: list[dict[str, Any]] = []

        def clean() -> bool:
            found.append(check())
            return not found[-1]

        try:
            self.cloud.wait(clean, 45, "")
        except AssertionError as error:
            raise AssertionError(f"still wrong: {found[-1:]}") from error

    def _done(self) -> bool:
        self.kubectl("rollout", "status", "deployment/site", "--timeout=5s")
        return len(self.pods()) == PODS

    def wrong(self) -> dict[str, Any]:
        """What is not as it should be with all pods of this version, by name; empty when all is well."""
        found: dict[str, Any] = {}
        pods, sets = self.pods(), self.cloud.get("-n", SPACE, "replicasets")["items"]
        if self.versions() != [str(self.version)] * PODS or len(pods) != PODS:
            found["pods"] = [(p["metadata"]["name"], version(p), p["status"]["phase"]) for p in pods]
        if sorted(s["spec"]["replicas"] for s in sets if s["spec"]["replicas"]) != [PODS]:
            found["sets"] = {s["metadata"]["name"]: s["spec"]["replicas"] for s in sets}
        return found | self.strange()

    def strange(self) -> dict[str, Any]:
        """What the node has that belongs to no pod of the API, or has twice, or lacks."""
        everybody = [p for p in self.cloud.get("pods", "-A")["items"] if p["status"]["phase"] in ("Pending", "Running")]
        here = [p for p in everybody if p["spec"].get("nodeName")]
        found: dict[str, Any] = dict(self.traces.of_others([p["metadata"]["uid"] for p in here]))
        counts = self.traces.counts()
        if set(counts.values()) != {len(here)}:
            found["counts"] = counts | {"pods": len(here)}
        return found


def version(pod: dict[str, Any]) -> str:
    return str(pod["spec"]["containers"][0]["env"][0]["value"])


def ready(pod: dict[str, Any]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ()))


@pytest.fixture(scope="module")
def site(cloud: Cloud) -> Iterator[Site]:
    cloud.kubectl("delete", "namespace", SPACE, "--ignore-not-found", "--timeout=60s")
    cloud.kubectl("create", "namespace", SPACE)
    found = Site(cloud)
    try:
        yield found
    finally:
        cloud.wait(lambda: cloud.kubectl("uncordon", found.node), 60, "the node open")
        cloud.kubectl("delete", "namespace", SPACE, "--timeout=60s")


@pytest.mark.parametrize("victim", DAEMONS)
def test_killed_in_a_rollout(site: Site, victim: str) -> None:
    pid = site.cloud.pid(victim)
    site.version += 1
    site.kubectl("set", "env", "deployment/site", f"VERSION={site.version}")
    site.cloud.wait(lambda: len(set(site.versions())) == 2, 30, "pods of both versions")
    os.kill(pid, signal.SIGKILL)
    site.settled()


@pytest.mark.parametrize("victim", DAEMONS)
def test_killed_in_a_drain(site: Site, victim: str) -> None:
    pid, before = site.cloud.pid(victim), {p["metadata"]["uid"] for p in site.pods()}
    drain = [program("kubectl"), "drain", site.node, "--pod-selector=app=site", "--timeout=60s"]
    with subprocess.Popen(drain, env=site.cloud.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as draining:
        try:
            site.cloud.wait(
                lambda: [p for p in site.pods() if "deletionTimestamp" in p["metadata"]], 30, "pods that are ending"
            )
            os.kill(pid, signal.SIGKILL)
        finally:
            draining.wait(90)
    # Whose connection broke is told, and drains again.
    site.cloud.wait(lambda: site.cloud.run(drain), 90, "the node drained")
    left = site.pods()
    assert not before & {p["metadata"]["uid"] for p in left}
    assert [p["spec"].get("nodeName") for p in left] == [None] * PODS
    site.nothing(site.strange)
    site.cloud.kubectl("uncordon", site.node)
    site.settled()
