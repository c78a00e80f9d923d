"""How a machine that only has a token finds the cluster, and knows that it is the right one (kubeadm's discovery).

`kube-public/cluster-info` is read without any trust; it counts when the token has signed it, when its CA is the one
that was named, and when the same answer comes again over a connection that this CA proves.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import ssl
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

from kumo.api.errors import StatusError
from kumo.api.objects import Object
from kumo.api.resources import CONFIGMAPS
from kumo.cli.bootstrap_token import Token
from kumo.cli.instance import InstanceError
from kumo.kubernetes.controller_manager.bootstrap_tokens.signatures import detached_signature

_PATIENCE = 20.0


def server_url(text: str) -> str:
    """The URL of an API server given as `https://host[:port]` or `host[:port]`. Raises InstanceError."""
    url = text if "://" in text else f"https://{text}"
    try:
        parts = urlsplit(url)
        port = parts.port or 6443
    except ValueError as error:
        raise InstanceError(f"{text} is not the address of an API server: {error}") from None
    if parts.scheme != "https" or not parts.hostname or parts.path.strip("/") or parts.query:
        raise InstanceError(f"{text} is not the address of an API server: it should be like https://192.0.2.10:6443")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"https://{host}:{port}"


def ca_hash(pem: bytes) -> str:
    """`sha256:<hex>` of the public key of the CA (PEM), as kubeadm names a CA."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = x509.load_pem_x509_certificate(pem).public_key()
    return f"sha256:{hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()}"


def proven_ca(info: Object, token: Token, hashes: Sequence[str]) -> bytes:
    """The CA (PEM) that the config map names, proven by the token's signature. Pure. Raises InstanceError.

    With `hashes` it must be one of these. Raises LookupError when the token has not signed (or not yet).
    """
    import yaml

    data = info.get("data") or {}
    text, signature = data.get("kubeconfig"), data.get(f"jws-kubeconfig-{token.id}")
    if not isinstance(text, str):
        raise InstanceError("the cluster says nothing of itself: kube-public/cluster-info has no kubeconfig")
    if not isinstance(signature, str):
        raise LookupError(f"the token {token.id} is not known there, has ended, or is not for signing")
    if not hmac.compare_digest(signature.encode(), detached_signature(text, *token).encode()):
        raise InstanceError("what the cluster says of itself is not signed by this token: the token is wrong")
    try:
        cluster = yaml.safe_load(text)["clusters"][0]["cluster"]
        ca = base64.b64decode(cluster["certificate-authority-data"], validate=True)
        named = ca_hash(ca)
    except (yaml.YAMLError, LookupError, TypeError, ValueError) as error:
        raise InstanceError("what the cluster says of itself can't be understood") from error
    if hashes and named not in {h.lower() for h in hashes}:
        raise InstanceError(f"the cluster's CA is another one than was named: it is {named}")
    return ca


async def discover(server: str, token: Token, hashes: Sequence[str] = ()) -> bytes:
    """The CA (PEM) of the cluster at the URL. Raises InstanceError."""
    blind = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    blind.check_hostname = False
    blind.verify_mode = ssl.CERT_NONE
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            ca = proven_ca(await _read(server, blind), token, hashes)
            break
        except LookupError as error:  # Signatures follow tokens by a moment.
            if time.monotonic() > deadline:
                raise InstanceError(f"{server}: {error.args[0]}") from error
            await asyncio.sleep(0.5)
    from kumo.machinery.tls import client_context

    if proven_ca(await _read(server, client_context(ca_data=ca.decode())), token, hashes) != ca:
        raise InstanceError(f"{server} says one thing before it has proven itself, another one afterwards")
    return ca


def with_clock(why: str) -> str:
    """The message, with a hint to this machine's clock where certificates seem to be of another time."""
    if not any(sign in why for sign in ("not yet valid", "has expired", "certificate expired")):
        return why
    now = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    return f"{why}. This machine's clock says {now}: if that is wrong, set it, and join again"


async def _read(server: str, context: ssl.SSLContext) -> Object:
    from kumo.machinery.client import Client
    from kumo.machinery.transport import HttpTransport

    transport = HttpTransport(server, tls=context, timeout=15.0)
    try:
        return await Client(transport).get(CONFIGMAPS, "cluster-info", "kube-public")
    except StatusError as error:
        raise InstanceError(f"{server} does not tell what cluster it is: {error.message}") from error
    except ConnectionError as error:
        raise InstanceError(with_clock(str(error))) from error
    finally:
        await transport.close()
