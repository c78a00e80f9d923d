"""What a policy or binding is about: `MatchResources` of `admissionregistration.k8s.io/v1`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from kumo.kubernetes.apiserver.admission.equivalents import Equivalents
from kumo.kubernetes.apiserver.admission.matching import Asked, Rule, Target, asked, find_target, parse_rules
from kumo.kubernetes.apiserver.admission.selection import LabelSelector, compact, namespace_matches, object_matches
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes, Reader


@dataclass(frozen=True, slots=True)
class Constraints:
    """Rules, rules of exclusion, and selectors."""

    rules: tuple[Rule, ...]
    excluded: tuple[Rule, ...]
    exact: bool
    namespaces: LabelSelector | None
    objects: LabelSelector | None

    def may_match(self, question: Asked, equivalents: Equivalents) -> bool:
        """Whether the rules could be about such requests, whatever the object's name."""
        nameless = [replace(rule, names=frozenset()) for rule in self.rules]
        return not self.rules or find_target(nameless, question, self._others(equivalents)) is not None

    def match(self, attrs: AdmissionAttributes, equivalents: Equivalents, reader: Reader) -> Target | None:
        """How the request is seen, or None when it is not meant. Raises 404 for a missing namespace."""
        if not object_matches(self.objects, attrs):
            return None
        question, others = asked(attrs), self._others(equivalents)
        if self.excluded and find_target(self.excluded, question, others, attrs.name) is not None:
            return None
        found: Target | None = Target(attrs.gvr, attrs.gvk)
        if self.rules:
            found = find_target(self.rules, question, others, attrs.name)
        if found is None or not namespace_matches(self.namespaces, attrs, reader):
            return None
        return found

    def _others(self, equivalents: Equivalents) -> Equivalents | None:
        return None if self.exact else equivalents


def parse_constraints(resources: Mapping[str, Any] | None) -> Constraints:
    """The constraints of an object that was validated."""
    found = resources or {}
    return Constraints(
        parse_rules(found.get("resourceRules")),
        parse_rules(found.get("excludeResourceRules")),
        found.get("matchPolicy") == "Exact",
        compact(found.get("namespaceSelector")),
        compact(found.get("objectSelector")),
    )
