"""Where the certificates' secrets come from: all of them, or one by one those that Ingresses name.

A machine that has joined may read the latter only (`apiserver.authorization.node_ingress`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection
from typing import NamedTuple, Protocol

from kumo.api.objects import Key, Object
from kumo.api.resources import SECRETS
from kumo.machinery.client import Client
from kumo.machinery.informer import Informer, Informers

_PATIENCE = 5.0
_TYPE = "kubernetes.io/tls"


class SecretSource(Protocol):
    """Secrets of type kubernetes.io/tls."""

    async def want(self, keys: Collection[Key]) -> None:
        """Have these secrets, and return when it is known what they hold."""
        ...

    def get_key(self, key: Key) -> Object | None:
        """A wanted secret, or None if there is none."""
        ...

    async def close(self) -> None:
        """Follow nothing more."""
        ...


class AllSecrets:
    """Every namespace's, by one informer; `changed` is called when one changes."""

    def __init__(self, informers: Informers, changed: Callable[[], None]) -> None:
        self._informer = informers.informer(SECRETS, field_selector=f"type={_TYPE}")
        self._informer.on_change(lambda _old, _new: changed())

    async def want(self, keys: Collection[Key]) -> None:
        """Return when all have been listed."""
        await self._informer.wait_synced()

    def get_key(self, key: Key) -> Object | None:
        """The secret, or None."""
        return self._informer.get_key(key)

    async def close(self) -> None:
        """Nothing: the informers are their owner's."""


class _Followed(NamedTuple):
    informer: Informer
    task: asyncio.Task[None]


class NamedSecrets:
    """One watch for each wanted secret; `changed` is called when one changes."""

    def __init__(self, client: Client, changed: Callable[[], None]) -> None:
        self._client = client
        self._changed = changed
        self._followed: dict[Key, _Followed] = {}

    async def want(self, keys: Collection[Key]) -> None:
        """Return when all are known, or after five seconds: one that can't be read holds nobody up."""
        gone = [self._followed.pop(key) for key in self._followed.keys() - set(keys)]
        for followed in gone:
            followed.task.cancel()
        await asyncio.gather(*(f.task for f in gone), return_exceptions=True)
        fresh = set(keys) - self._followed.keys()
        for key in fresh:
            informers = Informers(self._client)
            selector = f"metadata.name={key.name}"
            informer = informers.informer(SECRETS, namespace=key.namespace, field_selector=selector)
            informer.on_change(lambda _old, _new: self._changed())
            self._followed[key] = _Followed(informer, asyncio.create_task(informers.run(), name=f"secret {key}"))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                for key in fresh:
                    await self._followed[key].informer.wait_synced()

    def get_key(self, key: Key) -> Object | None:
        """The secret, or None if there is none, or none of the type."""
        followed = self._followed.get(key)
        found = followed.informer.get_key(key) if followed is not None else None
        return found if found is not None and found.get("type") == _TYPE else None

    async def close(self) -> None:
        """Follow nothing more."""
        await self.want(())
