"""How a machine gets a certificate of the cluster: a key of its own, a request for it, and the wait for the signature.

As the kubelet's TLS bootstrap: a `CertificateSigningRequest` (certificates.k8s.io/v1) is created with whatever identity
there is, the cluster's controllers approve and sign it, and the key never leaves the process.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kumo.api.errors import StatusError
from kumo.api.objects import Object, name_of
from kumo.api.resources import GVR
from kumo.machinery.client import Client

SIGNING_REQUESTS = GVR("certificates.k8s.io", "v1", "certificatesigningrequests", False)
KUBELET_CLIENT = "kubernetes.io/kube-apiserver-client-kubelet"
KUBELET_SERVING = "kubernetes.io/kubelet-serving"
CLIENT_USAGES = ("digital signature", "client auth")
SERVER_USAGES = ("digital signature", "server auth")


class EnrolmentError(Exception):
    """The cluster gives no certificate: denied, failed, or not in time. The message says which and why."""


@dataclass(frozen=True, slots=True)
class Requested:
    """A private key (PEM, PKCS #8) and the request (PEM, PKCS #10) for a certificate of it."""

    key: bytes
    request: bytes


def new_request(
    common_name: str,
    organizations: Iterable[str] = (),
    *,
    dns_names: Sequence[str] = (),
    addresses: Sequence[str] = (),
    key: bytes = b"",
) -> Requested:
    """A request for `common_name` in `organizations`, with a fresh P-256 key unless one (PEM) is given."""
    private = serialization.load_pem_private_key(key, None) if key else ec.generate_private_key(ec.SECP256R1())
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise ValueError("the key is not an ECDSA key")
    subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, o) for o in organizations]
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([*subject, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    )
    alternatives: list[x509.GeneralName] = [x509.DNSName(n) for n in dns_names]
    alternatives += [x509.IPAddress(ipaddress.ip_address(a)) for a in addresses]
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    request = builder.sign(private, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    return Requested(pem, request)


def node_request(node: str, *, key: bytes = b"") -> Requested:
    """The request by which a kubelet becomes `system:node:<node>`."""
    return new_request(f"system:node:{node}", ("system:nodes",), key=key)


async def enrol(
    client: Client,
    wanted: Requested,
    *,
    signer: str = KUBELET_CLIENT,
    usages: Sequence[str] = CLIENT_USAGES,
    prefix: str = "csr-",
    timeout: float = 60.0,
) -> bytes:
    """Ask the cluster for the certificate (PEM). Raises EnrolmentError, StatusError, and what the transport raises."""
    made = await client.create(
        SIGNING_REQUESTS,
        {
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "metadata": {"generateName": prefix},
            "spec": {
                "request": base64.b64encode(wanted.request).decode(),
                "signerName": signer,
                "usages": list(usages),
            },
        },
    )
    try:
        async with asyncio.timeout(timeout):
            return await _signed(client, made)
    except TimeoutError:
        text = f"certificate signing request {name_of(made)} was not signed within {timeout:g} s"
        raise EnrolmentError(f"{text}: it waits for approval (kubectl certificate approve {name_of(made)})") from None


async def _signed(client: Client, made: Object) -> bytes:
    """Watch the request until it carries its certificate."""
    name, revision = name_of(made), made["metadata"]["resourceVersion"]
    while True:
        events = client.watch(SIGNING_REQUESTS, resource_version=revision, field_selector=f"metadata.name={name}")
        try:
            async with aclosing(events):
                async for event in events:
                    revision = event.object["metadata"]["resourceVersion"]
                    if event.type == "DELETED":
                        raise EnrolmentError(f"certificate signing request {name} was deleted")
                    if event.type != "BOOKMARK" and (found := _certificate(event.object)):
                        return found
        except StatusError as error:
            if error.code != 410:
                raise
            found = _certificate(current := await client.get(SIGNING_REQUESTS, name))
            if found:
                return found
            revision = current["metadata"]["resourceVersion"]


def _certificate(obj: Object) -> bytes:
    """The certificate, empty while there is none. Raises EnrolmentError when there will be none."""
    status = obj.get("status") or {}
    for condition in status.get("conditions") or ():
        if condition.get("type") in ("Denied", "Failed"):
            text = f"{condition['type'].lower()}: {condition.get('reason', '')} {condition.get('message', '')}".strip()
            raise EnrolmentError(f"certificate signing request {name_of(obj)} {text}")
    return base64.b64decode(status.get("certificate") or "")
