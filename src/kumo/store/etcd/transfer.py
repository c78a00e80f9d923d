"""All data of a store on etcd, out of it and into it.

While data is being brought in, etcd says so: a server that is started then refuses, instead of serving half of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc.aio
import msgspec

from kumo.store.base import KeyValue, StoreError
from kumo.store.etcd.address import EtcdAddress
from kumo.store.etcd.endpoints import PING_SECONDS, Endpoints
from kumo.store.etcd.engine import EtcdStore, Meta
from kumo.store.etcd.layout import Layout
from kumo.store.etcd.methods import COMPACT, DELETE, GRANT, PUT, RANGE, TXN, Method
from kumo.store.etcd.stubs import etcd_pb2 as pb
from kumo.store.transfer import Head, Summary

_PAGE = 500
_OPERATIONS = 100
"""A transaction of etcd's takes 128 operations (--max-txn-ops)."""
_BYTES = 1 << 20
"""A request to etcd takes 1.5 MiB."""


async def read_head(store: EtcdStore) -> Head:
    """The head of a dump as of now. The leases come with the keys, see `batches`."""
    return Head(await store.current_revision(), {})


async def batches(store: EtcdStore, head: Head) -> AsyncIterator[list[KeyValue]]:
    """All keys in their order, as of the head's revision; new leases are added to the head. Raises Compacted."""
    after = ""
    while True:
        page = await store.range("/", revision=head.revision, limit=_PAGE, start_after=after)
        for lease in {kv.lease for kv in page.kvs if kv.lease and kv.lease not in head.leases}:
            head.leases[lease] = max(1.0, await store.lease_seconds(lease))
        yield page.kvs
        if not page.more:
            return
        after = page.kvs[-1].key


class Import:
    """Brings data into etcd at `address`. `deed` says what is under way, as in "a restore"."""

    def __init__(self, address: EtcdAddress, deed: str) -> None:
        self._address = address
        self._deed = deed
        self._layout = Layout(address.prefix)
        self._endpoints = Endpoints(address, lambda: None, patience=15.0, ping=PING_SECONDS)
        self._leases: dict[int, int] = {}

    async def __aenter__(self) -> Import:
        self._endpoints.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._endpoints.close()

    async def _call(self, method: Method, request: Any) -> Any:
        try:
            return await self._endpoints.call(method, request)
        except grpc.aio.AioRpcError as error:
            raise self._endpoints.refused(error) from error

    async def present(self) -> int:
        """How many keys there are already. Raises Unavailable, Denied."""
        first, end = self._layout.range("/")
        return int((await self._call(RANGE, pb.RangeRequest(key=first, range_end=end, count_only=True))).count)

    async def begin(self, revision: int) -> None:
        """Remove what is there; from now on revisions are later than `revision`, and than any given out here."""
        found = await self._call(RANGE, pb.RangeRequest(key=self._layout.meta))
        old = 0
        if found.kvs:
            try:
                old = msgspec.json.decode(found.kvs[0].value, type=Meta).offset
            except msgspec.MsgspecError:
                old = 0
        now = int(found.header.revision)
        self._layout.offset = max(revision, now + old) - now
        await self._mark(self._deed)
        first, end = self._layout.range("/")
        await self._call(DELETE, pb.DeleteRangeRequest(key=first, range_end=end))

    async def _mark(self, unfinished: str) -> Any:
        meta = Meta(offset=self._layout.offset, unfinished=unfinished)
        return await self._call(PUT, pb.PutRequest(key=self._layout.meta, value=msgspec.json.encode(meta)))

    async def write(self, kvs: Iterable[KeyValue], leases: dict[int, float]) -> None:
        """Write the keys, many in a transaction. Raises TooLarge, NoSpace, Unavailable."""
        waiting: list[Any] = []
        size = 0
        for kv in kvs:
            if waiting and (len(waiting) >= _OPERATIONS or size + len(kv.value) > _BYTES):
                await self._call(TXN, pb.TxnRequest(success=waiting))
                waiting, size = [], 0
            lease = await self._lease(kv.lease, leases) if kv.lease else 0
            put = pb.PutRequest(key=self._layout.key(kv.key), value=kv.value, lease=lease)
            waiting.append(pb.RequestOp(put=put))
            size += len(kv.value) + len(kv.key)
        if waiting:
            await self._call(TXN, pb.TxnRequest(success=waiting))

    async def _lease(self, lease: int, leases: dict[int, float]) -> int:
        """The lease here that stands for one of the source's; with its whole time."""
        if lease not in self._leases:
            ttl = max(1, round(leases.get(lease, 3600.0)))
            self._leases[lease] = int((await self._call(GRANT, pb.LeaseGrantRequest(ttl=ttl))).id)
        return self._leases[lease]

    async def read_back(self) -> Summary:
        """What is there now."""
        written = Summary()
        key, end = self._layout.range("/")
        while True:
            answer = await self._call(RANGE, pb.RangeRequest(key=key, range_end=end, limit=_PAGE))
            written.add(self._layout.value(kv) for kv in answer.kvs)
            if not answer.more:
                return written
            key = answer.kvs[-1].key + b"\0"

    async def finish(self) -> None:
        """The data is whole: servers may be started. What was there before can't be read any more."""
        done = await self._mark("")
        try:
            await self._call(COMPACT, pb.CompactionRequest(revision=done.header.revision))
        except StoreError:
            return  # Others on the same etcd have compacted more.
