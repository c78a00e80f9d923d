"""Groups that a token only points to (OpenID Connect Core 1.0, 5.6.2): fetched there, verified as tokens are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from kumo.kubernetes.apiserver.authentication.oidc.fetching import ProviderError, fetch
from kumo.kubernetes.apiserver.authentication.oidc.settings import ProviderSettings
from kumo.kubernetes.apiserver.authentication.oidc.tokens import TokenVerifier, issuer_of
from kumo.kubernetes.apiserver.authentication.results import TokenRejected

_MOST_ISSUERS = 16


class DistributedClaims:
    """Completes one claim (that of groups) of verified tokens."""

    def __init__(self, settings: ProviderSettings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._claim = settings.groups_claim
        self._verifiers: dict[str, TokenVerifier] = {}

    async def expand(self, claims: dict[str, Any]) -> None:
        """Put the claim in, if the token says where it is. Raises TokenRejected, in upstream's words."""
        if self._claim in claims or "_claim_names" not in claims:
            return
        try:
            await self._expand(claims)
        except (ProviderError, TokenRejected) as error:
            raise TokenRejected(f"oidc: could not expand distributed claims: {error}") from None

    async def _expand(self, claims: dict[str, Any]) -> None:
        names, sources = claims["_claim_names"], claims.get("_claim_sources")
        if not isinstance(names, dict):
            raise ProviderError("oidc: error parsing distributed claim names: it is no object")
        if sources is None:
            raise ProviderError("oidc: no claim sources")
        if not isinstance(sources, dict):
            raise ProviderError("oidc: could not parse claim sources: it is no object")
        source = names.get(self._claim)
        if source is None:
            return
        if not isinstance(source, str) or not isinstance(sources.get(source), dict):
            raise ProviderError(f"id token _claim_names contained a source {source} missing in _claims_sources")
        endpoint, token = sources[source].get("endpoint") or "", sources[source].get("access_token") or ""
        if not endpoint:
            return  # Its claims may be in the token itself (aggregated), which upstream does not read either.
        claims[self._claim] = await self._resolve(str(endpoint), str(token))

    async def _resolve(self, endpoint: str, token: str) -> Any:
        try:
            status, body = await fetch(endpoint, self._settings.ca, token)
        except ProviderError as error:
            raise ProviderError(f'while getting distributed claim "{self._claim}": {error}') from None
        if not 200 <= status <= 226:
            why = f"error while getting distributed claim JWT: {status}"
            raise ProviderError(f'while getting distributed claim "{self._claim}": {why}')
        signed = body.decode(errors="replace").strip()
        issuer = issuer_of(signed)
        if not issuer:
            raise ProviderError(
                f'getting untrusted issuer from endpoint {endpoint} failed for claim "{self._claim}": no issuer in it'
            )
        try:
            found, _ = await self._verifier(issuer).verify(signed)
        except TokenRejected as error:
            raise ProviderError(f"verify distributed claim token: {error}") from None
        if self._claim not in found:
            why = f"did not contain claim: {self._claim}"
            raise ProviderError(f'jwt returned by distributed claim endpoint "{endpoint}" {why}')
        return found[self._claim]

    def _verifier(self, issuer: str) -> TokenVerifier:
        found = self._verifiers.get(issuer)
        if found is None:
            while len(self._verifiers) >= _MOST_ISSUERS:
                del self._verifiers[next(iter(self._verifiers))]
            found = TokenVerifier(replace(self._settings, issuer=issuer, discovery_url=""), self._clock)
            self._verifiers[issuer] = found
        return found
