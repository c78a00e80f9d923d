"""A backup file: a compressed tar archive that ends with a manifest, by which the rest is known to be whole.

`store/000000` and so on hold keys and values, in their order; `files/` what the data directory holds beside the store
(certificates and keys, settings; with images if wanted). `manifest.json`, the last member, has the counts, the store's
revision and a checksum of every member: a file that was cut off or changed anywhere is refused before anything is done.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import msgspec

from kumo.store.base import KeyValue
from kumo.store.transfer import Summary

FORMAT = 1
MANIFEST = "manifest.json"
_STORE = "store/"
_FILES = "files/"
_LEVEL = 1
_LARGEST_MANIFEST = 64 << 20
_LARGEST_PART = 1 << 30
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[KeyValue]).decode


class ArchiveError(Exception):
    """The file is no whole backup; the message says what is wrong with it."""


class Manifest(msgspec.Struct):
    """What a backup holds. `members` has the SHA-256 of each; `instance` the settings that it was made with."""

    format: int
    version: str
    created: str
    revision: int
    keys: int
    checksum: str
    leases: dict[int, float]
    instance: dict[str, object]
    images: bool
    members: dict[str, str]


@dataclass(slots=True)
class Writer:
    """Writes a backup to `file`."""

    file: IO[bytes]
    summary: Summary = field(default_factory=Summary)
    _members: dict[str, str] = field(default_factory=dict)
    _tar: tarfile.TarFile = field(init=False)
    _parts: int = 0

    def __post_init__(self) -> None:
        self._tar = tarfile.open(fileobj=self.file, mode="w:gz", compresslevel=_LEVEL)  # noqa: SIM115 - closed in finish

    def keys(self, kvs: list[KeyValue]) -> None:
        """The next keys."""
        self.summary.add(kvs)
        self._add(f"{_STORE}{self._parts:06}", _encode(kvs))
        self._parts += 1

    def copy(self, path: Path, name: str) -> None:
        """A file of the data directory, which may be large."""
        info = self._tar.gettarinfo(str(path), _FILES + name)
        with path.open("rb") as source:
            reader = _Hashing(source)
            self._tar.addfile(info, reader)
        self._members[_FILES + name] = reader.digest.hexdigest()

    def _add(self, name: str, data: bytes) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(data), 0o600
        self._tar.addfile(info, io.BytesIO(data))
        self._members[name] = hashlib.sha256(data).hexdigest()

    def finish(self, manifest: Manifest) -> None:
        """Write the manifest, whose keys, checksum and members are filled in here, and close the archive."""
        manifest.keys, manifest.checksum = self.summary.count, self.summary.checksum
        manifest.members = self._members
        data = msgspec.json.encode(manifest)
        info = tarfile.TarInfo(MANIFEST)
        info.size, info.mode = len(data), 0o600
        self._tar.addfile(info, io.BytesIO(data))
        self._tar.close()


class _Hashing:
    """A file that remembers the checksum of what was read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.digest.update(data)
        return data


def check(path: Path) -> Manifest:
    """Read the whole file and compare every checksum. Raises ArchiveError, OSError."""
    try:
        return _check(path)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise ArchiveError(
            f"{path} is no whole backup of kumo's: it is cut off, damaged or foreign ({error})"
        ) from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise ArchiveError(f"{path} is no whole backup of kumo's: {error}") from error


def _check(path: Path) -> Manifest:
    found: dict[str, str] = {}
    manifest: Manifest | None = None
    summary = Summary()
    for info, data in _members(path):
        if manifest is not None:
            raise ArchiveError(f"{path} has more after its manifest: it is not a backup of kumo's")
        if info.name == MANIFEST:
            manifest = _manifest(path, data.read(_LARGEST_MANIFEST))
            continue
        if (
            info.name in found
            or not info.name.startswith((_STORE, _FILES))
            or {"", ".", ".."} & set(info.name.split("/"))
        ):
            raise ArchiveError(f"{path} has a member {info.name!r}, which no backup of kumo's has")
        found[info.name] = _sum(info, data, summary, path)
    if manifest is None:
        raise ArchiveError(f"{path} is cut off: its end is missing. Take another backup")
    if found != manifest.members or (summary.count, summary.checksum) != (manifest.keys, manifest.checksum):
        raise ArchiveError(f"{path} is damaged: its content is not what its manifest says. Take another backup")
    return manifest


def _sum(info: tarfile.TarInfo, data: IO[bytes], summary: Summary, path: Path) -> str:
    reader = _Hashing(data)
    if info.name.startswith(_STORE):
        if info.size > _LARGEST_PART:
            raise ArchiveError(f"{path} is damaged: {info.name} is too large")
        try:
            summary.add(_decode(reader.read()))
        except (msgspec.MsgspecError, UnicodeEncodeError) as error:
            raise ArchiveError(f"{path} is damaged: {info.name} can't be understood") from error
    else:
        while reader.read(1 << 20):
            pass
    return reader.digest.hexdigest()


def _manifest(path: Path, data: bytes) -> Manifest:
    try:
        found = msgspec.json.decode(data, type=Manifest)
    except msgspec.MsgspecError as error:
        raise ArchiveError(f"{path} is not a backup of kumo's: its manifest can't be understood ({error})") from error
    if found.format > FORMAT:
        raise ArchiveError(f"{path} was made by a newer version of kumo ({found.version}): restore it with that one")
    return found


def _members(path: Path) -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
    """The regular files of the archive in their order. Raises ArchiveError."""
    with tarfile.open(path, "r:gz") as tar:
        for info in tar:
            data = tar.extractfile(info) if info.isreg() else None
            if data is None:
                raise ArchiveError(f"{path} has a member {info.name!r}, which no backup of kumo's has")
            yield info, data


def keys(path: Path) -> Iterator[list[KeyValue]]:
    """The keys of a file that `check` has found whole."""
    for info, data in _members(path):
        if info.name.startswith(_STORE):
            yield _decode(data.read())


def extract(path: Path, target: Path) -> None:
    """Write the files of a backup that `check` has found whole below `target`, for their owner only."""
    for info, data in _members(path):
        if not info.name.startswith(_FILES):
            continue
        place = target / info.name.removeprefix(_FILES)
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, info.mode & 0o755)
        with open(descriptor, "wb") as file:
            while block := data.read(1 << 20):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
