"""The objects of one namespace in order of their names, cut into chunks whose joined and compressed bytes are kept.

A list of thousands of objects is then a few dozen byte strings put one after the other; a change throws away the
bytes of one chunk only.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from isal import isal_zlib

from kumo.kubernetes.apiserver.entry import Entry

CHUNK = 64
"""A chunk is split in two when it has more than twice this many objects."""
_LEVEL = 1
_GZIP = 31


class Chunk:
    """Up to 2 x CHUNK entries in order of their names."""

    __slots__ = ("_joined", "_used", "_zipped", "_zipped_comma", "entries", "names")

    def __init__(self, names: list[str], entries: list[Entry]) -> None:
        self.names = names
        self.entries = entries
        self._used = False
        self.changed()

    def changed(self) -> None:
        """Forget the bytes."""
        self._joined: bytes | None = None
        self._zipped: bytes | None = None
        self._zipped_comma: bytes | None = None

    def forget_unused(self) -> None:
        """Forget the bytes unless they were asked for since the last call."""
        if not self._used:
            self.changed()
        self._used = False

    def joined(self) -> bytes:
        """The objects' JSON, commas between."""
        self._used = True
        if self._joined is None:
            self._joined = b",".join([entry.raw for entry in self.entries])
        return self._joined

    def zipped(self, comma: bool) -> bytes:
        """The same as one gzip member (RFC 1952 lets members follow each other), with a comma at the end if asked."""
        self._used = True
        if comma:
            if self._zipped_comma is None:
                self._zipped_comma = gzip(self.joined() + b",")
            return self._zipped_comma
        if self._zipped is None:
            self._zipped = gzip(self.joined())
        return self._zipped


def gzip(data: bytes) -> bytes:
    """One gzip member at the quickest level."""
    found: bytes = isal_zlib.compress(data, _LEVEL, _GZIP)
    return found


class SortedChunks:
    """The entries of one namespace (or of a cluster-scoped resource)."""

    __slots__ = ("_firsts", "_size", "chunks")

    def __init__(self) -> None:
        self.chunks: list[Chunk] = []
        self._firsts: list[str] = []
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Entry]:
        for chunk in self.chunks:
            yield from chunk.entries

    def after(self, name: str) -> Iterator[Entry]:
        """The entries whose names come after `name`."""
        start = max(0, bisect_right(self._firsts, name) - 1)
        for chunk in self.chunks[start:]:
            if chunk.names[-1] <= name:
                continue
            first = bisect_right(chunk.names, name)
            yield from chunk.entries[first:] if first else chunk.entries

    def put(self, entry: Entry) -> None:
        """Add the entry, or replace the one of its name."""
        name = entry.name
        if not self.chunks:
            self._insert_chunk(0, Chunk([name], [entry]))
            self._size = 1
            return
        at = max(0, bisect_right(self._firsts, name) - 1)
        chunk = self.chunks[at]
        place = bisect_left(chunk.names, name)
        if place < len(chunk.names) and chunk.names[place] == name:
            chunk.entries[place] = entry
        else:
            chunk.names.insert(place, name)
            chunk.entries.insert(place, entry)
            self._firsts[at] = chunk.names[0]
            self._size += 1
            if len(chunk.names) > 2 * CHUNK:
                self._insert_chunk(at + 1, Chunk(chunk.names[CHUNK:], chunk.entries[CHUNK:]))
                del chunk.names[CHUNK:], chunk.entries[CHUNK:]
        chunk.changed()

    def remove(self, name: str) -> None:
        """Take out the entry of that name, which must be there."""
        at = bisect_right(self._firsts, name) - 1
        chunk = self.chunks[at]
        place = bisect_left(chunk.names, name)
        del chunk.names[place], chunk.entries[place]
        chunk.changed()
        self._size -= 1
        if chunk.names:
            self._firsts[at] = chunk.names[0]
        else:
            del self.chunks[at], self._firsts[at]

    def _insert_chunk(self, at: int, chunk: Chunk) -> None:
        self.chunks.insert(at, chunk)
        self._firsts.insert(at, chunk.names[0])
