"""What the quotas of a namespace say, what its objects use, and what was promised to writes on their way."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from kumo.api.objects import Object, name_of
from kumo.api.quota import Amount, Amounts, Resource, Tally, names_of, parse_amounts, scope_terms
from kumo.api.resources import core
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes

QUOTAS = core("resourcequotas")
_PROMISE = 60.0
"""Seconds after which a promise is forgotten whose write neither came nor was abandoned."""


class QuotaView:
    """One quota as it stands: its status counts, and the scopes of its spec."""

    def __init__(self, quota: Object) -> None:
        status = quota.get("status") or {}
        self.name = name_of(quota)
        self.spec: Object = quota.get("spec") or {}
        self.revision = str(quota["metadata"].get("resourceVersion") or "")
        self.hard: Amounts = parse_amounts(status.get("hard"))
        self.used: Amounts = parse_amounts(status.get("used"))
        self.terms = scope_terms(self.spec)
        self._names: dict[Resource, tuple[str, ...]] = {}

    def names(self, resource: Resource) -> tuple[str, ...]:
        """Those of its names that the resource's objects count for."""
        found = self._names.get(resource)
        if found is None:
            found = self._names[resource] = names_of(resource, self.hard)
        return found


@dataclass(slots=True)
class Promise:
    """What a write was charged, by quota, until its object shows."""

    attrs: AdmissionAttributes
    charges: dict[str, Amounts]
    until: float


@dataclass(slots=True)
class Ledger:
    """The quotas of one namespace; a tally for each that a write has met."""

    views: dict[str, QuotaView] = field(default_factory=dict)
    tallies: dict[str, Tally] = field(default_factory=dict)
    promises: dict[tuple[Resource, str], Promise] = field(default_factory=dict)

    def promise(self, resource: Resource, attrs: AdmissionAttributes, charges: dict[str, Amounts]) -> None:
        """Remember what the write was charged."""
        key = (resource, name_of(attrs.object or {}))
        self.promises[key] = Promise(attrs, charges, time.monotonic() + _PROMISE)

    def shown(self, resource: Resource, name: str, obj: Object | None) -> None:
        """The object is there in a new state, or gone."""
        self.promises.pop((resource, name), None)
        for tally in self.tallies.values():
            if obj is None:
                tally.drop(resource, name)
            else:
                tally.put(resource, obj)

    def used(self, view: QuotaView, name: str) -> Amount:
        """What is used of `name`: what the status says, or what is there and promised if that is more."""
        stated = view.used[name]
        tally = self.tallies.get(view.name)
        if tally is None:
            return stated
        there = tally.of(name)
        for promise in self.promises.values():
            charged = promise.charges.get(view.name, {}).get(name)
            if charged is not None:
                there = there.plus(charged)
        return there if there.value > stated.value else stated

    def tidy(self) -> None:
        """Forget what was promised too long ago, and pods whose time has run out."""
        now = time.monotonic()
        for key in [key for key, promise in self.promises.items() if promise.until < now]:
            del self.promises[key]
        for tally in self.tallies.values():
            tally.expire(time.time())
