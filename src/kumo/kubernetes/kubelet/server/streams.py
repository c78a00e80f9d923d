"""exec and attach: a process's streams over a WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterable, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from kumo.host.containerd.engine import Containerd
from kumo.host.containerd.rpc import EngineError
from kumo.host.containerd.tasks import ExecProcess, FifoWriter
from kumo.kubernetes.kubelet.server import channels
from kumo.kubernetes.kubelet.server.catching_up import CatchUp
from kumo.kubernetes.kubelet.server.channels import CLOSE, ERROR, RESIZE, STDERR, STDIN, STDOUT, Channels
from kumo.machinery.http import WebSocket

_DRAIN_SECONDS = 10.0
_ESTABLISH_SECONDS = 2.0
_SETTLE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which streams the client asked for."""

    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool


async def run_exec(socket: WebSocket, engine: Containerd, container: str, command: list[str], wanted: Wanted) -> None:
    """Run a command in the container for the client; ends with the command, or kills it when the client goes."""
    client = Channels(socket)
    try:
        await _announce(client, wanted)
        async with engine.tasks.exec(container, command, stdin=wanted.stdin, tty=wanted.tty) as process:
            await _serve_exec(client, process, command, wanted)
    except EngineError as error:
        text = f"error executing command in container: failed to exec in container: {error.message}"
        with contextlib.suppress(ConnectionError):
            await client.send(ERROR, channels.internal_error(text))
    except ConnectionError:
        pass
    await client.close()


async def _announce(client: Channels, wanted: Wanted) -> None:
    # An empty message on the first output tells the client that the connection stands.
    await client.send(STDOUT if wanted.stdout else STDERR if wanted.stderr else ERROR, b"")


async def _serve_exec(client: Channels, process: ExecProcess, command: list[str], wanted: Wanted) -> None:
    outputs = [asyncio.create_task(_pump(process.stdout, client, STDOUT, wanted.stdout))]
    if process.stderr is not None:
        outputs.append(asyncio.create_task(_pump(process.stderr, client, STDERR, wanted.stderr)))
    listening = asyncio.create_task(_listen_exec(client, process))
    exiting = asyncio.create_task(process.wait())
    tasks = [*outputs, listening, exiting]
    try:
        await asyncio.wait([listening, exiting], return_when=asyncio.FIRST_COMPLETED)
        if not exiting.done():
            return  # the client is gone
        code = exiting.result()
        await process.reap()
        await asyncio.wait(outputs, timeout=_DRAIN_SECONDS)
        await client.send(ERROR, channels.exit_status(command, code) if code else channels.success())
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pump(source: AsyncIterable[bytes], client: Channels, channel: int, wanted: bool) -> None:
    async for data in source:
        if wanted:
            await client.send(channel, data)


async def _listen_exec(client: Channels, process: ExecProcess) -> None:
    """Feed the process what the client sends, until the client is gone."""
    # What the process does not read must not keep its end, or the terminal's size, from being noticed.
    feed: asyncio.Queue[bytes | None] = asyncio.Queue(64)

    async def write() -> None:
        with contextlib.suppress(OSError):
            while (data := await feed.get()) is not None:
                await process.write(data)
        await process.close_stdin()

    writing = asyncio.create_task(write())
    try:
        async for message in client.messages():
            if message.channel == STDIN and message.data:
                await feed.put(message.data)
            elif message.channel == RESIZE:
                size = channels.parse_size(message.data)
                if size is not None:
                    await process.resize(*size)
            elif message.channel == CLOSE and message.data[:1] == b"\0":
                await feed.put(None)
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)


async def run_attach(socket: WebSocket, engine: Containerd, container: str, wanted: Wanted, log: Path) -> None:
    """Connect the client with the container's main process, until either ends.

    containerd holds the process's outputs: they come from a session with its streaming server (which speaks v4 only).
    Input goes straight into the process's FIFO, so that its end can be told after all of it has arrived. What is
    said while containerd gets ready is taken from the container's `log`.
    """
    client = Channels(socket)
    stdin: FifoWriter | None = None
    channels_wanted = [STDOUT] * wanted.stdout + [STDERR] * (wanted.stderr and not wanted.tty)
    outputs = CatchUp(log, frozenset(channels_wanted), client.send)
    try:
        async with aiohttp.ClientSession() as http, contextlib.AsyncExitStack() as stack:
            await _announce(client, wanted)
            source = None
            if wanted.stdout or wanted.stderr:
                await outputs.mark()
                # A session without input would end that of a container with stdinOnce: this one has an input too,
                # which stays silent.
                url = await engine.runtime.attach(
                    container,
                    stdin=True,
                    stdout=wanted.stdout,
                    stderr=wanted.stderr and not wanted.tty,
                    tty=wanted.tty,
                )
                source = await stack.enter_async_context(http.ws_connect(url, protocols=(channels.V4,)))
                await _attached(source, outputs)
            if wanted.stdin:
                try:
                    stdin = await engine.tasks.open_stdin(container)
                except FileNotFoundError as error:  # its end takes the FIFO away
                    raise EngineError("NOT_FOUND", f"container {container} is not running") from error

            async def end_input() -> None:
                await _end_input(http, engine, container, wanted.tty)

            await _serve_attach(client, engine, container, source, outputs, stdin, end_input)
    except (EngineError, aiohttp.ClientError, OSError) as error:
        with contextlib.suppress(ConnectionError):
            await client.send(ERROR, channels.internal_error(f"error attaching to container: {error}"))
    finally:
        if stdin is not None:
            stdin.close()
    await client.close()


async def _attached(session: aiohttp.ClientWebSocketResponse, outputs: CatchUp) -> None:
    """Wait until containerd has connected the process's outputs, so that no answer to the first input is lost.

    It says by an empty message that it begins with that, and nothing once it is done: that takes it a few milliseconds.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_ESTABLISH_SECONDS):
            message = await session.receive()
            if message.type == aiohttp.WSMsgType.BINARY and len(message.data) > 1:
                await outputs.forward(message.data[0], message.data[1:])
    await asyncio.sleep(_SETTLE_SECONDS)


async def _end_input(http: aiohttp.ClientSession, engine: Containerd, container: str, tty: bool) -> None:
    """Have containerd end the input of a container with stdinOnce: a session of input that is closed does that."""
    url = await engine.runtime.attach(container, stdin=True, stdout=False, stderr=False, tty=tty)
    async with http.ws_connect(url, protocols=(channels.V4,)):
        pass


async def _serve_attach(
    client: Channels,
    engine: Containerd,
    container: str,
    source: aiohttp.ClientWebSocketResponse | None,
    outputs: CatchUp,
    stdin: FifoWriter | None,
    end_input: Callable[[], Awaitable[None]],
) -> None:
    listening = asyncio.create_task(_listen_attach(client, engine, container, stdin, end_input))
    tasks = [listening]
    if source is not None:
        tasks.append(asyncio.create_task(_from_runtime(source, outputs)))
    ends = list(tasks)
    tasks.append(asyncio.create_task(outputs.watch()))
    try:
        done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if listening not in done:
            await outputs.finish()
            await client.send(ERROR, channels.success())
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _from_runtime(session: aiohttp.ClientWebSocketResponse, outputs: CatchUp) -> None:
    async for message in session:
        data = message.data
        if message.type == aiohttp.WSMsgType.BINARY and len(data) > 1 and data[0] in (STDOUT, STDERR):
            await outputs.forward(data[0], data[1:])


async def _listen_attach(
    client: Channels,
    engine: Containerd,
    container: str,
    stdin: FifoWriter | None,
    end_input: Callable[[], Awaitable[None]],
) -> None:
    async for message in client.messages():
        if message.channel == STDIN and stdin is not None and not stdin.closed and message.data:
            with contextlib.suppress(BrokenPipeError):
                await stdin.write(message.data)
        elif message.channel == RESIZE:
            size = channels.parse_size(message.data)
            if size is not None:
                with contextlib.suppress(EngineError):
                    await engine.tasks.resize(container, *size)
        elif message.channel == CLOSE and message.data[:1] == b"\0" and stdin is not None and not stdin.closed:
            stdin.close()
            with contextlib.suppress(EngineError, aiohttp.ClientError):
                await end_input()
