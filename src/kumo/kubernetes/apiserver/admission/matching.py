"""Which requests a rule of a webhook or an admission policy is about: operations, groups, versions, resources, scope.

The rules of `admissionregistration.k8s.io/v1` (RuleWithOperations, NamedRuleWithOperations, matchPolicy Equivalent).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from kumo.api.resources import GVK, GVR
from kumo.kubernetes.apiserver.admission.equivalents import Equivalents
from kumo.kubernetes.apiserver.attributes import AdmissionAttributes

EXEMPT_GROUP = "admissionregistration.k8s.io"
_EXEMPT_KINDS = frozenset(
    (
        "ValidatingWebhookConfiguration",
        "MutatingWebhookConfiguration",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "MutatingAdmissionPolicy",
        "MutatingAdmissionPolicyBinding",
    )
)


class Asked(NamedTuple):
    """What a request is to rules; the key by which their answers are remembered."""

    gvr: GVR
    gvk: GVK
    subresource: str
    operation: str
    cluster_scoped: bool
    """Whether it has no namespace, or is about a namespace itself."""


class Target(NamedTuple):
    """The resource and kind by which a rule wants to see the request: the request's own, or an equivalent."""

    gvr: GVR
    gvk: GVK


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule; `*` stands for everything. `names`: only objects of these names (policies)."""

    groups: frozenset[str]
    versions: frozenset[str]
    resources: tuple[tuple[str, str], ...]
    """Resource and subresource of each entry."""
    operations: frozenset[str]
    scope: str
    names: frozenset[str] = frozenset()

    def matches(self, gvr: GVR, asked: Asked) -> bool:
        """Whether the request is meant, seen as one of `gvr`."""
        if self.scope == "Namespaced" and asked.cluster_scoped:
            return False
        if self.scope == "Cluster" and not asked.cluster_scoped:
            return False
        return (
            ("*" in self.operations or asked.operation in self.operations)
            and ("*" in self.groups or gvr.group in self.groups)
            and ("*" in self.versions or gvr.version in self.versions)
            and any(
                resource in ("*", gvr.resource) and below in ("*", asked.subresource)
                for resource, below in self.resources
            )
        )


def parse_rules(rules: Iterable[Mapping[str, Any]] | None) -> tuple[Rule, ...]:
    """The rules of an object that was validated."""
    return tuple(
        Rule(
            frozenset(rule.get("apiGroups") or ()),
            frozenset(rule.get("apiVersions") or ()),
            tuple(_split(text) for text in rule.get("resources") or ()),
            frozenset(rule.get("operations") or ()),
            rule.get("scope") or "*",
            frozenset(rule.get("resourceNames") or ()),
        )
        for rule in rules or ()
    )


def _split(text: str) -> tuple[str, str]:
    resource, _, below = text.partition("/")
    return resource, below


def is_exempt(attrs: AdmissionAttributes) -> bool:
    """Whether the write is one of a webhook configuration or policy, which neither may hinder."""
    return attrs.gvk.group == EXEMPT_GROUP and attrs.gvk.kind in _EXEMPT_KINDS


def namespace_of(attrs: AdmissionAttributes) -> str:
    """The request's namespace; that of a namespace is its own name."""
    if not attrs.namespace and attrs.gvr.resource == "namespaces" and not attrs.gvr.group:
        return attrs.name
    return attrs.namespace


def asked(attrs: AdmissionAttributes) -> Asked:
    """What the request is to rules."""
    about_namespace = attrs.gvr.resource == "namespaces" and not attrs.gvr.group
    return Asked(attrs.gvr, attrs.gvk, attrs.subresource, attrs.operation, about_namespace or not attrs.namespace)


def find_target(
    rules: Sequence[Rule], question: Asked, equivalents: Equivalents | None, name: str = ""
) -> Target | None:
    """How the first matching rule wants to see the request; None when no rule is about it.

    `equivalents` None: matchPolicy Exact. `name` is the object's, for rules with names.
    """
    for rule in rules:
        if (not rule.names or name in rule.names) and rule.matches(question.gvr, question):
            return Target(question.gvr, question.gvk)
    if equivalents is None:
        return None
    others = equivalents.of(question.gvr, question.subresource, question.gvk)
    for rule in rules:
        if rule.names and name not in rule.names:
            continue
        for other in others:
            if rule.matches(other[0], question):
                return Target(*other)
    return None
