"""PKCS #10 certificate requests (RFC 2986), as Kubernetes' API carries them: base64 of PEM."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import NameOID

_LARGEST = 1 << 20


class RequestError(ValueError):
    """What is wrong with a certificate request, in upstream's words where the reason is the API's."""


@dataclass(frozen=True, slots=True)
class CertificateRequest:
    """A request that was read, with what signers and approvers look at; `source` is what is signed."""

    source: x509.CertificateSigningRequest
    common_name: str
    organizations: tuple[str, ...]
    dns_names: tuple[str, ...]
    addresses: tuple[str, ...]
    emails: tuple[str, ...]
    uris: tuple[str, ...]


def parse_request(text: str) -> CertificateRequest:
    """The request in `spec.request`. Raises RequestError; the signature is not looked at."""
    try:
        pem = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise RequestError("illegal base64 data") from None
    if b"-----BEGIN CERTIFICATE REQUEST-----" not in pem or len(pem) > _LARGEST:
        raise RequestError("PEM block type must be CERTIFICATE REQUEST")
    try:
        source = x509.load_pem_x509_csr(pem)
        subject = source.subject
        names = _alternatives(source)
    except (ValueError, x509.InvalidVersion) as error:
        raise RequestError(f"asn1: structure error: {error}") from None
    common = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return CertificateRequest(
        source,
        str(common[-1].value) if common else "",
        tuple(str(a.value) for a in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)),
        tuple(names.get_values_for_type(x509.DNSName)),
        tuple(str(a) for a in names.get_values_for_type(x509.IPAddress)),
        tuple(names.get_values_for_type(x509.RFC822Name)),
        tuple(names.get_values_for_type(x509.UniformResourceIdentifier)),
    )


def check_signature(request: CertificateRequest) -> None:
    """Raise RequestError unless the request is signed with the key that it is for."""
    try:
        valid = request.source.is_signature_valid
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError) as error:
        raise RequestError(f"x509: cannot verify signature: {error}") from None
    if not valid:
        raise RequestError("x509: cannot verify signature: it is not by the request's own key")


def _alternatives(source: x509.CertificateSigningRequest) -> x509.SubjectAlternativeName:
    try:
        return source.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return x509.SubjectAlternativeName([])
