"""What a quota's namespace uses now: a running total that costs one subtraction and one addition a change. Pure."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from kumo.api.objects import Object, name_of
from kumo.api.quota.amounts import NOTHING, Amount, Amounts
from kumo.api.quota.scopes import in_scope, scope_terms
from kumo.api.quota.tracking import PODS, Resource, names_of, resources_of
from kumo.api.quota.usage import counted_until, usage

_Entry = tuple[Resource, str]
_STEP = 100


class Tally:
    """The usage of one quota, from its spec and the objects of its namespace."""

    def __init__(self, spec: Object) -> None:
        self.hard = tuple(spec.get("hard") or ())
        self.terms = scope_terms(spec)
        self.resources = resources_of(self.hard)
        self._names = {resource: names_of(resource, self.hard) for resource in self.resources}
        self._total: dict[str, Amount] = {}
        self._entries: dict[_Entry, Amounts] = {}
        self._ends: dict[_Entry, tuple[float, Object]] = {}
        self._touched: set[_Entry] | None = None

    def fill(self, resource: Resource, objects: Iterable[Object]) -> Iterator[None]:
        """Count the objects that are there already, a hundred a step, so that the caller may let others work between.

        Changes told of meanwhile by `put` and `drop` win over `objects`, which may be older.
        """
        touched: set[_Entry] = set()
        self._touched = touched
        try:
            for number, obj in enumerate(objects, start=1):
                if (resource, name_of(obj)) not in touched:
                    self.put(resource, obj)
                if number % _STEP == 0:
                    yield
        finally:
            self._touched = None

    def put(self, resource: Resource, obj: Object, now: float | None = None) -> bool:
        """Count the object's new state; whether the total has changed."""
        names = self._names.get(resource)
        if not names:
            return False
        now = time.time() if now is None else now
        key = (resource, name_of(obj))
        if self._touched is not None:
            self._touched.add(key)
        counted: Amounts = {}
        if in_scope(resource, obj, self.terms):
            found = usage(resource, obj, now)
            counted = {name: found[name] for name in names if name in found and found[name].value}
        until = counted_until(obj) if resource == PODS and counted else None
        if until is not None and now <= until:
            self._ends[key] = (until, obj)
        else:
            self._ends.pop(key, None)
        return self._replace(key, counted)

    def drop(self, resource: Resource, name: str) -> bool:
        """The object is gone; whether the total has changed."""
        if self._touched is not None:
            self._touched.add((resource, name))
        self._ends.pop((resource, name), None)
        return self._replace((resource, name), {})

    def _replace(self, key: _Entry, new: Amounts) -> bool:
        old = self._entries.get(key, {})
        if new == old:
            return False
        for name, amount in old.items():
            self._total[name] = self._total[name].minus(amount)
        for name, amount in new.items():
            self._total[name] = self._total[name].plus(amount) if name in self._total else amount
        if new:
            self._entries[key] = new
        else:
            del self._entries[key]
        return True

    def expire(self, now: float) -> float | None:
        """Let go of pods whose time has run out; when the next one's does, or None."""
        for key, (until, obj) in list(self._ends.items()):
            if now > until:
                self.put(key[0], obj, now)
        return min((until for until, _ in self._ends.values()), default=None)

    def of(self, name: str) -> Amount:
        """How much of `name` is used."""
        return self._total.get(name, NOTHING)

    def used(self, resources: Iterable[Resource] | None = None) -> Amounts:
        """What is used, of every name that the given resources (by default all) are counted for; zero included."""
        kinds = self.resources if resources is None else self.resources.intersection(resources)
        return {name: self.of(name) for kind in kinds for name in self._names[kind]}
