"""A program in a terminal of its own: type into it, wait for what it shows. Standard library only."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from types import TracebackType


class NotSeen(AssertionError):
    """The program did not show what was waited for; the message has what it showed instead."""


class Terminal:
    """Runs `argv` in a pseudo-terminal. What it shows is collected, and copied to standard output if `echo`."""

    def __init__(self, argv: list[str], *, env: dict[str, str] | None = None, echo: bool = False) -> None:
        self.argv = argv
        self.seen = ""
        self._from = 0
        self._echo = echo
        self._env = env
        self._pid = 0
        self._master = -1
        self.code: int | None = None

    def __enter__(self) -> Terminal:
        self._pid, self._master = pty.fork()
        if self._pid == 0:
            os.execvpe(self.argv[0], self.argv, {**os.environ, **(self._env or {}), "TERM": "xterm"})
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            if self.code is None:
                os.kill(self._pid, signal.SIGHUP)
        self.wait(10)
        os.close(self._master)

    def type(self, text: str) -> None:
        """Send keys."""
        os.write(self._master, text.encode())

    def wait_for(self, pattern: str, timeout: float) -> re.Match[str]:
        """The first match of the pattern in what has been shown since the last one. Raises NotSeen."""
        deadline = time.monotonic() + timeout
        wanted = re.compile(pattern)
        while True:
            found = wanted.search(self.seen, self._from)
            if found:
                self._from = found.end()
                return found
            if not self._read(deadline - time.monotonic()):
                shown = self.seen[self._from :][-2000:]
                raise NotSeen(f"{' '.join(self.argv)} did not show {pattern!r} within {timeout:.0f} s, but: {shown!r}")

    def _read(self, timeout: float) -> bool:
        if timeout <= 0 or not select.select([self._master], [], [], timeout)[0]:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # EIO: the program has ended and nobody holds the other side
            return False
        if not data:
            return False
        text = data.decode(errors="replace")
        self.seen += text
        if self._echo:
            sys.stdout.write(text)
            sys.stdout.flush()
        return True

    def wait(self, timeout: float) -> int:
        """The program's exit code, once it has ended; it is killed when it does not end in time."""
        deadline = time.monotonic() + timeout
        while self.code is None:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > deadline:
                os.kill(self._pid, signal.SIGKILL)
            else:
                self._read(0.05)
        return self.code
