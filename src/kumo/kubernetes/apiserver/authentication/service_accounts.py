"""Service-account tokens: JWTs signed with ES256, as upstream's bound tokens (KEP-1205) carry their claims.

A token names its account and may be bound to a pod, a secret or a node; it dies with any of them. The signature is
verified once for a token (about 0.1 ms), the existence of what it names at every use.
"""

from __future__ import annotations

import base64
import hashlib
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from kumo.api.objects import Object, is_deleting, parse_timestamp, uid_of
from kumo.api.resources import GVR, NODES, PODS, SECRETS, SERVICEACCOUNTS
from kumo.api.users import UserInfo, service_account_user
from kumo.kubernetes.apiserver.attributes import Reader
from kumo.machinery.listener.identity import CREDENTIAL_ID

ALGORITHM = "ES256"
POD_EXPIRY = 3607
"""The lifetime that the kubelet asks for; such tokens live a year and warn after it (upstream's extension)."""
EXTENDED_EXPIRY = 365 * 24 * 3600
_REMEMBERED = 8192
_LEEWAY = 60.0
_BOUND: dict[str, GVR] = {"pod": PODS, "secret": SECRETS, "node": NODES}


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """What a verified token says. `bound` maps pod, secret and node to their (name, uid); times in epoch seconds."""

    namespace: str
    name: str
    uid: str
    audiences: tuple[str, ...]
    expires: float
    not_before: float
    token_id: str
    bound: tuple[tuple[str, str, str], ...] = ()


@dataclass(slots=True)
class _Verified:
    """A token whose signature is good: its claims, its user, and the revisions at which all it names was alive."""

    claims: TokenClaims
    user: UserInfo
    resources: tuple[GVR, ...]
    seen: tuple[int, ...] = ()


class ServiceAccountTokens:
    """Issues and verifies tokens of `issuer` with the key at `key_path` (PEM, P-256).

    `audiences` are those that this API server is; a token needs one of them to be let in.
    """

    def __init__(
        self,
        *,
        issuer: str,
        key_path: Path,
        reader: Reader,
        audiences: tuple[str, ...] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.issuer = issuer
        self.audiences = audiences or (issuer,)
        self._reader = reader
        self._clock = clock
        private = serialization.load_pem_private_key(key_path.read_bytes(), None)
        if not isinstance(private, ec.EllipticCurvePrivateKey):
            raise ValueError(f"{key_path} is not an ECDSA key")
        der = private.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.key_id = base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()
        self._key = ECKey.import_key(private, {"kid": self.key_id, "use": "sig", "alg": ALGORITHM})
        self._verified: OrderedDict[str, _Verified] = OrderedDict()

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
        token = jwt.encode({"alg": ALGORITHM, "kid": self.key_id}, claims, self._key, algorithms=[ALGORITHM])
        return token, float(private.get("warnafter", expires))

    # -- verifying --------------------------------------------------------------------------------------------------

    def authenticate(self, token: str, audiences: Iterable[str] = ()) -> tuple[UserInfo, tuple[str, ...]] | None:
        """The token's user, and those of `audiences` (default: this server's) that it is for; None if it proves nobody.

        Checked at every use: lifetime, audience, and that the account and whatever the token is bound to still exist.
        """
        known = self._verified.get(token)
        if known is None:
            claims = self._verify(token)
            if claims is None:
                return None
            resources = (SERVICEACCOUNTS, *(_BOUND[kind] for kind, _, _ in claims.bound))
            known = self._verified[token] = _Verified(claims, self._user(claims), resources)
            if len(self._verified) > _REMEMBERED:
                self._verified.popitem(last=False)
        claims = known.claims
        now = self._clock()
        if not claims.not_before - _LEEWAY <= now < claims.expires:
            return None
        wanted = tuple(audiences) or self.audiences
        common = tuple(a for a in wanted if a in claims.audiences)
        if not common:
            return None
        revisions = tuple(map(self._reader.revision, known.resources))
        if revisions != known.seen:
            alive, lasting = self._alive(claims, now)
            if not alive:
                return None
            known.seen = revisions if lasting else ()
        return known.user, common

    def _verify(self, token: str) -> TokenClaims | None:
        if token.count(".") != 2:
            return None
        try:
            found = jwt.decode(token, self._key, algorithms=[ALGORITHM]).claims
        except (JoseError, ValueError, TypeError, KeyError):
            return None
        private = found.get("kubernetes.io")
        if found.get("iss") != self.issuer or not isinstance(private, dict):
            return None
        try:
            account = private["serviceaccount"]
            audience = found["aud"]
            bound = tuple((kind, private[kind]["name"], private[kind]["uid"]) for kind in _BOUND if kind in private)
            return TokenClaims(
                namespace=private["namespace"],
                name=account["name"],
                uid=account["uid"],
                audiences=(audience,) if isinstance(audience, str) else tuple(audience),
                expires=float(found["exp"]),
                not_before=float(found.get("nbf", 0)),
                token_id=found.get("jti", ""),
                bound=bound,
            )
        except (KeyError, TypeError, ValueError):
            return None

    def _alive(self, claims: TokenClaims, now: float) -> tuple[bool, bool]:
        """Whether all that the token names exists, and whether that stays so until one of them changes."""
        kinds = {kind for kind, _, _ in claims.bound}
        named = [(SERVICEACCOUNTS, claims.name, claims.uid)]
        # The node of a pod's token is told, not required (as upstream).
        named += [(_BOUND[k], name, uid) for k, name, uid in claims.bound if k != "node" or "pod" not in kinds]
        lasting = True
        for gvr, name, uid in named:
            obj = self._reader.get(gvr, name, claims.namespace if gvr.namespaced else "")
            if obj is None or uid_of(obj) != uid or _gone(obj, now):
                return False, False
            lasting = lasting and not is_deleting(obj)
        return True, lasting

    def _user(self, claims: TokenClaims) -> UserInfo:
        extra: dict[str, tuple[str, ...]] = {}
        if claims.token_id:
            extra[CREDENTIAL_ID] = (f"JTI={claims.token_id}",)
        for kind, name, uid in claims.bound:
            if kind != "secret":
                extra[f"authentication.kubernetes.io/{kind}-name"] = (name,)
                extra[f"authentication.kubernetes.io/{kind}-uid"] = (uid,)
        user = service_account_user(claims.namespace, claims.name, claims.uid)
        return UserInfo(user.name, user.groups, user.uid, extra)

    # -- OIDC discovery ---------------------------------------------------------------------------------------------

    def public_keys(self) -> Object:
        """The JSON Web Key Set (RFC 7517) that verifies this issuer's tokens."""
        public = dict(self._key.as_dict(private=False))
        return {"keys": [{**public, "kid": self.key_id, "use": "sig", "alg": ALGORITHM}]}


def _gone(obj: Object, now: float) -> bool:
    """Whether the object's deletion is over but for finalizers: a minute past its timestamp (as upstream)."""
    return is_deleting(obj) and parse_timestamp(obj["metadata"]["deletionTimestamp"]) + 60 < now
