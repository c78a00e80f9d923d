"""The members of an etcd cluster as one thing to call: whoever answers is used until he does not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio
import structlog

from kumo.store.base import Unavailable
from kumo.store.etcd.address import EtcdAddress
from kumo.store.etcd.methods import KEEP_ALIVE, STATUS, WATCH, Method
from kumo.store.etcd.refusals import no_answer, passes, refusal, was_not_done
from kumo.store.etcd.stubs import etcd_pb2 as pb

READ_SECONDS = 2.0
"""How long one member may take for a read before the next is asked."""
_STALL_SECONDS = 1.5
_RETRY_SECONDS = 0.1
_QUIET_SECONDS = 5.0
"""How long nothing is logged after a word about a failing cluster."""
_LEADER = (("hasleader", "true"),)
"""Tells a member to refuse (and to end a watch) when it is cut off from the others, instead of keeping silent."""
_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.keepalive_timeout_ms", 2000),
    ("grpc.http2.ping_timeout_ms", 2000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.enable_retries", 0),
]
PING_SECONDS = 7.0
"""etcd closes connections that ping more often than every 5 seconds (its --grpc-keepalive-min-time)."""
_log = structlog.get_logger("kumo.store.etcd")


class Member:
    """The connection to one member."""

    def __init__(self, target: str, credentials: grpc.ChannelCredentials | None, ping: float) -> None:
        self.target = target
        options = [*_OPTIONS, ("grpc.keepalive_time_ms", int(ping * 1000))]
        self._channel = (
            grpc.aio.secure_channel(target, credentials, options=options)
            if credentials is not None
            else grpc.aio.insecure_channel(target, options=options)
        )
        self._stubs: dict[Method, Any] = {}
        for method in (WATCH, KEEP_ALIVE):
            self._stubs[method] = self._channel.stream_stream(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.answer.FromString,
            )

    def stub(self, method: Method) -> Any:
        """What to call for the method."""
        found = self._stubs.get(method)
        if found is None:
            found = self._stubs[method] = self._channel.unary_unary(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.answer.FromString,
            )
        return found

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()


class Endpoints:
    """Calls methods at the member in use, and goes on to the next when that one fails or falls silent.

    `patience`: seconds that a request may take in all, `ping` those between signs of life. `moved` is called after the
    member in use has changed.
    """

    def __init__(self, address: EtcdAddress, moved: Callable[[], None], *, patience: float, ping: float) -> None:
        self._address = address
        self._patience = patience
        self._ping = ping
        self._moved = moved
        self._members: list[Member] = []
        self._current = 0
        self._pending = 0
        self._answered = 0.0
        self._said = 0.0
        self._watchdog: asyncio.Task[None] | None = None
        self.where = ", ".join(address.endpoints)

    @property
    def member(self) -> Member:
        """The member in use."""
        return self._members[self._current]

    def open(self) -> None:
        """Make the channels; nothing is connected yet. Raises Unavailable when a file can't be read."""
        address = self._address
        credentials = None
        if address.ca is not None:
            try:
                files = [path.read_bytes() if path else None for path in (address.ca, address.key, address.cert)]
            except OSError as error:
                raise Unavailable(
                    f"the file {error.filename} for the store's TLS can't be read: {error.strerror}"
                ) from error
            credentials = grpc.ssl_channel_credentials(*files)
        self._members = [Member(target, credentials, self._ping) for target in address.endpoints]

    async def close(self) -> None:
        """Close all connections."""
        if self._watchdog is not None:
            self._watchdog.cancel()
            await asyncio.gather(self._watchdog, return_exceptions=True)
        members, self._members = self._members, self._members
        await asyncio.gather(*(member.close() for member in members), return_exceptions=True)

    async def call(self, method: Method, request: Any) -> Any:
        """The answer of some member. Raises gRPC's error for what any member would refuse, see `refused`;

        Unavailable when none answers, OutcomeUnknown when a write was sent and no answer came.
        """
        deadline = time.monotonic() + self._patience
        reasons: dict[str, str] = {}
        self._pending += 1
        if self._watchdog is None:
            self._answered = time.monotonic()
            self._watchdog = asyncio.create_task(self._watch_over(), name="etcd watchdog")
        try:
            while True:
                member = self._members[self._current]
                left = deadline - time.monotonic()
                patience = min(left, READ_SECONDS) if method.repeatable else left
                try:
                    answer = await member.stub(method)(request, timeout=max(patience, 0.01), metadata=_LEADER)
                except grpc.aio.AioRpcError as error:
                    await self._overcome(member, method, error, deadline, reasons)
                else:
                    self._answered = time.monotonic()
                    return answer
        finally:
            self._pending -= 1

    async def _overcome(
        self, member: Member, method: Method, error: grpc.aio.AioRpcError, deadline: float, reasons: dict[str, str]
    ) -> None:
        """Return if the request may be sent again, after a moment; else raise what it came to."""
        code, details = error.code().name, error.details() or ""
        if not passes(code) or (code == "UNKNOWN" and details.startswith("etcdserver: ")):
            self._answered = time.monotonic()
            raise error
        not_done = was_not_done(code, details)
        reasons[member.target] = details or code
        self.leave(member, details or code)
        if not method.repeatable and not not_done:
            raise no_answer(reasons, sent=True) from None
        if time.monotonic() + _RETRY_SECONDS >= deadline:
            raise no_answer(reasons, sent=False) from None
        await asyncio.sleep(_RETRY_SECONDS)

    def refused(self, error: grpc.aio.AioRpcError) -> Exception:
        """The store's error for one that `call` raised."""
        return refusal(error.code().name, error.details() or "", self.where)

    def leave(self, member: Member, why: str) -> None:
        """Use the next member from now on, unless that happened already."""
        if member is not self._members[self._current] or len(self._members) == 1:
            return
        self._current = (self._current + 1) % len(self._members)
        self._answered = time.monotonic()
        if self._answered > self._said + _QUIET_SECONDS:
            self._said = self._answered
            _log.warning("another member of etcd is used", left=member.target, now=self.member.target, reason=why)
        self._moved()

    async def _watch_over(self) -> None:
        """While requests wait: when the member in use says nothing at all for a while, see whether it lives."""
        while self._pending:
            await asyncio.sleep(_STALL_SECONDS / 2)
            if self._pending and time.monotonic() - self._answered > _STALL_SECONDS:
                member = self.member
                try:
                    await member.stub(STATUS)(pb.StatusRequest(), timeout=_STALL_SECONDS / 2)
                    self._answered = time.monotonic()
                except grpc.aio.AioRpcError as error:
                    self.leave(member, error.details() or error.code().name)
        self._watchdog = None
