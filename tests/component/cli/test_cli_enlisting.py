"""From a bootstrap token to a node whose certificates are renewed, against a real API server and its controllers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from kumo.api.errors import StatusError
from kumo.api.resources import NODES, SECRETS, SERVICES
from kumo.api.users import service_account_user
from kumo.cli import bootstrap_token, discovery, enlisting
from kumo.cli.bootstrap_token import Token
from kumo.cli.cluster_info import cluster_info
from kumo.cli.instance import Instance, InstanceError, choose
from kumo.cli.node_access import access
from kumo.cli.node_rights import APPROVER, TOKEN_GROUP, ClusterSettings, node_objects
from kumo.cli.rights import rights
from kumo.kubernetes.controller_manager.bootstrap_tokens import BootstrapSigner
from kumo.kubernetes.controller_manager.certificates import (
    ServingRequestApprover,
    SigningAuthority,
    SigningRequestApprover,
    SigningRequestSigner,
)
from kumo.kubernetes.controller_manager.node_ipam import NodeIpamConfig, NodeIpamController
from kumo.machinery import tls
from kumo.machinery.client import MERGE_PATCH, Client
from kumo.machinery.http import Answer, Request, Response
from kumo.machinery.informer import Informers
from kumo.machinery.listener import Listener
from kumo.machinery.transport import InProcessTransport
from support.apiserver import RunningApiServer, running_apiserver

pytestmark = pytest.mark.component
TOKEN = Token("abcdef", "0123456789abcdef")
SETTINGS = ClusterSettings("10.1.0.0/16", "10.96.0.0/16", 2.5)


@dataclass
class Cluster:
    server: RunningApiServer
    directory: Path

    def instance(self, name: str, address: str = "192.0.2.7") -> Instance:
        found = choose(self.directory / name, port=7000, node_name=name)
        return replace(found, server=self.server.url, advertise_address=address, node_pod_cidr="", pod_cidr="")

    async def token(self, token: Token, groups: tuple[str, ...] = (TOKEN_GROUP,)) -> None:
        usages = ["signing", "authentication"]
        secret = bootstrap_token.secret(token, ttl=3600, description="", usages=usages, groups=groups)
        await self.server.client.create(SECRETS, secret)

    async def ready(self, name: str, address: str) -> None:
        conditions = [{"type": "Ready", "status": "True"}]
        status = {"conditions": conditions, "addresses": [{"type": "InternalIP", "address": address}]}
        await self.server.client.patch(NODES, name, {"status": status}, kind=MERGE_PATCH, subresource="status")


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    directory = tmp_path / "cp"
    (directory / "pki").mkdir(parents=True)
    ca = tls.ensure_ca(directory / "pki").pem.decode()
    objects: list[Any] = [*cluster_info("https://192.0.2.1:6443", ca), *node_objects(SETTINGS), *rights()]
    async with running_apiserver(directory, https=True, default_objects=objects) as server:

        def account(name: str) -> Client:
            return Client(InProcessTransport(server.server.handle, service_account_user("kube-system", name)))

        informers = Informers(server.client)
        assert server.ca is not None
        certificates = account("certificate-controller")
        parts: list[Any] = [
            informers,
            BootstrapSigner(account("bootstrap-signer"), informers),
            NodeIpamController(account("node-controller"), informers, NodeIpamConfig(SETTINGS.pod_cidr)),
            SigningRequestApprover(certificates, informers),
            ServingRequestApprover(account(APPROVER), informers),
            SigningRequestSigner(
                certificates, informers, SigningAuthority(server.ca, server.pki / "ca.key", longest=20)
            ),
        ]
        tasks = [asyncio.create_task(part.run()) for part in parts]
        try:
            yield Cluster(server, tmp_path)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_token_makes_a_node_with_a_range_and_certificates_that_last(cluster: Cluster) -> None:
    await cluster.token(TOKEN)
    instance = cluster.instance("n1")
    ca = await discovery.discover(instance.server, TOKEN, [])
    assert ca == (cluster.server.pki / "ca.crt").read_bytes()
    instance = await enlisting.enlist(instance, ca, str(TOKEN))
    assert (instance.pod_cidr, instance.node_pod_cidr) == ("10.1.0.0/16", "10.1.0.0/24")
    assert instance.service_cidr == "10.96.0.0/16" and instance.lease_seconds == 2.5
    pem = instance.pki_dir / "kubelet-client.pem"
    assert pem.stat().st_mode & 0o777 == 0o600
    known = access(instance)
    keepers = [asyncio.create_task(k.run()) for k in known.keepers]
    try:
        assert (await known.kubelet.get(NODES, "n1"))["spec"]["podCIDR"] == "10.1.0.0/24"
        with pytest.raises(StatusError, match="only its own Node object"):
            await known.kubelet.list(NODES)
        assert len((await known.proxy.list(NODES)).items) == 1, "as kube-proxy it may look at all"
        with pytest.raises(StatusError, match='User "system:kube-proxy" cannot delete'):
            await known.proxy.delete(NODES, "n1")
        with pytest.raises(StatusError, match='"system:cluster-dns" cannot list resource "nodes"'):
            await known.dns.list(NODES)
        assert (await known.dns.list(SERVICES)).items
        # The serving certificate waits until the Node has the address that it is for.
        assert x509.load_pem_x509_certificate(known.server.cert.read_bytes()).subject != _subject(pem)
        await cluster.ready("n1", instance.address)
        async with asyncio.timeout(30):
            await known.keepers[1].valid.wait()
        served = x509.load_pem_x509_certificate(known.server.cert.read_bytes())
        names = served.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == ["n1"] and served.subject == _subject(pem)
        # Certificates of 20 s (and five minutes of the past) are old from the beginning: they are renewed, and used.
        first = x509.load_pem_x509_certificate(pem.read_bytes()).serial_number
        async with asyncio.timeout(30):
            while x509.load_pem_x509_certificate(pem.read_bytes()).serial_number == first:
                await asyncio.sleep(0.05)
        assert (await known.kubelet.get(NODES, "n1"))["metadata"]["name"] == "n1"
    finally:
        for task in keepers:
            task.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
        await known.close()


def _subject(pem: Path) -> x509.Name:
    return x509.load_pem_x509_certificate(pem.read_bytes()).subject


async def test_another_cloud_and_another_version(cluster: Cluster, tmp_path: Path) -> None:
    await cluster.token(TOKEN)
    ca = (cluster.server.pki / "ca.crt").read_bytes()
    one = await enlisting.enlist(cluster.instance("n1"), ca, str(TOKEN))
    assert await enlisting.stranger(one) == "", "it is the same cloud"
    directory = tmp_path / "other"
    (directory / "pki").mkdir(parents=True)
    async with running_apiserver(directory, https=True) as other:
        elsewhere = replace(one, server=other.url)
        assert await enlisting.stranger(elsewhere) == "its certificate is not of the CA that this machine knows"
        with pytest.raises(InstanceError, match="certificate verify failed"):
            await enlisting.enlist(elsewhere, ca, str(TOKEN))

    async def old(request: Request) -> Answer:
        assert request.path == "/version"
        return Response(200, b'{"major": "1", "minor": "35+"}', "application/json")

    for days, why in ((30, "a node must not be newer than its control plane"), (0, "This machine's clock says")):
        pair = tls.ensure_certificate(
            tls.ensure_ca(cluster.server.pki), tmp_path, f"s{days}", common_name="s", names=("127.0.0.1",), server=True,
            days=days,
        )  # fmt: skip
        listener = Listener(old, port=0, tls=tls.server_context(pair, None), name="old", grace=0.01)
        await listener.start()
        try:
            with pytest.raises(InstanceError, match=why):
                await enlisting.enlist(replace(one, server=listener.url), ca, str(TOKEN))
        finally:
            await listener.stop()


async def test_what_keeps_a_machine_from_joining(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "_PATIENCE", 0.5)
    ca = (cluster.server.pki / "ca.crt").read_bytes()
    one = cluster.instance("n1")
    with pytest.raises(InstanceError, match="the token abcdef is not known there"):
        await discovery.discover(one.server, TOKEN, [])
    with pytest.raises(InstanceError, match="does not know the token"):
        await enlisting.enlist(one, ca, str(TOKEN))
    await cluster.token(TOKEN)
    monkeypatch.setattr(discovery, "_PATIENCE", 20.0)
    with pytest.raises(InstanceError, match="another one than was named"):
        await discovery.discover(one.server, TOKEN, ["sha256:00"])
    await enlisting.enlist(one, ca, str(TOKEN))
    await cluster.ready("n1", one.address)
    with pytest.raises(InstanceError, match='a Node with name "n1" and status "Ready" already exists'):
        await enlisting.enlist(one, ca, str(TOKEN))
    with pytest.raises(InstanceError, match="node n1 has the address"):
        await enlisting.enlist(cluster.instance("n2"), ca, str(TOKEN))
    stranger = Token("strang", "0123456789abcdef")
    await cluster.token(stranger, groups=())
    with pytest.raises(InstanceError, match=r"refuses: configmaps .* is forbidden"):
        await enlisting.enlist(cluster.instance("n3", "192.0.2.8"), ca, str(stranger))
    found = await enlisting.enlist(cluster.instance("n4", "192.0.2.8"), ca, str(TOKEN))
    assert found.node_pod_cidr == "10.1.1.0/24", "who was turned away has left nothing"
