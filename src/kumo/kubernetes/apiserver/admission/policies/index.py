"""Which policies a request may concern; see `rule_index`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import structlog

from kumo.api.objects import Object, name_of
from kumo.api.resources import GVR
from kumo.kubernetes.apiserver.admission.equivalents import Equivalents
from kumo.kubernetes.apiserver.admission.matching import Asked
from kumo.kubernetes.apiserver.admission.policies.definition import Binding, Hook, Policy
from kumo.kubernetes.apiserver.admission.rule_index import RuleIndex
from kumo.kubernetes.apiserver.attributes import Reader

_log = structlog.get_logger("kumo.admission")
_T = TypeVar("_T", Policy, Binding)


class PolicyIndex(RuleIndex[Hook, Hook]):
    """The policies of one kind that have bindings, by name."""

    def __init__(self, policies: GVR, bindings: GVR, reader: Reader, equivalents: Equivalents) -> None:
        super().__init__(equivalents)
        self._policies, self._bindings = policies, bindings
        self._reader = reader
        self._known: dict[tuple[str, str], tuple[str, Policy | Binding]] = {}

    def _find(self, known: Sequence[Hook], question: Asked) -> list[Hook]:
        return [hook for hook in known if hook.policy.constraints.may_match(question, self._equivalents)]

    def _read(self) -> list[Hook]:
        known: dict[tuple[str, str], tuple[str, Policy | Binding]] = {}
        policies = self._objects(self._policies, Policy, known)
        bindings = self._objects(self._bindings, Binding, known)
        self._known = known
        hooks = []
        for name, policy in sorted(policies.items()):
            own = tuple(b for _, b in sorted(bindings.items()) if b.policy == name)
            if own:
                hooks.append(Hook(policy, own))
        return hooks

    def _objects(
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
