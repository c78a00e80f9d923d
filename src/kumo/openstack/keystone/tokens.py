"""Tokens: signed claims (JWS, ES256), never stored. Roles are not among the claims: they are looked up at each use, so
that taking a role away works at once. Source of the idea: Keystone's JWS token provider.
"""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

KEY_ID = "kumo-identity"
LIFETIME = 3600
"""Seconds that a token lives (Keystone's default)."""
_LONGEST = 8192


@dataclass(frozen=True, slots=True)
class Token:
    """What a token says. Times are seconds since the epoch; `project` is a namespace's name and uid."""

    user_id: str
    methods: tuple[str, ...]
    audit_ids: tuple[str, ...]
    issued: float
    expires: int
    project: tuple[str, str] | None = None
    domain: str = ""
    system: bool = False


class Tokens:
    """Signs and reads tokens with one key."""

    def __init__(self, key_pem: bytes, clock: Callable[[], float] = time.time) -> None:
        self._key = ECKey.import_key(key_pem)
        self._clock = clock

    def issue(
        self,
        user_id: str,
        methods: tuple[str, ...],
        *,
        parent: Token | None = None,
        project: tuple[str, str] | None = None,
        domain: str = "",
        system: bool = False,
    ) -> tuple[str, Token]:
        """A new token and what it says. One made from another ends when that one does."""
        now = self._clock()
        audit = base64.urlsafe_b64encode(secrets.token_bytes(16)).rstrip(b"=").decode()
        audits = (audit, *parent.audit_ids[-1:]) if parent else (audit,)
        expires = parent.expires if parent else int(now) + LIFETIME
        token = Token(user_id, methods, audits, round(now, 3), expires, project, domain, system)
        claims: dict[str, Any] = {"sub": user_id, "m": methods, "a": audits, "iat": token.issued, "exp": expires}
        claims |= {k: v for k, v in (("p", project), ("d", domain), ("s", system)) if v}
        payload = json.dumps(claims, separators=(",", ":")).encode()
        header = {"alg": "ES256", "kid": KEY_ID}
        return jws.serialize_compact(header, payload, self._key, algorithms=["ES256"]), token

    def read(self, text: str) -> Token | None:
        """What the token says; None unless it is one of ours, untouched and not over."""
        if not is_ours(text):
            return None
        try:
            found = jws.deserialize_compact(text.encode(), self._key, algorithms=["ES256"])
            claims = json.loads(found.payload)
        except (JoseError, ValueError):
            return None
        if claims["exp"] <= self._clock():
            return None
        project = claims.get("p")
        return Token(
            claims["sub"],
            tuple(claims["m"]),
            tuple(claims["a"]),
            claims["iat"],
            claims["exp"],
            (project[0], project[1]) if project else None,
            claims.get("d", ""),
            bool(claims.get("s")),
        )


def is_ours(text: str) -> bool:
    """Whether the text says of itself that it is a token of this kind (its signature is not looked at)."""
    if len(text) > _LONGEST or text.count(".") != 2 or not text.isascii():
        return False
    head = text.split(".", 1)[0]
    try:
        header = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except (ValueError, RecursionError):
        return False
    return isinstance(header, dict) and header.get("kid") == KEY_ID
