"""The cluster's certificates: its CA, server and client certificates, the key that signs service-account tokens.

ECDSA P-256 throughout. Every file is written whole or not at all, private keys with mode 0600. The `ensure_*` functions
keep what is there as long as it serves (right names, right CA, not near its end) and make it anew otherwise.
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kumo.machinery.files import write_file

CA_DAYS = 3650
CERT_DAYS = 365
RENEW_BEFORE_DAYS = 30
SERVICE_NAMES = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")


@dataclass(frozen=True, slots=True)
class KeyPair:
    """Where a certificate and its private key lie (PEM)."""

    cert: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority: its files, and what is needed to sign."""

    files: KeyPair
    cert: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        """The CA's certificate, PEM."""
        return self.cert.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{path} is not an ECDSA key")
    return key


def _name(common: str, organizations: Iterable[str] = ()) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, o) for o in organizations]
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _usage(*, sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign,
        crl_sign=sign,
        encipher_only=False,
        decipher_only=False,
    )


def _matching(pair: KeyPair) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None:
    """The certificate and key of the files, if both are there and belong together."""
    try:
        cert = x509.load_pem_x509_certificate(pair.cert.read_bytes())
        key = _load_key(pair.key)
    except (FileNotFoundError, ValueError):
        return None
    return (cert, key) if cert.public_key() == key.public_key() else None


def _near_end(cert: x509.Certificate, days: int) -> bool:
    left = cert.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    return left < datetime.timedelta(days=days)


def ensure_ca(directory: Path, name: str = "ca", common_name: str = "kubernetes") -> Authority:
    """The CA `directory/name.crt` and `.key`, made if missing. Raises ValueError when only half of it is there.

    A CA is never replaced silently: everything it signed would stop working.
    """
    files = KeyPair(directory / f"{name}.crt", directory / f"{name}.key")
    found = _matching(files)
    if found is not None:
        return Authority(files, *found)
    if files.cert.exists():
        raise ValueError(f"{files.cert} and {files.key} do not belong together; restore the pair or remove both")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(common_name)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    cert = (
        _builder(subject, subject, key.public_key(), CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_usage(sign=True), critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(key, hashes.SHA256())
    )
    write_file(files.key, _key_pem(key))
    write_file(files.cert, cert.public_bytes(serialization.Encoding.PEM), 0o644)
    return Authority(files, cert, key)


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _issue(
    ca: Authority,
    subject: x509.Name,
    usages: list[x509.ObjectIdentifier],
    names: Iterable[str],
    days: int,
) -> tuple[bytes, bytes]:
    """A fresh certificate (with the names as SANs) and its key, both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        _builder(subject, ca.cert.subject, key.public_key(), days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key()), critical=False)
    )
    alternatives = [_alternative(n) for n in sorted(set(names)) if n]
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    cert = builder.sign(ca.key, hashes.SHA256())
    return cert.public_bytes(serialization.Encoding.PEM), _key_pem(key)


def _serves(
    pair: KeyPair, ca: Authority, subject: x509.Name, usages: list[x509.ObjectIdentifier], names: Iterable[str]
) -> bool:
    found = _matching(pair)
    if found is None:
        return False
    cert = found[0]
    try:
        cert.verify_directly_issued_by(ca.cert)
        has = set(cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        has = set()
    except Exception:
        return False
    purposes = set(cert.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    wanted = {_alternative(n) for n in names if n}
    return (
        cert.subject == subject and wanted <= has and set(usages) <= purposes and not _near_end(cert, RENEW_BEFORE_DAYS)
    )


def ensure_certificate(
    ca: Authority,
    directory: Path,
    name: str,
    *,
    common_name: str,
    organizations: Iterable[str] = (),
    names: Iterable[str] = (),
    server: bool = False,
    client: bool = True,
    days: int = CERT_DAYS,
) -> KeyPair:
    """`directory/name.crt` and `.key`, signed by `ca`; made anew when it lacks a name or ends within 30 days.

    `names` are host names and IP addresses for the SANs; a client's user is `common_name`, its groups `organizations`.
    """
    pair = KeyPair(directory / f"{name}.crt", directory / f"{name}.key")
    subject, wanted = _name(common_name, organizations), list(names)
    usages = [ExtendedKeyUsageOID.SERVER_AUTH] * server + [ExtendedKeyUsageOID.CLIENT_AUTH] * client
    if not _serves(pair, ca, subject, usages, wanted):
        cert, key = _issue(ca, subject, usages, wanted, days)
        write_file(pair.key, key)
        write_file(pair.cert, cert, 0o644)
    return pair


def ensure_server_certificate(
    ca: Authority,
    directory: Path,
    name: str = "apiserver",
    *,
    names: Iterable[str] = (),
    common_name: str = "kube-apiserver",
) -> KeyPair:
    """The API server's certificate: the service's names, localhost and its addresses, and `names` (hosts and IPs)."""
    every = [*SERVICE_NAMES, "localhost", "127.0.0.1", "::1", *names]
    return ensure_certificate(ca, directory, name, common_name=common_name, names=every, server=True, client=False)


def ensure_client_certificate(
    ca: Authority, directory: Path, name: str, user: str, groups: Iterable[str] = ()
) -> KeyPair:
    """A client certificate for `user` (CN) in `groups` (O)."""
    return ensure_certificate(ca, directory, name, common_name=user, organizations=groups)


def ensure_signing_key(path: Path) -> Path:
    """The private key (PEM, P-256) that signs service-account tokens, made if missing."""
    if not path.exists():
        write_file(path, _key_pem(ec.generate_private_key(ec.SECP256R1())))
    return path


def server_context(
    pair: KeyPair, client_ca: Path | str | None = None, *, require_client: bool = False
) -> ssl.SSLContext:
    """TLS 1.2+ for a server; with `client_ca`, client certificates are asked for and verified."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # as Go's servers: a client could keep us waiting in the middle of it
    context.load_cert_chain(pair.cert, pair.key)
    context.set_alpn_protocols(["http/1.1"])
    if client_ca is not None:
        context.load_verify_locations(cafile=str(client_ca))
        context.verify_mode = ssl.CERT_REQUIRED if require_client else ssl.CERT_OPTIONAL
    return context


def follow_trust(context: ssl.SSLContext, bundles: Sequence[Path]) -> None:
    """Let the server's context trust the CAs of all `bundles` (PEM), as they are whenever somebody connects.

    A CA that has left its bundle stays acceptable to TLS until the next start: who identifies clients must ask
    (`PeerCertificate.root`). A bundle that can't be read is left as it was.
    """
    known: dict[Path, tuple[int, int]] = {}

    def refresh(*_: object) -> None:
        for bundle in bundles:
            with contextlib.suppress(OSError):  # ssl.SSLError is one
                status = bundle.stat()
                now = (status.st_mtime_ns, status.st_ino)
                if known.get(bundle) != now:
                    context.load_verify_locations(cafile=str(bundle))
                    known[bundle] = now

    refresh()
    context.sni_callback = refresh


def client_context(
    *,
    ca: str | Path = "",
    ca_data: str = "",
    cert: str | Path = "",
    key: str | Path = "",
    verify: bool = True,
) -> ssl.SSLContext:
    """TLS 1.2+ for a client: trusts `ca` (a file) or `ca_data` (PEM), or the system's store without either."""
    if ca or ca_data:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cafile=str(ca) if ca else None, cadata=ca_data or None)
    else:
        context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if cert:
        context.load_cert_chain(str(cert), str(key) if key else None)
    return context
