"""When the last orderly shutdown began and ended: a file that outlives it, and two figures. Upstream: `storage.go`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from kumo.api.objects import parse_timestamp, timestamp

_NEVER = "0001-01-01T00:00:00Z"
START, END = "kubelet_graceful_shutdown_start_time_seconds", "kubelet_graceful_shutdown_end_time_seconds"


class ShutdownRecord:
    """`put` sets a figure (its name and seconds since 1970; 0: never)."""

    def __init__(self, directory: Path, put: Callable[[str, float], None]) -> None:
        self._path = directory / "graceful_node_shutdown_state"
        self._put = put
        self._times = {"startTime": _NEVER, "endTime": _NEVER}

    def load(self) -> None:
        """Show what the kubelet before this one has left. Blocking."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            found = msgspec.json.decode(self._path.read_bytes())
            for name, figure in (("startTime", START), ("endTime", END)):
                text = str(found.get(name) or _NEVER)
                if text != _NEVER:
                    self._put(figure, float(int(parse_timestamp(text))))

    def began(self) -> None:
        """A shutdown begins. Blocking."""
        self._times = {"startTime": timestamp(), "endTime": _NEVER}
        self._put(START, float(int(time.time())))
        self._put(END, 0.0)
        self._write()

    def ended(self) -> None:
        """All is done for it. Blocking."""
        self._times["endTime"] = timestamp()
        self._put(END, float(int(time.time())))
        self._write()

    def _write(self) -> None:
        fresh = self._path.with_suffix(".new")
        with contextlib.suppress(OSError):
            fresh.write_bytes(msgspec.json.encode(self._times))
            fresh.replace(self._path)
