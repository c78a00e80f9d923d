"""What is stored of a value whose key a KMS plugin guards (upstream's EncryptedObject), and the cipher inside of it.

A seed, which only the plugin can give back, makes a key for each value: HKDF-Expand(SHA-256, seed, 32 random bytes),
then AES-GCM bound to the object's key.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from kumo.kubernetes.apiserver.encryption import wire
from kumo.kubernetes.apiserver.encryption.ciphers import AesGcm, DecryptError

SEED_BYTES = 32
_INFO = 32
_KEY, _SEED = 0, 1
_MOST_ID = _MOST_SOURCE = 1024
_MOST_ANNOTATIONS = 32 * 1024


@dataclass(frozen=True, slots=True)
class Source:
    """What the plugin needs to give a seed (or, in old data, a key) back."""

    encrypted: bytes
    key_id: str
    annotations: Mapping[str, bytes] = field(default_factory=dict)
    kind: int = _SEED

    @property
    def digest(self) -> bytes:
        """What identifies it."""
        parts = (self.encrypted, self.key_id.encode(), *(k.encode() + b"\0" + v for k, v in self.annotations.items()))
        return hashlib.sha256(b"".join(len(p).to_bytes(8, "big") + p for p in parts)).digest()


def wrong_with(source: Source) -> str:
    """What upstream would refuse of what a plugin gave, in its words; empty when all is well."""
    if not source.encrypted:
        return "failed to validate encrypted DEK source: encrypted DEK source is empty"
    if len(source.encrypted) > _MOST_SOURCE:
        return (
            f"failed to validate encrypted DEK source: encrypted DEK source is {len(source.encrypted)} bytes, which "
            f"exceeds the max size of {_MOST_SOURCE}"
        )
    if not source.key_id:
        return "failed to validate key id: keyID is empty"
    if len(source.key_id.encode()) > _MOST_ID:
        size = len(source.key_id.encode())
        return f"failed to validate key id: keyID is {size} bytes, which exceeds the max size of {_MOST_ID}"
    size = sum(len(k) + len(v) for k, v in source.annotations.items())
    if size > _MOST_ANNOTATIONS:
        return (
            f"failed to validate annotations: total size of annotations is {size}, which exceeds the max size of "
            f"{_MOST_ANNOTATIONS}"
        )
    return ""


def packed(source: Source, data: bytes) -> bytes:
    """What is stored: the source, and the data that its seed has encrypted."""
    return wire.encode({1: data, 2: source.key_id, 3: source.encrypted, 4: source.annotations, 5: source.kind})


def unpacked(value: bytes) -> tuple[Source, bytes]:
    """The source and the encrypted data of a stored value. Raises DecryptError."""
    try:
        message = wire.decode(value)
        source = Source(wire.blob(message, 3), wire.text(message, 2), wire.mapping(message, 4), wire.number(message, 5))
        data = wire.blob(message, 1)
    except wire.WireError as error:
        raise DecryptError(f"failed to decode the encrypted object: {error}") from None
    if source.kind not in (_KEY, _SEED):
        raise DecryptError(f"unknown encryptedDEKSourceType: {source.kind}")
    if not data:
        raise DecryptError("encrypted data is empty")
    if wrong := wrong_with(source):
        raise DecryptError(wrong)
    return source, data


def seal(seed: bytes, data: bytes, bound: bytes) -> bytes:
    """The data encrypted with a key that the seed makes for it."""
    info = os.urandom(_INFO)
    return info + AesGcm(_derived(seed, info)).encrypt(data, bound)


def unseal(source: Source, secret: bytes, data: bytes, bound: bytes) -> bytes:
    """The data again, by the source's seed or key. Raises DecryptError."""
    if source.kind == _KEY:
        return _gcm(secret).decrypt(data, bound)
    if len(data) < _INFO:
        raise DecryptError("the stored data was shorter than the required size")
    return AesGcm(_derived(secret, data[:_INFO])).decrypt(data[_INFO:], bound)


def _gcm(key: bytes) -> AesGcm:
    try:
        return AesGcm(key)
    except ValueError:
        raise DecryptError(f"invalid key length {len(key)}") from None


def _derived(seed: bytes, info: bytes) -> bytes:
    return HKDFExpand(SHA256(), SEED_BYTES, info).derive(seed)
