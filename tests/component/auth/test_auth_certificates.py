"""Certificate signing requests from the asking to the certificate: API, admission, controllers, kubectl."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kumo.api.errors import StatusError
from kumo.api.objects import Object
from kumo.api.resources import CLUSTERROLEBINDINGS, CLUSTERROLES
from kumo.api.users import service_account_user
from kumo.kubernetes.controller_manager.certificates import (
    SigningAuthority,
    SigningRequestApprover,
    SigningRequestCleaner,
    SigningRequestSigner,
)
from kumo.kubernetes.controller_manager.certificates.requests import SIGNINGREQUESTS, condition
from kumo.machinery import tls
from kumo.machinery.client import Client
from kumo.machinery.informer import Informer, Informers
from kumo.machinery.transport import HttpTransport, InProcessTransport
from support.apiserver import RunningApiServer, running_apiserver
from support.hollow import until

pytestmark = pytest.mark.component

CLIENT = "kubernetes.io/kube-apiserver-client"
_RBAC = "rbac.authorization.k8s.io"


def request(common_name: str, *organizations: str, dns: tuple[str, ...] = ()) -> tuple[str, bytes]:
    """A request (as `spec.request` has it) and its key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, o) for o in organizations]
    subject = x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if dns:
        names = x509.SubjectAlternativeName([x509.DNSName(n) for n in dns])
        builder = builder.add_extension(names, critical=False)
    made = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return base64.b64encode(made).decode(), private


def signing_request(name: str, text: str, signer: str = CLIENT, *usages: str, **spec: Any) -> Object:
    wanted = {"request": text, "signerName": signer, "usages": list(usages) or ["client auth"], **spec}
    return {"metadata": {"name": name}, "spec": wanted}


@dataclass
class World:
    server: RunningApiServer
    requests: Informer

    @property
    def client(self) -> Client:
        return self.server.client

    async def settled(self, name: str) -> Object:
        """The request once it is signed or failed."""

        def look() -> Object | None:
            found = self.requests.get(name)
            status = (found or {}).get("status") or {}
            return found if status.get("certificate") or condition(found or {}, "Failed") else None

        return await until(self.requests, look)

    async def decide(self, name: str, kind: str, client: Client | None = None) -> Object:
        """Approve or deny."""
        found = await self.client.get(SIGNINGREQUESTS, name)
        made = {"type": kind, "status": "True", "reason": "Test", "message": "so be it"}
        found["status"] = {"conditions": [*(found.get("status") or {}).get("conditions", []), made]}
        return await (client or self.client).update(SIGNINGREQUESTS, found, subresource="approval")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_apiserver(tmp_path, https=True) as server:
        own = Client(
            InProcessTransport(server.server.handle, service_account_user("kube-system", "certificate-controller"))
        )
        informers = Informers(server.client)
        assert server.ca is not None
        authority = SigningAuthority(server.ca, server.pki / "ca.key")
        parts = [
            informers,
            SigningRequestApprover(own, informers),
            SigningRequestSigner(own, informers, authority),
            SigningRequestCleaner(own, informers),
        ]
        tasks = [asyncio.create_task(part.run()) for part in parts]
        try:
            yield World(server, informers.informer(SIGNINGREQUESTS))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def test_from_request_to_certificate(world: World, tmp_path: Path) -> None:
    text, key = request("jane", "team")
    jane = world.server.as_user("asker", "some")
    await _grant(world, "asker", ["create"], "certificates.k8s.io", "certificatesigningrequests")
    made = await jane.create(SIGNINGREQUESTS, signing_request("jane", text, expirationSeconds=3600, username="root"))
    assert (made["spec"]["username"], made["spec"]["groups"]) == ("asker", ["some", "system:authenticated"])
    assert not made["status"]
    approved = await world.decide("jane", "Approved")
    assert approved["status"]["conditions"][0]["lastUpdateTime"]
    signed = await world.settled("jane")
    pem = base64.b64decode(signed["status"]["certificate"])
    cert = x509.load_pem_x509_certificate(pem)
    assert (cert.not_valid_after_utc - cert.not_valid_before_utc).total_seconds() == 3600 + 300
    usage = cert.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    pair = tls.KeyPair(tmp_path / "jane.crt", tmp_path / "jane.key")
    pair.cert.write_bytes(pem)
    pair.key.write_bytes(key)
    assert world.server.ca is not None
    transport = HttpTransport(world.server.url, ca=world.server.ca, cert=pair.cert, key=pair.key)
    try:
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        found = await Client(transport).request("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", body=body)
    finally:
        await transport.close()
    assert found["status"]["userInfo"]["username"] == "jane"
    assert found["status"]["userInfo"]["groups"] == ["team", "system:authenticated"]


async def test_what_signers_refuse(world: World) -> None:
    serving = "kubernetes.io/kubelet-serving"
    for name, text, signer, usages, why in (
        ("usage", request("x")[0], CLIENT, ["server auth"], "invalid usage for client certificate: server auth"),
        ("org", request("system:node:a", "x", dns=("a",))[0], serving, ["server auth"], "organization is not"),
        ("names", request("system:node:a", "system:nodes")[0], serving, ["server auth"], "DNS or IP subjectAltName"),
    ):
        await world.client.create(SIGNINGREQUESTS, signing_request(name, text, signer, *usages))
        await world.decide(name, "Approved")
        failed = condition(await world.settled(name), "Failed")
        assert failed is not None
        assert failed["reason"] == "SignerValidationFailure"
        assert why in failed["message"]


async def test_a_kubelet_gets_its_certificate_by_itself(world: World) -> None:
    role = "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient"
    binding = {
        "metadata": {"name": "nodes"},
        "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": _RBAC, "kind": "Group", "name": "system:nodes"}],
    }
    await world.client.create(CLUSTERROLEBINDINGS, binding)
    node = world.server.as_user("system:node:n1", "system:nodes")
    signer = "kubernetes.io/kube-apiserver-client-kubelet"
    usages = ("digital signature", "client auth")
    text, _ = request("system:node:n1", "system:nodes")
    await node.create(SIGNINGREQUESTS, signing_request("own", text, signer, *usages))
    signed = await world.settled("own")
    approval = condition(signed, "Approved")
    assert approval is not None
    assert approval["message"] == "Auto approving self kubelet client certificate after SubjectAccessReview."
    other, _ = request("system:node:n2", "system:nodes")
    with pytest.raises(StatusError) as refusal:
        await node.create(SIGNINGREQUESTS, signing_request("other", other, signer, *usages))
    assert "can only create a node CSR with CN=system:node:n1" in refusal.value.message


async def test_rights_of_signers(world: World) -> None:
    text, _ = request("jane")
    await world.client.create(SIGNINGREQUESTS, signing_request("one", text, "example.com/own"))
    boss = world.server.as_user("boss")
    await _grant(world, "boss", ["update"], "certificates.k8s.io", "certificatesigningrequests/approval")
    await _grant(world, "boss", ["update"], "certificates.k8s.io", "certificatesigningrequests/status")
    with pytest.raises(StatusError) as refusal:
        await world.decide("one", "Approved", boss)
    why = 'user not permitted to approve requests with signerName "example.com/own"'
    assert (refusal.value.code, why in refusal.value.message) == (403, True)
    await _grant(world, "boss", ["approve"], "certificates.k8s.io", "signers", "example.com/*")
    await world.decide("one", "Approved", boss)
    found = await world.client.get(SIGNINGREQUESTS, "one")
    found["status"]["certificate"] = base64.b64encode(world.server.ca.read_bytes()).decode()  # type: ignore[union-attr]
    with pytest.raises(StatusError) as refusal:
        await boss.update_status(SIGNINGREQUESTS, found)
    assert "user not permitted to sign requests with signerName" in refusal.value.message
    await _grant(world, "boss", ["sign"], "certificates.k8s.io", "signers", "example.com/own")
    signed = await boss.update_status(SIGNINGREQUESTS, found)
    for change, words in (
        ({"certificate": ""}, "updates may not modify existing certificate content"),
        ({"conditions": []}, 'updates may not remove a condition of type "Approved"'),
    ):
        with pytest.raises(StatusError) as refusal:
            await boss.update_status(SIGNINGREQUESTS, {**signed, "status": {**signed["status"], **change}})
        assert (refusal.value.code, words in refusal.value.message) == (422, True)
    with pytest.raises(StatusError) as refusal:
        await world.decide("one", "Denied")
    assert "Approved and Denied conditions are mutually exclusive" in refusal.value.message
    changed = await world.client.update(SIGNINGREQUESTS, {**signed, "spec": {**signed["spec"], "usages": ["any"]}})
    assert changed["spec"]["usages"] == ["client auth"]
    masters, _ = request("x", "system:masters")
    with pytest.raises(StatusError) as refusal:
        await world.client.create(SIGNINGREQUESTS, signing_request("masters", masters))
    assert "signer with system:masters group is not allowed" in refusal.value.message


async def test_kubectl_denies(world: World) -> None:
    text, _ = request("jane")
    await world.client.create(SIGNINGREQUESTS, signing_request("no", text))

    async def kubectl(*words: str) -> str:
        process = await asyncio.create_subprocess_exec(
            "kubectl",
            "--kubeconfig",
            world.server.kubeconfig,
            *words,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        return (await process.communicate())[0].decode()

    assert "no denied" in await kubectl("certificate", "deny", "no")
    assert "Denied" in await kubectl("get", "csr", "no")


async def _grant(world: World, user: str, verbs: list[str], group: str, resource: str, *names: str) -> None:
    """Let the user do that, cluster-wide."""
    rule: Object = {"verbs": verbs, "apiGroups": [group], "resources": [resource]}
    if names:
        rule["resourceNames"] = list(names)
    role = await world.client.create(CLUSTERROLES, {"metadata": {"generateName": "grant-"}, "rules": [rule]})
    name = role["metadata"]["name"]
    binding = {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": name},
        "subjects": [{"apiGroup": _RBAC, "kind": "User", "name": user}],
    }
    await world.client.create(CLUSTERROLEBINDINGS, binding)
