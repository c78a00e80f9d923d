"""Service-account tokens: JWTs, as upstream's bound tokens (KEP-1205) and the older ones of Secrets carry their claims.

A token names its account and may be bound to a pod, a secret or a node; it dies with any of them. The signature is
verified once for a token (about 0.1 ms), the existence of what it names whenever something of those kinds has changed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError

from kumo.api.objects import Object, uid_of
from kumo.api.resources import GVR
from kumo.api.users import UserInfo
from kumo.kubernetes.apiserver.attributes import Reader
from kumo.kubernetes.apiserver.authentication.account_checks import check_objects, check_times, resources_of
from kumo.kubernetes.apiserver.authentication.claims import LEGACY_ISSUER, TokenClaims, read_claims, user_of
from kumo.kubernetes.apiserver.authentication.results import Proven, TokenRejected, common_audiences
from kumo.machinery.signing_keys import (
    ALGORITHMS,
    VerificationKey,
    load_signing_key,
    load_verification_keys,
)

POD_EXPIRY = 3607
"""The lifetime that the kubelet asks for; such tokens live a year and warn after it (upstream's extension)."""
EXTENDED_EXPIRY = 365 * 24 * 3600
_REMEMBERED = 8192
_BAD_SIGNATURE = "go-jose/go-jose: error in cryptographic primitive"


@dataclass(slots=True)
class _Verified:
    """A token whose signature is good: its claims, its user, and the revisions at which all it names was alive."""

    claims: TokenClaims
    user: UserInfo
    resources: tuple[GVR, ...]
    seen: tuple[int, ...] = ()


class ServiceAccountTokens:
    """Issues tokens of `issuer` with the key at `key_path` (PEM), and verifies them.

    `audiences` are those that this API server is; a token needs one of them to be let in. `other_keys` (PEM files)
    verify too, so that the signing key can be changed while old tokens live; `other_issuers` are believed likewise.
    `used` is told namespace and name of the Secret whose token was used.
    """

    def __init__(
        self,
        *,
        issuer: str,
        key_path: Path,
        reader: Reader,
        audiences: tuple[str, ...] = (),
        other_keys: Sequence[Path] = (),
        other_issuers: Sequence[str] = (),
        used: Callable[[str, str], None] = lambda namespace, name: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.issuer = issuer
        self.audiences = audiences or (issuer, *other_issuers)
        self._issuers = frozenset((issuer, LEGACY_ISSUER, *other_issuers))
        self._reader = reader
        self._clock = clock
        self._used = used
        self._key = load_signing_key(key_path)
        keys = [self._key.public, *load_verification_keys(other_keys)]
        self._keys: dict[str, VerificationKey] = {key.kid: key for key in reversed(keys)}
        self._verified: OrderedDict[bytes, _Verified] = OrderedDict()

    @property
    def key_id(self) -> str:
        """The id of the key that signs."""
        return self._key.public.kid

    # -- issuing ----------------------------------------------------------------------------------------------------

    def issue(
        self,
        account: Object,
        *,
        audiences: Iterable[str] = (),
        seconds: int = 3600,
        bound: Iterable[tuple[str, Object]] = (),
    ) -> tuple[str, float]:
        """A token for the service account, and its expiry in epoch seconds as it is told to the asker.

        `bound` are pairs of pod, secret or node and that object.
        """
        meta = account["metadata"]
        now = int(self._clock())
        asked = tuple(audiences) or self.audiences
        private: dict[str, Any] = {
            "namespace": meta["namespace"],
            "serviceaccount": {"name": meta["name"], "uid": uid_of(account)},
        }
        to_pod = False
        for kind, obj in bound:
            private[kind] = {"name": obj["metadata"]["name"], "uid": uid_of(obj)}
            to_pod = to_pod or kind == "pod"
        expires = now + seconds
        if to_pod and seconds == POD_EXPIRY and set(asked) <= set(self.audiences):
            private["warnafter"] = expires
            expires = now + EXTENDED_EXPIRY
        claims = {
            "aud": list(asked),
            "exp": expires,
            "iat": now,
            "iss": self.issuer,
            "jti": str(uuid.uuid4()),
            "kubernetes.io": private,
            "nbf": now,
            "sub": f"system:serviceaccount:{meta['namespace']}:{meta['name']}",
        }
        return self._key.sign(claims), float(private.get("warnafter", expires))

    # -- verifying --------------------------------------------------------------------------------------------------

    def authenticate(self, token: str, audiences: Sequence[str] = ()) -> Proven | None:
        """The token's user, and those of `audiences` (default: this server's) that it is for; None for others' tokens.

        Checked at every use: lifetime, audience, and that the account and whatever the token is bound to still exist.
        Raises TokenRejected for a token of this issuer that proves nobody.
        """
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        known = self._verified.get(digest)
        if known is None:
            claims = self._verify(token)
            if claims is None:
                return None
            known = self._verified[digest] = _Verified(claims, user_of(claims), resources_of(claims))
            if len(self._verified) > _REMEMBERED:
                self._verified.popitem(last=False)
        claims = known.claims
        common = common_audiences(claims.audiences or self.audiences, audiences or self.audiences)
        now = self._clock()
        check_times(claims, now)
        revisions = tuple(map(self._reader.revision, known.resources))
        if revisions != known.seen:
            lasting = check_objects(self._reader, claims, now, token)
            known.seen = revisions if lasting else ()
        if claims.secret:
            self._used(claims.namespace, claims.secret)
        return Proven(known.user, common)

    def _verify(self, token: str) -> TokenClaims | None:
        """The claims of a token of this issuer whose signature is good; None for anybody else's."""
        parts = token.split(".")
        if len(parts) != 3:
            return None
        header, payload = _decoded(parts[0]), _decoded(parts[1])
        if payload is None or payload.get("iss") not in self._issuers or header is None:
            return None
        named = self._keys.get(header["kid"]) if isinstance(header.get("kid"), str) else None
        for key in (named,) if named is not None else self._keys.values():
            if key.algorithm not in ALGORITHMS or header.get("alg") != key.algorithm:
                continue
            try:
                return read_claims(jwt.decode(token, key.key, algorithms=[key.algorithm]).claims)
            except (JoseError, ValueError, TypeError, KeyError):
                continue
        raise TokenRejected(_BAD_SIGNATURE)

    # -- OIDC discovery ---------------------------------------------------------------------------------------------

    def algorithms(self) -> list[str]:
        """The algorithms of the keys, sorted."""
        return sorted({key.algorithm for key in self._keys.values()})

    def public_keys(self) -> Object:
        """The JSON Web Key Set (RFC 7517) that verifies this issuer's tokens, the key that signs first."""
        others = [key for key in self._keys.values() if key.kid != self.key_id]
        return {"keys": [key.described() for key in (self._key.public, *others)]}


def _decoded(part: str) -> dict[str, Any] | None:
    """A part of a token, which proves nothing yet."""
    try:
        found = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
