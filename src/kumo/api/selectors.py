"""Selectors: which labels and fields an object must have to be meant.

`matches` takes a `metav1.LabelSelector`, `matches_node_term` a term of `v1.NodeSelector`; a missing selector matches
nothing, an empty one everything, as upstream.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Labels = Mapping[str, str]


def matches(selector: Mapping[str, Any] | None, labels: Labels) -> bool:
    """Whether the labels satisfy a `metav1.LabelSelector` (`matchLabels` and `matchExpressions`)."""
    if selector is None:
        return False
    wanted = selector.get("matchLabels") or {}
    if any(labels.get(k) != v for k, v in wanted.items()):
        return False
    return all(_holds(e, labels) for e in selector.get("matchExpressions") or ())


def matches_map(selector: Labels | None, labels: Labels) -> bool:
    """Whether the labels hold every pair of an old-style selector (`Service.spec.selector`)."""
    return bool(selector) and all(labels.get(k) == v for k, v in (selector or {}).items())


def matches_node_term(term: Mapping[str, Any], labels: Labels, fields: Labels) -> bool:
    """Whether a node satisfies one `NodeSelectorTerm`; a term without any requirement matches no node."""
    expressions = term.get("matchExpressions") or ()
    field_expressions = term.get("matchFields") or ()
    if not expressions and not field_expressions:
        return False
    return all(_holds(e, labels) for e in expressions) and all(_holds(e, fields) for e in field_expressions)


def to_text(selector: Mapping[str, Any] | None) -> str:
    """The selector in the form that a query's `labelSelector` takes."""
    if not selector:
        return ""
    parts = [f"{k}={v}" for k, v in sorted((selector.get("matchLabels") or {}).items())]
    for expression in selector.get("matchExpressions") or ():
        key, values = expression["key"], ",".join(sorted(expression.get("values") or ()))
        form = {
            "In": f"{key} in ({values})",
            "NotIn": f"{key} notin ({values})",
            "Exists": key,
            "DoesNotExist": f"!{key}",
        }
        parts.append(form[expression["operator"]])
    return ",".join(parts)


def _holds(expression: Mapping[str, Any], labels: Labels) -> bool:
    key, operator = expression.get("key", ""), expression.get("operator", "")
    values = expression.get("values") or ()
    found = labels.get(key)
    if operator == "In":
        return found is not None and found in values
    if operator == "NotIn":
        return found is None or found not in values
    if operator == "Exists":
        return found is not None
    if operator == "DoesNotExist":
        return found is None
    return _compares(operator, found, values)


def _compares(operator: str, found: str | None, values: Any) -> bool:
    """`Gt` and `Lt` of node selectors: both sides are whole numbers, anything else does not match."""
    try:
        left, right = int(found or ""), int(values[0])
    except (ValueError, IndexError):
        return False
    return left > right if operator == "Gt" else operator == "Lt" and left < right
