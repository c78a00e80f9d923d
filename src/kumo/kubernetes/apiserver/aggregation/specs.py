"""OpenAPI of the servers behind this one: read when somebody asks, kept for some seconds, merged with the own.

Version 3 is listed with the backend's hashes and passed through; a backend that has version 2 only is shown converted.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import msgspec
import structlog

from kumo.kubernetes.apiserver.aggregation import swagger
from kumo.kubernetes.apiserver.aggregation.asking import AGGREGATOR, Answered, Unanswered, ask
from kumo.kubernetes.apiserver.aggregation.backends import Backend, Transports
from kumo.kubernetes.apiserver.attributes import Reader
from kumo.kubernetes.apiserver.openapi import Document, in_binary

T = TypeVar("T")
_log = structlog.get_logger("kumo.apiserver.aggregation")
_FRESH = 10.0
_PATIENCE = 5.0
_LARGEST = 32 << 20


class _Where(msgspec.Struct):
    serverRelativeURL: str = ""


class _Index(msgspec.Struct):
    paths: dict[str, _Where] = {}


@dataclass(slots=True)
class _Known:
    """What is known of one backend. `where` is its document of version 3; `v2` what it says in version 2."""

    read_v3: float = -1e9
    read_v2: float = -1e9
    where: str = ""
    no_v3: bool = False
    etag: str = ""
    v2: swagger.Json | None = None
    converted: Document | None = None


class Specs:
    """What the backends say of themselves."""

    def __init__(self, reader: Reader, transports: Transports) -> None:
        self._reader = reader
        self._transports = transports
        self._known: dict[str, _Known] = {}
        self._reading: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._merged: tuple[tuple[object, ...], Document] | None = None

    def forget(self, name: str) -> None:
        """The APIService of that name has changed or gone."""
        self._known.pop(name, None)

    async def index(self, backends: Iterable[Backend]) -> dict[str, str]:
        """Where each backend's document of version 3 is, with its hash, by `apis/group/version`."""
        found: dict[str, str] = {}
        asked = [b for b in backends if b.available]
        await asyncio.gather(*(self._read(b, "v3") for b in asked))
        for backend in asked:
            known = self._known.get(backend.name)
            if known is None:
                continue
            path = backend.path[1:]
            if known.where:
                found[path] = known.where
            elif known.converted is not None:
                found[path] = f"/openapi/v3/{path}?hash={known.converted.etag}"
        return found

    async def document(self, backend: Backend) -> Document | None:
        """The converted document of version 3 of a backend that has none; None: it has one itself, or nothing."""
        await self._read(backend, "v3")
        known = self._known.get(backend.name)
        return known.converted if known is not None and not known.where else None

    def has_own(self, backend: Backend) -> bool:
        """Whether the backend itself has a document of version 3."""
        known = self._known.get(backend.name)
        return known is not None and bool(known.where)

    async def merged(self, own: Document, backends: Iterable[Backend]) -> Document:
        """The document of version 2 with the parts of all backends."""
        asked = [b for b in backends if b.available]
        await asyncio.gather(*(self._read(b, "v2") for b in asked))
        said = [(b, k) for b in asked if (k := self._known.get(b.name)) is not None and k.v2 is not None]
        if not said:
            return own
        key = (own.etag, *((b.name, k.etag) for b, k in said))
        if self._merged is None or self._merged[0] != key:
            parts = [k.v2 for _, k in said if k.v2 is not None]
            merged = await self._tried("merged", lambda: _merge(own.body, parts))
            self._merged = (key, merged or own)
        return self._merged[1]

    async def _read(self, backend: Backend, version: str) -> None:
        """Make sure that what is known is fresh; whoever asks meanwhile shares the question."""
        known = self._known.setdefault(backend.name, _Known())
        now = time.monotonic()
        if now - (known.read_v3 if version == "v3" else known.read_v2) < _FRESH:
            return
        key = (backend.name, version)
        task = self._reading.get(key)
        if task is None:
            read = self._read_v3 if version == "v3" else self._read_v2
            task = self._reading[key] = asyncio.create_task(read(backend, known), name=f"OpenAPI of {backend.name}")
            task.add_done_callback(lambda _: self._reading.pop(key, None))
        await asyncio.shield(task)

    async def _ask(self, backend: Backend, path: str, accept: str, etag: str = "") -> Answered | None:
        try:
            return await ask(
                self._reader,
                self._transports,
                backend,
                path,
                accept=accept,
                user=AGGREGATOR,
                etag=etag,
                limit=_LARGEST,
                patience=_PATIENCE,
            )
        except Unanswered as error:
            _log.info("an aggregated server's OpenAPI can't be read", name=backend.name, error=str(error))
            return None

    async def _tried(self, name: str, work: Callable[[], T]) -> T | None:
        """What the work gives, aside of the loop; None for a document that is not as it should be, in whatever way."""
        try:
            return await asyncio.to_thread(work)
        except Exception as error:  # Somebody else's document: nothing in it may make our own answers fail.
            _log.info("an aggregated server's OpenAPI is not understood", name=name, error=repr(error))
            return None

    async def _read_v3(self, backend: Backend, known: _Known) -> None:
        if not known.no_v3:
            found = await self._ask(backend, "/openapi/v3", "application/json")
            known.read_v3 = time.monotonic()
            if found is None or (found.status not in (200, 404)):
                return
            known.no_v3 = found.status == 404
            if found.status == 200:
                try:
                    index = msgspec.json.decode(found.body, type=_Index)
                except (msgspec.DecodeError, msgspec.ValidationError, RecursionError):
                    return
                where = index.paths.get(backend.path[1:])
                known.where = where.serverRelativeURL if where is not None else ""
                return
        await self._read(backend, "v2")
        known.read_v3 = time.monotonic()
        if known.v2 is None:
            return
        known.converted = await self._tried(backend.name, lambda: _converted(known.v2 or {}))

    async def _read_v2(self, backend: Backend, known: _Known) -> None:
        found = await self._ask(backend, "/openapi/v2", "application/json", known.etag)
        known.read_v2 = time.monotonic()
        if found is None or found.status == 304:
            return
        if found.status != 200:
            known.v2 = None
            return
        body = found.body
        known.v2 = await self._tried(backend.name, lambda: _part(body, backend.path))
        known.etag = found.headers.get("etag", "") or hashlib.sha512(body).hexdigest()


def _part(body: bytes, path: str) -> swagger.Json:
    found = swagger.part(swagger.read(body), (path,))
    # What can't be said in protobuf is not believed at all.
    whole = {"swagger": "2.0", "info": {"title": "", "version": ""}, **found}
    in_binary(Document(msgspec.json.encode(whole), ""))
    return found


def _converted(document: swagger.Json) -> Document:
    body = msgspec.json.encode(swagger.to_v3(document))
    return Document(body, hashlib.sha512(body).hexdigest().upper())


def _merge(own: bytes, parts: list[swagger.Json]) -> Document:
    body = msgspec.json.encode(swagger.merge(msgspec.json.decode(own), parts))
    return Document(body, hashlib.sha512(body).hexdigest().upper())
