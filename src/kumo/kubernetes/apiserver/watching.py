"""GET with watch=true: changes as they happen, as lines of JSON (or messages of a WebSocket)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass

from kumo.api.errors import Cause, StatusError, expired, invalid
from kumo.kubernetes.apiserver.call import Call, number
from kumo.kubernetes.apiserver.core import Core
from kumo.kubernetes.apiserver.forms import bookmark, watch_view
from kumo.kubernetes.apiserver.listing import await_revision, match_of, parse_revision
from kumo.kubernetes.apiserver.matching import Match
from kumo.kubernetes.apiserver.resource_cache import ResourceCache
from kumo.kubernetes.apiserver.splice import encode
from kumo.kubernetes.apiserver.watch_hub import View, Watcher, event_line
from kumo.machinery.http import Answer, Response, Upgrade, WebSocket
from kumo.machinery.relay import until_first

BOOKMARK_INTERVAL = 60.0
_CHUNK = 64 << 10
_SHORTEST, _LONGEST = 1800.0, 3600.0


@dataclass(slots=True)
class _Watch:
    """What a watch asks for. `initial` sends the present objects first, `end` then marks the end of them."""

    core: Core
    call: Call
    where: ResourceCache
    match: Match
    view: View
    revision: int
    initial: bool
    end: bool
    bookmarks: bool
    timeout: float
    at: int = 0
    """The revision that the initial objects show."""


async def watch(core: Core, call: Call) -> Answer:
    """The stream of changes. Raises 400, 422, 504; a revision too old is told in the stream, as upstream."""
    asked = _asked(core, call)
    await await_revision(core, asked.revision)
    if not asked.revision:
        await core.cache.catch_up()
    if asked.initial and asked.where.unreadable:
        asked.where.require_readable(call.namespace)
    if call.request.wants_websocket:
        offered = call.request.websocket_protocols
        return Upgrade(offered[0] if offered else "", lambda socket: _converse(asked, socket))
    headers = {"Cache-Control": "no-cache, private"}
    kind = "application/json"
    if call.accepted.form:
        kind = "application/json;stream=watch"
    return Response(200, _lines(asked), kind, headers)


async def _converse(asked: _Watch, socket: WebSocket) -> None:
    """Send each event as a text message, until the watch ends or the client closes."""

    async def send() -> None:
        async for chunk in _lines(asked):
            for line in chunk.splitlines():
                await socket.send(line.decode())

    async def until_closed() -> None:
        while await socket.receive() is not None:
            pass

    await until_first(send(), until_closed())


def _asked(core: Core, call: Call) -> _Watch:
    initial_text = call.query.get("sendInitialEvents", "")
    how = call.query.get("resourceVersionMatch", "")
    if how and not initial_text:
        raise _forbidden(
            "resourceVersionMatch", "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        )
    if initial_text and how != "NotOlderThan":
        raise _forbidden(
            "resourceVersionMatch", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        )
    revision_text = call.query.get("resourceVersion", "")
    send = call.flag("sendInitialEvents") and bool(initial_text)
    revision = parse_revision(revision_text)
    timeout = float(number(call, "timeoutSeconds")) or random.uniform(_SHORTEST, _LONGEST)
    return _Watch(
        core,
        call,
        core.cache.of(call.resource.stored.group, call.resource.stored.resource),
        match_of(call),
        watch_view(call.resource, call.accepted, call.query.get("includeObject", "Metadata")),
        revision,
        initial=send or (revision == 0 and not initial_text),
        end=send,
        bookmarks=call.flag("allowWatchBookmarks"),
        timeout=timeout,
    )


def _forbidden(field: str, why: str) -> StatusError:
    return invalid("meta.k8s.io", "ListOptions", "", [Cause(field, f"Forbidden: {why}", "FieldValueForbidden")])


async def _lines(asked: _Watch) -> AsyncIterator[bytes]:
    """The events, as many at a time as there are."""
    core, where, match, view = asked.core, asked.where, asked.match, asked.view
    hub = where.hub
    watcher = Watcher()
    first = _first(asked)
    if first is None:
        why = f"too old resource version: {asked.revision} ({hub.oldest})"
        yield event_line("ERROR", encode(expired(why).status))
        return
    hub.join(watcher, match, view)
    try:
        # An empty chunk as well: it makes the head of the answer leave at once.
        yield b""
        for chunk in _gathered(first):
            yield chunk
        if asked.end and asked.bookmarks:
            yield bookmark(asked.call.resource, asked.call.accepted, asked.at, initial_events_end=True)
        if asked.call.begun is not None:
            asked.call.begun()
        loop = asyncio.get_running_loop()
        end = loop.time() + asked.timeout
        while not watcher.closed:
            left = end - loop.time()
            if left <= 0:
                return
            chunk = await watcher.take(min(left, BOOKMARK_INTERVAL))
            if chunk:
                yield chunk
            elif asked.bookmarks and not watcher.closed:
                yield bookmark(asked.call.resource, asked.call.accepted, core.cache.revision)
    finally:
        hub.leave(watcher, match, view)


def _gathered(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The lines put together to chunks of a size worth writing; the next is not made before it is wanted."""
    waiting: list[bytes] = []
    size = 0
    for line in lines:
        waiting.append(line)
        size += len(line)
        if size >= _CHUNK:
            yield b"".join(waiting)
            waiting.clear()
            size = 0
    if waiting:
        yield b"".join(waiting)


def _first(asked: _Watch) -> Iterable[bytes] | None:
    """What the watch begins with; None when its revision is too old. What it shows is fixed now, encoded later."""
    view = asked.view
    asked.at = asked.core.cache.revision
    if not asked.initial:
        return asked.where.hub.since(asked.revision, asked.match, view) if asked.revision else ()
    present = list(asked.where.entries(asked.match))
    return (event_line("ADDED", view.encode(entry) if view.encode else entry.raw) for entry in present)
