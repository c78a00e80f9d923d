"""A TLS connection that the TLS library reads from and writes to the socket itself.

Event loops put memory buffers between the library and the socket: every byte is copied twice more, and each connection
keeps those buffers as long as it lives. A server that sends the same large lists and events to thousands of clients
feels both.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Iterable
from typing import Any

from kumo.machinery.deadlines import ends_within

_RECORD = 16384
"""The most that one TLS record carries."""
_READS = 16
"""Records read before others have their turn."""
_HIGH, _LOW = 512 << 10, 128 << 10
_FAREWELL = 30.0
"""How long a client may take to read the last of what is sent, and to end the connection as well."""
_WAITS = (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError, InterruptedError)


class SecureTransport(asyncio.Transport):
    """The server's side of a TLS connection on `sock`, which does not block. `close` sends what waits, then ends it."""

    __slots__ = (
        "_buffer",
        "_closing",
        "_fd",
        "_loop",
        "_lost",
        "_paused",
        "_peer",
        "_protocol",
        "_reading",
        "_server",
        "_size",
        "_sock",
        "_timer",
        "_writing",
    )

    def __init__(self, server: SecureServer, sock: ssl.SSLSocket, peer: Any) -> None:
        self._server = server
        self._loop = server.loop
        self._sock = sock
        self._fd = sock.fileno()
        self._peer = peer
        self._protocol: asyncio.Protocol | None = None
        self._buffer: deque[memoryview] | None = None
        """What could not be sent yet; None while that is nothing, as nearly always."""
        self._size = 0
        self._closing = False
        self._lost = False
        self._paused = False
        self._reading = False
        self._writing = False
        self._timer: asyncio.TimerHandle | None = self._loop.call_later(server.patience, self.abort)
        self._shake()

    # -- the beginning ----------------------------------------------------------------------------------------------

    def _shake(self) -> None:
        """Go on with the handshake."""
        try:
            self._sock.do_handshake()
        except ssl.SSLWantReadError:
            self._read_with(self._shake)
            return
        except ssl.SSLWantWriteError:
            self._write_with(self._shake)
            return
        except (OSError, ValueError):
            self._closing = True
            self._linger()  # The library has sent why.
            return
        self._end_timer()
        self._stop_writing()
        self._protocol = self._server.factory()
        self._read_with(self._readable)
        self._protocol.connection_made(self)

    @property
    def begun(self) -> bool:
        """Whether the handshake is over."""
        return self._protocol is not None

    def _end_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _read_with(self, callback: Any) -> None:
        self._loop.add_reader(self._fd, callback)
        self._reading = True

    def _stop_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._fd)

    def _write_with(self, callback: Any) -> None:
        self._loop.add_writer(self._fd, callback)
        self._writing = True

    def _stop_writing(self) -> None:
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._fd)

    # -- reading ----------------------------------------------------------------------------------------------------

    def _readable(self) -> None:
        protocol = self._protocol
        assert protocol is not None
        for _ in range(_READS):
            try:
                data = self._sock.recv(_RECORD)
            except _WAITS:
                return
            except OSError as error:
                self._end(error)
                return
            if not data:
                # TLS has no half-closed connections: who says that he is done gets no more.
                protocol.eof_received()
                self.close()
                return
            protocol.data_received(data)
            if not self._reading or (len(data) < _RECORD and not self._sock.pending()):
                return
        if self._sock.pending():
            self._loop.call_soon(self._rest)

    def _rest(self) -> None:
        """Read what the library has taken from the socket already: nothing will tell of it."""
        if self._reading and not self._closing:
            self._readable()

    def pause_reading(self) -> None:
        """Take no more from the client."""
        self._stop_reading()

    def resume_reading(self) -> None:
        """Go on."""
        if not self._reading and not self._closing:
            self._read_with(self._readable)
            if self._sock.pending():
                self._loop.call_soon(self._rest)

    def is_reading(self) -> bool:
        """Whether data is taken from the client."""
        return self._reading

    # -- writing ----------------------------------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send the bytes, or as many as the socket takes now; the rest follows. Mutable ones must not change."""
        if self._closing or not data:
            return
        if self._buffer is None:
            try:
                sent = self._sock.send(data)
            except _WAITS:
                sent = 0
            except OSError as error:
                self._end(error)
                return
            if sent == len(data):
                return
            view = self._send(memoryview(data)[sent:])
            if view is None:
                return
            self._buffer = deque((view,))
            self._size = len(view)
            self._write_with(self._writable)
        else:
            self._buffer.append(memoryview(data))
            self._size += len(data)
        if self._size > _HIGH and not self._paused and self._protocol is not None:
            self._paused = True
            self._protocol.pause_writing()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Send them all."""
        self.write(b"".join(list_of_data))

    def _send(self, view: memoryview) -> memoryview | None:
        """Send; what is left is returned, None if nothing is. A connection that has failed takes everything."""
        send = self._sock.send
        try:
            while view:  # A call sends no more than a record.
                view = view[send(view) :]
        except _WAITS:
            return view
        except OSError as error:
            self._end(error)
        return None

    def _writable(self) -> None:
        waiting = self._buffer
        while waiting:
            first = waiting.popleft()
            left = self._send(first)
            if self._lost:
                return
            self._size -= len(first)
            if left is not None:
                self._size += len(left)
                waiting.appendleft(left)
                break
        if self._size <= _LOW and self._paused and self._protocol is not None:
            self._paused = False
            self._protocol.resume_writing()
        if not waiting and self._buffer is waiting:
            self._buffer = None
            self._stop_writing()
            if self._closing:
                self._farewell()

    def get_write_buffer_size(self) -> int:
        """How many bytes wait."""
        return self._size

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """When the protocol is asked to go on, and to pause."""
        return _LOW, _HIGH

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """They are the same for all."""
        raise NotImplementedError

    def can_write_eof(self) -> bool:
        """TLS can't."""
        return False

    # -- the end ----------------------------------------------------------------------------------------------------

    def is_closing(self) -> bool:
        """Whether nothing more will be sent or received."""
        return self._closing

    def close(self) -> None:
        """Send what waits, end the connection."""
        if not self._closing:
            self._closing = True
            self._stop_reading()
            self._timer = self._loop.call_later(self._server.farewell, self.abort)
            if self._buffer is None:
                self._farewell()

    def _farewell(self) -> None:
        """Say that nothing more comes."""
        try:
            self._sock.unwrap()
        except (OSError, ValueError):
            self._linger()  # The client has not said the same yet, or sends on.
        else:
            self.abort()

    def _linger(self) -> None:
        """Wait until the client has heard the last that was sent: closing while it still sends would undo that."""
        self._stop_writing()
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.abort()
            return
        self._read_with(self._drop)

    def _drop(self) -> None:
        try:
            gone = not socket.socket.recv(self._sock, 1 << 16)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            gone = True
        if gone:
            self.abort()

    def abort(self) -> None:
        """End the connection at once."""
        self._end(None)

    def _end(self, error: BaseException | None) -> None:
        if self._lost:
            return
        self._lost = self._closing = True
        self._end_timer()
        self._stop_reading()
        self._stop_writing()
        self._buffer = None
        self._size = 0
        self._sock.close()
        self._server.forget(self)
        if self._protocol is not None:
            self._loop.call_soon(self._tell, error)

    def _tell(self, error: BaseException | None) -> None:
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.connection_lost(error if isinstance(error, Exception) else None)

    # -- what is known of it ----------------------------------------------------------------------------------------

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """`peername`, `sockname`, `socket`, `ssl_object`, `sslcontext`."""
        if name == "peername":
            return self._peer
        if name in ("ssl_object", "socket"):
            return self._sock
        if name == "sslcontext":
            return self._sock.context
        if name == "sockname" and not self._lost:
            return self._sock.getsockname()
        return default

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Who is told of what comes."""
        assert self._protocol is not None
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """From now on `protocol` is told."""
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol


class SecureServer:
    """Accepts TLS connections on listening sockets that do not block, and gives each its protocol."""

    def __init__(
        self,
        sockets: list[socket.socket],
        factory: Any,
        tls: ssl.SSLContext,
        patience: float,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.sockets = sockets
        self.factory = factory
        self.patience = patience
        """How long a handshake may take, in seconds."""
        self.farewell = _FAREWELL
        self._tls = tls
        self._open: set[SecureTransport] = set()
        self._gone = asyncio.Event()
        self._closed = False
        for each in sockets:
            self.loop.add_reader(each.fileno(), self._accept, each)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_READS):
            try:
                plain, peer = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:
                # No descriptors or no memory: who knocks waits until there may be some again.
                self.loop.remove_reader(listening.fileno())
                self.loop.call_later(1.0, self._resume, listening)
                return
            try:
                plain.setblocking(False)
                secure = self._tls.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
                self._open.add(SecureTransport(self, secure, peer))
            except OSError:
                plain.close()

    def _resume(self, listening: socket.socket) -> None:
        if not self._closed:
            self.loop.add_reader(listening.fileno(), self._accept, listening)

    @classmethod
    async def start(
        cls, factory: Any, host: str, port: int, tls: ssl.SSLContext, patience: float, backlog: int
    ) -> SecureServer:
        """Listen on every address of the host, at a port that is free if it is 0. Raises OSError."""
        loop = asyncio.get_running_loop()
        flags = socket.AI_PASSIVE
        found = await loop.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=flags)
        sockets: list[socket.socket] = []
        try:
            for family, kind, protocol, _, address in dict.fromkeys(found):
                try:
                    each = socket.socket(family, kind, protocol)
                except OSError:
                    continue  # This machine has no such family.
                sockets.append(each)
                each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                each.bind((address[0], port or sockets[0].getsockname()[1], *address[2:]))
                each.listen(backlog)
                each.setblocking(False)
        except OSError:
            for each in sockets:
                each.close()
            raise
        return cls(sockets, factory, tls, patience)

    def forget(self, transport: SecureTransport) -> None:
        """The connection has ended."""
        self._open.discard(transport)
        if not self._open:
            self._gone.set()

    def close(self) -> None:
        """Accept no more; who is still shaking hands is cut off."""
        if not self._closed:
            self._closed = True
            for transport in [each for each in self._open if not each.begun]:
                transport.abort()
            for each in self.sockets:
                self.loop.remove_reader(each.fileno())
                each.close()

    async def wait_closed(self) -> None:
        """Return once every connection has ended; those that take long about it are cut off."""
        self._gone.clear()
        if self._open and not await ends_within(1.0, self._gone.wait()):
            for each in list(self._open):
                each.abort()
