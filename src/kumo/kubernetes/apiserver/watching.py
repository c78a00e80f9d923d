"""GET with watch=true: changes as they happen, as lines of JSON (or messages of a WebSocket)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from kumo.api.errors import StatusError, expired
from kumo.kubernetes.apiserver.call import Call, number
from kumo.kubernetes.apiserver.conversion.views import VersionCache
from kumo.kubernetes.apiserver.core import Core
from kumo.kubernetes.apiserver.forms import HeadedSink, Heading, bookmark, watch_view
from kumo.kubernetes.apiserver.list_options import check_list_options
from kumo.kubernetes.apiserver.listing import await_revision, know_fields, match_of, parse_revision
from kumo.kubernetes.apiserver.matching import Match
from kumo.kubernetes.apiserver.negotiation import not_acceptable
from kumo.kubernetes.apiserver.resource_cache import ResourceCache
from kumo.kubernetes.apiserver.slicing import paced
from kumo.kubernetes.apiserver.splice import encode
from kumo.kubernetes.apiserver.watch_hub import View, Watcher, event_line
from kumo.machinery.http import Answer, Response, Sink, Upgrade, WebSocket
from kumo.machinery.relay import until_first
from kumo.store.base import Unavailable

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

    @property
    def reached(self) -> int:
        """The revision as of which the watch has told everything."""
        return self.where.reached if isinstance(self.where, VersionCache) else self.core.cache.revision


async def watch(core: Core, call: Call) -> Answer:
    """The stream of changes. Raises 400, 422, 504; a revision too old is told in the stream, as upstream."""
    asked = _asked(core, call)
    if asked.revision > core.cache.revision:
        if not asked.initial:
            if call.resource.conversion is not None:
                asked.where = await call.resource.conversion.view(call.resource)
            return _answer(call, _later(asked))
        try:
            await await_revision(core, asked.revision)
        except StatusError as error:
            return _answer(call, _refused(error))
    if not asked.revision:
        await core.cache.catch_up()
    if call.resource.conversion is not None:
        view = asked.where = await call.resource.conversion.view(call.resource)
        if asked.revision and not asked.initial and asked.revision < view.hub.oldest:
            await view.look_back(asked.revision)
    if asked.initial and asked.match.fields:
        await know_fields(asked.where, asked.match)
    if asked.initial and asked.where.unreadable:
        asked.where.require_readable(call.namespace)
    if call.request.wants_websocket:
        offered = call.request.websocket_protocols
        return Upgrade(offered[0] if offered else "", lambda socket: _converse(asked, socket))
    return _answer(call, WatchBody(asked))


def _answer(call: Call, body: AsyncIterator[bytes]) -> Response:
    return Response(200, body, "application/json", {"Cache-Control": "no-cache, private"})


async def _refused(error: StatusError) -> AsyncGenerator[bytes, None]:
    """A watch that ends with a refusal: it had begun before that was known."""
    yield event_line("ERROR", encode(error.status))


async def _later(asked: _Watch) -> AsyncGenerator[bytes, None]:
    """A watch from a revision that is not there yet: silent until it is."""
    loop = asyncio.get_running_loop()
    end = loop.time() + asked.timeout
    yield b""
    try:
        async with asyncio.timeout(asked.timeout):
            while asked.core.cache.revision < asked.revision:
                with suppress(Unavailable):
                    await asked.core.cache.reach(asked.revision)
    except TimeoutError:
        return
    asked.timeout = max(0.0, end - loop.time())
    async for chunk in WatchBody(asked):
        yield chunk


async def _converse(asked: _Watch, socket: WebSocket) -> None:
    """Send each event as a text message, until the watch ends or the client closes."""

    async def send() -> None:
        async for chunk in WatchBody(asked):
            for line in chunk.splitlines():
                await socket.send(line.decode())

    async def until_closed() -> None:
        while await socket.receive() is not None:
            pass

    await until_first(send(), until_closed())


def _asked(core: Core, call: Call) -> _Watch:
    check_list_options(call, watch=True)
    stated = bool(call.query.get("sendInitialEvents"))
    revision = parse_revision(call.query.get("resourceVersion", ""))
    # Who names no revision gets what is there first, as if asked for.
    send = call.flag("sendInitialEvents") if stated else revision == 0
    if call.accepted.yaml:
        raise not_acceptable("application/json;stream=watch")
    timeout = float(number(call, "timeoutSeconds")) or random.uniform(_SHORTEST, _LONGEST)
    return _Watch(
        core,
        call,
        core.cache.of(call.resource.stored.group, call.resource.stored.resource),
        match_of(call),
        watch_view(call.resource, call.accepted, call.query.get("includeObject", "Metadata")),
        revision,
        initial=send,
        end=send,
        bookmarks=call.flag("allowWatchBookmarks"),
        timeout=timeout,
    )


class WatchBody:
    """The events of a watch: pushed to a client's connection, or taken by who iterates (in process, or a WebSocket)."""

    __slots__ = ("_asked", "_iterator")

    def __init__(self, asked: _Watch) -> None:
        self._asked = asked
        self._iterator: AsyncGenerator[bytes, None] | None = None

    async def feed(self, sink: Sink) -> None:
        """Write the events to the sink as they happen, until the watch ends. Raises ConnectionError (client gone)."""
        asked = self._asked
        if heading := Heading(asked.call.resource, asked.call.accepted):
            sink = HeadedSink(sink, heading)
        with _joined(asked) as (watcher, opening):
            async for chunk in paced(opening):
                sink.write(chunk)
                if sink.blocked:
                    await sink.drained()
            watcher.attach(sink)
            for timeout in _turns(asked, watcher):
                if watcher.lines:
                    await watcher.free()
                await watcher.rest(timeout)
                if asked.bookmarks and not watcher.closed and not watcher.lines:
                    sink.write(_bookmark(asked))

    def __aiter__(self) -> WatchBody:
        return self

    async def __anext__(self) -> bytes:
        if self._iterator is None:
            self._iterator = self._taken()
        return await anext(self._iterator)

    async def aclose(self) -> None:
        """Leave the hub."""
        if self._iterator is not None:
            await self._iterator.aclose()

    async def _taken(self) -> AsyncGenerator[bytes, None]:
        """The events, as many at a time as there are."""
        asked = self._asked
        heading = Heading(asked.call.resource, asked.call.accepted)
        with _joined(asked) as (watcher, opening):
            async for chunk in paced(opening):
                yield heading.put(chunk)
            for timeout in _turns(asked, watcher):
                chunk = await watcher.take(timeout)
                if chunk:
                    yield heading.put(chunk)
                elif asked.bookmarks and not watcher.closed:
                    yield heading.put(_bookmark(asked))


@contextmanager
def _joined(asked: _Watch) -> Iterator[tuple[Watcher, Iterator[bytes]]]:
    """A watcher that gets all changes from now on, and what the watch begins with."""
    hub, watcher = asked.where.hub, Watcher()
    first = _first(asked)
    if first is None:
        why = f"too old resource version: {asked.revision} ({hub.oldest})"
        watcher.close()
        yield watcher, iter((event_line("ERROR", encode(expired(why).status)),))
        return
    hub.join(watcher, asked.match, asked.view)
    try:
        yield watcher, _opening(asked, first)
    finally:
        hub.leave(watcher, asked.match, asked.view)


def _opening(asked: _Watch, first: Iterable[bytes]) -> Iterator[bytes]:
    """What the watch begins with; in any case a chunk, if empty: it makes the head of the answer leave at once."""
    yield b""
    yield from _gathered(first)
    if asked.end and asked.bookmarks:
        yield bookmark(asked.call.resource, asked.call.accepted, asked.at, initial_events_end=True)
    if asked.call.begun is not None:
        asked.call.begun()


def _turns(asked: _Watch, watcher: Watcher) -> Iterator[float]:
    """How long to wait for the next event, again and again until the watch ends."""
    loop = asyncio.get_running_loop()
    end = loop.time() + asked.timeout
    while not watcher.closed and (left := end - loop.time()) > 0:
        yield min(left, BOOKMARK_INTERVAL)


def _bookmark(asked: _Watch) -> bytes:
    return bookmark(asked.call.resource, asked.call.accepted, asked.reached)


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
    asked.at = asked.reached
    if not asked.initial:
        return asked.where.hub.since(asked.revision, asked.match, view) if asked.revision else ()
    present = list(asked.where.entries(asked.match))
    return (event_line("ADDED", view.encode(entry) if view.encode else entry.raw) for entry in present)
