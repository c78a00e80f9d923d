"""Back-off per key: the wait doubles with each failure, and is forgotten after a long quiet time."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass


@dataclass(slots=True)
class _Entry:
    delay: float
    updated: float


class Backoff:
    """Delays from `base` to `ceiling` seconds. An entry is forgotten twice the ceiling after its last failure."""

    def __init__(self, base: float, ceiling: float, clock: Callable[[], float]) -> None:
        self._base = base
        self._ceiling = ceiling
        self._clock = clock
        self._entries: dict[Hashable, _Entry] = {}

    def remaining(self, key: Hashable, since: float) -> float:
        """Seconds to wait still, when the last failure was at `since`; 0 if it may be tried now."""
        entry = self._entries.get(key)
        if entry is None or self._forgotten(entry, since):
            return 0.0
        return max(0.0, since + entry.delay - self._clock())

    def delay(self, key: Hashable) -> float:
        """The present wait in seconds, 0 if there is none."""
        entry = self._entries.get(key)
        return entry.delay if entry is not None else 0.0

    def next(self, key: Hashable, since: float) -> None:
        """It is being tried again after the failure at `since`: the next wait is twice as long."""
        entry = self._entries.get(key)
        if entry is None or self._forgotten(entry, since):
            self._entries[key] = _Entry(self._base, self._clock())
        else:
            entry.delay = min(entry.delay * 2, self._ceiling)
            entry.updated = self._clock()

    def forget(self, key: Hashable) -> None:
        """Start over for that key."""
        self._entries.pop(key, None)

    def forget_pod(self, uid: str) -> None:
        """Start over for all keys that are tuples beginning with `uid`."""
        for key in [k for k in self._entries if isinstance(k, tuple) and k[0] == uid]:
            del self._entries[key]

    def _forgotten(self, entry: _Entry, since: float) -> bool:
        return since - entry.updated > 2 * self._ceiling
