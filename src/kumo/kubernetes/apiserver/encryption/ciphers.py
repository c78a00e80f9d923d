"""The ciphers of providers: bytes in, bytes out, each in the form that upstream stores."""

from __future__ import annotations

import os
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher as AlgorithmCipher
from cryptography.hazmat.primitives.ciphers import algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_BLOCK = 16
_GCM_NONCE = 12
_BOX_NONCE = 24
_SHORT = "the stored data was shorter than the required size"


class DecryptError(Exception):
    """The bytes can't be read with this key; the message says why, in upstream's words."""


class Cipher(Protocol):
    """Encrypts and decrypts with one key. `bound` is what the bytes belong to: the object's key in the store."""

    def encrypt(self, data: bytes, bound: bytes) -> bytes:
        """The data, unreadable."""
        ...

    def decrypt(self, data: bytes, bound: bytes) -> bytes:
        """The data again. Raises DecryptError."""
        ...


class AesCbc:
    """`aescbc`: a random initial vector of 16 bytes, then AES-CBC with PKCS #7 padding; changes go unnoticed."""

    def __init__(self, key: bytes) -> None:
        self._algorithm = algorithms.AES(key)

    def encrypt(self, data: bytes, bound: bytes) -> bytes:
        """See Cipher."""
        vector = os.urandom(_BLOCK)
        padder = padding.PKCS7(_BLOCK * 8).padder()
        encryptor = AlgorithmCipher(self._algorithm, modes.CBC(vector)).encryptor()
        return vector + encryptor.update(padder.update(data) + padder.finalize()) + encryptor.finalize()

    def decrypt(self, data: bytes, bound: bytes) -> bytes:
        """See Cipher."""
        if len(data) < _BLOCK:
            raise DecryptError(_SHORT)
        vector, rest = data[:_BLOCK], data[_BLOCK:]
        if not rest or len(rest) % _BLOCK:
            raise DecryptError("the stored data is not a multiple of the block size")
        decryptor = AlgorithmCipher(self._algorithm, modes.CBC(vector)).decryptor()
        unpadder = padding.PKCS7(_BLOCK * 8).unpadder()
        try:
            return unpadder.update(decryptor.update(rest) + decryptor.finalize()) + unpadder.finalize()
        except ValueError:
            raise DecryptError("invalid padding on input") from None


class AesGcm:
    """`aesgcm`: a random nonce of 12 bytes, then AES-GCM, bound to the object's key."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def encrypt(self, data: bytes, bound: bytes) -> bytes:
        """See Cipher."""
        nonce = os.urandom(_GCM_NONCE)
        return nonce + self._cipher.encrypt(nonce, data, bound)

    def decrypt(self, data: bytes, bound: bytes) -> bytes:
        """See Cipher."""
        if len(data) < _GCM_NONCE:
            raise DecryptError(_SHORT)
        try:
            return self._cipher.decrypt(data[:_GCM_NONCE], data[_GCM_NONCE:], bound)
        except InvalidTag:
            raise DecryptError("cipher: message authentication failed") from None


class Secretbox:
    """`secretbox`: a random nonce of 24 bytes, then XSalsa20 with Poly1305 (NaCl's secret box)."""

    def __init__(self, key: bytes) -> None:
        from nacl import bindings  # libsodium: wanted only where this provider is

        self._key = key
        self._seal, self._open = bindings.crypto_secretbox, bindings.crypto_secretbox_open

    def encrypt(self, data: bytes, bound: bytes) -> bytes:
        """See Cipher."""
        nonce = os.urandom(_BOX_NONCE)
        return bytes(nonce + self._seal(data, nonce, self._key))

    def decrypt(self, data: bytes, bound: bytes) -> bytes:
        """See Cipher."""
        from nacl.exceptions import CryptoError

        if len(data) < _BOX_NONCE:
            raise DecryptError(_SHORT)
        try:
            return bytes(self._open(data[_BOX_NONCE:], data[:_BOX_NONCE], self._key))
        except CryptoError:
            raise DecryptError("output array was not large enough for encryption") from None


def cipher_of(provider: str, key: bytes) -> Cipher:
    """The cipher of a provider (aescbc, aesgcm, secretbox) with a key of a length that it takes."""
    if provider == "aescbc":
        return AesCbc(key)
    return AesGcm(key) if provider == "aesgcm" else Secretbox(key)
