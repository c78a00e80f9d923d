"""A label selector as upstream writes it into the events of disruption budgets. Pure."""

from __future__ import annotations

from typing import Any


def selector_text(selector: dict[str, Any] | None) -> str:
    """The selector in the form in which Go's protobuf types print themselves."""
    if selector is None:
        return "nil"
    labels = "".join(f"{key}: {value}," for key, value in sorted((selector.get("matchLabels") or {}).items()))
    rules = "".join(_rule(rule) for rule in selector.get("matchExpressions") or ())
    return (
        f"&LabelSelector{{MatchLabels:map[string]string{{{labels}}},"
        f"MatchExpressions:[]LabelSelectorRequirement{{{rules}}},}}"
    )


def _rule(rule: dict[str, Any]) -> str:
    values = " ".join(rule.get("values") or ())
    return f"LabelSelectorRequirement{{Key:{rule.get('key')},Operator:{rule.get('operator')},Values:[{values}],}},"
