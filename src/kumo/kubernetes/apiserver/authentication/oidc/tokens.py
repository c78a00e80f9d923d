"""JSON Web Tokens of one issuer: who signed, for whom, until when. And what is in one that nobody has verified."""

from __future__ import annotations

import base64
import binascii
import json
import time
from collections.abc import Callable
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from kumo.kubernetes.apiserver.authentication.oidc.keys import ProviderKeys
from kumo.kubernetes.apiserver.authentication.oidc.settings import ProviderSettings
from kumo.kubernetes.apiserver.authentication.results import TokenRejected

_LEEWAY = 300.0


class TokenVerifier:
    """Verifies tokens of the settings' issuer."""

    def __init__(self, settings: ProviderSettings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self.keys = ProviderKeys(settings)

    async def verify(self, token: str) -> tuple[dict[str, Any], float]:
        """The claims, and when (epoch seconds) the token ends. Raises TokenRejected."""
        header = part(token, 0) or {}
        algorithm = header.get("alg")
        if algorithm not in self._settings.algorithms:
            listed = " ".join(f'"{name}"' for name in self._settings.algorithms)
            raise _unverified(
                f'oidc: id token signed with unsupported algorithm, expected [{listed}] got "{algorithm}"'
            )
        kid = header.get("kid")
        keys = await self.keys.keys(kid if isinstance(kid, str) else None)
        claims = self._verified(token, keys)
        audience = claims.get("aud")
        has = [audience] if isinstance(audience, str) else audience if isinstance(audience, list) else []
        if not any(a in has for a in self._settings.audiences):
            wanted = " ".join(f'"{name}"' for name in sorted(self._settings.audiences))
            got = " ".join(f'"{name}"' for name in has)
            raise _unverified(f"oidc: expected audience in [{wanted}] got [{got}]")
        return claims, self._check_times(claims)

    def _verified(self, token: str, keys: KeySet) -> dict[str, Any]:
        try:
            return jwt.decode(token, keys, algorithms=list(self._settings.algorithms)).claims
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise _unverified(f"failed to verify signature: {error}") from None

    def _check_times(self, claims: dict[str, Any]) -> float:
        now = self._clock()
        try:
            ends, begins = float(claims["exp"]), float(claims.get("nbf") or 0)
        except (KeyError, TypeError, ValueError):
            raise _unverified("oidc: the token has no time at which it expires") from None
        if now >= ends:
            raise _unverified(f"oidc: token is expired (Token Expiry: {_shown(ends)})")
        if now < begins - _LEEWAY:
            raise _unverified(f"oidc: current time {_shown(now)} before the nbf (not before) time: {_shown(begins)}")
        return ends


def _unverified(why: str) -> TokenRejected:
    return TokenRejected(f"oidc: verify token: {why}")


def _shown(when: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC", time.gmtime(min(when, 1e11)))


def part(token: str, index: int) -> dict[str, Any] | None:
    """A part of a compact JWT, which proves nothing yet."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        found = json.loads(base64.urlsafe_b64decode(parts[index] + "=" * (-len(parts[index]) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def issuer_of(token: str) -> str:
    """Whose token it says it is; empty if it does not."""
    found = (part(token, 1) or {}).get("iss")
    return found if isinstance(found, str) else ""
