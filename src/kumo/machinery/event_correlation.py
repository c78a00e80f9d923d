"""What becomes of an event before it is written: repeated ones are counted, similar ones combined, floods cut off.

As client-go's EventCorrelator: the tenth message within ten minutes about one object, for one reason, goes into a
common event; one source may tell 25 events of a type about an object, then one every five minutes. No I/O.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

V = TypeVar("V")

REMEMBERED = 4096
"""How many groups of events of each sort are remembered; the ones longest unused are forgotten."""
SIMILAR, SIMILAR_WINDOW = 10, 600.0
BURST, REFILL = 25, 1 / 300
_COMBINED = "(combined from similar events): "


class _Recent(Generic[V]):
    """The entries last used."""

    def __init__(self) -> None:
        self._entries: OrderedDict[tuple[str, ...], V] = OrderedDict()

    def get(self, key: tuple[str, ...]) -> V | None:
        found = self._entries.get(key)
        if found is not None:
            self._entries.move_to_end(key)
        return found

    def put(self, key: tuple[str, ...], value: V) -> None:
        self._entries[key] = value
        self._entries.move_to_end(key)
        while len(self._entries) > REMEMBERED:
            self._entries.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Correlated:
    """An event to write: as a new object while `count` is 1, else as a change of the object `name`.

    `first` is when the first of them happened (a `metav1.Time`).
    """

    name: str
    message: str
    count: int
    first: str


@dataclass(slots=True)
class _Group:
    messages: set[str] = field(default_factory=set)
    last: float = 0.0


class Correlator:
    """The memory of one recorder; `clock` gives seconds that only grow."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._groups: _Recent[_Group] = _Recent()
        self._written: _Recent[Correlated] = _Recent()
        self._tokens: _Recent[tuple[float, float]] = _Recent()

    def correlate(
        self, reference: dict[str, Any], kind: str, reason: str, message: str, *, name: str, now: str
    ) -> Correlated | None:
        """What to write of the event that `reason` happened to the object of `reference`; None to drop it.

        `name` is the name of a new event, `now` the time as a `metav1.Time`.
        """
        about = _about(reference, kind)
        key: tuple[str, ...] = (*about, str(reference.get("fieldPath") or ""), reason, message)
        if self._is_similar((*about, reason), message):
            key, message = (*about, reason), _COMBINED + message
        known = self._written.get(key)
        made = Correlated(name, message, 1, now)
        if known is not None:
            made = Correlated(known.name, message, known.count + 1, known.first)
        self._written.put(key, made)
        return made if self._may_tell(about) else None

    def _is_similar(self, group: tuple[str, ...], message: str) -> bool:
        """Whether so many different messages of the group have been seen that this one is combined with others."""
        now = self._clock()
        found = self._groups.get(group)
        if found is None or now - found.last > SIMILAR_WINDOW:
            found = _Group()
        found.messages.add(message)
        found.last = now
        self._groups.put(group, found)
        if len(found.messages) < SIMILAR:
            return False
        found.messages.pop()
        return True

    def _may_tell(self, about: tuple[str, ...]) -> bool:
        now = self._clock()
        tokens, since = self._tokens.get(about) or (float(BURST), now)
        tokens = min(tokens + (now - since) * REFILL, BURST)
        allowed = tokens >= 1
        self._tokens.put(about, (tokens - 1 if allowed else tokens, now))
        return allowed


def _about(reference: dict[str, Any], kind: str) -> tuple[str, ...]:
    return (*(str(reference.get(k) or "") for k in ("apiVersion", "kind", "namespace", "name", "uid")), kind)
