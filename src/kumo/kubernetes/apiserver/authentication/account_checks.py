"""Whether what a service-account token names is still there; told in upstream's words when it is not."""

from __future__ import annotations

import base64
import hmac

from kumo.api.errors import not_found
from kumo.api.objects import Object, is_deleting, labels_of, name_of, parse_timestamp, uid_of
from kumo.api.resources import GVR, NODES, PODS, SECRETS, SERVICEACCOUNTS
from kumo.kubernetes.apiserver.attributes import Reader
from kumo.kubernetes.apiserver.authentication.claims import TokenClaims
from kumo.kubernetes.apiserver.authentication.results import TokenRejected

LEEWAY = 60.0
INVALID_SINCE = "kubernetes.io/legacy-token-invalid-since"
BOUND: dict[str, GVR] = {"pod": PODS, "secret": SECRETS, "node": NODES}
_INVALIDATED = "service account token has been invalidated"


def resources_of(claims: TokenClaims) -> tuple[GVR, ...]:
    """The resources whose changes may end the token."""
    named = tuple(BOUND[kind] for kind, _, _ in claims.bound)
    return (SERVICEACCOUNTS, *named, *((SECRETS,) if claims.secret else ()))


def check_times(claims: TokenClaims, now: float) -> None:
    """Raise TokenRejected outside the token's life."""
    if now > claims.expires + LEEWAY:
        raise TokenRejected("service account token has expired")
    if now < claims.not_before - LEEWAY:
        raise TokenRejected("service account token is not valid yet")
    if now < claims.issued - LEEWAY:
        raise TokenRejected("service account token is issued in the future")


def check_objects(reader: Reader, claims: TokenClaims, now: float, token: str) -> bool:
    """Raise TokenRejected unless all that the token names exists; whether that stays so until one of them changes."""
    if claims.secret:
        return _check_legacy(reader, claims, token)
    account = _account(reader, claims)
    if _gone(account, now):
        raise TokenRejected(f"service account {claims.namespace}/{claims.name} has been deleted")
    if uid_of(account) != claims.uid:
        raise TokenRejected(f"service account UID ({uid_of(account)}) does not match claim ({claims.uid})")
    lasting = not is_deleting(account)
    kinds = {kind for kind, _, _ in claims.bound}
    for kind, name, uid in claims.bound:
        if kind == "node" and "pod" in kinds:
            continue  # The node of a pod's token is told, not required (as upstream).
        gvr = BOUND[kind]
        obj = reader.get(gvr, name, claims.namespace if gvr.namespaced else "")
        if obj is None:
            raise TokenRejected(_INVALIDATED)
        if uid_of(obj) != uid:
            raise TokenRejected(f"{kind} UID ({uid_of(obj)}) does not match service account {kind} ref claim ({uid})")
        if _gone(obj, now):
            raise TokenRejected(_INVALIDATED)
        lasting = lasting and not is_deleting(obj)
    return lasting


def _account(reader: Reader, claims: TokenClaims) -> Object:
    found = reader.get(SERVICEACCOUNTS, claims.name, claims.namespace)
    if found is None:
        raise TokenRejected(not_found("", "serviceaccounts", claims.name).message)
    return found


def _check_legacy(reader: Reader, claims: TokenClaims, token: str) -> bool:
    secret = reader.get(SECRETS, claims.secret, claims.namespace)
    if secret is None or is_deleting(secret):
        raise TokenRejected("Token has been invalidated")
    kept = (secret.get("data") or {}).get("token") or ""
    if not hmac.compare_digest(kept.encode(), base64.b64encode(token.encode())):
        raise TokenRejected("Token does not match server's copy")
    account = _account(reader, claims)
    where = f"{claims.namespace}/{claims.name}"
    if is_deleting(account):
        raise TokenRejected(f"ServiceAccount {where} has been deleted")
    if uid_of(account) != claims.uid:
        raise TokenRejected(f"ServiceAccount UID ({uid_of(account)}) does not match claim ({claims.uid})")
    if labels_of(secret).get(INVALID_SINCE):
        raise TokenRejected(
            f"the token in secret {claims.namespace}/{name_of(secret)} for service account {where} has been marked "
            "invalid. Use tokens from the TokenRequest API or manually created secret-based tokens, or remove the "
            f"'{INVALID_SINCE}' label from the secret to temporarily allow use of this token"
        )
    return True


def _gone(obj: Object, now: float) -> bool:
    """Whether the object's deletion is over but for finalizers: a minute past its timestamp (as upstream)."""
    return is_deleting(obj) and parse_timestamp(obj["metadata"]["deletionTimestamp"]) + LEEWAY < now
