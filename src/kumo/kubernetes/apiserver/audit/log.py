"""The log backend: one line of JSON an event, in a file that is set aside when it has grown or grown old."""

from __future__ import annotations

import datetime
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import structlog

from kumo.kubernetes.apiserver.audit import AuditError

_DEFAULT_MEGABYTES = 100
_STAMP = "%Y-%m-%dT%H-%M-%S"
_log = structlog.get_logger("kumo.audit")


class LogBackend:
    """Appends events to `path` (`-`: standard output).

    A file that would grow over `max_size` megabytes is renamed with the time in its name; of such files at most
    `max_backups` are kept, and none older than `max_age` days (0: no limit).
    """

    def __init__(self, path: str, *, max_size: int = 0, max_backups: int = 0, max_age: int = 0) -> None:
        self._path = Path(path)
        self._limit = (max_size or _DEFAULT_MEGABYTES) << 20
        self._backups = max_backups
        self._age = max_age
        self._rotates = path != "-"
        self._size = 0
        self.errors = 0
        self._fd = self._open() if self._rotates else sys.stdout.fileno()

    def _open(self) -> int:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            found = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise AuditError(f"the audit log {self._path} can't be written: {error.strerror}") from error
        self._size = os.fstat(found).st_size
        return found

    def write(self, events: Sequence[bytes]) -> None:
        """Append the events. What can't be written is counted, and told of in the server's own log."""
        data = b"".join(event + b"\n" for event in events)
        try:
            if self._rotates and self._size and self._size + len(data) > self._limit:
                self._rotate()
            view = memoryview(data)
            while view:
                view = view[os.write(self._fd, view) :]
            self._size += len(data)
        except (OSError, AuditError) as error:
            self.errors += len(events)
            _log.error("audit events are lost", path=str(self._path), error=str(error), count=len(events))

    def _rotate(self) -> None:
        now = time.time()
        stamp = datetime.datetime.fromtimestamp(now, datetime.UTC).strftime(_STAMP) + f".{int(now * 1000) % 1000:03d}"
        os.close(self._fd)
        self._fd = -1
        self._path.rename(self._path.with_name(f"{self._path.stem}-{stamp}{self._path.suffix}"))
        self._fd = self._open()
        self._tidy(now)

    def _tidy(self, now: float) -> None:
        """Remove surplus and old backups."""
        kept = 0
        for found in sorted(self._path.parent.glob(f"{self._path.stem}-*{self._path.suffix}"), reverse=True):
            stamp = found.name.removeprefix(f"{self._path.stem}-").removesuffix(self._path.suffix)
            try:
                made = datetime.datetime.strptime(stamp.rpartition(".")[0], _STAMP).replace(tzinfo=datetime.UTC)
            except ValueError:
                continue  # Not one of ours.
            kept += 1
            old = self._age and now - made.timestamp() > self._age * 86400
            if old or (self._backups and kept > self._backups):
                found.unlink(missing_ok=True)

    async def run(self) -> None:
        """Nothing to do in the background."""

    async def close(self) -> None:
        """Let go of the file."""
        if self._rotates and self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
