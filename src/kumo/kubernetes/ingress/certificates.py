"""TLS secrets as haproxy reads them: one PEM file each, looked at before haproxy does. No I/O but in memory."""

from __future__ import annotations

import base64
import binascii
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from kumo.api.objects import Key, Object


class BadCertificate(Exception):
    """A secret that can't be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A chain and its key (PEM), for these hosts, or for those that it names itself."""

    pem: bytes
    hosts: tuple[str, ...]


def certificate(secret: Object | None, hosts: tuple[str, ...]) -> Certificate:
    """The certificate of a secret of type kubernetes.io/tls. Raises BadCertificate."""
    if secret is None:
        raise BadCertificate("there is no such secret of type kubernetes.io/tls")
    data = secret.get("data") or {}
    try:
        chain, key = (base64.b64decode(data[name]) for name in ("tls.crt", "tls.key"))
    except (KeyError, binascii.Error) as error:
        raise BadCertificate(f"{error} is missing or no base64") from error
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    try:
        certified = x509.load_pem_x509_certificates(chain)[0].public_key().public_bytes(*form)
    except (ValueError, IndexError, UnsupportedAlgorithm) as error:
        raise BadCertificate(f"tls.crt is no certificate: {error}") from error
    try:
        public = serialization.load_pem_private_key(key, None).public_key().public_bytes(*form)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadCertificate(f"tls.key is no private key: {error}") from error
    if public != certified:
        raise BadCertificate("tls.key is not the key of tls.crt")
    pem = chain.rstrip() + b"\n" + key.rstrip() + b"\n"
    _try(pem)
    return Certificate(pem, hosts)


def _try(pem: bytes) -> None:
    """Let OpenSSL look at it as it does in haproxy, which serves nobody when one certificate is too weak for it."""
    descriptor = os.memfd_create("certificate")
    try:
        os.write(descriptor, pem)
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(f"/proc/self/fd/{descriptor}")
    except ssl.SSLError as error:
        raise BadCertificate(f"OpenSSL refuses it: {error.reason or error}") from error
    finally:
        os.close(descriptor)


def file_name(key: Key) -> str:
    """The file of a secret's certificate."""
    return f"{key.namespace}_{key.name}.pem"


def listing(directory: str, certificates: Mapping[Key, Certificate], default: str) -> str:
    """haproxy's list of certificates: the default first, then each with the names it is shown for."""
    lines = [f"{directory}/{default}"]
    for key, found in sorted(certificates.items()):
        lines.append(" ".join((f"{directory}/{file_name(key)}", *found.hosts)))
    return "".join(f"{line}\n" for line in lines)
