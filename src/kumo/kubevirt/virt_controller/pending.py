"""What has just been created or deleted and cannot be seen yet: the copies of informers lag behind one's own writes."""

from __future__ import annotations

import time
from collections.abc import Callable

from kumo.api.objects import Key

_PATIENCE = 30.0


class Pending:
    """Uids by key. An entry is forgotten once its change has been seen, or after 30 s."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._uids: dict[Key, tuple[str, float]] = {}

    def expect(self, key: Key, uid: str) -> None:
        """The object with this uid has been created (or deleted) below `key`."""
        self._uids[key] = (uid, self._clock())

    def uid(self, key: Key) -> str:
        """The uid that is expected to show (or to vanish), empty if nothing is."""
        uid, since = self._uids.get(key, ("", 0.0))
        if uid and self._clock() - since > _PATIENCE:
            self.seen(key)
            return ""
        return uid

    def seen(self, key: Key) -> None:
        """The change shows."""
        self._uids.pop(key, None)
