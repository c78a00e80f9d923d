"""How often a failed daemon pod is replaced on a node: after a second, then after twice as long each time."""

from __future__ import annotations

from dataclasses import dataclass

from kumo.api.objects import Key

_FIRST, _LONGEST = 1.0, 900.0


@dataclass(slots=True)
class _Entry:
    delay: float
    since: float


class FailureBackoff:
    """Delays per daemon set and node; times are seconds of one clock, which the caller reads."""

    def __init__(self) -> None:
        self._entries: dict[tuple[Key, str], _Entry] = {}

    def attempt(self, key: Key, node: str, now: float) -> float:
        """0 if the failed pod may be replaced now (which counts), else the seconds to wait."""
        found = self._entries.get((key, node))
        if found is not None and now - found.since < found.delay:
            return found.delay - (now - found.since)
        forgotten = found is None or now - found.since > 2 * _LONGEST
        delay = _FIRST if found is None or forgotten else min(found.delay * 2, _LONGEST)
        self._entries[key, node] = _Entry(delay, now)
        return 0.0

    def forget(self, key: Key) -> None:
        """The daemon set is gone."""
        for entry in [e for e in self._entries if e[0] == key]:
            del self._entries[entry]
