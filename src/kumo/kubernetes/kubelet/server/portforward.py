"""Port-forward: connections made inside a pod's network namespace, carried over a WebSocket.

Of the i-th port, channel 2*i carries the bytes and 2*i+1 errors as text; the first message on each is the port, two
bytes little endian. With v5 a message `255, channel` ends one direction.
"""

from __future__ import annotations

import asyncio
import contextlib

from kumo.host.network.namespaces import connect_in_netns
from kumo.kubernetes.kubelet.server.channels import CLOSE, V5, Channels
from kumo.machinery.http import WebSocket

_LOCAL = ("127.0.0.1", "::1")
_PIECE = 32 << 10


async def run_port_forward(socket: WebSocket, namespace: str, ports: list[int], pod: str) -> None:
    """Serve one WebSocket. `namespace` is the network namespace's path, empty for the node's; `pod` is for messages."""
    client = Channels(socket)
    forwards = [_Forward(client, index, port, namespace, pod) for index, port in enumerate(ports)]
    listening = asyncio.create_task(_listen(client, forwards))
    working = [asyncio.create_task(f.run()) for f in forwards]
    try:
        everything = asyncio.create_task(_all(working))
        await asyncio.wait([everything, listening], return_when=asyncio.FIRST_COMPLETED)
        everything.cancel()
    finally:
        for task in (listening, *working):
            task.cancel()
        await asyncio.gather(listening, *working, return_exceptions=True)
        await client.close()


async def _all(tasks: list[asyncio.Task[None]]) -> None:
    await asyncio.wait(tasks)


async def _listen(client: Channels, forwards: list[_Forward]) -> None:
    async for message in client.messages():
        if message.channel == CLOSE:
            channel = message.data[0] if message.data else 255
            if channel % 2 == 0 and channel // 2 < len(forwards):
                await forwards[channel // 2].inbox.put(None)
        elif message.channel % 2 == 0 and message.channel // 2 < len(forwards) and message.data:
            await forwards[message.channel // 2].inbox.put(message.data)


class _Forward:
    """One port."""

    def __init__(self, client: Channels, index: int, port: int, namespace: str, pod: str) -> None:
        self._client = client
        self._channel = 2 * index
        self._port = port
        self._namespace = namespace
        self._pod = pod
        self.inbox: asyncio.Queue[bytes | None] = asyncio.Queue(64)

    async def run(self) -> None:
        """Connect, and carry bytes both ways until both have ended."""
        number = self._port.to_bytes(2, "little")
        await self._client.send(self._channel, number)
        await self._client.send(self._channel + 1, number)
        try:
            connection = await asyncio.to_thread(connect_in_netns, self._namespace, _LOCAL, self._port)
        except OSError as error:
            await self._complain(error)
            return
        connection.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=connection)
        sending = asyncio.create_task(self._to_pod(writer))
        try:
            await self._to_client(reader)
            if self._client.protocol == V5:
                await self._client.send(CLOSE, bytes((self._channel,)))
                await sending
        except OSError as error:
            with contextlib.suppress(ConnectionError):
                await self._complain(error)
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _complain(self, error: OSError) -> None:
        why = error.strerror or str(error)
        text = (
            f"error forwarding port {self._port} to pod {self._pod}: failed to connect to localhost:{self._port} "
            f"inside namespace of the pod: {why}"
        )
        await self._client.send(self._channel + 1, text.encode())

    async def _to_client(self, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(_PIECE):
            await self._client.send(self._channel, data)

    async def _to_pod(self, writer: asyncio.StreamWriter) -> None:
        while (data := await self.inbox.get()) is not None:
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
