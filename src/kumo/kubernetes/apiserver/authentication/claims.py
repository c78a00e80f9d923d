"""What service-account tokens say: bound ones (KEP-1205) and those of Secrets. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kumo.api.users import UserInfo, service_account_user
from kumo.kubernetes.apiserver.authentication.results import TokenRejected
from kumo.machinery.listener.identity import CREDENTIAL_ID

LEGACY_ISSUER = "kubernetes/serviceaccount"
_LEGACY = "kubernetes.io/serviceaccount/"
_BOUND = ("pod", "secret", "node")


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """What a verified token says. `bound` are (pod, secret or node; name; uid); times in epoch seconds."""

    namespace: str
    name: str
    uid: str
    audiences: tuple[str, ...]
    expires: float
    not_before: float
    token_id: str
    bound: tuple[tuple[str, str, str], ...] = ()
    issued: float = 0.0
    secret: str = ""
    """The Secret that holds a legacy token, empty for a bound one."""


def read_claims(found: dict[str, Any]) -> TokenClaims:
    """The claims of a token whose signature is good. Raises TokenRejected for a form that nobody here issues."""
    try:
        return _legacy(found) if found.get("iss") == LEGACY_ISSUER else _bound(found)
    except (KeyError, TypeError, ValueError):
        raise TokenRejected("service account token claims could not be validated") from None


def _bound(found: dict[str, Any]) -> TokenClaims:
    private = found.get("kubernetes.io")
    if not isinstance(private, dict) or not private.get("namespace"):
        raise TokenRejected("resource name may not be empty")
    account = private["serviceaccount"]
    audience = found["aud"]
    return TokenClaims(
        namespace=_text(private["namespace"]),
        name=_text(account["name"]),
        uid=_text(account["uid"]),
        audiences=(audience,) if isinstance(audience, str) else tuple(map(_text, audience)),
        expires=float(found.get("exp") or "inf"),
        not_before=float(found.get("nbf") or 0),
        token_id=_text(found.get("jti") or ""),
        bound=tuple((k, _text(private[k]["name"]), _text(private[k]["uid"])) for k in _BOUND if private.get(k)),
        issued=float(found.get("iat") or 0),
    )


def _legacy(found: dict[str, Any]) -> TokenClaims:
    subject = found.get("sub")
    if not subject:
        raise TokenRejected("sub claim is missing")
    names = {}
    for claim, told in (
        ("namespace", "namespace"),
        ("secret.name", "secretName"),
        ("service-account.name", "serviceAccountName"),
        ("service-account.uid", "serviceAccountUID"),
    ):
        names[claim] = _text(found.get(_LEGACY + claim) or "")
        if not names[claim]:
            raise TokenRejected(f"{told} claim is missing")
    namespace, name = names["namespace"], names["service-account.name"]
    if subject != f"system:serviceaccount:{namespace}:{name}":
        raise TokenRejected("sub claim is invalid")
    return TokenClaims(
        namespace, name, names["service-account.uid"], (), float("inf"), 0.0, "", secret=names["secret.name"]
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def user_of(claims: TokenClaims) -> UserInfo:
    """The service account as a user, with what the token is bound to in its extra values."""
    extra: dict[str, tuple[str, ...]] = {}
    if claims.token_id:
        extra[CREDENTIAL_ID] = (f"JTI={claims.token_id}",)
    for kind, name, uid in claims.bound:
        if kind != "secret":
            extra[f"authentication.kubernetes.io/{kind}-name"] = (name,)
            extra[f"authentication.kubernetes.io/{kind}-uid"] = (uid,)
    user = service_account_user(claims.namespace, claims.name, claims.uid)
    return UserInfo(user.name, user.groups, user.uid, extra)
