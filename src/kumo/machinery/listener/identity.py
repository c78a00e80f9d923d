"""Who a verified client certificate belongs to (Kubernetes' x509 convention: CN is the user, each O a group)."""

from __future__ import annotations

import hashlib
import ssl
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from kumo.api.users import AUTHENTICATED_GROUP, UserInfo
from kumo.machinery.http import PeerCertificate

Identify = Callable[[PeerCertificate], UserInfo | None]
"""Says whose certificate it is, None if nobody's."""
_DER = 1 << 1
"""`_ssl.ENCODING_DER`."""
_REMEMBERED = 1024
UID_ATTRIBUTE = "1.3.6.1.4.1.57683.2"
"""The subject attribute that holds the user's uid (upstream's AllowParsingUserUIDFromCertAuth)."""
CREDENTIAL_ID = "authentication.kubernetes.io/credential-id"


def user_of_certificate(certificate: Mapping[str, Any] | None, der: bytes | None = None) -> UserInfo | None:
    """The user of a certificate as `ssl.SSLSocket.getpeercert()` describes it, or None without a common name.

    `der` is the certificate's encoding; its SHA-256 becomes the extra value `credential-id`, as upstream adds it.
    """
    if not certificate:
        return None
    name = uid = ""
    groups: list[str] = []
    for part in certificate.get("subject", ()):
        for key, value in part:
            if key == "commonName":
                name = value
            elif key == "organizationName":
                groups.append(value)
            elif key == UID_ATTRIBUTE:
                uid = value
    if not name:
        return None
    extra = {CREDENTIAL_ID: (f"X509SHA256={hashlib.sha256(der).hexdigest()}",)} if der else {}
    return UserInfo(name, (*groups, AUTHENTICATED_GROUP), uid, extra)


def user_of_peer(peer: PeerCertificate) -> UserInfo | None:
    """The user of a certificate, whichever of the trusted CAs has signed it."""
    return user_of_certificate(peer.described, peer.der)


class Peers:
    """The client certificates of connections. Those who come with the same one share what is known of it."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[bytes, bytes], PeerCertificate] = OrderedDict()

    def certificate(self, tls: ssl.SSLObject | ssl.SSLSocket) -> PeerCertificate | None:
        """The client certificate of a connection, None without one."""
        der = tls.getpeercert(binary_form=True)
        if der is None:
            return None
        key = (der, hashlib.sha256(_root(tls) or der).digest())
        found = self._known.get(key)
        if found is not None:
            self._known.move_to_end(key)
            return found
        described = tls.getpeercert()
        if not described:
            return None
        subject: Any = described.get("subject", ())
        names = [value for part in subject for name, value in part if name == "commonName"]
        found = self._known[key] = PeerCertificate(described, *key, str(names[-1]) if names else "")
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return found


def _root(tls: ssl.SSLObject | ssl.SSLSocket) -> bytes | None:
    """The last certificate of the verified chain."""
    if hasattr(tls, "get_verified_chain"):  # Python 3.13
        chain: Any = tls.get_verified_chain()
        return bytes(chain[-1]) if chain else None
    inner: Any = getattr(tls, "_sslobj", None)  # it is there before, only not by its name
    chain = inner.get_verified_chain() if inner is not None else None
    return chain[-1].public_bytes(_DER) if chain else None
