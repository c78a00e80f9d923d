"""haproxy as a process: a master that outlives this one, whose workers take over from each other.

Source: haproxy's management guide: master-worker mode (with sd_notify: `-Ws`), the master's and the workers' command
lines.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

import structlog

from kumo.kubernetes.ingress.notices import Notices
from kumo.kubernetes.ingress.settings import CONFIGURATION

_log = structlog.get_logger("kumo.ingress")
_START_SECONDS = 20.0
_ANSWER_SECONDS = 5.0
_GRACE_SECONDS = 5.0
_LARGEST_BATCH = 200


class EngineError(Exception):
    """haproxy is not there, refuses its configuration, or does not do what it is told."""


class Haproxy:
    """The instance's haproxy. Its files are in `directory`; a master that an earlier process left is used on."""

    def __init__(self, directory: Path, binary: str = "haproxy") -> None:
        self._directory = directory
        self._binary = binary
        self._master = directory / "master.sock"
        self._worker = directory / "worker.sock"
        self._child: asyncio.subprocess.Process | None = None

    async def serve(self) -> None:
        """Serve what the files say, by a new worker that takes over. Raises EngineError; then the old one goes on."""
        binary = shutil.which(self._binary, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if binary is None:
            raise EngineError(f"there is no {self._binary} on this machine: apt-get install haproxy")
        await self._check(binary)
        before = await self._workers()
        with Notices(self._directory / "notify.sock") as notices:
            if before is None:
                await self._start(binary, notices.path)
            else:
                with contextlib.suppress(EngineError):  # The master lets go of the connection when it starts anew.
                    await self._ask(self._master, "reload")
            await self._until_new(frozenset(before or ()), notices)

    async def tell(self, commands: Sequence[str]) -> None:
        """Commands for the worker, in order. Raises EngineError with its words if it does not take one."""
        for start in range(0, len(commands), _LARGEST_BATCH):
            answer = await self._ask(self._worker, ";".join(commands[start : start + _LARGEST_BATCH]))
            said = [line for line in answer.splitlines() if line and not line.startswith(_HARMLESS)]
            if said:
                raise EngineError(said[0])

    async def running(self) -> bool:
        """Whether there is a master that answers."""
        return await self._workers() is not None

    async def stop(self) -> None:
        """End it: the workers finish what they have, for a few seconds at most. Does nothing if it does not run."""
        pid = await self._master_pid()
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                descriptor = os.pidfd_open(pid)
                try:
                    signal.pidfd_send_signal(descriptor, signal.SIGUSR1)
                    if not await _ended(descriptor, _GRACE_SECONDS):
                        signal.pidfd_send_signal(descriptor, signal.SIGTERM)
                        await _ended(descriptor, _GRACE_SECONDS)
                finally:
                    os.close(descriptor)
        await self._reap()

    async def _reap(self) -> None:
        """Take leave of a child that has no socket any more, whoever ended it."""
        if self._child is not None:
            waiting = asyncio.create_task(self._child.wait())
            await asyncio.wait({waiting}, timeout=1.0)  # It has ended, most likely.
            if not waiting.done():
                with contextlib.suppress(ProcessLookupError):
                    self._child.kill()
            await waiting
            self._child = None

    async def ended(self) -> None:
        """Return when the master is no more."""
        pid = await self._master_pid()
        if pid is None:
            return
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        try:
            await _ended(descriptor, None)
        finally:
            os.close(descriptor)

    async def _check(self, binary: str) -> None:
        file = str(self._directory / CONFIGURATION)
        checking = await asyncio.create_subprocess_exec(
            binary, "-c", "-f", file, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
        try:
            async with asyncio.timeout(_START_SECONDS):
                _, said = await checking.communicate()
        except TimeoutError as error:
            raise EngineError(f"haproxy -c does not end within {_START_SECONDS:.0f} s") from error
        finally:
            if checking.returncode is None:  # It hangs, or nobody waits for it any more.
                checking.kill()
                await checking.wait()
        if checking.returncode:
            alerts = [line for line in said.decode(errors="replace").splitlines() if "[ALERT]" in line]
            raise EngineError(alerts[0] if alerts else f"haproxy -c ended with {checking.returncode}")

    async def _start(self, binary: str, notices: Path) -> None:
        await self._reap()
        with (self._directory / "haproxy.log").open("wb") as log:
            self._child = await asyncio.create_subprocess_exec(
                binary,
                *("-Ws", "-S", f"{self._master},mode,600,level,admin", "-f", str(self._directory / CONFIGURATION)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "NOTIFY_SOCKET": str(notices)},
            )

    async def _until_new(self, before: frozenset[int], notices: Notices) -> None:
        """Wait for a worker that was not there before: the master tells when it has one, and its end is seen."""
        ended = asyncio.create_task(self._child.wait()) if self._child is not None else None
        try:
            async with asyncio.timeout(_START_SECONDS):
                while True:
                    workers = await self._workers()
                    if workers and not before & set(workers):
                        return
                    if ended is not None and ended.done():
                        raise EngineError(f"haproxy ended with {ended.result()}: see {self._directory}/haproxy.log")
                    await notices.next(ended)
        except TimeoutError as error:
            raise EngineError(f"haproxy has no new worker after {_START_SECONDS:.0f} s") from error
        finally:
            if ended is not None:
                ended.cancel()

    async def _workers(self) -> list[int] | None:
        """The pids of the current workers; None without a master."""
        try:
            return processes(await self._ask(self._master, "show proc"))[1]
        except EngineError:
            return None

    async def _master_pid(self) -> int | None:
        try:
            return processes(await self._ask(self._master, "show proc"))[0]
        except EngineError:
            return None

    async def _ask(self, socket: Path, command: str) -> str:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                reader, writer = await asyncio.open_unix_connection(str(socket), limit=1 << 20)
                try:
                    writer.write(command.encode() + b"\n")
                    writer.write_eof()
                    return (await reader.read(-1)).decode(errors="replace")
                finally:
                    writer.close()
                    with contextlib.suppress(OSError):
                        await writer.wait_closed()
        except (OSError, TimeoutError) as error:
            raise EngineError(f"haproxy does not answer on {socket}: {error}") from error


_HARMLESS = ("no need to change", "IP changed", "port changed", "nothing changed")


def processes(shown: str) -> tuple[int | None, list[int]]:
    """The master's pid and those of its current workers, from what `show proc` shows. Pure."""
    master, workers, section = None, [], ""
    for line in shown.splitlines():
        fields = line.split()
        if line.startswith("#"):
            section = line
        elif len(fields) >= 2 and fields[0].isdigit():
            if fields[1] == "master":
                master = int(fields[0])
            elif fields[1] == "worker" and not section.startswith("# old"):
                workers.append(int(fields[0]))
    return master, workers


async def _ended(descriptor: int, seconds: float | None) -> bool:
    """Wait for the process behind the descriptor; whether it ended in time."""
    loop, gone = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, gone.set)
    try:
        async with asyncio.timeout(seconds):
            await gone.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(descriptor)
    return True
