"""What pods refer to: config maps, secrets and service-account tokens, fetched when needed and kept a while.

A kubelet may read only what its pods refer to, one object at a time; so this is a cache by name, not an informer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import structlog

from kumo.api.errors import StatusError, is_not_found
from kumo.api.objects import Object, namespace_of, parse_timestamp, uid_of
from kumo.api.resources import GVR, SERVICEACCOUNTS
from kumo.machinery.client import Client

FRESH = 1.0
"""Seconds within which an object need not be fetched again when a container starts: ten pods at once ask once."""
_SHARE_OF_LIFE = 0.8
_MOST_AGE = 24 * 3600.0
"""When a token is replaced: after that share of its life, and at that age. Upstream: `pkg/kubelet/token`."""
_log = structlog.get_logger("kumo.kubelet")


@dataclass(slots=True)
class _Entry:
    fetched: float
    task: asyncio.Future[Object | None]


@dataclass(slots=True)
class _Token:
    text: str
    refresh_at: float
    expires: str
    ends: float


class References:
    """Looks up what pods refer to."""

    def __init__(self, client: Client, node_name: str) -> None:
        self._client = client
        self._node = node_name
        self._objects: dict[tuple[GVR, str, str], _Entry] = {}
        self._tokens: dict[tuple[str, str, tuple[str, ...], int], _Token] = {}

    async def get(self, gvr: GVR, namespace: str, name: str, max_age: float = FRESH) -> Object | None:
        """The object, at most `max_age` seconds old, or None. Raises StatusError, ConnectionError."""
        key = (gvr, namespace, name)
        now = time.monotonic()
        entry = self._objects.get(key)
        if entry is None or now - entry.fetched > max_age or (entry.task.done() and entry.task.exception()):
            if len(self._objects) > 2000:
                self._objects = {k: e for k, e in self._objects.items() if now - e.fetched < 60.0}
            entry = self._objects[key] = _Entry(now, asyncio.create_task(self._fetch(gvr, namespace, name)))
        return await asyncio.shield(entry.task)

    def put(self, gvr: GVR, namespace: str, name: str, found: Object | None) -> None:
        """Here is the object as it is now (None: it is gone)."""
        known: asyncio.Future[Object | None] = asyncio.get_running_loop().create_future()
        known.set_result(found)
        self._objects[gvr, namespace, name] = _Entry(time.monotonic(), known)

    async def get_all(self, gvr: GVR, namespace: str, names: Iterable[str]) -> dict[str, Object | None]:
        """Several objects of one kind, by name."""
        wanted = sorted(set(names))
        found = await asyncio.gather(*(self.get(gvr, namespace, n) for n in wanted))
        return dict(zip(wanted, found))

    async def token(self, pod: Object, audience: str, seconds: int) -> str:
        """A token of the pod's service account, bound to the pod; a new one once 80 % of its life, or a day, is over.

        One that is still good does while there is no new one to be had. Raises StatusError, ConnectionError.
        """
        return (await self.token_until(pod, audience, seconds))[0]

    async def token_until(self, pod: Object, audience: str, seconds: int) -> tuple[str, str]:
        """Such a token, and when it expires (RFC 3339)."""
        account = pod["spec"].get("serviceAccountName") or "default"
        key = (uid_of(pod), account, (audience,) if audience else (), seconds)
        known = self._tokens.get(key)
        if known is not None and time.time() < known.refresh_at:
            return known.text, known.expires
        bound = {"kind": "Pod", "apiVersion": "v1", "name": pod["metadata"]["name"], "uid": uid_of(pod)}
        spec: dict[str, Any] = {"audiences": [audience] if audience else [], "expirationSeconds": seconds}
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": spec | {"boundObjectRef": bound},
        }
        try:
            made = await self._client.create(
                SERVICEACCOUNTS, request, namespace_of(pod), subresource="token", name=account
            )
        except (StatusError, OSError, TimeoutError) as error:
            if known is None or time.time() >= known.ends:
                raise
            _log.info("can't renew a token yet", pod=pod["metadata"]["name"], error=str(error))
            return known.text, known.expires
        now, expires = time.time(), made["status"]["expirationTimestamp"]
        ends = parse_timestamp(expires)
        refresh_at = now + min(_SHARE_OF_LIFE * (ends - now), _MOST_AGE)
        known = self._tokens[key] = _Token(made["status"]["token"], refresh_at, expires, ends)
        return known.text, expires

    def forget_pod(self, uid: str) -> None:
        """The pod is gone: so are its tokens."""
        for key in [k for k in self._tokens if k[0] == uid]:
            del self._tokens[key]

    async def _fetch(self, gvr: GVR, namespace: str, name: str) -> Object | None:
        try:
            return await self._client.get(gvr, name, namespace)
        except Exception as error:
            if is_not_found(error):
                return None
            raise
