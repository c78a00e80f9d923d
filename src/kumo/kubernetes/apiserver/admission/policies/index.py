"""Which policies a request may concern: looked up by what it asks, worked out anew only when policies change."""

from __future__ import annotations

from typing import TypeVar

import structlog

from kumo.api.objects import Object, name_of
from kumo.api.resources import GVR
from kumo.kubernetes.apiserver.admission.equivalents import Equivalents
from kumo.kubernetes.apiserver.admission.matching import Asked
from kumo.kubernetes.apiserver.admission.policies.definition import Binding, Hook, Policy
from kumo.kubernetes.apiserver.attributes import Reader

_log = structlog.get_logger("kumo.admission")
_REMEMBERED = 4096
_T = TypeVar("_T", Policy, Binding)


class PolicyIndex:
    """The policies of one kind that have bindings, by name."""

    def __init__(self, policies: GVR, bindings: GVR, reader: Reader, equivalents: Equivalents) -> None:
        self._policies, self._bindings = policies, bindings
        self._reader = reader
        self._equivalents = equivalents
        self._known: dict[tuple[str, str], tuple[str, Policy | Binding]] = {}
        self._hooks: tuple[Hook, ...] = ()
        self._generation = -1
        self._found: dict[Asked, tuple[Hook, ...]] = {}
        self.stale = True
        """Set when a policy or binding has changed."""

    def __bool__(self) -> bool:
        """Whether any policy is in force."""
        if self.stale:
            self._refresh()
        return bool(self._hooks)

    def candidates(self, question: Asked) -> tuple[Hook, ...]:
        """The policies whose rules may be about such a request."""
        if self.stale:
            self._refresh()
        if self._generation != self._equivalents.generation or len(self._found) > _REMEMBERED:
            self._generation, self._found = self._equivalents.generation, {}
        found = self._found.get(question)
        if found is None:
            found = tuple(h for h in self._hooks if h.policy.constraints.may_match(question, self._equivalents))
            self._found[question] = found
        return found

    def _refresh(self) -> None:
        self.stale = False
        known: dict[tuple[str, str], tuple[str, Policy | Binding]] = {}
        policies = self._read(self._policies, Policy, known)
        bindings = self._read(self._bindings, Binding, known)
        self._known, self._found = known, {}
        hooks = []
        for name, policy in sorted(policies.items()):
            own = tuple(b for _, b in sorted(bindings.items()) if b.policy == name)
            if own:
                hooks.append(Hook(policy, own))
        self._hooks = tuple(hooks)

    def _read(
        self, gvr: GVR, make: type[_T], known: dict[tuple[str, str], tuple[str, Policy | Binding]]
    ) -> dict[str, _T]:
        """The objects of the resource, by name; one whose spec has not changed is kept with what it has compiled."""
        found: dict[str, _T] = {}
        for obj in self._reader.objects(gvr):
            name, version = name_of(obj), _version(obj)
            old = self._known.get((gvr.resource, name))
            if old is not None and old[0] == version and isinstance(old[1], make):
                found[name] = old[1]
            else:
                try:
                    found[name] = make(obj)
                except Exception:
                    _log.exception("an admission policy can't be read", resource=gvr.resource, name=name)
                    continue
            known[(gvr.resource, name)] = (version, found[name])
        return found


def _version(obj: Object) -> str:
    """What changes with the object's spec, but not with its status."""
    meta = obj["metadata"]
    return f"{meta.get('uid')}/{meta.get('generation') or meta.get('resourceVersion')}"
