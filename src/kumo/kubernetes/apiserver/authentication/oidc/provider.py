"""Identity tokens: whose issuer is configured here are verified and become users."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from kumo.api.users import UserInfo
from kumo.kubernetes.apiserver.authentication.oidc.keys import ProviderKeys
from kumo.kubernetes.apiserver.authentication.oidc.mapping import ClaimMapping
from kumo.kubernetes.apiserver.authentication.oidc.settings import ProviderSettings
from kumo.kubernetes.apiserver.authentication.results import TokenRejected

_REMEMBERED = 4096
_FRESH = 10.0
_LEEWAY = 300.0


class IdTokenProviders:
    """The configured issuers. What a token proved is remembered for ten seconds, or until it ends."""

    def __init__(self, settings: Sequence[ProviderSettings], clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._providers = {s.issuer: _Provider(s, clock) for s in settings}
        self._proven: OrderedDict[bytes, tuple[float, UserInfo]] = OrderedDict()

    async def authenticate(self, token: str) -> UserInfo | None:
        """The token's user; None for a token of another issuer. Raises TokenRejected."""
        issuer = _issuer(token)
        provider = self._providers.get(issuer) if issuer else None
        if provider is None:
            return None
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        known = self._proven.get(digest)
        now = self._clock()
        if known is not None and now < known[0]:
            return known[1]
        user, ends = await provider.authenticate(token)
        self._proven[digest] = (min(ends, now + _FRESH), user)
        if len(self._proven) > _REMEMBERED:
            self._proven.popitem(last=False)
        return user

    async def prepare(self) -> None:
        """Fetch the keys of every issuer, so that the first token does not wait. Failures are logged."""
        await asyncio.gather(*(provider.keys.refresh() for provider in self._providers.values()))

    async def use(self, settings: Sequence[ProviderSettings]) -> None:
        """Know these issuers instead. Those that are new must answer, else ValueError, and nothing changes."""
        fresh: dict[str, _Provider] = {}
        for wanted in settings:
            known = self._providers.get(wanted.issuer)
            kept = known is not None and known.settings == wanted
            fresh[wanted.issuer] = known if known is not None and kept else _Provider(wanted, self._clock)
        new = [p for issuer, p in fresh.items() if p is not self._providers.get(issuer)]
        await asyncio.gather(*(provider.keys.refresh() for provider in new))
        faults = [provider.keys.fault for provider in new if provider.keys.fault]
        if faults:
            raise ValueError("; ".join(faults))
        self._providers = fresh
        self._proven.clear()

    def faults(self) -> dict[str, str]:
        """The issuers whose keys are not there, and why."""
        return {issuer: p.keys.fault for issuer, p in self._providers.items() if p.keys.fault}


class _Provider:
    def __init__(self, settings: ProviderSettings, clock: Callable[[], float]) -> None:
        self.settings = settings
        self._clock = clock
        self._mapping = ClaimMapping(settings)
        self.keys = ProviderKeys(settings)

    async def authenticate(self, token: str) -> tuple[UserInfo, float]:
        """The user, and when (epoch seconds) the token ends. Raises TokenRejected."""
        header = _part(token, 0) or {}
        algorithm = header.get("alg")
        if algorithm not in self.settings.algorithms:
            listed = " ".join(f'"{name}"' for name in self.settings.algorithms)
            raise _unverified(
                f'oidc: id token signed with unsupported algorithm, expected [{listed}] got "{algorithm}"'
            )
        kid = header.get("kid")
        keys = await self.keys.keys(kid if isinstance(kid, str) else None)
        claims = self._verified(token, keys)
        audience = claims.get("aud")
        has = [audience] if isinstance(audience, str) else audience if isinstance(audience, list) else []
        if not any(a in has for a in self.settings.audiences):
            wanted = " ".join(f'"{name}"' for name in sorted(self.settings.audiences))
            got = " ".join(f'"{name}"' for name in has)
            raise _unverified(f"oidc: expected audience in [{wanted}] got [{got}]")
        return self._mapping.user(claims), self._check_times(claims)

    def _verified(self, token: str, keys: KeySet) -> dict[str, Any]:
        try:
            return jwt.decode(token, keys, algorithms=list(self.settings.algorithms)).claims
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


def _part(token: str, index: int) -> dict[str, Any] | None:
    """A part of a compact JWT, which proves nothing yet."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        found = json.loads(base64.urlsafe_b64decode(parts[index] + "=" * (-len(parts[index]) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _issuer(token: str) -> str:
    found = (_part(token, 1) or {}).get("iss")
    return found if isinstance(found, str) else ""
