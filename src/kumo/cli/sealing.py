"""Bytes sealed by a token: what control planes share lies in their store, where only who has the token can read it.

The key is made of the token by scrypt (RFC 7914), the seal is AES-256-GCM. (k3s keeps its bootstrap data likewise.)
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os

import msgspec

_FORMAT = 1
_N = 1 << 15
_MOST_N = 1 << 20


class SealError(Exception):
    """What was sealed can't be opened; the message says why."""


class _Sealed(msgspec.Struct):
    salt: str
    nonce: str
    data: str
    ca: str = ""
    format: int = _FORMAT
    n: int = _N


def fingerprint(certificate: bytes) -> str:
    """What tells one cluster's CA from another's: the SHA-256 of its certificate (PEM)."""
    return hashlib.sha256(certificate.strip()).hexdigest()


def seal(plain: bytes, token: str, ca: str) -> bytes:
    """`plain`, to be opened with the token only; `ca` (a fingerprint) can be read by anybody."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    salt, nonce = os.urandom(16), os.urandom(12)
    data = AESGCM(_key(token, salt, _N)).encrypt(nonce, plain, _bound(ca))
    coded = [base64.b64encode(part).decode() for part in (salt, nonce, data)]
    return msgspec.json.encode(_Sealed(coded[0], coded[1], coded[2], ca))


def open_sealed(sealed: bytes, token: str) -> bytes:
    """What was sealed. Raises SealError for another token and for what was changed since."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    found = _decoded(sealed)
    try:
        salt, nonce, data = (base64.b64decode(part, validate=True) for part in (found.salt, found.nonce, found.data))
        return AESGCM(_key(token, salt, found.n)).decrypt(nonce, data, _bound(found.ca))
    except (InvalidTag, binascii.Error, ValueError):
        raise SealError("the token is not the cluster's") from None


def ca_of(sealed: bytes) -> str:
    """The fingerprint of the cluster's CA. Raises SealError."""
    return _decoded(sealed).ca


def _decoded(sealed: bytes) -> _Sealed:
    try:
        found = msgspec.json.decode(sealed, type=_Sealed)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise SealError(f"it can't be understood: {error}") from None
    if found.format != _FORMAT:
        raise SealError("a newer version of kumo wrote it: use that version")
    if not 1 < found.n <= _MOST_N or found.n & (found.n - 1):
        raise SealError("it can't be understood: the cost is none")
    return found


def _key(token: str, salt: bytes, n: int) -> bytes:
    return hashlib.scrypt(token.encode(), salt=salt, n=n, r=8, p=1, maxmem=256 * n * 8 + (1 << 20), dklen=32)


def _bound(ca: str) -> bytes:
    return f"kumo shared {_FORMAT} {ca}".encode()
