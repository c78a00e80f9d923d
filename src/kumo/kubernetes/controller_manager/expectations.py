"""What a controller has done that its informers do not show yet, so that it does not do it twice.

As client-go's UIDTrackingControllerExpectations: creations are counted, deletions are known by uid; what is not seen
within five minutes is given up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from kumo.api.objects import Key, Object, controller_of, is_deleting, namespace_of, uid_of
from kumo.machinery.informer import Informer

_TIMEOUT = 300.0


@dataclass(slots=True)
class _Open:
    creations: int = 0
    deletions: set[str] = field(default_factory=set)
    since: float = 0.0


class Expectations:
    """Open creations and deletions for each key of a controller."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._open: dict[Key, _Open] = {}

    def met(self, key: Key) -> bool:
        """Whether the informers have caught up with what was done for the key."""
        found = self._open.get(key)
        if found is None:
            return True
        if (found.creations > 0 or found.deletions) and self._clock() - found.since < _TIMEOUT:
            return False
        del self._open[key]
        return True

    def expect_creations(self, key: Key, count: int) -> None:
        """`count` objects are about to be created."""
        self._entry(key).creations += count

    def expect_deletions(self, key: Key, uids: Iterable[str]) -> None:
        """The objects with those uids are about to be deleted."""
        self._entry(key).deletions.update(uids)

    def created(self, key: Key, count: int = 1) -> None:
        """A creation was seen, or will never be."""
        found = self._open.get(key)
        if found is not None:
            found.creations -= count

    def deleted(self, key: Key, uid: str) -> None:
        """A deletion was seen, or will never be."""
        found = self._open.get(key)
        if found is not None:
            found.deletions.discard(uid)

    def forget(self, key: Key) -> None:
        """The owner is gone."""
        self._open.pop(key, None)

    def observe(self, informer: Informer, kind: str) -> None:
        """See creations and deletions of objects whose controlling owner is of that kind.

        To be called before the controller watches the informer: its handlers run in order.
        """

        def changed(old: Object | None, new: Object | None) -> None:
            obj = new if new is not None else old
            owner = controller_of(obj) if obj is not None else None
            if obj is None or owner is None or owner.get("kind") != kind:
                return
            key = Key(namespace_of(obj), owner["name"])
            if old is None:
                self.created(key)
            if new is None or is_deleting(new):
                self.deleted(key, uid_of(obj))

        informer.on_change(changed)

    def _entry(self, key: Key) -> _Open:
        found = self._open.setdefault(key, _Open())
        found.since = self._clock()
        return found
