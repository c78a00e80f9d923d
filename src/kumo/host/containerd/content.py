"""containerd's content store: blobs by digest, and the leases that keep new ones from being collected."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

import grpc.aio

from kumo.host.containerd.rpc import EngineError, Method
from kumo.host.containerd.stubs import engine_pb2 as engine

_STAT, _WRITE, _COMMIT = 0, 1, 2
_PIECE = 1 << 20


class ContentStore:
    """Blobs, addressed by `sha256:...` digests."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        service = "/containerd.services.content.v1.Content"
        self._info = Method(channel, f"{service}/Info", engine.ContentInfoRequest, engine.ContentInfoResponse)
        self._read = Method(channel, f"{service}/Read", engine.ReadContentRequest, engine.ReadContentResponse)
        self._write = Method(channel, f"{service}/Write", engine.WriteContentRequest, engine.WriteContentResponse)
        self._statuses = Method(
            channel, f"{service}/ListStatuses", engine.ListStatusesRequest, engine.ListStatusesResponse
        )
        self._abort = Method(channel, f"{service}/Abort", engine.AbortRequest, engine.Nothing)
        leases = "/containerd.services.leases.v1.Leases"
        self._lease = Method(channel, f"{leases}/Create", engine.CreateLeaseRequest, engine.Nothing)
        self._release = Method(channel, f"{leases}/Delete", engine.DeleteLeaseRequest, engine.Nothing)

    async def size(self, digest: str) -> int | None:
        """The blob's size in bytes, or None if it is not here."""
        try:
            return (await self._info(engine.ContentInfoRequest(digest=digest))).info.size
        except EngineError as error:
            if error.code == "NOT_FOUND":
                return None
            raise

    async def read(self, digest: str) -> bytes:
        """The whole blob (for manifests and configurations). Raises EngineError NOT_FOUND."""
        return b"".join([piece.data async for piece in self._read.stream(engine.ReadContentRequest(digest=digest))])

    async def write(
        self,
        digest: str,
        size: int,
        data: bytes | AsyncIterable[bytes],
        *,
        labels: Mapping[str, str] | None = None,
        lease: str = "",
    ) -> None:
        """Store a blob; nothing happens if it is here. Raises EngineError if the bytes do not have that digest."""
        ref = f"import-{digest}-{uuid.uuid4().hex[:8]}"
        call = self._write.exchange(lease)
        try:
            await call.ask(engine.WriteContentRequest(action=_STAT, ref=ref, total=size, expected=digest))
            offset = 0
            async for piece in _pieces(data):
                await call.ask(engine.WriteContentRequest(action=_WRITE, ref=ref, offset=offset, data=piece))
                offset += len(piece)
            commit = engine.WriteContentRequest(
                action=_COMMIT, ref=ref, total=size, offset=offset, expected=digest, labels=labels or {}
            )
            await call.ask(commit)
        except EngineError as error:
            if error.code == "ALREADY_EXISTS":
                return
            with suppress(EngineError):
                await self._abort(engine.AbortRequest(ref=ref))
            raise
        finally:
            call.close()

    async def downloads(self) -> dict[str, tuple[int, int]]:
        """What is being written now: its reference -> (bytes so far, bytes in all, 0 if unknown)."""
        answer = await self._statuses(engine.ListStatusesRequest())
        return {s.ref: (s.offset, s.total) for s in answer.statuses}

    @asynccontextmanager
    async def lease(self, seconds: float = 3600.0) -> AsyncIterator[str]:
        """A lease: what is written under it is not collected before its end (or `seconds` from now, after a crash)."""
        name = f"kumo-{uuid.uuid4().hex}"
        expiry = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))
        await self._lease(engine.CreateLeaseRequest(id=name, labels={"containerd.io/gc.expire": expiry}))
        try:
            yield name
        finally:
            await self._release(engine.DeleteLeaseRequest(id=name))


async def _pieces(data: bytes | AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    if isinstance(data, bytes):
        for start in range(0, len(data), _PIECE):
            yield data[start : start + _PIECE]
        return
    async for chunk in data:
        for start in range(0, len(chunk), _PIECE):
            yield chunk[start : start + _PIECE]
