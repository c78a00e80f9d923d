"""A real node by a KubeletConfiguration: what it offers, whom it takes, who ends so that others can run."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from kumo.api import quantities
from kumo.api.conditions import find
from kumo.api.resources import EVENTS, NODES
from kumo.kubernetes.kubelet.config import KubeletConfig
from kumo.kubernetes.kubelet.configuration.applying import applied
from kumo.kubernetes.kubelet.configuration.reading import parse
from kumo.machinery.http import Request, Response
from support.kubelet import NODE, Node, phase_is, running, running_node

pytestmark = [pytest.mark.component, pytest.mark.asyncio(loop_scope="module")]
_MI = 1 << 20
_ALLOCATABLE = 700
"""MiB that all pods may have together."""


def document() -> str:
    reserved = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") - _ALLOCATABLE * _MI
    return f"""
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
maxPods: 30
podPidsLimit: 100
systemReserved: {{memory: "{reserved}", cpu: "{(os.cpu_count() or 1) - 1}"}}
evictionHard: {{memory.available: 50Mi}}
registerWithTaints: [{{key: example.com/new, value: "yes", effect: PreferNoSchedule}}]
providerID: example://machine
allowedUnsafeSysctls: ["kernel.msg*", "net.core.somaxconn"]
seccompDefault: true
"""


def fields() -> dict[str, Any]:
    """The document as the fields of KubeletConfig that it changes."""
    plain = KubeletConfig("", "", Path("/"), "/")
    made = applied(plain, parse(document().encode()))
    names = KubeletConfig.__dataclass_fields__
    return {name: getattr(made, name) for name in names if getattr(made, name) != getattr(plain, name)}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    async with running_node(tmp_path_factory.mktemp("node"), **fields()) as found:
        async with asyncio.timeout(60):
            await found.kubelet.node.registered.wait()
        yield found


async def test_the_node_offers_what_is_left(node: Node) -> None:
    found = await node.api.client.get(NODES, NODE)
    status, spec = found["status"], found["spec"]
    assert (status["allocatable"]["cpu"], status["allocatable"]["pods"]) == ("1", "30")
    assert quantities.whole(status["allocatable"]["memory"]) == (_ALLOCATABLE - 50) * _MI
    assert spec["providerID"] == "example://machine"
    taint = {"key": "example.com/new", "value": "yes", "effect": "PreferNoSchedule"}
    assert taint in [{k: v for k, v in t.items() if k != "timeAdded"} for t in spec["taints"]]
    answer = await node.kubelet.handler(Request("GET", "/configz"))
    assert isinstance(answer, Response)
    shown = msgspec.json.decode(answer.body)["kubeletconfig"]
    assert (shown["maxPods"], shown["podPidsLimit"], shown["kind"]) == (30, 100, "KubeletConfiguration")
    async with asyncio.timeout(60):
        while True:
            said = await node.api.client.list(EVENTS, "default", field_selector=f"involvedObject.name={NODE}")
            if any(e["reason"] == "NodeAllocatableEnforced" for e in said.items):
                break
            await asyncio.sleep(0.05)
    if not node.kubelet._actions.tools.cgroups.unified:
        limit = Path(f"/sys/fs/cgroup/memory{node.config.cgroup_parent}/memory.limit_in_bytes").read_text()
        assert int(limit) == _ALLOCATABLE * _MI


async def test_unsafe_settings_of_the_kernel(node: Node) -> None:
    def wants(name: str, value: str) -> dict[str, Any]:
        return {"securityContext": {"sysctls": [{"name": name, "value": value}]}, "restartPolicy": "Never"}

    await node.create("unsafe", "true", **wants("kernel.shmmax", "1000000"))
    pod = await node.until("unsafe", phase_is("Failed"))
    assert pod["status"]["reason"] == "SysctlForbidden"
    assert pod["status"]["message"] == 'Pod was rejected: forbidden sysctl: "kernel.shmmax" not allowlisted'
    assert await node.until_event("unsafe", "SysctlForbidden") == 'forbidden sysctl: "kernel.shmmax" not allowlisted'
    script = 'test "$(cat /proc/sys/kernel/msgmax)" = 9000 && grep -q "Seccomp:.2" /proc/self/status'
    await node.create("allowed", "sh", "-c", script, **wants("kernel.msgmax", "9000"))
    await node.until("allowed", phase_is("Succeeded"))
    for name in ("unsafe", "allowed"):
        await node.remove(name)


async def test_a_pod_has_so_many_processes(node: Node) -> None:
    script = "i=0; while [ $i -lt 150 ]; do sleep 30 & i=$((i+1)); done; true"
    await node.create("many", "sh", "-c", script, restartPolicy="Never")
    pod = await node.until("many", phase_is("Failed", "Succeeded"), timeout=60)
    assert pod["status"]["phase"] == "Failed"  # can't fork
    await node.remove("many")


async def test_a_critical_pod_makes_room_for_itself(node: Node) -> None:
    def wants(memory: str) -> dict[str, Any]:
        return {"container": {"resources": {"requests": {"memory": memory}}}}

    for name, memory in (("modest", "100Mi"), ("large", "300Mi"), ("larger", "200Mi")):
        await node.create(name, **wants(memory))
        await node.until(name, running)
    await node.create("plain", **wants("200Mi"))
    refused = await node.until("plain", phase_is("Failed"))
    assert refused["status"]["reason"] == "OutOfmemory"
    await node.create("critical", **wants("250Mi"), priorityClassName="system-cluster-critical")
    await node.until("critical", running)
    # 50 MiB are free and 200 missing: one pod of 200 does, and the least that does goes.
    pod = await node.until("larger", phase_is("Failed"))
    status = pod["status"]
    assert (status["reason"], status["message"]) == ("Preempting", "Preempted in order to admit critical pod")
    target = find(status["conditions"], "DisruptionTarget")
    assert target is not None
    assert (target["reason"], target["message"]) == (
        "TerminationByKubelet",
        "Pod was preempted by Kubelet to accommodate a critical pod.",
    )
    assert ("Warning", "Preempting", "Preempted in order to admit critical pod") in await node.events("larger")
    assert running(await node.get("modest"))
    assert running(await node.get("large"))
    await node.create("greedy", **wants("5Gi"), priorityClassName="system-cluster-critical")
    refused = await node.until("greedy", phase_is("Failed"))
    assert refused["status"]["reason"] == "UnexpectedAdmissionError"
    assert "no set of running pods found to reclaim resources: [(res: memory, q: " in refused["status"]["message"]
    assert running(await node.get("large"))
    for name in ("modest", "large", "larger", "plain", "critical", "greedy"):
        await node.remove(name)


async def test_a_node_that_somebody_else_makes(tmp_path: Path) -> None:
    async with running_node(tmp_path, register=False, max_images=0) as node:
        assert not node.kubelet.node.registered.is_set()
        made = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE, "labels": {"made": "by-hand"}}}
        await node.api.client.create(NODES, made)
        async with asyncio.timeout(60):
            await node.kubelet.node.registered.wait()
        found = await node.api.client.get(NODES, NODE)
        assert found["metadata"]["labels"]["made"] == "by-hand"
        assert found["status"]["capacity"]["pods"] == "110"
        assert not found["status"].get("images")
