"""Which rules a request may concern: looked up by what it asks, worked out anew when they or what is served change.

The base of the indexes of webhooks and of policies.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

from kumo.kubernetes.apiserver.admission.equivalents import Equivalents
from kumo.kubernetes.apiserver.admission.matching import Asked

_REMEMBERED = 4096
R = TypeVar("R")
C = TypeVar("C")


class RuleIndex(ABC, Generic[R, C]):
    """What has rules (`R`), in order, and what of it a request concerns (`C`). `stale`: set when an object changes."""

    def __init__(self, equivalents: Equivalents) -> None:
        self._equivalents = equivalents
        self._all: Sequence[R] = ()
        self._generation = -1
        self._found: dict[Asked, tuple[C, ...]] = {}
        self.stale = True

    def __bool__(self) -> bool:
        """Whether there is anything."""
        if self.stale:
            self._refresh()
        return bool(self._all)

    def candidates(self, question: Asked) -> tuple[C, ...]:
        """What may concern such a request, in order."""
        if self.stale:
            self._refresh()
        if self._generation != self._equivalents.generation or len(self._found) > _REMEMBERED:
            self._generation, self._found = self._equivalents.generation, {}
        found = self._found.get(question)
        if found is None:
            found = self._found[question] = tuple(self._find(self._all, question))
        return found

    def _refresh(self) -> None:
        self.stale = False
        self._all, self._found = self._read(), {}

    @abstractmethod
    def _read(self) -> Sequence[R]:
        """Everything that there is now, in order; what has not changed is kept with what it has compiled."""

    @abstractmethod
    def _find(self, known: Sequence[R], question: Asked) -> Sequence[C]:
        """What of it may concern such a request."""
