"""An API server's objects in memory, with what informers need of one: list, watch, create, update, delete."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs

import msgspec

from kumo.api.errors import StatusError, already_exists, not_found
from kumo.api.objects import Object, key_of, new_uid
from kumo.api.resources import GVR
from kumo.machinery.client import Client, Reply
from kumo.machinery.informer import Informers


class MemoryApi:
    """A transport over collections in memory; `put` and `drop` change them straight."""

    def __init__(self, *resources: tuple[GVR, str]) -> None:
        self._kinds = dict(resources)
        self._objects: dict[GVR, dict[Any, Object]] = {gvr: {} for gvr, _ in resources}
        self._watchers: list[tuple[GVR, asyncio.Queue[bytes]]] = []
        self._revision = 1
        self.client = Client(self)
        self.informers = Informers(self.client)

    def put(self, gvr: GVR, obj: Object) -> Object:
        """Create or replace."""
        obj = copy.deepcopy(obj)
        obj.setdefault("apiVersion", gvr.api_version)
        obj.setdefault("kind", self._kinds[gvr])
        old = self._objects[gvr].get(key_of(obj))
        self._revision += 1
        obj["metadata"]["resourceVersion"] = str(self._revision)
        obj["metadata"].setdefault("uid", old["metadata"]["uid"] if old else new_uid())
        self._objects[gvr][key_of(obj)] = obj
        self._tell(gvr, "MODIFIED" if old else "ADDED", obj)
        return obj

    def drop(self, gvr: GVR, name: str, namespace: str = "") -> None:
        """Delete."""
        obj = self._objects[gvr].pop(key_of({"metadata": {"name": name, "namespace": namespace}}))
        self._revision += 1
        obj["metadata"]["resourceVersion"] = str(self._revision)
        self._tell(gvr, "DELETED", obj)

    def get(self, gvr: GVR, name: str, namespace: str = "") -> Object | None:
        """The object, or None."""
        return self._objects[gvr].get(key_of({"metadata": {"name": name, "namespace": namespace}}))

    def _tell(self, gvr: GVR, kind: str, obj: Object) -> None:
        for watched, queue in self._watchers:
            if watched == gvr:
                queue.put_nowait(msgspec.json.encode({"type": kind, "object": obj}) + b"\n")

    def _find(self, path: str) -> tuple[GVR, str, str]:
        found: list[tuple[int, GVR, str, str]] = []
        for gvr in self._kinds:
            head, named, rest = path.partition(f"/{gvr.resource}")
            group, _, namespace = head.partition("/namespaces/")
            if named and group == (f"/apis/{gvr.api_version}" if gvr.group else "/api/v1") and rest[:1] in ("", "/"):
                found.append((len(head), gvr, namespace, rest[1:]))
        if not found:
            raise not_found("path", path)
        return max(found)[1:]  # the collection in a namespace, not the namespace

    async def request(
        self, method: str, path: str, *, query: str = "", headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Reply:
        """One call."""
        try:
            return Reply(200, {}, msgspec.json.encode(self._call(method, path, body)))
        except StatusError as error:
            return Reply(error.code, {}, msgspec.json.encode(error.to_status()))

    def _call(self, method: str, path: str, body: bytes) -> Any:
        gvr, namespace, name = self._find(path)
        if method == "POST":
            obj = msgspec.json.decode(body)
            if key_of(obj) in self._objects[gvr]:
                raise already_exists(gvr.group_resource, obj["metadata"]["name"])
            return self.put(gvr, obj)
        if method == "PUT":
            return self.put(gvr, msgspec.json.decode(body))
        if not name:
            items = [o for k, o in self._objects[gvr].items() if not namespace or k.namespace == namespace]
            kind = self._kinds[gvr]
            meta = {"resourceVersion": str(self._revision)}
            return {"apiVersion": gvr.api_version, "kind": f"{kind}List", "metadata": meta, "items": items}
        obj = self.get(gvr, name, namespace)
        if obj is None:
            raise not_found(gvr.group_resource, name)
        if method == "DELETE":
            self.drop(gvr, name, namespace)
        return obj

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, *, query: str = "", headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        """A watch; it must begin at the newest revision."""
        gvr, _, _ = self._find(path)
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        since = int(parse_qs(query)["resourceVersion"][0])
        for obj in self._objects[gvr].values():
            if int(obj["metadata"]["resourceVersion"]) > since:
                queue.put_nowait(msgspec.json.encode({"type": "MODIFIED", "object": obj}) + b"\n")
        entry = (gvr, queue)
        self._watchers.append(entry)

        async def chunks() -> AsyncIterator[bytes]:
            while True:
                yield await queue.get()

        try:
            yield 200, chunks()
        finally:
            self._watchers.remove(entry)

    def websocket(self, path: str, *, query: str = "", protocols: tuple[str, ...] = ()) -> Any:
        """There are none."""
        raise NotImplementedError

    async def close(self) -> None:
        """Nothing to do."""
