"""The cluster's CA as a signer of requests: what goes into a certificate, and how long it lives."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from kumo.machinery.certificate_requests import CertificateRequest

YEAR = 365 * 24 * 3600
_SHORTEST = 600
_BACKDATE = datetime.timedelta(minutes=5)
_SHORT = 8 * 3600
_KEY_USAGES = {
    "signing": "digital_signature",
    "digital signature": "digital_signature",
    "content commitment": "content_commitment",
    "key encipherment": "key_encipherment",
    "key agreement": "key_agreement",
    "data encipherment": "data_encipherment",
    "cert sign": "key_cert_sign",
    "crl sign": "crl_sign",
    "encipher only": "encipher_only",
    "decipher only": "decipher_only",
}
_EXTENDED = {
    "any": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    "server auth": ExtendedKeyUsageOID.SERVER_AUTH,
    "client auth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "code signing": ExtendedKeyUsageOID.CODE_SIGNING,
    "email protection": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "s/mime": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "ipsec end system": ObjectIdentifier("1.3.6.1.5.5.7.3.5"),
    "ipsec tunnel": ObjectIdentifier("1.3.6.1.5.5.7.3.6"),
    "ipsec user": ObjectIdentifier("1.3.6.1.5.5.7.3.7"),
    "timestamping": ExtendedKeyUsageOID.TIME_STAMPING,
    "ocsp signing": ExtendedKeyUsageOID.OCSP_SIGNING,
    "microsoft sgc": ObjectIdentifier("1.3.6.1.4.1.311.10.3.3"),
    "netscape sgc": ObjectIdentifier("2.16.840.1.113730.4.1"),
}


@dataclass(frozen=True, slots=True)
class SigningAuthority:
    """The files (PEM) of a CA, read at each use so that a renewed pair counts at once; `longest` in seconds."""

    cert: Path
    key: Path
    longest: int = YEAR

    def sign(self, request: CertificateRequest, usages: list[str], seconds: int | None = None) -> bytes:
        """The certificate, PEM. Raises ValueError for unknown usages, an expired CA or a bad pair of files."""
        ca = x509.load_pem_x509_certificate(self.cert.read_bytes())
        key = serialization.load_pem_private_key(self.key.read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey):
            raise ValueError(f"{self.key} is a key of a kind that certificates are not signed with")
        begin, end = lifetime(ca.not_valid_after_utc, datetime.datetime.now(datetime.UTC), self._duration(seconds))
        builder = (
            x509.CertificateBuilder()
            .subject_name(request.source.subject)
            .issuer_name(ca.subject)
            .public_key(request.source.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(end)
        )
        for extension, critical in _extensions(request, usages, ca):
            builder = builder.add_extension(extension, critical)
        algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
        return builder.sign(key, algorithm).public_bytes(serialization.Encoding.PEM)

    def _duration(self, seconds: int | None) -> int:
        return self.longest if seconds is None else min(max(seconds, _SHORTEST), self.longest)


def lifetime(
    ca_end: datetime.datetime, now: datetime.datetime, seconds: int
) -> tuple[datetime.datetime, datetime.datetime]:
    """When a certificate begins and ends: backdated, the end of a long one too, and never after its CA's."""
    if now >= ca_end:
        raise ValueError(f"refusing to sign a certificate that expired in the past: NotAfter={ca_end}")
    end = now + datetime.timedelta(seconds=seconds)
    if seconds >= _SHORT:
        end -= _BACKDATE
    return now - _BACKDATE, min(end, ca_end)


def _extensions(
    request: CertificateRequest, usages: Iterable[str], ca: x509.Certificate
) -> Iterable[tuple[x509.ExtensionType, bool]]:
    wanted = list(usages)
    unknown = [u for u in wanted if u not in _KEY_USAGES and u not in _EXTENDED]
    if unknown:
        raise ValueError(f"unrecognized usage values: {unknown}")
    bits = {_KEY_USAGES[u] for u in wanted if u in _KEY_USAGES}
    if bits:
        yield x509.KeyUsage(**{name: name in bits for name in set(_KEY_USAGES.values())}), True
    extended = list(dict.fromkeys(_EXTENDED[u] for u in wanted if u in _EXTENDED))
    if extended:
        yield x509.ExtendedKeyUsage(extended), False
    yield x509.BasicConstraints(ca=False, path_length=None), True
    try:
        own = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        yield x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own), False
    except x509.ExtensionNotFound:
        pass
    names: list[x509.GeneralName] = [
        *(x509.DNSName(n) for n in request.dns_names),
        *(x509.RFC822Name(n) for n in request.emails),
        *(x509.IPAddress(ipaddress.ip_address(n)) for n in request.addresses),
        *(x509.UniformResourceIdentifier(n) for n in request.uris),
    ]
    if names:
        yield x509.SubjectAlternativeName(names), not list(request.source.subject)
