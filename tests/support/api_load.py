"""Concurrent clients of one API, whose every call is recorded for the history checker. The objects are ConfigMaps.

history = History()
async with ApiLoad([client, other], history) as load:
    ... do harm ...
await load.check()
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Any

from kumo.api.errors import StatusError
from kumo.api.objects import Object
from kumo.api.resources import CONFIGMAPS, NAMESPACES
from kumo.machinery.client import Client, WatchEvent
from support.history import Change, History, Read, Version

END = "end"


def change(event: WatchEvent) -> Change:
    """The checker's form of an event."""
    meta = event.object["metadata"]
    value = None if event.type == "DELETED" else _value(event.object)
    return Change(int(meta["resourceVersion"]), meta["name"], value)


def _value(obj: Object) -> str:
    found: str = obj["data"]["v"]
    return found


def _configmap(name: str, value: str, revision: int = 0) -> Object:
    meta: Object = {"name": name, "namespace": ApiLoad.NAMESPACE}
    if revision:
        meta["resourceVersion"] = str(revision)
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"v": value}}


class ApiLoad:
    """`writers`, readers and watches, spread over `clients`, of `keys` objects, from entry to exit.

    A client may fail to connect, or be cut off, at any time: what it was about to do is then of unknown outcome, and it
    tries something else a moment later. Watches are ended by the server every second, and taken up again.
    """

    NAMESPACE = "load"

    def __init__(self, clients: Sequence[Client], history: History, *, writers: int = 8, keys: int = 8) -> None:
        self._clients = clients
        self.history = history
        self._writers = writers
        self._names = [f"k{number}" for number in range(keys)]
        self._tasks: list[asyncio.Task[None]] = []
        self._watching: list[asyncio.Task[None]] = []
        self._stopping = False
        self._start = 0
        self._end = 0
        self._random = random.Random(writers * 1000 + keys)

    async def __aenter__(self) -> ApiLoad:
        await self._clients[0].create(NAMESPACES, {"metadata": {"name": self.NAMESPACE}})
        self._start = int((await self._clients[0].list(CONFIGMAPS, self.NAMESPACE)).resource_version)
        for number, client in enumerate(self._clients):
            self._watching.append(asyncio.create_task(self._watch(f"w{number}", client)))
        for number in range(self._writers):
            self._tasks.append(asyncio.create_task(self._write(number)))
        for client in self._clients:
            self._tasks.append(asyncio.create_task(self._read(client)))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping = True
        if kind is not None:
            for task in [*self._tasks, *self._watching]:
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=kind is not None)

    async def progress(self, count: int, timeout: float = 30.0) -> None:
        """Wait until `count` more writes have been acknowledged."""
        wanted = self.history.acknowledged + count
        async with asyncio.timeout(timeout):
            while self.history.acknowledged < wanted:
                await asyncio.sleep(0.01)

    async def check(self, log: Sequence[Change] | None = None, timeout: float = 30.0) -> None:
        """Let the watches reach the end and check everything. The log is the first watch's unless it is given."""
        end = await self.finish(timeout)
        for watch in self.history.watches:
            watch.until = max([event.revision for event in watch.events], default=0)
        for number in range(len(self._clients)):
            [w for w in self.history.watches if w.name.split(".")[0] == f"w{number}"][-1].until = end
        self.history.check(self.history.watches[0].events if log is None else log)

    async def finish(self, timeout: float = 30.0) -> int:
        """Make the last object and wait until every watch has seen it; its revision."""
        if not self._end:
            async with asyncio.timeout(timeout):
                last = self.history.write(END, END, 0)
                made = await self._clients[0].create(CONFIGMAPS, _configmap(END, END))
                self._end = int(made["metadata"]["resourceVersion"])
                last.ok(self._end)
                await asyncio.gather(*self._watching)
        return self._end

    # -- clients ----------------------------------------------------------------------------------------------------

    async def _watch(self, name: str, client: Client) -> None:
        record = self.history.watch(name, "", self._start)
        position, part = self._start, 0
        while True:
            try:
                events = client.watch(CONFIGMAPS, self.NAMESPACE, resource_version=str(position), timeout_seconds=1)
                async with aclosing(events):
                    async for event in events:
                        position = int(event.object["metadata"]["resourceVersion"])
                        if event.type == "BOOKMARK":
                            continue
                        record.events.append(change(event))
                        if record.events[-1].key == END:
                            return
            except StatusError as error:
                await asyncio.sleep(0.02)
                if error.code == 410 and (anew := await self._list(client)).ended:
                    # The server was started since and has forgotten: as every client, list and watch from there.
                    position, part = anew.revision, part + 1
                    record = self.history.watch(f"{name}.{part}", "", position)
                    if END in anew.found:
                        return
            except Exception:
                await asyncio.sleep(0.02)

    async def _list(self, client: Client) -> Read:
        """List everything, on record; without an answer the record has no end."""
        call = self.history.list("")
        try:
            found = await client.list(CONFIGMAPS, self.NAMESPACE)
        except Exception:
            await asyncio.sleep(0.02)
        else:
            revision = int(found.resource_version)
            call.ok({o["metadata"]["name"]: _version(o) for o in found.items}, revision)
        return call

    async def _write(self, number: int) -> None:
        known: dict[str, int] = {}
        count = 0
        while not self._stopping:
            client, name = self._random.choice(self._clients), self._random.choice(self._names)
            count += 1
            if known.get(name) and self._random.random() < 0.2:
                await self._delete(client, name, known)
            else:
                await self._put(client, name, f"{number}.{count}", known)

    async def _put(self, client: Client, name: str, value: str, known: dict[str, int]) -> None:
        expect = known.get(name, 0)
        call = self.history.write(name, value, expect)
        obj = _configmap(name, value, expect)
        try:
            if expect:
                made = await client.update(CONFIGMAPS, obj)
            else:
                made = await client.create(CONFIGMAPS, obj)
        except StatusError as error:
            await self._refused(error, call)
            if error.code == 409:
                await self._look(client, name, known)
            elif error.code == 404:
                known.pop(name, None)
        except Exception:
            call.unknown()
            await asyncio.sleep(0.02)
        else:
            known[name] = int(made["metadata"]["resourceVersion"])
            call.ok(known[name])

    async def _delete(self, client: Client, name: str, known: dict[str, int]) -> None:
        call = self.history.write(name, None, known[name])
        call.unknown()  # The answer does not state the revision.
        try:
            await client.delete(CONFIGMAPS, name, self.NAMESPACE, resource_version=str(known.pop(name)))
        except StatusError as error:
            if error.code in (404, 409):
                call.refused()
        except Exception:
            await asyncio.sleep(0.02)

    async def _look(self, client: Client, name: str, known: dict[str, int]) -> None:
        call = self.history.read(name)
        try:
            found = await client.get(CONFIGMAPS, name, self.NAMESPACE)
        except StatusError as error:
            if error.code == 404:
                call.ok({})
            known.pop(name, None)
        except Exception:
            known.pop(name, None)
        else:
            version = _version(found)
            known[name] = version.revision
            call.ok({name: version})

    async def _refused(self, error: StatusError, call: Any) -> None:
        if error.code in (404, 409, 413, 429, 503):
            call.refused()
        else:
            call.unknown()
        if error.code >= 429:
            await asyncio.sleep(0.02)

    async def _read(self, client: Client) -> None:
        known: dict[str, int] = {}
        while not self._stopping:
            await self._look(client, self._random.choice(self._names), known)
            await self._list(client)
            await asyncio.sleep(0.002)


def _version(obj: Object) -> Version:
    return Version(_value(obj), int(obj["metadata"]["resourceVersion"]))
