"""Selectors made ready to be asked thousands of times: closures over labels, with a text that identifies them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from kumo.api import selectors

Labels = Mapping[str, str]
Matches = Callable[[Labels], bool]

_encode = msgspec.json.Encoder(order="deterministic").encode


def identity(value: Any) -> str:
    """A text that is equal for equal JSON values."""
    return _encode(value).decode()


def matcher(selector: Mapping[str, Any] | None) -> Matches:
    """A `metav1.LabelSelector` as a function of labels; none matches nothing, an empty one everything."""
    if selector is None:
        return _nothing
    pairs = tuple((selector.get("matchLabels") or {}).items())
    if selector.get("matchExpressions"):
        return lambda labels: selectors.matches(selector, labels)
    if len(pairs) == 1:
        key, value = pairs[0]
        return lambda labels: labels.get(key) == value
    return lambda labels: all(labels.get(k) == v for k, v in pairs)


def _nothing(_: Labels) -> bool:
    return False


def is_empty(selector: Mapping[str, Any] | None) -> bool:
    """Whether a selector says nothing, and so matches everything."""
    return selector is not None and not selector.get("matchLabels") and not selector.get("matchExpressions")


@dataclass(frozen=True, slots=True)
class Term:
    """A `PodAffinityTerm` of a pod, ready to be asked of other pods; `weight` is 0 for a required one.

    Without `namespaces` and `namespaceSelector` a term speaks of its pod's own namespace.
    """

    key: str
    selector: Matches
    namespaces: frozenset[str]
    namespace_selector: Matches | None
    weight: int
    text: str

    @classmethod
    def of(cls, term: Mapping[str, Any], namespace: str, weight: int = 0) -> Term:
        """The term of a pod in that namespace."""
        named, spaces = term.get("namespaces") or (), term.get("namespaceSelector")
        if not named and spaces is None:
            named = (namespace,)
        return cls(
            term.get("topologyKey") or "",
            matcher(term.get("labelSelector")),
            frozenset(named),
            None if spaces is None else matcher(spaces),
            weight,
            identity([term, sorted(named)]),
        )

    def matches(self, namespace: str, labels: Labels, labels_of: Callable[[str], Labels]) -> bool:
        """Whether it speaks of a pod with these labels in that namespace; `labels_of` gives a namespace's labels."""
        if namespace not in self.namespaces and (
            self.namespace_selector is None or not self.namespace_selector(labels_of(namespace))
        ):
            return False
        return self.selector(labels)
