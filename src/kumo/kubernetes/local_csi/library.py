"""The volumes and snapshots on the disk: one folder each, with its record and its bytes; whole or not there at all.

`volumes/<id>/record.json` and `volumes/<id>/data` (a file or a folder), `snapshots/...` likewise. A new one is made in
a folder whose name begins with a dot and renamed when it is whole; one that goes is renamed first. What a killed driver
left half done is thereby known by its name, and removed at the next start.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Generic

import structlog

from kumo.host import loop, mounts
from kumo.kubernetes.local_csi.records import Record, SnapshotRecord, VolumeRecord, decode, encode

_log = structlog.get_logger("kumo.local-csi")
_RECORD, _DATA = "record.json", "data"


class Shelf(Generic[Record]):
    """Things of one kind. All writing methods block."""

    def __init__(self, root: Path, kind: type[Record]) -> None:
        self._root = root
        self._kind: type[Record] = kind
        self._records: dict[str, Record] = {}

    def load(self) -> None:
        """Read what is there, and remove what was never finished. Raises OSError."""
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        for folder in sorted(self._root.iterdir()):
            if folder.name.startswith("."):
                discard(folder)
                continue
            try:
                record = decode(self._kind, (folder / _RECORD).read_bytes())
            except (OSError, ValueError) as error:
                _log.warning("can't read a record: left alone", folder=str(folder), error=str(error))
                continue
            self._records[record.id] = record

    def all(self) -> list[Record]:
        """Everything, in the order of ids."""
        return [self._records[k] for k in sorted(self._records)]

    def get(self, identity: str) -> Record | None:
        """The one with that id."""
        return self._records.get(identity)

    def named(self, name: str) -> Record | None:
        """The one that was made under that name."""
        return next((r for r in self._records.values() if r.name == name), None)

    def data(self, identity: str) -> Path:
        """Where its bytes are."""
        return self._folder(identity) / _DATA

    def add(self, record: Record, fill: Callable[[Path], None]) -> None:
        """Add it; `fill` makes its bytes at the path it is given. Raises OSError, and what `fill` raises."""
        rough = self._root / f".new-{_plain(record.id)}"
        discard(rough)
        rough.mkdir(mode=0o700)
        try:
            fill(rough / _DATA)
            _write(rough / _RECORD, encode(record))
            rough.rename(self._folder(record.id))
        except BaseException:
            discard(rough)
            raise
        _sync(self._root)
        self._records[record.id] = record

    def change(self, record: Record) -> None:
        """Replace what is kept of it. Raises OSError."""
        folder = self._folder(record.id)
        fresh = folder / f"{_RECORD}.new"
        _write(fresh, encode(record))
        fresh.rename(folder / _RECORD)
        _sync(folder)
        self._records[record.id] = record

    def remove(self, identity: str) -> None:
        """Remove it with its bytes. Raises OSError."""
        gone = self._root / f".gone-{_plain(identity)}"
        discard(gone)
        self._folder(identity).rename(gone)
        self._records.pop(identity, None)
        _sync(self._root)
        discard(gone)

    def _folder(self, identity: str) -> Path:
        return self._root / _plain(identity)


class Library:
    """All that the driver keeps, and how much of the disk it has promised."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.volumes: Shelf[VolumeRecord] = Shelf(root / "volumes", VolumeRecord)
        self.snapshots: Shelf[SnapshotRecord] = Shelf(root / "snapshots", SnapshotRecord)
        self._pending = 0
        self._lock = threading.Lock()

    def load(self) -> None:
        """Read everything. Raises OSError."""
        self.volumes.load()
        self.snapshots.load()

    def available(self) -> int:
        """Bytes that may still be promised: what is free on the disk, without what volumes may yet write."""
        shape = os.statvfs(self.root)
        promised = self._pending
        for record in self.volumes.all():
            try:
                promised += max(0, record.capacity - _taken(self.volumes.data(record.id)))
            except OSError:
                continue
        return max(0, shape.f_bavail * shape.f_frsize - promised)

    @contextmanager
    def promised(self, size: int) -> Iterator[bool]:
        """Whether so many bytes are to be had; if so nobody else is promised them while the block runs."""
        with self._lock:
            enough = self.available() >= size
            if enough:
                self._pending += size
        try:
            yield enough
        finally:
            if enough:
                with self._lock:
                    self._pending -= size


def discard(folder: Path) -> None:
    """Remove a folder with all below it, whatever is mounted there or shown by a loop device first. Blocking."""
    if not folder.exists():
        return
    mounts.unmount_below(folder)
    for device in loop.attached_below(folder):
        loop.detach(device)
    shutil.rmtree(folder, ignore_errors=True)


def _taken(data: Path) -> int:
    """Blocks that a file has; a folder's are not counted (it promises nothing)."""
    return data.stat().st_blocks * 512


def _plain(identity: str) -> str:
    """The id as the name of a folder: ids of inline volumes are the kubelet's, and could be anything."""
    name = identity.replace("%", "%25").replace("/", "%2F")
    return f"%2E{name[1:]}" if name.startswith(".") else name or "%"


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
