"""Identity tokens: whose issuer is configured here are verified and become users."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from kumo.api.users import UserInfo
from kumo.kubernetes.apiserver.authentication.oidc.distributed import DistributedClaims
from kumo.kubernetes.apiserver.authentication.oidc.mapping import ClaimMapping
from kumo.kubernetes.apiserver.authentication.oidc.settings import ProviderSettings
from kumo.kubernetes.apiserver.authentication.oidc.tokens import TokenVerifier, issuer_of

_REMEMBERED = 4096
_FRESH = 10.0


class IdTokenProviders:
    """The configured issuers. What a token proved is remembered for ten seconds, or until it ends."""

    def __init__(self, settings: Sequence[ProviderSettings], clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._providers = {s.issuer: _Provider(s, clock) for s in settings}
        self._proven: OrderedDict[bytes, tuple[float, UserInfo]] = OrderedDict()

    async def authenticate(self, token: str) -> UserInfo | None:
        """The token's user; None for a token of another issuer. Raises TokenRejected."""
        issuer = issuer_of(token)
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
        self._mapping = ClaimMapping(settings)
        self._verifier = TokenVerifier(settings, clock)
        self._distributed = DistributedClaims(settings, clock) if settings.groups_claim else None
        self.keys = self._verifier.keys

    async def authenticate(self, token: str) -> tuple[UserInfo, float]:
        """The user, and when (epoch seconds) the token ends. Raises TokenRejected."""
        claims, ends = await self._verifier.verify(token)
        if self._distributed is not None:
            await self._distributed.expand(claims)
        return self._mapping.user(claims), ends
