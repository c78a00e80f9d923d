"""Pods as kubectl changes and questions them while they run: debug, resize, static pods; why a pod does not start."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.cloud import Cloud

pytestmark = pytest.mark.e2e
NAMESPACE = "in-place"
POLITE = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"]

Manifest = dict[str, Any]


def container(name: str = "main", **fields: Any) -> Manifest:
    return {"name": name, "image": "busybox", "imagePullPolicy": "IfNotPresent", "command": POLITE, **fields}


def pod(name: str, *containers: Manifest, **spec: Any) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": list(containers) or [container()], "terminationGracePeriodSeconds": 2, **spec},
    }


class Space:
    """The namespace of these tests."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.wait = cloud.wait

    def kubectl(self, *arguments: str, check: bool = True, stdin: str = "") -> str:
        return self.cloud.kubectl("-n", NAMESPACE, *arguments, check=check, stdin=stdin).stdout

    def get(self, *arguments: str) -> Any:
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def start(self, manifest: Manifest) -> str:
        name = str(manifest["metadata"]["name"])
        self.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
        self.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=60s")
        return name

    def events(self, name: str) -> list[tuple[str, str]]:
        found = self.get("events", "--field-selector", f"involvedObject.name={name}")
        return [(e["reason"], e["message"]) for e in found["items"]]


@pytest.fixture(scope="module")
def space(cloud: Cloud) -> Iterator[Space]:
    cloud.kubectl("create", "namespace", NAMESPACE)
    cloud.wait(lambda: cloud.kubectl("-n", NAMESPACE, "get", "serviceaccount", "default"), 10, "the service account")
    yield Space(cloud)
    cloud.kubectl("delete", "namespace", NAMESPACE, "--timeout=60s")


# -- why a pod does not run -------------------------------------------------------------------------------------------


def waiting(reason: str) -> Callable[[Manifest], bool]:
    def check(status: Manifest) -> bool:
        states = [c["state"].get("waiting") or {} for c in status.get("containerStatuses") or ()]
        return any(s.get("reason") == reason for s in states)

    return check


def failed(reason: str) -> Callable[[Manifest], bool]:
    return lambda status: (status.get("phase"), status.get("reason")) == ("Failed", reason)


def ended(reason: str) -> Callable[[Manifest], bool]:
    def check(status: Manifest) -> bool:
        found = status.get("containerStatuses") or ()
        states = [c[field].get("terminated") or {} for c in found for field in ("state", "lastState")]
        return any(s.get("reason") == reason for s in states)

    return check


def not_startable(status: Manifest) -> bool:
    """RunContainerError at first; then it is backed off from, with the reason in how it ended."""
    last = [(c["lastState"].get("terminated") or {}).get("reason") for c in status.get("containerStatuses") or ()]
    return waiting("RunContainerError")(status) or (waiting("CrashLoopBackOff")(status) and last == ["StartError"])


def creating(status: Manifest) -> bool:
    return waiting("ContainerCreating")(status)


ABSENT = "registry.invalid/none/none:1"
MISSING_MAP = {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "a"}}}
SECCOMP = {"seccompProfile": {"type": "Localhost", "localhostProfile": "none.json"}}
EAT = ["sh", "-c", "x=a; while :; do x=$x$x; done"]
FILL = ["sh", "-c", "dd if=/dev/zero of=/v/f bs=1M count=4; while :; do sleep 0.5; done"]
SECRET_VOLUME = [{"name": "keys", "secret": {"secretName": "none"}}]

SMALL_VOLUME = [{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}]


def unschedulable(status: Manifest) -> bool:
    conditions = [(c["type"], c["status"], c.get("reason")) for c in status.get("conditions") or ()]
    return status.get("phase") == "Pending" and conditions == [("PodScheduled", "False", "Unschedulable")]


REASONS: list[tuple[Manifest, Callable[[Manifest], bool], str, str]] = [
    (pod("no-image", container(image=ABSENT)), waiting("ImagePullBackOff"), "Failed", "Error: ErrImagePull"),
    (
        pod("never", container(image=ABSENT, imagePullPolicy="Never")),
        waiting("ErrImageNeverPull"),
        "ErrImageNeverPull",
        f'Container image "{ABSENT}" is not present with pull policy of Never',
    ),
    (
        pod("misnamed", container(image="Busy Box")),
        waiting("InvalidImageName"),
        "InspectFailed",
        'Failed to apply default image tag "Busy Box": couldn\'t parse image name "Busy Box": invalid reference format',
    ),
    (
        pod("no-map", container(env=[MISSING_MAP])),
        waiting("CreateContainerConfigError"),
        "Failed",
        'Error: configmap "none" not found',
    ),
    (
        pod("no-root", container(securityContext={"runAsNonRoot": True})),
        waiting("CreateContainerConfigError"),
        "Failed",
        "Error: container has runAsNonRoot and image will run as root",
    ),
    (pod("no-profile", container(securityContext=SECCOMP)), waiting("CreateContainerError"), "Failed", "Error: "),
    (pod("no-program", container(command=["/no/such"])), not_startable, "Failed", "Error: failed to"),
    (
        pod("crashing", container(command=["sh", "-c", "exit 3"])),
        waiting("CrashLoopBackOff"),
        "BackOff",
        "Back-off restarting failed container main in pod crashing_in-place(",
    ),
    (
        # It is started again: containerd 1.6 now and then misses what the kernel tells of cgroups of version 1.
        pod("greedy", container(command=EAT, resources={"limits": {"memory": "16Mi"}})),
        ended("OOMKilled"),
        "Started",
        "Container started",
    ),
    (
        pod("late", activeDeadlineSeconds=1),
        failed("DeadlineExceeded"),
        "DeadlineExceeded",
        "Pod was active on the node longer than the specified deadline",
    ),
    (
        pod("no-secret", container(volumeMounts=[{"name": "keys", "mountPath": "/k"}]), volumes=SECRET_VOLUME),
        creating,
        "FailedMount",
        'MountVolume.SetUp failed for volume "keys" : secret "none" not found',
    ),
    (pod("no-runtime", runtimeClassName="nowhere"), creating, "FailedCreatePodSandBox", "Failed to create pod sandbox"),
    (
        pod("own-users", hostUsers=False),
        creating,
        "FailedCreatePodSandBox",
        "Failed to create pod sandbox: can't set `spec.hostUsers: false`, runtime does not support user namespaces",
    ),
    (
        pod("homeless", nodeSelector={"no": "where"}),
        unschedulable,
        "FailedScheduling",
        "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
    ),
    (
        pod("filling", container(command=FILL, volumeMounts=[{"name": "v", "mountPath": "/v"}]), volumes=SMALL_VOLUME),
        failed("Evicted"),
        "Evicted",
        'Usage of EmptyDir volume "v" exceeds the limit "1Mi". ',
    ),
]


def test_every_pod_that_does_not_run_says_why(space: Space) -> None:
    runtime_class = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "nowhere"}}
    manifests: list[Manifest] = [{**runtime_class, "handler": "nowhere"}, *(m for m, _, _, _ in REASONS)]
    space.kubectl("apply", "-f", "-", stdin="\n".join(json.dumps(m) for m in manifests))
    try:
        for manifest, check, reason, message in REASONS:
            name = manifest["metadata"]["name"]

            def right(name: str = name, check: Callable[[Manifest], bool] = check) -> bool:
                return check(space.get("pod", name)["status"])

            space.wait(right, 60, f"the status of {name}")

            def told(name: str = name, reason: str = reason, message: str = message) -> bool:
                return any(r == reason and m.startswith(message) for r, m in space.events(name))

            space.wait(told, 30, f"the event {reason} of {name}")
        crashing = space.get("pod", "crashing")["status"]["containerStatuses"][0]
        text = crashing["state"]["waiting"]["message"]
        assert re.match(r"back-off (10|20|40)s restarting failed container=main pod=crashing_in-place\(", text), text
        assert crashing["lastState"]["terminated"]["exitCode"] == 3
    finally:
        names = [m["metadata"]["name"] for m, _, _, _ in REASONS]
        space.kubectl("delete", "pod", *names, "--now", "--wait=false")
        space.kubectl("delete", "runtimeclass", "nowhere")


# -- changing what runs -----------------------------------------------------------------------------------------------


def test_kubectl_debug_of_a_pod(space: Space) -> None:
    name = space.start(
        pod("patient", container(command=["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.7; done"]))
    )
    space.kubectl(
        "debug", name, "--image=busybox", "--image-pull-policy=IfNotPresent", "--target=main", "-c", "doctor",
        "--profile=general", "--", "sh", "-c", "ps; sleep 60",
    )  # fmt: skip
    space.wait(lambda: "sleep 0.7" in space.kubectl("logs", name, "-c", "doctor"), 30, "the debugger's output")
    status = space.get("pod", name)["status"]["ephemeralContainerStatuses"][0]
    assert "running" in status["state"]
    described = space.kubectl("describe", "pod", name)
    assert "Ephemeral Containers:\n  doctor:" in described
    assert space.kubectl("exec", name, "-c", "doctor", "--", "echo", "well").strip() == "well"
    copied = f"{name}-copy"
    space.kubectl(
        "debug", name, f"--copy-to={copied}", "--container=main", "--profile=general", "--share-processes",
        "--", "sh", "-c", "ps; sleep 60",
    )  # fmt: skip
    space.wait(lambda: "/pause" in space.kubectl("logs", copied, "-c", "main"), 30, "the copy's output")
    space.kubectl("delete", "pod", name, copied, "--now", "--wait=false")


def test_kubectl_debug_of_the_node(space: Space) -> None:
    node = space.get("nodes")["items"][0]["metadata"]["name"]
    said = space.kubectl(
        "debug", f"node/{node}", "--image=busybox", "--image-pull-policy=IfNotPresent", "--profile=sysadmin",
        "--", "sh", "-c", "cat /host/proc/sys/kernel/random/boot_id; readlink /proc/1/exe; sleep 60",
    )  # fmt: skip
    name = said.split("pod ")[1].split()[0]
    boot = space.get("node", node)["status"]["nodeInfo"]["bootID"]
    space.wait(lambda: boot in space.kubectl("logs", name), 30, "the node's boot id")
    found = space.get("pod", name)
    assert (found["spec"]["hostPID"], found["spec"]["hostNetwork"]) == (True, True)
    space.kubectl("delete", "pod", name, "--now", "--wait=false")


def test_kubectl_resizes_a_running_pod(space: Space) -> None:
    def given(cpu: str, memory: str) -> Manifest:
        return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": cpu, "memory": memory}}

    name = space.start(pod("resized", container(resources=given("100m", "32Mi"))))
    before = space.get("pod", name)["status"]["containerStatuses"][0]
    wanted = {"spec": {"containers": [{"name": "main", "resources": given("200m", "48Mi")}]}}
    began = time.monotonic()
    space.kubectl("patch", "pod", name, "--subresource=resize", "--patch", json.dumps(wanted))

    def resized() -> bool:
        return bool(space.get("pod", name)["status"]["containerStatuses"][0]["resources"] == given("200m", "48Mi"))

    space.wait(resized, 30, "the resize")
    print(f"resized in {time.monotonic() - began:.1f} s")
    now = space.get("pod", name)["status"]["containerStatuses"][0]
    assert (now["containerID"], now["restartCount"]) == (before["containerID"], 0)
    seen = space.kubectl(
        "exec", name, "--", "sh", "-c",
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max",
    )  # fmt: skip
    assert int(seen) == 48 << 20
    assert {"ResizeStarted", "ResizeCompleted"} <= {r for r, _ in space.events(name)}
    refused = space.cloud.kubectl(
        "-n", NAMESPACE, "patch", "pod", name, "--subresource=resize", "--patch",
        json.dumps({"spec": {"containers": [{"name": "main", "resources": given("900", "48Mi")}]}}), check=False,
    )  # fmt: skip
    assert "node didn't have enough allocatable resources: cpu, requested: 900000" in refused.stderr
    space.kubectl("delete", "pod", name, "--now", "--wait=false")


def test_a_static_pod_outlives_its_mirror(space: Space) -> None:
    node = space.get("nodes")["items"][0]["metadata"]["name"]
    path = space.cloud.data_dir / "node" / "manifests" / "watchman.yaml"
    manifest = pod("watchman")
    manifest["metadata"]["namespace"] = NAMESPACE
    path.write_text(json.dumps(manifest))
    name = f"watchman-{node}"
    try:
        space.wait(lambda: space.get("pod", name)["status"]["phase"] == "Running", 30, "the static pod")
        before = space.get("pod", name)
        space.kubectl("delete", "pod", name, "--wait=false")

        def mirrored() -> bool:
            found = space.get("pod", name)
            running = found["status"].get("phase") == "Running"
            return bool(running and found["metadata"]["uid"] != before["metadata"]["uid"])

        space.wait(mirrored, 30, "another mirror")
        after = space.get("pod", name)["status"]["containerStatuses"][0]
        assert after["containerID"] == before["status"]["containerStatuses"][0]["containerID"]
        assert after["restartCount"] == 0
        assert space.kubectl("exec", name, "--", "hostname").strip() == name
    finally:
        path.unlink()
    space.wait(lambda: not space.get("pods", f"--field-selector=metadata.name={name}")["items"], 30, "its end")
