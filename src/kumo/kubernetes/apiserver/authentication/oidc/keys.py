"""An issuer's published keys: discovered, fetched, kept, and fetched anew when a token names another."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from kumo.kubernetes.apiserver.authentication.oidc.fetching import ProviderError, fetch
from kumo.kubernetes.apiserver.authentication.oidc.settings import ProviderSettings
from kumo.kubernetes.apiserver.authentication.results import TokenRejected

_log = structlog.get_logger("kumo.oidc")
_RETRY = 10.0
_REFRESH = 1.0


class ProviderKeys:
    """The keys of one issuer. A failing provider is asked again after ten seconds, an unknown key once a second."""

    def __init__(self, settings: ProviderSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._lock = asyncio.Lock()
        self._keys: KeySet | None = None
        self._jwks_uri = ""
        self._tried = float("-inf")
        self.fault = ""
        """Why there are no keys, empty if there are."""

    async def keys(self, kid: str | None) -> KeySet:
        """The keys, among them the one of that id if the issuer has it. Raises TokenRejected without any."""
        if self._keys is None or (kid is not None and not self._knows(kid)):
            async with self._lock:
                if self._keys is None or (kid is not None and not self._knows(kid)):
                    await self._refresh()
        if self._keys is None:
            raise TokenRejected("oidc: authenticator not initialized")
        return self._keys

    def _knows(self, kid: str) -> bool:
        return self._keys is not None and any(key.kid == kid for key in self._keys.keys)

    async def refresh(self) -> None:
        """Fetch the keys now, however recently that was tried."""
        async with self._lock:
            self._tried = float("-inf")
            await self._refresh()

    async def _refresh(self) -> None:
        now = self._clock()
        if now - self._tried < (_REFRESH if self._keys is not None else _RETRY):
            return
        self._tried = now
        try:
            if not self._jwks_uri:
                self._jwks_uri = await self._discover()
            found = await self._fetch(self._jwks_uri)
            self._keys = KeySet.import_key_set({"keys": [k for k in found.get("keys") or () if _verifies(k)]})
            self.fault = ""
        except (ProviderError, JoseError, ValueError, TypeError, KeyError) as error:
            self.fault = str(error)
            _log.error(
                "an identity provider does not answer as it should", issuer=self._settings.issuer, error=str(error)
            )

    async def _discover(self) -> str:
        settings = self._settings
        url = settings.discovery_url or f"{settings.issuer.rstrip('/')}/.well-known/openid-configuration"
        found = await self._fetch(url)
        if found.get("issuer") != settings.issuer:
            raise ProviderError(
                f'oidc: issuer did not match the issuer returned by provider, expected "{settings.issuer}" '
                f'got "{found.get("issuer")}"'
            )
        uri = found.get("jwks_uri")
        if not isinstance(uri, str) or not uri.startswith("https://"):
            raise ProviderError("provider did not return JWKS URL")
        return uri

    async def _fetch(self, url: str) -> Mapping[str, Any]:
        status, body = await fetch(url, self._settings.ca)
        if status != 200:
            raise ProviderError(f"{url}: status {status}")
        try:
            found = json.loads(body)
        except ValueError as error:
            raise ProviderError(f"{url}: not JSON: {error}") from error
        if not isinstance(found, dict):
            raise ProviderError(f"{url}: not a JSON object")
        return found


def _verifies(key: Any) -> bool:
    """Whether a published key is one that signatures are verified with."""
    return isinstance(key, dict) and key.get("kty") in ("RSA", "EC") and key.get("use", "sig") == "sig"
