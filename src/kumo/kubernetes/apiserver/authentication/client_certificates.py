"""Client certificates: which bundle of CAs a caller's chain ends in, read anew when the file changes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from kumo.api.users import UserInfo
from kumo.machinery.http import PeerCertificate
from kumo.machinery.listener.identity import user_of_certificate

_log = structlog.get_logger("kumo.authentication")


class ClientCertificates:
    """The CAs in the file `bundle` (PEM). TLS has verified the chain; this says whether its root is one of them."""

    def __init__(self, bundle: Path) -> None:
        self._bundle = bundle
        self._read = (0, 0)
        self._roots: frozenset[bytes] = frozenset()
        self._refresh()

    def trusts(self, peer: PeerCertificate) -> bool:
        """Whether the chain ends in a CA of the bundle as it is now."""
        self._refresh()
        return peer.root in self._roots

    def user(self, peer: PeerCertificate) -> UserInfo | None:
        """The user whose certificate it is; None when another CA has signed it."""
        return user_of_certificate(peer.described, peer.der) if self.trusts(peer) else None

    def _refresh(self) -> None:
        try:
            status = self._bundle.stat()
        except OSError as error:
            _log.error("the CA bundle can't be read; the last one counts", path=str(self._bundle), error=str(error))
            return
        now = (status.st_mtime_ns, status.st_ino)
        if now == self._read:
            return
        try:
            self._roots = fingerprints(self._bundle.read_bytes())
            self._read = now
        except (OSError, ValueError) as error:
            _log.error("the CA bundle can't be read; the last one counts", path=str(self._bundle), error=str(error))


def fingerprints(pem: bytes) -> frozenset[bytes]:
    """The SHA-256 of each certificate in the bundle. Raises ValueError for anything but certificates."""
    found = x509.load_pem_x509_certificates(pem)
    return frozenset(hashlib.sha256(c.public_bytes(serialization.Encoding.DER)).digest() for c in found)
