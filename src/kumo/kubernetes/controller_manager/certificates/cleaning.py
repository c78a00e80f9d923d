"""Signing requests that have served go: an hour after they were decided, a day after nobody cared."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable

from cryptography import x509

from kumo.api.errors import StatusError, is_not_found
from kumo.api.objects import Key, Object, parse_timestamp
from kumo.kubernetes.controller_manager.certificates.requests import SIGNINGREQUESTS, certificate, conditions
from kumo.machinery.client import Client
from kumo.machinery.controller import Controller
from kumo.machinery.informer import Informers

_DECIDED = 3600.0
_WAITING = 24 * 3600.0
_LATEST_LOOK = 24 * 3600.0


def due(obj: Object) -> float | None:
    """When (epoch seconds) the request is to be deleted; None if it stays until something changes."""
    found: list[float] = []
    if not conditions(obj):
        found.append(parse_timestamp(obj["metadata"]["creationTimestamp"]) + _WAITING)
    issued = bool(certificate(obj))
    for condition in conditions(obj):
        changed = condition.get("lastUpdateTime")
        kind = condition.get("type")
        if changed and kind in ("Denied", "Failed"):
            found.append(parse_timestamp(changed) + _DECIDED)
        elif changed and kind == "Approved":
            found.append(parse_timestamp(changed) + (_DECIDED if issued else _WAITING))
        if kind == "Approved" and issued and (end := _expiry(certificate(obj))) is not None:
            found.append(end)
    return min(found, default=None)


def _expiry(text: str) -> float | None:
    try:
        return x509.load_pem_x509_certificate(base64.b64decode(text)).not_valid_after_utc.timestamp()
    except (ValueError, binascii.Error):
        return None


class SigningRequestCleaner:
    """Deletes requests when they are due."""

    name = "csrcleaner"

    def __init__(self, client: Client, informers: Informers, clock: Callable[[], float] = time.time) -> None:
        self._client = client
        self._clock = clock
        self._requests = informers.informer(SIGNINGREQUESTS)
        self._controller = Controller(self.name, self._reconcile, workers=1)
        self._controller.watch(self._requests)

    async def run(self) -> None:
        """Run until cancelled."""
        await self._controller.run()

    async def _reconcile(self, key: Key) -> float | None:
        obj = self._requests.get_key(key)
        when = due(obj) if obj is not None else None
        if obj is None or when is None:
            return None
        left = when - self._clock()
        if left > 0:
            return min(left + 1.0, _LATEST_LOOK)
        try:
            await self._client.delete(SIGNINGREQUESTS, key.name, uid=obj["metadata"]["uid"])
        except StatusError as error:
            if not is_not_found(error):
                raise
        return None
