"""The processes below PID 1: started here, and reaped here, orphans too.

libvirt waits until its detached capability probes have vanished, which they do only when PID 1 of the container reaps
them. One thread waits for every child; nobody else in the process may call wait.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence

Exited = Callable[[int], None]
"""Called with the exit code; minus the signal's number if a signal ended the process."""


class CommandFailed(Exception):
    """A program that had to succeed did not; the text says which, how, and what it wrote."""


class Children:
    """Starts programs and tells when they end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watched: dict[int, Exited] = {}
        self._started = threading.Semaphore(0)
        threading.Thread(target=self._reap, name="reaper", daemon=True).start()

    def start(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        on_exit: Exited,
        *,
        stdout: int | None = None,
        own_session: bool = False,
    ) -> int:
        """Start a program; `on_exit` is called from the reaper's thread. Returns its pid.

        `own_session` keeps signals meant for the launcher's group from it. Raises FileNotFoundError.
        """
        actions: list[tuple[object, ...]] = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0)]
        if stdout is not None:
            actions += [(os.POSIX_SPAWN_DUP2, stdout, 1), (os.POSIX_SPAWN_DUP2, stdout, 2)]
        with self._lock:  # the reaper needs it too, so that even the quickest child is noted before it is reaped
            pid = os.posix_spawn(argv[0], list(argv), dict(environment), file_actions=actions, setsid=own_session)
            self._watched[pid] = on_exit
        self._started.release()
        return pid

    def run(self, argv: Sequence[str], environment: Mapping[str, str]) -> None:
        """Run a program to its end. Raises CommandFailed with its output unless it exits with 0."""
        ended = threading.Event()
        result: list[int] = []

        def exited(code: int) -> None:
            result.append(code)
            ended.set()

        read, write = os.pipe()
        try:
            self.start(argv, environment, exited, stdout=write)
        finally:
            os.close(write)
        output = b""
        with os.fdopen(read, "rb") as pipe:
            output = pipe.read()
        ended.wait()
        if result[0] != 0:
            raise CommandFailed(f"{' '.join(argv)}: exit code {result[0]}: {output.decode(errors='replace').strip()}")

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, 0)
            except ChildProcessError:
                self._started.acquire()  # nothing to wait for until the next start
                continue
            code = os.waitstatus_to_exitcode(status)
            with self._lock:
                on_exit = self._watched.pop(pid, None)  # None: an orphan, of which nothing is expected
            if on_exit is not None:
                on_exit(code)
