"""Policy rules as values: what one allows, and whether a set of them covers another. Pure.

Semantics are those of `k8s.io/component-helpers/auth/rbac`: `*` stands for all, `*/sub` for a subresource of every
resource, a trailing `*` in a non-resource URL for any rest, and resource names limit a rule to those names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Rule:
    """One PolicyRule, everything in the order in which it was written."""

    verbs: tuple[str, ...]
    groups: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()

    def allows_verb(self, verb: str) -> bool:
        """Whether the verb is among the rule's."""
        return verb in self.verbs or "*" in self.verbs

    def allows_resource(self, group: str, resource: str, subresource: str = "") -> bool:
        """Whether the resource (or its subresource) is among the rule's, names aside."""
        if group not in self.groups and "*" not in self.groups:
            return False
        wanted = f"{resource}/{subresource}" if subresource else resource
        if wanted in self.resources or "*" in self.resources:
            return True
        return bool(subresource) and f"*/{subresource}" in self.resources

    def allows_url(self, path: str) -> bool:
        """Whether the non-resource path is among the rule's."""
        return any(url_matches(url, path) for url in self.urls)


def url_matches(url: str, path: str) -> bool:
    """Whether a rule's URL, which may be `*` or end in `*`, stands for the path."""
    if url in ("*", path):
        return True
    return url.endswith("*") and path.startswith(url.rstrip("*"))


def rule_of(data: dict[str, Any]) -> Rule:
    """The rule that a role's `rules` entry describes."""
    return Rule(
        verbs=tuple(data.get("verbs") or ()),
        groups=tuple(data.get("apiGroups") or ()),
        resources=tuple(data.get("resources") or ()),
        names=tuple(data.get("resourceNames") or ()),
        urls=tuple(data.get("nonResourceURLs") or ()),
    )


def rules_of(data: Iterable[dict[str, Any]] | None) -> tuple[Rule, ...]:
    """The rules that a role's `rules` describe."""
    return tuple(rule_of(d) for d in data or ())


def atoms(rule: Rule) -> Iterator[Rule]:
    """The rule as rules of one verb, one group, one resource, one name (or one URL) each."""
    for verb in rule.verbs:
        for url in rule.urls:
            yield Rule((verb,), urls=(url,))
        for group in rule.groups:
            for resource in rule.resources:
                one = ((verb,), (group,), (resource,))
                if not rule.names:
                    yield Rule(*one)
                for name in rule.names:
                    yield Rule(*one, (name,))


def _atom_covered(owned: Rule, atom: Rule) -> bool:
    (verb,) = atom.verbs
    if not owned.allows_verb(verb):
        return False
    if atom.urls:
        return any(url_matches(url, atom.urls[0]) for url in owned.urls)
    (group,), (resource,) = atom.groups, atom.resources
    if group not in owned.groups and "*" not in owned.groups:
        return False
    main, _, sub = resource.partition("/")
    if main == "*" and sub:
        fits = "*" in owned.resources or resource in owned.resources
    else:
        fits = owned.allows_resource(group, main, sub)
    return fits and (not owned.names or (bool(atom.names) and set(atom.names) <= set(owned.names)))


def uncovered(owned: Iterable[Rule], wanted: Iterable[Rule]) -> list[Rule]:
    """The parts of `wanted` (one verb, group and resource each) that `owned` does not allow."""
    held = list(owned)
    return [atom for rule in wanted for atom in atoms(rule) if not any(_atom_covered(h, atom) for h in held)]


def describe(missing: Iterable[Rule]) -> list[str]:
    """The rules in upstream's compact notation, verbs of equal rules joined, sorted."""
    merged: dict[tuple[Any, ...], dict[str, None]] = {}
    for rule in missing:
        key = (rule.groups, rule.resources, rule.names, rule.urls)
        merged.setdefault(key, {}).update(dict.fromkeys(rule.verbs))

    def listed(name: str, values: Iterable[str]) -> str:
        return f"{name}:[" + " ".join(f'"{v}"' for v in values) + "]"

    lines = []
    for (groups, resources, names, urls), verbs in merged.items():
        parts = [listed("APIGroups", groups)] if groups else []
        if resources:
            parts.append(listed("Resources", resources))
        if urls:
            parts.append(listed("NonResourceURLs", urls))
        if names:
            parts.append(listed("ResourceNames", names))
        parts.append(listed("Verbs", verbs))
        lines.append("{" + ", ".join(parts) + "}")
    return sorted(lines)
