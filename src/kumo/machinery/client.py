"""A client of the Kubernetes API, over any transport: HTTPS to a server, or straight into one in this process."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlencode

import msgspec

from kumo.api.errors import StatusError
from kumo.api.objects import Object, name_of, namespace_of
from kumo.api.resources import GVR
from kumo.machinery.http import WebSocket

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class Reply(NamedTuple):
    """A whole answer: status, headers (lower-case names), body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport(Protocol):
    """What carries requests. Implementations: `kumo.machinery.transport`."""

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Reply:
        """Send a request and read the whole answer. Raises ConnectionError when the server can't be reached."""
        ...

    def stream(
        self, method: str, path: str, *, query: str = "", headers: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[tuple[int, AsyncIterator[bytes]]]:
        """Send a request; the status and the body's chunks as they come."""
        ...

    def websocket(
        self, path: str, *, query: str = "", protocols: tuple[str, ...] = ()
    ) -> AbstractAsyncContextManager[WebSocket]:
        """Open a WebSocket. Raises StatusError when the server refuses with a `Status` (or any non-101 answer)."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class ObjectList(NamedTuple):
    """A list's items, the revision it shows, and the token for its next part (empty at the end)."""

    items: list[Object]
    resource_version: str
    continue_token: str = ""


class WatchEvent(NamedTuple):
    """ADDED, MODIFIED, DELETED or BOOKMARK, and the object."""

    type: str
    object: Object


class Decoding(Protocol):
    """How the JSON of lists and watch events becomes objects."""

    def event(self, line: bytes) -> dict[str, Any]:
        """A watch event: `type` and `object`. Raises msgspec.DecodeError."""
        ...

    def listing(self, body: bytes) -> dict[str, Any]:
        """A list. Raises msgspec.DecodeError."""
        ...


class _AsItComes:
    """Every object anew, the caller's to change."""

    def event(self, line: bytes) -> dict[str, Any]:
        return _decode(line)  # type: ignore[no-any-return]

    def listing(self, body: bytes) -> dict[str, Any]:
        return _decode(body)  # type: ignore[no-any-return]


def raise_for_status(reply: Reply) -> None:
    """Raise the StatusError that a reply of 400 and above stands for."""
    if reply.status < 400:
        return
    try:
        body = _decode(reply.body)
    except msgspec.DecodeError:
        body = None
    if isinstance(body, dict) and body.get("kind") == "Status":
        raise StatusError.from_status(body)
    text = reply.body.decode(errors="replace").strip() or f"the server answered {reply.status}"
    raise StatusError(reply.status, "", text)


class Client:
    """The Kubernetes API as coroutines. Every call raises StatusError for a refusal.

    Objects that are returned belong to the caller, unless `decoding` says otherwise of those of lists and watches.
    Lists carry no kind and apiVersion per item (as upstream); `list` fills them in from the list's own.
    """

    def __init__(self, transport: Transport, decoding: Decoding | None = None) -> None:
        self.transport = transport
        self._decoding = decoding or _AsItComes()

    def reading(self, decoding: Decoding) -> Client:
        """The same client with another decoding of lists and watch events."""
        return Client(self.transport, decoding)

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        content_type: str = "",
    ) -> Any:
        """One call with JSON in and out; the decoded answer, or None for an empty one."""
        answer = await self._call(method, path, query, body, content_type)
        return _decode(answer) if answer else None

    async def _call(
        self, method: str, path: str, query: Mapping[str, Any] | None, body: Any = None, content_type: str = ""
    ) -> bytes:
        headers = {"accept": "application/json"}
        payload = b""
        if body is not None:
            payload = body if isinstance(body, bytes) else _encode(body)
            headers["content-type"] = content_type or "application/json"
        text = urlencode({k: v for k, v in (query or {}).items() if v not in ("", None)})
        reply = await self.transport.request(method, path, query=text, headers=headers, body=payload)
        raise_for_status(reply)
        return reply.body

    async def get(self, gvr: GVR, name: str, namespace: str = "", subresource: str = "") -> Object:
        """The object."""
        found: Object = await self.request("GET", gvr.path(namespace, name, subresource))
        return found

    async def list(
        self,
        gvr: GVR,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 0,
        continue_token: str = "",
        resource_version: str = "",
    ) -> ObjectList:
        """A part of the collection (all of it without `limit`), in one namespace or in all."""
        query = {
            "labelSelector": label_selector,
            "fieldSelector": field_selector,
            "limit": limit or "",
            "continue": continue_token,
            "resourceVersion": resource_version,
        }
        body = self._decoding.listing(await self._call("GET", gvr.path(namespace), query))
        meta = body.get("metadata") or {}
        kind = body.get("kind", "").removesuffix("List")
        items: list[Object] = body.get("items") or []
        for item in items:
            item.setdefault("apiVersion", body["apiVersion"])
            item.setdefault("kind", kind)
        return ObjectList(items, meta.get("resourceVersion", ""), meta.get("continue", ""))

    async def create(
        self, gvr: GVR, obj: Object, namespace: str = "", *, subresource: str = "", name: str = ""
    ) -> Object:
        """Create the object (or POST it to a subresource of `name`, e.g. `eviction`)."""
        path = gvr.path(namespace or namespace_of(obj), name if subresource else "", subresource)
        made: Object = await self.request("POST", path, body=obj)
        return made

    async def update(self, gvr: GVR, obj: Object, *, subresource: str = "") -> Object:
        """Replace the object; refused with a Conflict unless it is the newest version the writer saw."""
        made: Object = await self.request("PUT", gvr.path(namespace_of(obj), name_of(obj), subresource), body=obj)
        return made

    async def update_status(self, gvr: GVR, obj: Object) -> Object:
        """Replace the object's status only."""
        return await self.update(gvr, obj, subresource="status")

    async def patch(
        self,
        gvr: GVR,
        name: str,
        patch: Any,
        namespace: str = "",
        *,
        kind: str = MERGE_PATCH,
        subresource: str = "",
        field_manager: str = "",
        force: bool = False,
    ) -> Object:
        """Change the object by a patch of the given media type."""
        query = {"fieldManager": field_manager, "force": "true" if force else ""}
        path = gvr.path(namespace, name, subresource)
        made: Object = await self.request("PATCH", path, query=query, body=patch, content_type=kind)
        return made

    async def delete(
        self,
        gvr: GVR,
        name: str,
        namespace: str = "",
        *,
        grace_period: int | None = None,
        propagation: str = "",
        uid: str = "",
        resource_version: str = "",
    ) -> Object:
        """Ask for deletion; `grace_period` in seconds, `uid` and `resource_version` are preconditions."""
        options: dict[str, Any] = {"kind": "DeleteOptions", "apiVersion": "v1"}
        if grace_period is not None:
            options["gracePeriodSeconds"] = grace_period
        if propagation:
            options["propagationPolicy"] = propagation
        preconditions = {k: v for k, v in (("uid", uid), ("resourceVersion", resource_version)) if v}
        if preconditions:
            options["preconditions"] = preconditions
        answer: Object = await self.request("DELETE", gvr.path(namespace, name), body=options)
        return answer

    async def watch(
        self,
        gvr: GVR,
        namespace: str = "",
        *,
        resource_version: str = "",
        label_selector: str = "",
        field_selector: str = "",
        timeout_seconds: int = 0,
    ) -> AsyncGenerator[WatchEvent, None]:
        """Changes after `resource_version`, bookmarks among them. Raises StatusError 410 when that is too old."""
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "labelSelector": label_selector,
            "fieldSelector": field_selector,
            "timeoutSeconds": timeout_seconds or "",
        }
        text = urlencode({k: v for k, v in query.items() if v != ""})
        headers = {"accept": "application/json"}
        async with self.transport.stream("GET", gvr.path(namespace), query=text, headers=headers) as (
            status,
            chunks,
        ):
            if status >= 400:
                raise_for_status(Reply(status, {}, b"".join([c async for c in chunks])))
            rest = b""
            async for chunk in chunks:
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if line:
                        event = self._decoding.event(line)
                        if event["type"] == "ERROR":
                            raise StatusError.from_status(event["object"])
                        yield WatchEvent(event["type"], event["object"])
