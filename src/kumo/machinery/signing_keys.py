"""Keys that sign and verify JSON Web Tokens (RFC 7519): loaded from PEM, named as Kubernetes names them.

A key's id is the base64url of the SHA-256 of its public part, so that issuer and verifiers agree without being told.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

ALGORITHMS = ("ES256", "ES384", "ES512", "RS256")
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_BLOCK = re.compile(rb"-----BEGIN ([A-Z ]+)-----.*?-----END \1-----", re.DOTALL)
_Public = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key with its id and algorithm; `key` is joserfc's."""

    kid: str
    algorithm: str
    key: ECKey | RSAKey

    def described(self) -> dict[str, Any]:
        """The key as a JSON Web Key (RFC 7517), without anything private."""
        found = {k: v for k, v in self.key.as_dict(private=False).items() if k not in ("kid", "use", "alg")}
        return {"use": "sig", "kty": found.pop("kty"), "kid": self.kid, "alg": self.algorithm, **found}


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key, and the public one that verifies what it signs."""

    public: VerificationKey
    key: ECKey | RSAKey

    def sign(self, claims: Mapping[str, Any]) -> str:
        """The claims as a compact token."""
        header = {"alg": self.public.algorithm, "kid": self.public.kid}
        return jwt.encode(header, dict(claims), self.key, algorithms=[self.public.algorithm])


def load_signing_key(path: Path) -> SigningKey:
    """The private key in the file. Raises ValueError for anything but an RSA key or one of the NIST curves."""
    private = serialization.load_pem_private_key(path.read_bytes(), None)
    if not isinstance(private, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise ValueError(f"{path} is neither an ECDSA nor an RSA key")
    public = verification_key(private.public_key(), str(path))
    key = ECKey.import_key(private) if isinstance(private, ec.EllipticCurvePrivateKey) else RSAKey.import_key(private)
    return SigningKey(public, key)


def load_verification_keys(paths: Iterable[Path]) -> list[VerificationKey]:
    """All keys in the files: public keys, certificates, and the public parts of private keys. Raises ValueError."""
    found: dict[str, VerificationKey] = {}
    for path in paths:
        blocks = list(_BLOCK.finditer(path.read_bytes()))
        if not blocks:
            raise ValueError(f"{path} holds no PEM-encoded key")
        for block in blocks:
            key = verification_key(_public_of(block[1], block[0], path), str(path))
            found.setdefault(key.kid, key)
    return list(found.values())


def _public_of(kind: bytes, pem: bytes, path: Path) -> _Public:
    public: object
    if kind == b"CERTIFICATE":
        public = x509.load_pem_x509_certificate(pem).public_key()
    elif kind.endswith(b"PRIVATE KEY"):
        public = serialization.load_pem_private_key(pem, None).public_key()
    else:
        public = serialization.load_pem_public_key(pem)
    if not isinstance(public, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        raise ValueError(f"{path} holds a key that is neither ECDSA nor RSA")
    return public


def verification_key(public: _Public, source: str) -> VerificationKey:
    """The key with its id. Raises ValueError, naming `source`, for a curve that tokens are not signed with."""
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    kid = base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()
    if isinstance(public, rsa.RSAPublicKey):
        return VerificationKey(kid, "RS256", RSAKey.import_key(public))
    algorithm = _CURVES.get(public.curve.name)
    if algorithm is None:
        raise ValueError(f"{source}: tokens can't be signed with the curve {public.curve.name}")
    return VerificationKey(kid, algorithm, ECKey.import_key(public))
