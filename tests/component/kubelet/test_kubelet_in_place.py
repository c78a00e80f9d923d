"""Pods that change while they run: ephemeral containers, resizes, restart rules; pods of the node itself; refusals."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from kumo.api.conditions import condition
from kumo.api.objects import Object
from kumo.api.resources import CONFIGMAPS, NODES, PODS, SECRETS
from kumo.machinery.client import MERGE_PATCH, STRATEGIC_MERGE_PATCH
from support.kubelet import BUSYBOX, NODE, POLITE, Node, phase_is, running, running_node, status_of

pytestmark = [pytest.mark.component, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    async with running_node(tmp_path_factory.mktemp("node"), crash_backoff_base=0.2) as found:
        async with asyncio.timeout(20):
            await found.kubelet.node.registered.wait()
        yield found


def container_id(pod: Object, name: str = "main") -> str:
    return str(status_of(pod, name)["containerID"]).removeprefix("containerd://")


async def said(node: Node, found: str, *command: str) -> str:
    answer = await node.containerd.engine.runtime.exec_sync(found, command, 10)
    return (answer.stdout + answer.stderr).decode()


async def resize(node: Node, name: str, **resources: Any) -> Object:
    body = {"spec": {"containers": [{"name": "main", "resources": resources}]}}
    return await node.api.client.patch(PODS, name, body, "default", kind=STRATEGIC_MERGE_PATCH, subresource="resize")


def limits_of(node: Node, pod: Object) -> tuple[int, int, int]:
    """cpu.shares, quota and memory limit of the container, as the kernel has them."""
    path = f"{node.config.cgroup_parent}/pod{pod['metadata']['uid']}/{container_id(pod)}"
    root = Path("/sys/fs/cgroup")
    names = ("cpu/{}/cpu.shares", "cpu/{}/cpu.cfs_quota_us", "memory/{}/memory.limit_in_bytes")
    one, two, three = (int((root / n.format(path.lstrip("/"))).read_text()) for n in names)
    return one, two, three


def resources(cpu: str, memory: str) -> dict[str, Any]:
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": cpu, "memory": memory}}


async def test_an_ephemeral_container_sees_its_targets_processes(node: Node) -> None:
    await node.create("patient", "sh", "-c", "trap 'exit 0' TERM; sleep 4321 & wait")
    pod = await node.until("patient", running)
    debugger = {
        "name": "debugger",
        "image": BUSYBOX,
        "command": POLITE,
        "targetContainerName": "main",
        "imagePullPolicy": "IfNotPresent",
        "terminationMessagePolicy": "File",
    }
    body = {"spec": {"ephemeralContainers": [debugger]}}
    await node.api.client.patch(
        PODS, "patient", body, "default", kind=STRATEGIC_MERGE_PATCH, subresource="ephemeralcontainers"
    )

    def there(found: Object) -> bool:
        statuses = (found.get("status") or {}).get("ephemeralContainerStatuses") or []
        return bool(statuses) and "running" in statuses[0]["state"]

    pod = await node.until("patient", there)
    entry = pod["status"]["ephemeralContainerStatuses"][0]
    assert (entry["name"], entry["ready"], entry["restartCount"]) == ("debugger", False, 0)
    found = entry["containerID"].removeprefix("containerd://")
    assert "sleep 4321" in await said(node, found, "ps")
    assert pod["status"]["phase"] == "Running"
    await node.containerd.engine.runtime.stop_container(found, 0)
    pod = await node.until("patient", lambda p: "terminated" in p["status"]["ephemeralContainerStatuses"][0]["state"])
    assert running(pod)
    await node.remove("patient")


async def test_an_ephemeral_container_without_its_target(node: Node) -> None:
    await node.create("alone")
    await node.until("alone", running)
    debugger = {"name": "debugger", "image": BUSYBOX, "targetContainerName": "main", "command": ["no-such-program"]}
    body = {"spec": {"ephemeralContainers": [debugger]}}
    await node.api.client.patch(
        PODS, "alone", body, "default", kind=STRATEGIC_MERGE_PATCH, subresource="ephemeralcontainers"
    )
    assert "no-such-program" in await node.until_event("alone", "Failed")
    pod = await node.get("alone")
    assert running(pod)
    await node.remove("alone")


async def test_cpu_and_memory_change_while_it_runs(node: Node) -> None:
    await node.create("growing", container={"resources": resources("100m", "64Mi")})
    pod = await node.until("growing", running)
    first = container_id(pod)
    assert limits_of(node, pod) == (102, 10000, 64 << 20)
    assert status_of(pod)["resources"] == resources("100m", "64Mi")
    assert status_of(pod)["allocatedResources"] == {"cpu": "100m", "memory": "64Mi"}
    await resize(node, "growing", **resources("200m", "96Mi"))
    pod = await node.until(
        "growing",
        lambda p: (
            status_of(p).get("resources") == resources("200m", "96Mi") and condition(p, "PodResizeInProgress") is None
        ),
    )
    assert limits_of(node, pod) == (204, 20000, 96 << 20)
    assert status_of(pod)["allocatedResources"] == {"cpu": "200m", "memory": "96Mi"}
    assert (container_id(pod), status_of(pod)["restartCount"]) == (first, 0)
    assert pod["status"]["allocatedResources"] == {"cpu": "200m", "memory": "96Mi"}
    assert pod["status"]["observedGeneration"] == pod["metadata"]["generation"]
    started = json.loads((await node.until_event("growing", "ResizeStarted")).partition(": ")[2])
    assert started["containers"] == [{"name": "main", "resources": resources("200m", "96Mi")}]
    assert await node.until_event("growing", "ResizeCompleted")
    # A restarted kubelet knows what it has done.
    await node.stop()
    await node.start()
    await resize(node, "growing", **resources("100m", "64Mi"))
    pod = await node.until("growing", lambda p: status_of(p).get("resources") == resources("100m", "64Mi"))
    assert limits_of(node, pod) == (102, 10000, 64 << 20)
    assert container_id(pod) == first
    await node.remove("growing")


async def test_a_resize_that_needs_a_restart(node: Node) -> None:
    policy = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
    await node.create("again", container={"resources": resources("50m", "32Mi"), "resizePolicy": policy})
    first = container_id(await node.until("again", running))
    await resize(node, "again", **resources("50m", "48Mi"))
    pod = await node.until("again", lambda p: running(p) and container_id(p) != first)
    assert limits_of(node, pod)[2] == 48 << 20
    assert status_of(pod)["restartCount"] == 1
    assert "Container main resize requires restart" in [m for _, r, m in await node.events("again") if r == "Killing"]
    await node.remove("again")


async def test_a_resize_waits_until_there_is_room(node: Node) -> None:
    offered = (await node.api.client.get(NODES, NODE))["status"]["allocatable"]["cpu"]
    most = f"{int(offered) * 1000 - 300}m"
    await node.create("greedy", container={"resources": {"requests": {"cpu": most}}})
    await node.until("greedy", running)
    await node.create("modest", container={"resources": {"requests": {"cpu": "100m"}}})
    await node.until("modest", running)
    await resize(node, "modest", requests={"cpu": "500m"})
    pod = await node.until("modest", lambda p: condition(p, "PodResizePending") is not None)
    pending = condition(pod, "PodResizePending") or {}
    assert (pending["status"], pending["reason"]) == ("True", "Deferred")
    assert pending["message"] == (
        f"Node didn't have enough resource: cpu, requested: 500, used: {most[:-1]}, capacity: {int(offered) * 1000}"
    )
    assert status_of(pod)["allocatedResources"] == {"cpu": "100m"}
    assert (await node.until_event("modest", "ResizeDeferred")).startswith("Pod resize Deferred: {")
    await node.remove("greedy")
    pod = await node.until("modest", lambda p: status_of(p).get("resources") == {"requests": {"cpu": "500m"}})
    await node.until("modest", lambda p: condition(p, "PodResizePending") is None)
    await node.remove("modest")


async def test_memory_in_use_is_not_taken_away(node: Node) -> None:
    eat = f"dd if=/dev/zero of=/fill/x bs=1M count=30; {POLITE[2]}"
    await node.create(
        "full",
        "sh",
        "-c",
        eat,
        container={
            "resources": {"requests": {"memory": "64Mi"}, "limits": {"memory": "96Mi"}},
            "volumeMounts": [{"name": "fill", "mountPath": "/fill"}],
        },
        volumes=[{"name": "fill", "emptyDir": {"medium": "Memory"}}],
    )
    pod = await node.until("full", running)
    await asyncio.to_thread(_until_used, node, pod, 30 << 20)
    await resize(node, "full", requests={"memory": "16Mi"}, limits={"memory": "16Mi"})
    pod = await node.until("full", lambda p: (condition(p, "PodResizeInProgress") or {}).get("reason") == "Error")
    message = (condition(pod, "PodResizeInProgress") or {})["message"]
    assert message.startswith("cannot decrease memory limits: [attempting to set pod memory limit (16777216) below")
    assert status_of(pod)["resources"]["limits"] == {"memory": "96Mi"}
    assert (await node.until_event("full", "ResizeError")).startswith("Pod resize error: ")
    await node.remove("full")


def _until_used(node: Node, pod: Object, size: int) -> None:
    path = f"{node.config.cgroup_parent}/pod{pod['metadata']['uid']}"
    end = time.monotonic() + 20
    while node.kubelet._actions.tools.cgroups.usage(path).get("memory", 0) < size:
        assert time.monotonic() < end
        time.sleep(0.05)


async def test_an_image_is_changed_in_place(node: Node) -> None:
    await node.create("changing")
    first = container_id(await node.until("changing", running))
    short = BUSYBOX.removeprefix("docker.io/library/")
    await node.api.client.patch(
        PODS, "changing", {"spec": {"containers": [{"name": "main", "image": short}]}}, "default",
        kind=STRATEGIC_MERGE_PATCH,
    )  # fmt: skip
    await node.until("changing", lambda p: running(p) and container_id(p) != first)
    texts = [m for _, r, m in await node.events("changing") if r == "Killing"]
    assert texts == ["Container main definition changed, will be restarted"]
    await node.remove("changing")


async def test_a_containers_own_restart_policy_and_rules(node: Node) -> None:
    rule = {"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}
    script = "if [ -e /mark/x ]; then exit 3; fi; touch /mark/x; exit 42"
    mounts = [{"name": "mark", "mountPath": "/mark"}]
    await node.create(
        "ruled", "sh", "-c", script,
        container={"restartPolicy": "Never", "restartPolicyRules": [rule], "volumeMounts": mounts},
        restartPolicy="Never",
        volumes=[{"name": "mark", "emptyDir": {}}],
    )  # fmt: skip
    pod = await node.until("ruled", phase_is("Failed"))
    assert status_of(pod)["restartCount"] == 1
    assert status_of(pod)["state"]["terminated"]["exitCode"] == 3
    assert status_of(pod)["lastState"]["terminated"]["exitCode"] == 42
    await node.remove("ruled")


async def test_all_containers_restart_together(node: Node) -> None:
    rule = {"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [88]}}
    script = f"if [ -e /mark/x ]; then {POLITE[2]}; fi; touch /mark/x; sleep 0.5; exit 88"
    mounts = [{"name": "mark", "mountPath": "/mark"}]
    other = {"name": "other", "image": BUSYBOX, "command": POLITE}
    asks = {
        "name": "main",
        "image": BUSYBOX,
        "command": ["sh", "-c", script],
        "restartPolicy": "Never",
        "restartPolicyRules": [rule],
        "volumeMounts": mounts,
    }
    first = {
        "name": "first",
        "image": BUSYBOX,
        "command": ["sh", "-c", "echo x >> /mark/first"],
        "volumeMounts": mounts,
    }
    await node.create(
        "together",
        containers=[asks, other],
        initContainers=[first],
        volumes=[{"name": "mark", "emptyDir": {}}],
    )
    before = await node.until("together", running)
    pod = await node.until(
        "together", lambda p: running(p) and container_id(p, "other") != container_id(before, "other")
    )
    assert status_of(pod, "other")["restartCount"] == 1
    assert status_of(pod, "other")["lastState"]["terminated"]["reason"] == "RestartingAllContainers"
    assert (condition(pod, "AllContainersRestarting") or {})["status"] == "False"
    assert (condition(pod, "Initialized") or {})["status"] == "True"
    worker = node.kubelet.find_worker("default", "together")
    assert worker is not None
    assert (await said(node, container_id(pod), "cat", "/mark/first")).split() == ["x", "x"]
    await node.remove("together")


async def test_a_static_pod_and_its_mirror(node: Node) -> None:
    manifests = node.config.manifests_directory
    manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "fixed"},
        "spec": {
            "hostNetwork": True,
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "main", "image": BUSYBOX, "command": POLITE}],
        },
    }
    path = manifests / "fixed.yaml"
    (manifests / "broken.yaml").write_text("kind: [")
    path.write_text(json.dumps(manifest))
    name = f"fixed-{NODE}"
    pod = await _until_there(node, name)
    pod = await node.until(name, running)
    notes = pod["metadata"]["annotations"]
    assert notes["kubernetes.io/config.source"] == "file"
    assert notes["kubernetes.io/config.mirror"] == notes["kubernetes.io/config.hash"]
    owner = pod["metadata"]["ownerReferences"][0]
    assert (owner["kind"], owner["name"], owner["controller"]) == ("Node", NODE, True)
    first = container_id(pod)
    # The mirror is no more than a picture: deleting it leaves the pod as it is.
    await node.api.client.delete(PODS, name, "default")
    again = await node.until_other(name, pod["metadata"]["uid"])
    again = await node.until(name, running)
    assert container_id(again) == first
    # Another manifest, another pod.
    manifest["metadata"]["labels"] = {"made": "anew"}  # type: ignore[index]
    path.write_text(json.dumps(manifest))
    await node.until_other(name, again["metadata"]["uid"])
    changed = await node.until(name, running)
    assert container_id(changed) != first
    # A restarted kubelet finds it running.
    await node.stop()
    await node.start()
    pod = await node.until(name, running)
    assert container_id(pod) == container_id(changed)
    path.unlink()
    (manifests / "broken.yaml").unlink()
    await node.until_gone(name)


async def _until_there(node: Node, name: str) -> Object:
    async with asyncio.timeout(20):
        listing = await node.api.client.list(PODS, "default", field_selector=f"metadata.name={name}")
        if listing.items:
            return dict(listing.items[0])
        async for event in node.api.client.watch(
            PODS, "default", resource_version=listing.resource_version, field_selector=f"metadata.name={name}"
        ):
            if event.type == "ADDED":
                return dict(event.object)
    raise AssertionError("the watch ended")


@pytest.mark.parametrize(
    ("name", "spec", "reason", "message"),
    [
        (
            "picky",
            {"nodeSelector": {"no": "such"}},
            "NodeAffinity",
            "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
        ),
        ("huge", {"container": {"resources": {"requests": {"cpu": "4k"}}}}, "OutOfcpu", "Node didn't have enough"),
        (
            "tuned",
            {"hostNetwork": False, "securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}},
            "SysctlForbidden",
            'forbidden sysctl: "kernel.msgmax" not allowlisted',
        ),
        (
            "strict",
            {"securityContext": {"supplementalGroupsPolicy": "Strict"}},
            "SupplementalGroupsPolicyNotSupported",
            "SupplementalGroupsPolicy=Strict is not supported in this node",
        ),
    ],
)
async def test_the_node_refuses(node: Node, name: str, spec: dict[str, Any], reason: str, message: str) -> None:
    await node.create(name, **spec)
    pod = await node.until(name, phase_is("Failed"))
    assert pod["status"]["reason"] == reason
    assert pod["status"]["message"].startswith(f"Pod was rejected: {message}")
    assert (await node.until_event(name, reason)).startswith(message)
    assert "containerStatuses" not in pod["status"]
    await node.remove(name)


async def test_two_pods_on_one_port_of_the_node(node: Node) -> None:
    ports = [{"containerPort": 9876, "hostPort": 9876}]
    await node.create("holder", container={"ports": ports})
    await node.until("holder", running)
    await node.create("wanting", container={"ports": ports})
    pod = await node.until("wanting", phase_is("Failed"))
    assert pod["status"]["reason"] == "NodePorts"
    await node.remove("wanting")
    await node.remove("holder")


async def test_variables_from_a_file(node: Node) -> None:
    mounts = [{"name": "data", "mountPath": "/data"}]
    first = {
        "name": "first",
        "image": BUSYBOX,
        "command": ["sh", "-c", "printf \"# of mine\\nCOLOUR='deep\\nblue'\\nSHAPE='round'\\n\" > /data/vars.env"],
        "volumeMounts": mounts,
    }

    def variable(name: str, key: str, **more: Any) -> dict[str, Any]:
        return {
            "name": name,
            "valueFrom": {"fileKeyRef": {"volumeName": "data", "path": "vars.env", "key": key} | more},
        }

    env = [variable("A", "COLOUR"), variable("B", "SHAPE"), variable("C", "NONE", optional=True)]
    await node.create(
        "reader", "sh", "-c", 'echo "$A|$B|$C" > /dev/termination-log',
        container={"env": env}, initContainers=[first], restartPolicy="Never",
        volumes=[{"name": "data", "emptyDir": {}}],
    )  # fmt: skip
    pod = await node.until("reader", phase_is("Succeeded"))
    assert status_of(pod)["state"]["terminated"]["message"] == "deep\nblue|round|\n"
    await node.remove("reader")


async def test_mounted_objects_are_followed(node: Node) -> None:
    await node.api.client.create(CONFIGMAPS, _data("ConfigMap", "colours", "red"), "default")
    await node.api.client.create(SECRETS, _data("Secret", "keys", "cmVk"), "default")
    volumes = [
        {"name": "one", "configMap": {"name": "colours"}},
        {"name": "two", "projected": {"sources": [{"secret": {"name": "keys"}}]}},
        {"name": "three", "configMap": {"name": "later", "optional": True}},
        {"name": "four", "downwardAPI": {"items": [{"path": "a", "fieldRef": {"fieldPath": "metadata.labels['a']"}}]}},
    ]
    mounts = [{"name": v["name"], "mountPath": f"/{v['name']}"} for v in volumes]
    await node.create("following", container={"volumeMounts": mounts}, volumes=volumes)
    found = container_id(await node.until("following", running))

    async def until(path: str, text: str) -> None:
        async with asyncio.timeout(10):
            while await said(node, found, "cat", path) != text:
                await asyncio.sleep(0.1)

    await until("/one/a", "red")
    await node.api.client.patch(CONFIGMAPS, "colours", {"data": {"a": "blue"}}, "default", kind=MERGE_PATCH)
    await node.api.client.patch(SECRETS, "keys", {"data": {"a": "Ymx1ZQ=="}}, "default", kind=MERGE_PATCH)
    await node.api.client.create(CONFIGMAPS, _data("ConfigMap", "later", "green"), "default")
    await until("/one/a", "blue")
    await until("/two/a", "blue")
    await until("/three/a", "green")
    await until("/four/a", "")
    await node.api.client.patch(PODS, "following", {"metadata": {"labels": {"a": "grey"}}}, "default", kind=MERGE_PATCH)
    await until("/four/a", "grey")
    await node.api.client.delete(SECRETS, "keys", "default")
    message = await node.until_event("following", "FailedMount")
    assert message == 'MountVolume.SetUp failed for volume "two" : secret "keys" not found'
    await until("/two/a", "blue")
    await node.remove("following")


def _data(kind: str, name: str, value: str) -> Object:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "default"}, "data": {"a": value}}


async def test_sidecars_end_last_and_their_hooks_run_at_once(node: Node, tmp_path: Path) -> None:
    def keeper(name: str) -> dict[str, Any]:
        script = f"trap 'echo {name} >> /out/order; exit 0' TERM; while :; do sleep 0.05; done"
        return {
            "name": name,
            "image": BUSYBOX,
            "command": ["sh", "-c", script],
            "volumeMounts": [{"name": "out", "mountPath": "/out"}],
        }

    await node.create(
        "ordered",
        containers=[keeper("main")],
        initContainers=[keeper("one") | {"restartPolicy": "Always"}, keeper("two") | {"restartPolicy": "Always"}],
        volumes=[{"name": "out", "hostPath": {"path": str(tmp_path)}}],
        terminationGracePeriodSeconds=20,
    )
    await node.until("ordered", running)
    await node.remove("ordered", grace=20)
    assert (tmp_path / "order").read_text().split() == ["main", "two", "one"]


async def test_failing_hooks_say_what_and_hide_why(node: Node) -> None:
    hook = {"postStart": {"exec": {"command": ["sh", "-c", "echo secret; exit 5"]}}}
    await node.create("hooked", "sleep", "1000", container={"lifecycle": hook}, restartPolicy="Never")
    pod = await node.until("hooked", phase_is("Failed"))
    assert await node.until_event("hooked", "FailedPostStartHook") == "PostStartHook failed"
    assert "FailedPostStartHook" in [m for _, r, m in await node.events("hooked") if r == "Killing"]
    assert status_of(pod)["state"]["terminated"]["exitCode"] == 137
    await node.api.client.patch(PODS, "hooked", {"metadata": {"labels": {"a": "b"}}}, "default", kind=MERGE_PATCH)
    await node.remove("hooked")
