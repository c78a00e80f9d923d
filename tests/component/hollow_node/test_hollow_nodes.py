"""Hollow nodes against the real API server: identities of their own, nodes, leases, pods' lives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kumo.api.conditions import is_true
from kumo.api.objects import Object, annotations_of
from kumo.api.resources import LEASES, NODES, PODS
from kumo.kubernetes.controller_manager.certificates import (
    SigningAuthority,
    SigningRequestApprover,
    SigningRequestSigner,
)
from kumo.kubernetes.hollow_node import HollowConfig, HollowNodes
from kumo.kubernetes.hollow_node.config import RUN_SECONDS, SILENT
from kumo.kubernetes.hollow_node.identities import Identities, Impersonation, OwnCertificates
from kumo.machinery import kubeconfig
from kumo.machinery.enrolment import EnrolmentError, enrol, new_request
from kumo.machinery.informer import Informer
from support.apiserver import running_apiserver
from support.hollow import HollowCluster, hollow_cluster, until

pytestmark = pytest.mark.component
DEADLINE = 60.0
SPACE = "kube-node-lease"


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[HollowCluster]:
    """An API server over HTTPS with the controllers that sign certificates."""
    async with (
        running_apiserver(tmp_path, https=True) as server,
        hollow_cluster(server.client, server.server.handle) as made,
    ):
        made.kubeconfig = server.kubeconfig
        authority = SigningAuthority(*(next(tmp_path.rglob(f"ca.{end}")) for end in ("crt", "key")))
        made.start(
            SigningRequestApprover(made.client, made.informers),
            SigningRequestSigner(made.client, made.informers, authority),
        )
        yield made


async def start(cluster: HollowCluster, identities: Identities, **config: Any) -> HollowNodes:
    nodes = HollowNodes(HollowConfig(lease_seconds=0.2, **config), cluster.informers, identities)
    cluster.start(nodes)
    async with asyncio.timeout(DEADLINE):
        await nodes.registered.wait()
    return nodes


def pod(name: str, node: str, notes: dict[str, str] | None = None, **spec: Any) -> Object:
    meta = {"name": name, "namespace": "default", "annotations": notes or {}}
    body = {"containers": [{"name": "c", "image": "busybox"}], "nodeName": node, **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": body}


async def test_hollow_nodes_join_with_certificates_and_run_pods(cluster: HollowCluster) -> None:
    access = kubeconfig.read(cluster.kubeconfig)
    transport = access.transport()
    await start(cluster, OwnCertificates(cluster.client, access), count=2, prefix="n", labels={"zone": ("a", "b")})
    try:
        node = await cluster.client.get(NODES, "n1")
        assert is_true(node, "Ready") and node["metadata"]["labels"]["zone"] == "b"
        writers = {e["manager"] for e in node["metadata"]["managedFields"]}
        assert writers, "the node itself wrote it"
        pods = cluster.informers.informer(PODS)
        await cluster.client.create(PODS, pod("job", "n0", {RUN_SECONDS: "0.1"}, restartPolicy="Never"))
        await cluster.client.create(PODS, pod("service", "n1"))
        await until(pods, lambda: is_true(pods.get("service", "default") or {}, "Ready"), DEADLINE)
        await until(
            pods, lambda: (pods.get("job", "default") or {}).get("status", {}).get("phase") == "Succeeded", DEADLINE
        )
        await cluster.client.delete(PODS, "service", "default")
        await until(pods, lambda: pods.get("service", "default") is None, DEADLINE)
        leases = cluster.informers.informer(LEASES, namespace=SPACE)
        first = await until(leases, lambda: leases.get("n0", SPACE), DEADLINE)
        assert first is not None and first["metadata"]["ownerReferences"][0]["kind"] == "Node"
        await until(leases, lambda: (leases.get("n0", SPACE) or first)["spec"] != first["spec"], DEADLINE)
    finally:
        await transport.close()


async def beats(leases: Informer, node: str, count: int) -> None:
    """Return when the node has renewed its lease so many times."""
    for _ in range(count):
        before = leases.get(node, SPACE)
        await until(leases, lambda seen=before: leases.get(node, SPACE) != seen, DEADLINE)


async def test_hollow_nodes_by_impersonation_refuse_fall_silent_and_come_back(cluster: HollowCluster) -> None:
    access = kubeconfig.read(cluster.kubeconfig)
    transport = access.transport()
    await start(cluster, Impersonation(transport), count=2, prefix="n", capacity={"cpu": "1", "pods": "1"})
    try:
        pods, nodes = cluster.informers.informer(PODS), cluster.informers.informer(NODES)
        leases = cluster.informers.informer(LEASES, namespace=SPACE)
        await cluster.client.create(PODS, pod("first", "n0"))
        await until(pods, lambda: is_true(pods.get("first", "default") or {}, "Ready"), DEADLINE)
        await cluster.client.create(PODS, pod("second", "n0"))
        await until(
            pods, lambda: (pods.get("second", "default") or {}).get("status", {}).get("reason") == "OutOfpods", DEADLINE
        )
        await cluster.client.patch(NODES, "n0", {"metadata": {"annotations": {SILENT: "true"}}})
        await until(nodes, lambda: annotations_of(nodes.get("n0") or {}).get(SILENT) == "true", DEADLINE)
        # Its neighbour's heartbeats tell the time: one of the silent node may have been on its way at the first.
        await beats(leases, "n1", 2)
        last = leases.get("n0", SPACE)
        await beats(leases, "n1", 3)
        assert leases.get("n0", SPACE) == last
        await cluster.client.delete(NODES, "n0")
        await cluster.client.delete(LEASES, "n0", SPACE)
        await until(leases, lambda: leases.get("n0", SPACE) is not None and nodes.get("n0") is not None, DEADLINE)
    finally:
        await transport.close()


async def test_hollow_enrolment_says_what_keeps_it(cluster: HollowCluster) -> None:
    stranger = new_request("somebody", ("nobodies",), dns_names=("host.example.com",), addresses=("10.0.0.1",))
    with pytest.raises(EnrolmentError, match="waits for approval"):
        await enrol(cluster.client, stranger, timeout=0.2)
