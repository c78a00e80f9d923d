"""Whether a certificate and a private key go together, in the words of Go's `tls.X509KeyPair`."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

_BLOCK = re.compile(rb"-----BEGIN ([^\n]*?)-----[ \t]*\r?\n(.*?)-----END \1-----", re.S)
_HEADER = re.compile(rb"[^\n:]+:[^\n]*\n")


def tls_complaint(certificate: bytes, key: bytes) -> str:
    """What is wrong with the pair, both PEM; empty if nothing is."""
    kinds, certificates = _blocks(certificate, lambda kind: kind == "CERTIFICATE")
    if not certificates:
        if not kinds:
            return "tls: failed to find any PEM data in certificate input"
        if len(kinds) == 1 and kinds[0].endswith("PRIVATE KEY"):
            return (
                "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs "
                "may have been switched"
            )
        shown = " ".join(kinds)
        return (
            'tls: failed to find "CERTIFICATE" PEM block in certificate input after skipping PEM blocks of the '
            f"following types: [{shown}]"
        )
    kinds, keys = _blocks(key, lambda kind: kind == "PRIVATE KEY" or kind.endswith(" PRIVATE KEY"))
    if not keys:
        if not kinds:
            return "tls: failed to find any PEM data in key input"
        if len(kinds) == 1 and kinds[0] == "CERTIFICATE":
            return "tls: found a certificate rather than a key in the PEM for the private key"
        shown = " ".join(kinds)
        return (
            'tls: failed to find PEM block with type ending in "PRIVATE KEY" in key input after skipping PEM blocks of '
            f"the following types: [{shown}]"
        )
    return _match(certificates[0], keys[0])


def _blocks(pem: bytes, wanted: Any) -> tuple[list[str], list[bytes]]:
    """The types of the blocks that were passed over, and the DER of those wanted."""
    kinds: list[str] = []
    found: list[bytes] = []
    for block in _BLOCK.finditer(pem):
        kind, body = block[1].decode("utf-8", "replace"), block[2]
        while header := _HEADER.match(body):
            body = body[header.end() :]
        try:
            data = base64.b64decode(b"".join(body.split()), validate=True)
        except (binascii.Error, ValueError):
            continue
        if wanted(kind):
            found.append(data)
        else:
            kinds.append(kind)
    return kinds, found


def _match(certificate: bytes, key: bytes) -> str:
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_der_private_key

    try:
        public: Any = x509.load_der_x509_certificate(certificate).public_key()
    except (ValueError, UnsupportedAlgorithm):
        return "x509: malformed certificate"
    try:
        private: Any = load_der_private_key(key, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return "tls: failed to parse private key"
    own = private.public_key()
    if type(own) is not type(public):
        return "tls: private key type does not match public key type"
    return "" if own == public else "tls: private key does not match public key"
