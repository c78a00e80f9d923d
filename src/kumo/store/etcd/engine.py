"""The store on etcd, which several API servers share. Every write and every fresh read is agreed on by a quorum.

When the member in use dies or falls silent, the next is used. A write whose answer got lost is not sent again, for it
may have been made: it raises OutcomeUnknown. Without a quorum everything raises Unavailable.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import grpc.aio
import msgspec

from kumo.store.base import (
    Compacted,
    CompareFailed,
    Corrupted,
    Event,
    FutureRevision,
    KeyValue,
    LeaseNotFound,
    Mutation,
    Range,
    Store,
    Unavailable,
    Unreachable,
)
from kumo.store.etcd.address import EtcdAddress
from kumo.store.etcd.endpoints import PING_SECONDS, Endpoints
from kumo.store.etcd.following import Following
from kumo.store.etcd.layout import Layout
from kumo.store.etcd.methods import (
    COMPACT,
    DELETE,
    GRANT,
    KEEP_ALIVE,
    PUT,
    RANGE,
    REVOKE,
    TIME_TO_LIVE,
    TXN,
    WATCH,
    Method,
)
from kumo.store.etcd.probing import mismatch
from kumo.store.etcd.sharing import Shared
from kumo.store.etcd.stubs import etcd_pb2 as pb

FORMAT = 1
_PAGE = 2000


class Meta(msgspec.Struct):
    """What etcd holds of ours: the data's format, what is added to etcd's revisions, and whether it is whole."""

    format: int = FORMAT
    offset: int = 0
    unfinished: str = ""
    """What was under way when the data was last written as a whole: "a restore", "a migration"; empty when done."""


class EtcdStore(Store):
    """The store at `address`. `patience`: seconds that a request may take in all (an election, two at worst);

    `ping`: seconds between signs of life on an idle connection.
    """

    def __init__(self, address: EtcdAddress, *, patience: float = 8.0, ping: float = PING_SECONDS) -> None:
        self.address = address
        self._endpoints = Endpoints(address, self._moved, patience=patience, ping=ping)
        self._layout = Layout(address.prefix)
        self._watches: set[Following] = set()
        self._fresh = Shared(self._ask)
        self._marked = Shared(self._mark)
        self._running = False

    # -- life -------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Connect, and read what the data is. Raises Unreachable for what may pass, Unavailable for what doesn't;

        Denied, Corrupted, NoSpace.
        """
        self._endpoints.open()
        self._running = True
        try:
            meta = await self._read_meta()
        except BaseException as error:
            self._running = False
            await self._endpoints.close()
            if isinstance(error, Unreachable):
                await mismatch(self.address)
            raise
        self._layout.offset = meta.offset

    async def _read_meta(self) -> Meta:
        """What the data is; written at the very first start. Raises Corrupted when it is not whole."""
        layout = self._layout
        where = f"the data in etcd ({self._endpoints.where}) below {self.address.prefix}"
        kvs = (await self._call(RANGE, pb.RangeRequest(key=layout.meta))).kvs
        if not kvs:
            fresh = pb.RequestOp(put=pb.PutRequest(key=layout.meta, value=msgspec.json.encode(Meta())))
            absent = pb.Compare(target=pb.Compare.MOD, key=layout.meta, mod_revision=0)
            await self._call(TXN, pb.TxnRequest(compare=[absent], success=[fresh]))
            kvs = (await self._call(RANGE, pb.RangeRequest(key=layout.meta))).kvs
        try:
            meta = msgspec.json.decode(kvs[0].value, type=Meta)
        except (msgspec.DecodeError, msgspec.ValidationError, IndexError) as error:
            raise Corrupted(f"{where} can't be understood ({error}): is that prefix kumo's?") from error
        if meta.format > FORMAT:
            raise Unavailable(f"{where} was written by a newer version of kumo: use that version")
        if meta.unfinished:
            raise Corrupted(f"{where} is not whole: {meta.unfinished} did not end. Run it again")
        return meta

    async def stop(self) -> None:
        """End the watches and the connections."""
        if not self._running:
            return
        self._running = False
        for watch in list(self._watches):
            watch.close()
        await self._fresh.close()
        await self._marked.close()
        await self._endpoints.close()

    def _moved(self) -> None:
        for watch in self._watches:
            watch.interrupt()

    async def _call(self, method: Method, request: Any) -> Any:
        """The answer. Raises Unavailable, OutcomeUnknown, and what etcd refuses for good reason."""
        if not self._running:
            raise Unavailable("the store is stopped")
        try:
            return await self._endpoints.call(method, request)
        except grpc.aio.AioRpcError as error:
            details = error.details() or ""
            if "lease not found" in details:
                raise LeaseNotFound(request.lease if hasattr(request, "lease") else getattr(request, "id", 0)) from None
            if "has been compacted" in details:
                raise Compacted(request.revision + self._layout.offset, await self._oldest()) from None
            if "future revision" in details:
                current = await self.current_revision()
                raise FutureRevision(request.revision + self._layout.offset, current) from None
            raise self._endpoints.refused(error) from error

    async def _oldest(self) -> int:
        """The oldest revision that is kept: only a watch from the beginning is told."""
        call = self._endpoints.member.stub(WATCH)(timeout=2.0)
        try:
            first, end = self._layout.everything()
            await call.write(pb.WatchRequest(create=pb.WatchCreate(key=first, range_end=end, start_revision=1)))
            while True:
                answer = await call.read()
                if answer is grpc.aio.EOF:
                    return 0
                if answer.canceled:
                    return int(answer.compact_revision) + self._layout.offset
        except grpc.aio.AioRpcError:
            return 0
        finally:
            call.cancel()

    # -- reading ----------------------------------------------------------------------------------------------------

    async def current_revision(self) -> int:
        """A revision at least as new as any write acknowledged, by any process, before the call.

        Calls that come while etcd is being asked share the next question.
        """
        return await self._fresh()

    async def _ask(self) -> int:
        answer = await self._call(RANGE, pb.RangeRequest(key=self._layout.marker, count_only=True))
        return int(answer.header.revision) + self._layout.offset

    def _at(self, revision: int) -> int:
        """A revision in etcd's terms. Raises Compacted for one of the store that the data came from."""
        if not revision:
            return 0
        if revision <= self._layout.offset:
            raise Compacted(revision, self._layout.offset + 1)
        return revision - self._layout.offset

    async def get(self, key: str, *, revision: int = 0) -> KeyValue | None:
        """The key's state, as of `revision` if given. Raises Compacted, FutureRevision."""
        request = pb.RangeRequest(key=self._layout.key(key), revision=self._at(revision))
        kvs = (await self._call(RANGE, request)).kvs
        return self._layout.value(kvs[0]) if kvs else None

    async def range(self, prefix: str, *, revision: int = 0, limit: int = 0, start_after: str = "") -> Range:
        """The keys that start with `prefix`, in order, asked for in pages. Raises Compacted, FutureRevision."""
        key, end = self._layout.range(prefix, start_after)
        at = self._at(revision)
        found: list[KeyValue] = []
        while True:
            wanted = min(limit - len(found), _PAGE) if limit else _PAGE
            answer = await self._call(RANGE, pb.RangeRequest(key=key, range_end=end, limit=wanted, revision=at))
            at = at or answer.header.revision
            found += [self._layout.value(kv) for kv in answer.kvs]
            if not answer.more or (limit and len(found) >= limit):
                return Range(found, at + self._layout.offset, answer.more)
            key = answer.kvs[-1].key + b"\0"

    # -- writing ----------------------------------------------------------------------------------------------------

    async def put(self, key: str, value: bytes, *, expect: int | None = None, lease: int = 0) -> int:
        """Write the key; returns when a quorum has it on disk.

        Raises CompareFailed, LeaseNotFound, NoSpace, TooLarge, Unavailable, OutcomeUnknown.
        """
        put = pb.PutRequest(key=self._layout.key(key), value=value, lease=lease)
        try:
            if expect is None:
                return int((await self._call(PUT, put)).header.revision) + self._layout.offset
            return await self._swap(key, pb.RequestOp(put=put), expect)
        except LeaseNotFound:
            raise LeaseNotFound(lease) from None

    async def delete(self, key: str, *, expect: int | None = None) -> int:
        """Delete the key; returns when a quorum has that on disk. Raises CompareFailed, Unavailable, OutcomeUnknown."""
        delete = pb.DeleteRangeRequest(key=self._layout.key(key))
        if expect is not None:
            if expect == 0:
                found = await self.get(key)
                if found is not None:
                    raise CompareFailed(key, 0, found)
                return 0
            return await self._swap(key, pb.RequestOp(delete_range=delete), expect)
        answer = await self._call(DELETE, delete)
        return int(answer.header.revision) + self._layout.offset if answer.deleted else 0

    async def _swap(self, key: str, deed: Any, expect: int) -> int:
        """Do it if the key is at the revision expected. Raises CompareFailed."""
        raw, offset = self._layout.key(key), self._layout.offset
        compare = self._compare(raw, expect)
        otherwise = pb.RequestOp(range=pb.RangeRequest(key=raw))
        answer = await self._call(TXN, pb.TxnRequest(compare=[compare], success=[deed], failure=[otherwise]))
        if answer.succeeded:
            return int(answer.header.revision) + offset
        kvs = answer.responses[0].range.kvs
        raise CompareFailed(key, expect, self._layout.value(kvs[0]) if kvs else None)

    def _compare(self, raw: bytes, expect: int) -> Any:
        """That the key is at this revision of ours."""
        offset = self._layout.offset
        # A revision from before our data came here is none that a key of etcd's can have.
        at = expect - offset if expect > offset else 0 if expect == 0 else -1
        return pb.Compare(target=pb.Compare.MOD, key=raw, mod_revision=at)

    async def commit(self, changes: Sequence[Mutation]) -> int:
        """Make all the changes or none, at one revision.

        Raises CompareFailed, NoSpace, TooLarge, Unavailable, OutcomeUnknown.
        """
        deeds, compares, looks = [], [], []
        expected = [change for change in changes if change.expect is not None]
        for change in changes:
            raw = self._layout.key(change.key)
            deeds.append(
                pb.RequestOp(delete_range=pb.DeleteRangeRequest(key=raw))
                if change.value is None
                else pb.RequestOp(put=pb.PutRequest(key=raw, value=change.value))
            )
            if change.expect is not None:
                compares.append(self._compare(raw, change.expect))
                looks.append(pb.RequestOp(range=pb.RangeRequest(key=raw)))
        answer = await self._call(TXN, pb.TxnRequest(compare=compares, success=deeds, failure=looks))
        if answer.succeeded:
            return int(answer.header.revision) + self._layout.offset
        for change, response in zip(expected, answer.responses, strict=True):
            kvs = response.range.kvs
            current = self._layout.value(kvs[0]) if kvs else None
            assert change.expect is not None
            if change.expect != (current.mod_revision if current is not None else 0):
                raise CompareFailed(change.key, change.expect, current)
        raise AssertionError("a comparison failed, and all are as expected")

    async def compact(self, revision: int) -> None:
        """Give up states older than `revision`. Raises Compacted, FutureRevision."""
        await self._call(COMPACT, pb.CompactionRequest(revision=self._at(revision)))

    async def advance(self) -> None:
        """Write the marker, so that watches hear of the revision that somebody else's writes have led to.

        Raises Unavailable, NoSpace.
        """
        await self._marked()

    async def _mark(self) -> None:
        await self._call(PUT, pb.PutRequest(key=self._layout.marker))

    # -- leases -----------------------------------------------------------------------------------------------------

    async def grant(self, ttl: float) -> int:
        """A new lease of at least `ttl` seconds: etcd counts whole seconds, and no fewer than an election takes."""
        return int((await self._call(GRANT, pb.LeaseGrantRequest(ttl=max(1, math.ceil(ttl))))).id)

    async def keepalive(self, lease: int) -> float:
        """Start the lease's time anew. Raises LeaseNotFound, Unavailable."""
        if not self._running:
            raise Unavailable("the store is stopped")
        member = self._endpoints.member
        call = member.stub(KEEP_ALIVE)(timeout=5.0, metadata=(("hasleader", "true"),))
        try:
            await call.write(pb.LeaseRequest(id=lease))
            answer = await call.read()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            answer = grpc.aio.EOF
        finally:
            call.cancel()
        if answer is grpc.aio.EOF:
            self._endpoints.leave(member, "no answer to a lease's renewal")
            raise Unavailable(f"etcd ({self._endpoints.where}) did not renew the lease {lease}")
        if answer.ttl <= 0:
            raise LeaseNotFound(lease)
        return float(answer.ttl)

    async def revoke(self, lease: int) -> None:
        """End the lease and delete its keys. Raises LeaseNotFound."""
        await self._call(REVOKE, pb.LeaseRequest(id=lease))

    async def lease_seconds(self, lease: int) -> float:
        """The seconds that the lease was granted for. Raises LeaseNotFound."""
        answer = await self._call(TIME_TO_LIVE, pb.LeaseRequest(id=lease))
        if answer.ttl < 0:
            raise LeaseNotFound(lease)
        return float(answer.granted_ttl)

    # -- watching ---------------------------------------------------------------------------------------------------

    async def watch(
        self, prefix: str, from_revision: int, *, previous: bool = True, progress: bool = False
    ) -> AsyncIterator[list[Event]]:
        """The changes later than `from_revision`, in order, in batches. Raises Compacted, Denied."""
        if not self._running:
            return
        watch = Following(self._endpoints, self._layout, prefix, from_revision, previous=previous, progress=progress)
        self._watches.add(watch)
        try:
            async for batch in watch.batches():
                yield batch
        finally:
            self._watches.discard(watch)
            watch.close()
