"""The bootstrap signer: `kube-public/cluster-info` carries a signature by each token, for who only has a token."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable

from kumo.api.bootstrap_tokens import TYPE, expiry
from kumo.api.errors import StatusError, is_conflict, is_not_found
from kumo.api.objects import Key, Object
from kumo.api.resources import CONFIGMAPS, SECRETS
from kumo.kubernetes.controller_manager.bootstrap_tokens.signatures import detached_signature, signing_token
from kumo.machinery.client import Client
from kumo.machinery.controller import Controller
from kumo.machinery.informer import Informers

_NAMESPACE, _NAME = "kube-public", "cluster-info"
_PREFIX = "jws-kubeconfig-"
_ONLY = Key(_NAMESPACE, _NAME)


def signed(data: dict[str, str], secrets: Iterable[Object], now: float) -> dict[str, str]:
    """The config map's data with the signatures that belong there, and no others."""
    content = data.get("kubeconfig")
    if content is None:
        return data
    found = {key: text for key, text in data.items() if not key.startswith(_PREFIX)}
    for secret in secrets:
        token = signing_token(secret, now)
        if token is not None:
            found[f"{_PREFIX}{token[0]}"] = detached_signature(content, *token)
    return found


class BootstrapSigner:
    """Keeps the signatures as they should be."""

    name = "bootstrap-signer"

    def __init__(self, client: Client, informers: Informers, clock: Callable[[], float] = time.time) -> None:
        self._client = client
        self._clock = clock
        self._maps = informers.informer(CONFIGMAPS, namespace=_NAMESPACE, field_selector=f"metadata.name={_NAME}")
        self._secrets = informers.informer(SECRETS, namespace="kube-system", field_selector=f"type={TYPE}")
        self._controller = Controller(self.name, self._reconcile, workers=1)
        self._controller.watch(self._maps, lambda _: [_ONLY])
        self._controller.watch(self._secrets, lambda _: [_ONLY])

    async def run(self) -> None:
        """Run until cancelled."""
        await self._controller.run()

    async def _reconcile(self, key: Key) -> float | None:
        found = self._maps.get_key(key)
        if found is None:
            return None
        now = self._clock()
        data = signed(found.get("data") or {}, self._secrets.objects(), now)
        if data != (found.get("data") or {}):
            try:
                await self._client.update(CONFIGMAPS, {**found, "data": data})
            except StatusError as error:
                if not is_conflict(error) and not is_not_found(error):
                    raise
        ends = [end - now for end in map(expiry, self._secrets.objects()) if now < end < math.inf]
        return min(min(ends) + 1.0, 24 * 3600.0) if ends else None
