"""How a process of the plan reports its steps to the supervisor. Standard library only."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Any


class Reporter:
    """Sends steps, readiness and faults of `process` to the supervisor's socket; silent when there is none."""

    def __init__(self, notify_socket: Path, process: str) -> None:
        self._path = str(notify_socket)
        self._process = process

    def _send(self, **message: Any) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            try:
                sender.sendto(json.dumps({"process": self._process, **message}).encode(), self._path)
            except OSError:
                return

    def step(self, text: str, seconds: float) -> None:
        """A step has been taken; it took `seconds`."""
        self._send(step=text, seconds=seconds)

    def timed(self, text: str) -> _Step:
        """A context that reports the step when it has ended well."""
        return _Step(self, text)

    def waiting(self, text: str) -> None:
        """Something that others must bring back keeps the process from going on: what, why."""
        self._send(waiting=text)

    def ready(self) -> None:
        """The process does its work."""
        self._send(ready=True)

    def error(self, text: str) -> None:
        """Something is wrong that a restart would not cure: what, why, the fix."""
        self._send(error=text)


class _Step:
    def __init__(self, reporter: Reporter, text: str) -> None:
        self.text = text
        self._reporter = reporter
        self._began = 0.0

    def __enter__(self) -> _Step:
        self._began = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._reporter.step(self.text, time.monotonic() - self._began)
