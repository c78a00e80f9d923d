"""Who may ask the node: webhook authentication and authorization, as upstream's kubelet is run by kubeadm.

A client certificate of the cluster's CA or a bearer token (judged by a TokenReview) says who asks; a
SubjectAccessReview on `nodes/{subresource}` says whether he may. Anonymous requests are refused. Answers are kept as
upstream keeps them: tokens two minutes, grants five, refusals half a minute. The right of `system:masters` is asked of
nobody: the API server would grant it.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable
from typing import Any, Generic, TypeVar

import structlog

from kumo.api.errors import StatusError
from kumo.api.resources import GVR
from kumo.api.users import MASTERS_GROUP, UserInfo
from kumo.kubernetes.kubelet.server import access
from kumo.machinery.client import Client
from kumo.machinery.http import Answer, Handler, Request, Response

_TOKEN_REVIEWS = GVR("authentication.k8s.io", "v1", "tokenreviews", False)
_ACCESS_REVIEWS = GVR("authorization.k8s.io", "v1", "subjectaccessreviews", False)
_TOKEN_SECONDS, _ALLOWED_SECONDS, _DENIED_SECONDS = 120.0, 300.0, 30.0
_PATIENCE = 10.0
_KEPT = 1024
_LONGEST_TOKEN = 16 << 10
_log = structlog.get_logger("kumo.kubelet.guard")
V = TypeVar("V")


class _Unavailable(Exception):
    """The API server could not be asked."""


class _Answers(Generic[V]):
    """The newest answers, each until it is too old."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Any, tuple[float, V]] = OrderedDict()

    def get(self, key: Any) -> V | None:
        found = self._kept.get(key)
        return found[1] if found is not None and time.monotonic() < found[0] else None

    def put(self, key: Any, value: V, seconds: float) -> V:
        self._kept[key] = (time.monotonic() + seconds, value)
        self._kept.move_to_end(key)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return value


class NodeGuard:
    """Lets requests to the API of `node` pass, or answers them. `client` acts as the node (`system:node:...`)."""

    def __init__(self, client: Client, node: str) -> None:
        self._client = client
        self._node = node
        self._users: _Answers[UserInfo] = _Answers()
        self._grants: _Answers[bool] = _Answers()

    def protect(self, handler: Handler) -> Handler:
        """The handler, for those who may ask."""

        async def handle(request: Request) -> Answer:
            refused = await self.check(request)
            return refused if refused is not None else await handler(request)

        return handle

    async def check(self, request: Request) -> Response | None:
        """The refusal of a request (401, 403, 500); None for one that may pass, whose `user` is then known."""
        try:
            user = request.user or await self._user(request)
        except _Unavailable as error:
            _log.warning("a token could not be judged", error=str(error))
            user = None
        if user is None:
            return _text(401, "Unauthorized")
        request.user = user
        if MASTERS_GROUP in user.groups:
            return None
        verb, wanted = access.verb(request.method), access.subresources(request.path)
        for subresource in wanted:
            try:
                if await self._may(user, verb, subresource):
                    return None
            except _Unavailable as error:
                about = f"user={user.name}, verb={verb}, resource=nodes, subresource={subresource}"
                _log.warning("a right could not be judged", user=user.name, error=str(error))
                return _text(500, f"Authorization error ({about})")
        about = f"user={user.name}, verb={verb}, resource=nodes, subresource(s)=[{' '.join(wanted)}]"
        return _text(403, f"Forbidden ({about})\n")

    async def _user(self, request: Request) -> UserInfo | None:
        scheme, _, token = request.headers.get("authorization", "").strip().partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token or len(token) > _LONGEST_TOKEN:
            return None
        key = hashlib.sha256(token.encode()).digest()
        known = self._users.get(key)
        if known is not None:
            return known
        body = {"apiVersion": _TOKEN_REVIEWS.api_version, "kind": "TokenReview", "spec": {"token": token}}
        status = (await self._ask(self._client.create(_TOKEN_REVIEWS, body))).get("status") or {}
        if not status.get("authenticated"):
            return None
        user = status.get("user") or {}
        extra = {name: tuple(values) for name, values in (user.get("extra") or {}).items()}
        found = UserInfo(user.get("username") or "", tuple(user.get("groups") or ()), user.get("uid") or "", extra)
        return self._users.put(key, found, _TOKEN_SECONDS)

    async def _may(self, user: UserInfo, verb: str, subresource: str) -> bool:
        extra = tuple(sorted((name, tuple(values)) for name, values in user.extra.items()))
        key = (user.name, user.groups, user.uid, extra, verb, subresource)
        known = self._grants.get(key)
        if known is not None:
            return known
        attributes = {
            "verb": verb,
            "group": "",
            "version": "v1",
            "resource": "nodes",
            "subresource": subresource,
            "name": self._node,
        }
        spec: dict[str, Any] = {"user": user.name, "groups": list(user.groups), "resourceAttributes": attributes}
        if user.uid:
            spec["uid"] = user.uid
        if user.extra:
            spec["extra"] = {name: list(values) for name, values in user.extra.items()}
        body = {"apiVersion": _ACCESS_REVIEWS.api_version, "kind": "SubjectAccessReview", "spec": spec}
        answer = await self._ask(self._client.create(_ACCESS_REVIEWS, body))
        allowed = bool((answer.get("status") or {}).get("allowed"))
        return self._grants.put(key, allowed, _ALLOWED_SECONDS if allowed else _DENIED_SECONDS)

    async def _ask(self, question: Awaitable[dict[str, Any]]) -> dict[str, Any]:
        try:
            async with asyncio.timeout(_PATIENCE):
                return await question
        except (StatusError, OSError, TimeoutError) as error:
            raise _Unavailable(str(error) or type(error).__name__) from error


def _text(status: int, text: str) -> Response:
    return Response(status, text.encode(), "text/plain; charset=utf-8")
