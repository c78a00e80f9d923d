"""Where our keys lie among etcd's, and what our revisions are in its own. No I/O.

A key `/registry/...` is `<prefix>/registry/...` in etcd. What the engine keeps for itself is at `<prefix>.store/...`,
which sorts before; one range takes in both, so that a watch over it hears of everything we write.

Revisions are etcd's plus an offset, which is chosen when objects are brought in from another store: so they go on
rising from what they were there.
"""

from __future__ import annotations

from typing import Any

from kumo.store.base import Event, KeyValue
from kumo.store.etcd.stubs import etcd_pb2 as pb


class Layout:
    """The layout below one prefix."""

    def __init__(self, prefix: str) -> None:
        self.offset = 0
        self._prefix = prefix
        self._cut = len(prefix)
        self._keys = f"{prefix}/".encode()
        self.meta = f"{prefix}.store/meta".encode()
        """What the data is: its format, the offset, whether it is whole."""
        self.marker = f"{prefix}.store/marker".encode()
        """Written so that watches hear of a revision that none of our writes made."""

    def key(self, key: str) -> bytes:
        """The key in etcd. Raises ValueError for what can't be a key."""
        if not key.startswith("/") or "\0" in key:
            raise ValueError(f"the key {key!r} can't be stored")
        return (self._prefix + key).encode()

    def range(self, prefix: str, start_after: str = "") -> tuple[bytes, bytes]:
        """The first key and the end (exclusive) of those that start with `prefix` and come after `start_after`."""
        low = self.key(prefix or "/")
        first = self.key(start_after) + b"\0" if start_after and start_after >= prefix else low
        return first, prefix_end(low)

    def everything(self) -> tuple[bytes, bytes]:
        """The range of all that is ours."""
        return f"{self._prefix}.".encode(), prefix_end(self._keys)

    def is_key(self, raw: bytes, prefix: bytes) -> bool:
        """Whether a key of etcd's is one of our keys, below `prefix`."""
        return raw.startswith(prefix) and raw.startswith(self._keys)

    def value(self, kv: Any) -> KeyValue:
        """A key's state in our terms."""
        created = kv.create_revision + self.offset if kv.create_revision else 0
        return KeyValue(kv.key.decode()[self._cut :], kv.value, created, kv.mod_revision + self.offset, kv.lease)

    def event(self, event: Any) -> Event:
        """A change in our terms."""
        previous = self.value(event.prev_kv) if event.HasField("prev_kv") else None
        return Event("delete" if event.type == pb.Event.DELETE else "put", self.value(event.kv), previous)


def prefix_end(prefix: bytes) -> bytes:
    """The first key after all those that start with `prefix`."""
    return prefix[:-1] + bytes((prefix[-1] + 1,))
