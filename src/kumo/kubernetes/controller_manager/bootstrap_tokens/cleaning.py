"""The token cleaner: a bootstrap token's Secret goes when the token ends."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from kumo.api.bootstrap_tokens import TYPE, expiry
from kumo.api.errors import StatusError, is_conflict, is_not_found
from kumo.api.objects import Key, uid_of
from kumo.api.resources import SECRETS
from kumo.machinery.client import Client
from kumo.machinery.controller import Controller
from kumo.machinery.informer import Informers

_LATEST_LOOK = 24 * 3600.0


class BootstrapTokenCleaner:
    """Deletes tokens when they end."""

    name = "token-cleaner"

    def __init__(self, client: Client, informers: Informers, clock: Callable[[], float] = time.time) -> None:
        self._client = client
        self._clock = clock
        self._secrets = informers.informer(SECRETS, namespace="kube-system", field_selector=f"type={TYPE}")
        self._controller = Controller(self.name, self._reconcile, workers=1)
        self._controller.watch(self._secrets)

    async def run(self) -> None:
        """Run until cancelled."""
        await self._controller.run()

    async def _reconcile(self, key: Key) -> float | None:
        secret = self._secrets.get_key(key)
        end = expiry(secret) if secret is not None else math.inf
        if secret is None or end == math.inf:
            return None
        left = end - self._clock()
        if left > 0:
            return min(left + 0.1, _LATEST_LOOK)
        try:
            await self._client.delete(SECRETS, key.name, key.namespace, uid=uid_of(secret))
        except StatusError as error:
            if not is_not_found(error) and not is_conflict(error):
                raise
        return None
