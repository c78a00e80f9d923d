"""Processes inside running containers, by containerd's Tasks API: exec with a true end of input, resize, signals.

CRI's own Exec can't close stdin without ending the session; here the process reads and writes three FIFOs, which the
shim opens, and `CloseIO` ends its input.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import grpc.aio
import msgspec
from google.protobuf.any_pb2 import Any as AnyMessage

from kumo.host.containerd.rpc import EngineError, Method
from kumo.host.containerd.stubs import engine_pb2 as engine

_PROCESS_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/Process"
SIGKILL = 9
_STOPPED = 3


class Tasks:
    """The tasks service and the containers it runs."""

    def __init__(self, channel: grpc.aio.Channel, folder: Path) -> None:
        """The pipes of commands are made in `folder`, a directory for each command."""
        self.folder = folder
        path = "/containerd.services.tasks.v1.Tasks"
        self._get = Method(channel, f"{path}/Get", engine.ProcessRequest, engine.GetTaskResponse)
        self._exec = Method(channel, f"{path}/Exec", engine.ExecProcessRequest, engine.Nothing)
        self._start = Method(channel, f"{path}/Start", engine.ProcessRequest, engine.StartResponse)
        self._wait = Method(channel, f"{path}/Wait", engine.ProcessRequest, engine.WaitResponse)
        self._kill = Method(channel, f"{path}/Kill", engine.KillRequest, engine.Nothing)
        self._resize = Method(channel, f"{path}/ResizePty", engine.ResizePtyRequest, engine.Nothing)
        self._close = Method(channel, f"{path}/CloseIO", engine.CloseIORequest, engine.Nothing)
        self._delete = Method(channel, f"{path}/DeleteProcess", engine.ProcessRequest, engine.DeleteResponse)
        self._container = Method(
            channel,
            "/containerd.services.containers.v1.Containers/Get",
            engine.GetContainerRequest,
            engine.GetContainerResponse,
        )

    async def spec(self, container: str) -> dict[str, Any]:
        """The container's OCI runtime specification. Raises EngineError NOT_FOUND."""
        answer = await self._container(engine.GetContainerRequest(id=container))
        found: dict[str, Any] = msgspec.json.decode(answer.container.spec.value)
        return found

    async def pid(self, container: str) -> int:
        """The main process's id on the host. Raises EngineError NOT_FOUND when it does not run."""
        return (await self._get(engine.ProcessRequest(container_id=container))).process.pid

    async def has_ended(self, container: str) -> bool:
        """Whether the main process has ended, whatever CRI says of the container."""
        try:
            return (await self._get(engine.ProcessRequest(container_id=container))).process.status == _STOPPED
        except EngineError as error:
            if error.code != "NOT_FOUND":
                raise
            return True

    async def open_stdin(self, container: str) -> FifoWriter | None:
        """The main process's input, to write to beside whoever else has it open; None if it has none.

        Raises EngineError NOT_FOUND, OSError.
        """
        path = (await self._get(engine.ProcessRequest(container_id=container))).process.stdin
        return FifoWriter(Path(path), make=False) if path else None

    async def resize(self, container: str, width: int, height: int, process: str = "") -> None:
        """Tell a terminal its size in characters."""
        await self._resize(engine.ResizePtyRequest(container_id=container, exec_id=process, width=width, height=height))

    async def kill(self, container: str, signal: int, process: str = "") -> None:
        """Send a signal to the main process or to an exec's."""
        await self._kill(engine.KillRequest(container_id=container, exec_id=process, signal=signal))

    def sweep(self) -> None:
        """Remove the pipes that a killed process of this machine has left; before any command is run. Blocking."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextlib.asynccontextmanager
    async def exec(
        self, container: str, command: Sequence[str], *, stdin: bool, tty: bool
    ) -> AsyncIterator[ExecProcess]:
        """Run a command in the container for as long as the block lasts; killed if it has not ended by then.

        With `tty` there is one output. Raises EngineError when it can't be started: its message says why.
        """
        process = ExecProcess(self, container, stdin=stdin, tty=tty)
        try:
            await process.start(command)
            yield process
        finally:
            await asyncio.shield(process.finish())


class ExecProcess:
    """A command running in a container. `stdout` and `stderr` are read, `write` and `close_stdin` feed it."""

    def __init__(self, tasks: Tasks, container: str, *, stdin: bool, tty: bool) -> None:
        self._tasks = tasks
        self._container = container
        self._id = f"kumo-{uuid.uuid4().hex[:16]}"
        self._tty = tty
        tasks.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(dir=tasks.folder))
        self.stdout = FifoReader(self._folder / "stdout")
        self.stderr = None if tty else FifoReader(self._folder / "stderr")
        self._stdin = FifoWriter(self._folder / "stdin") if stdin else None
        self._made = False
        self._exit: asyncio.Task[int] | None = None

    async def start(self, command: Sequence[str]) -> None:
        """Create and start the process."""
        spec = (await self._tasks.spec(self._container))["process"]
        spec = {**spec, "args": list(command), "terminal": self._tty}
        spec.pop("consoleSize", None)
        if self._tty and not any(e.startswith("TERM=") for e in spec.get("env") or ()):
            spec["env"] = [*(spec.get("env") or ()), "TERM=xterm"]
        request = engine.ExecProcessRequest(
            container_id=self._container,
            exec_id=self._id,
            terminal=self._tty,
            stdin=str(self._folder / "stdin") if self._stdin else "",
            stdout=str(self._folder / "stdout"),
            stderr=str(self._folder / "stderr") if self.stderr else "",
            spec=AnyMessage(type_url=_PROCESS_TYPE, value=msgspec.json.encode(spec)),
        )
        await self._tasks._exec(request)
        self._made = True
        self._exit = asyncio.create_task(self._wait(), name="exec wait")
        await self._tasks._start(self._request())
        # The shim has its ends open now: from here an empty read is the true end.
        self.stdout.begin()
        if self.stderr:
            self.stderr.begin()

    async def write(self, data: bytes) -> None:
        """Feed the process; waits while it does not read. Raises OSError (EPIPE) once it has ended."""
        if self._stdin is not None:
            await self._stdin.write(data)

    async def close_stdin(self) -> None:
        """End its input: it reads what was written, then end-of-file."""
        if self._stdin is None or self._stdin.closed:
            return
        with contextlib.suppress(EngineError):
            request = engine.CloseIORequest(container_id=self._container, exec_id=self._id, stdin=True)
            await self._tasks._close(request)
        self._stdin.close()

    async def resize(self, width: int, height: int) -> None:
        """Tell its terminal its size; nothing happens if it has ended."""
        with contextlib.suppress(EngineError):
            await self._tasks.resize(self._container, width, height, self._id)

    async def wait(self) -> int:
        """Its exit code, once it has ended."""
        assert self._exit is not None
        return await asyncio.shield(self._exit)

    async def reap(self) -> None:
        """Forget the ended process. The shim closes its outputs then, even if a child of it keeps them open."""
        if self._made:
            self._made = False
            with contextlib.suppress(EngineError):
                await self._tasks._delete(self._request())

    async def finish(self) -> None:
        """Kill it if it still runs, and leave nothing behind."""
        try:
            if self._made and self._exit is not None and not self._exit.done():
                with contextlib.suppress(EngineError):
                    await self._tasks.kill(self._container, SIGKILL, self._id)
                await asyncio.wait([self._exit], timeout=5.0)
            await self.reap()
        finally:
            if self._exit is not None:
                self._exit.cancel()
            for end in (self.stdout, self.stderr, self._stdin):
                if end is not None:
                    end.close()
            for name in ("stdin", "stdout", "stderr"):
                with contextlib.suppress(FileNotFoundError):
                    (self._folder / name).unlink()
            self._folder.rmdir()

    async def _wait(self) -> int:
        return (await self._tasks._wait(self._request(), timeout=None)).exit_status

    def _request(self) -> engine.ProcessRequest:
        return engine.ProcessRequest(container_id=self._container, exec_id=self._id)


class _FifoEnd:
    """One end of a FIFO, non-blocking, with a way to wait until it can be used."""

    def __init__(self, path: Path, flags: int, *, make: bool = True) -> None:
        if make:
            os.mkfifo(path, 0o600)
        self._fd = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
        self._waiter: asyncio.Future[None] | None = None
        self._writes = bool(flags & (os.O_RDWR | os.O_WRONLY))

    @property
    def closed(self) -> bool:
        """Whether it has been closed."""
        return self._fd < 0

    def close(self) -> None:
        """Let go of it; who waits goes on and finds it closed."""
        if self._fd >= 0:
            self._forget()
            os.close(self._fd)
            self._fd = -1
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _forget(self) -> None:
        loop = asyncio.get_running_loop()
        if self._writes:
            loop.remove_writer(self._fd)
        else:
            loop.remove_reader(self._fd)

    async def _ready(self) -> None:
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        if self._writes:
            loop.add_writer(self._fd, self._wake)
        else:
            loop.add_reader(self._fd, self._wake)
        try:
            await self._waiter
        finally:
            self._waiter = None
            if self._fd >= 0:
                self._forget()


class FifoReader(_FifoEnd):
    """The reading end of a FIFO that it makes; an async iterator of chunks, which ends when all writers have closed."""

    def __init__(self, path: Path, limit: int = 32768) -> None:
        super().__init__(path, os.O_RDONLY)
        self._limit = limit
        self._begun = asyncio.Event()

    def begin(self) -> None:
        """A writer is there: an empty read is the end from now on."""
        self._begun.set()

    def __aiter__(self) -> FifoReader:
        return self

    async def __anext__(self) -> bytes:
        await self._begun.wait()
        while self._fd >= 0:
            try:
                data = os.read(self._fd, self._limit)
            except BlockingIOError:
                await self._ready()
                continue
            if not data:
                break
            return data
        raise StopAsyncIteration

    def close(self) -> None:
        """Let go of it; a reader that waits finds the end."""
        super().close()
        self._begun.set()


class FifoWriter(_FifoEnd):
    """The writing end of a FIFO: one that it makes, or (`make` off) one that somebody reads already."""

    def __init__(self, path: Path, *, make: bool = True) -> None:
        # Its own is opened read-write, so that opening does not have to wait for the reader.
        super().__init__(path, os.O_RDWR if make else os.O_WRONLY, make=make)

    async def write(self, data: bytes) -> None:
        """Write all of it, waiting while the pipe is full. Raises BrokenPipeError once closed."""
        rest = memoryview(data)
        while rest:
            if self._fd < 0:
                raise BrokenPipeError("the input is closed")
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:
                await self._ready()
