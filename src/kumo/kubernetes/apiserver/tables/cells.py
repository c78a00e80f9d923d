"""What cells of several kinds have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kumo.api.objects import Object
from kumo.kubernetes.apiserver.tables.duration import since

NONE = "<none>"
UNSET = "<unset>"
UNKNOWN = "<unknown>"


def name(obj: Object) -> str:
    """The name cell."""
    return str(obj["metadata"].get("name") or "")


def age(obj: Object, now: float) -> str:
    """The age cell."""
    return since(obj["metadata"].get("creationTimestamp"), now)


def part(obj: Any, *path: str) -> Any:
    """The value at the path, or None."""
    for step in path:
        if not isinstance(obj, dict):
            return None
        obj = obj.get(step)
    return obj


def number(obj: Any, *path: str) -> int:
    """The number at the path, or 0."""
    return int(part(obj, *path) or 0)


def text(obj: Any, *path: str, missing: str = "") -> str:
    """The text at the path, or `missing`."""
    found = part(obj, *path)
    return missing if found is None or found == "" else str(found)


def labels(pairs: Mapping[str, str] | None) -> str:
    """Labels as `k=v,k=v`, or `<none>`."""
    return ",".join(f"{k}={v}" for k, v in sorted((pairs or {}).items())) or NONE


def label_selector(selector: Mapping[str, Any] | None) -> str:
    """A `LabelSelector` as text, or `<none>`."""
    if not selector:
        return NONE
    parts = [f"{k}={v}" for k, v in sorted((selector.get("matchLabels") or {}).items())]
    forms = {"In": "{0} in ({1})", "NotIn": "{0} notin ({1})", "Exists": "{0}", "DoesNotExist": "!{0}"}
    for expression in selector.get("matchExpressions") or ():
        values = ",".join(sorted(expression.get("values") or ()))
        form = forms.get(expression.get("operator") or "")
        parts.append(form.format(expression.get("key"), values) if form else "<error>")
    return ",".join(parts) or NONE


def containers(template: Mapping[str, Any] | None) -> tuple[str, str]:
    """Names and images of a pod template's containers."""
    found = part(template, "spec", "containers") or []
    return ",".join(c.get("name") or "" for c in found), ",".join(c.get("image") or "" for c in found)


def shortened(items: Iterable[str], most: int = 3) -> str:
    """At most `most` of the items, and how many more there are."""
    found = list(items)
    if len(found) <= most:
        return ",".join(found)
    return f"{','.join(found[:most])} + {len(found) - most} more..."


def boolean(value: Any) -> str:
    """A pointer to a boolean: `True`, `False` or `<unset>`."""
    return UNSET if value is None else "True" if value else "False"
