"""The JSONPath of printer columns and selectable fields.

Steps: `.spec.x`, `['a.b']`, `[0]`, `[*]`, `[1:3]`, `..x`, `[?(@.type=="Ready")]`.
The dialect is that of `k8s.io/client-go/util/jsonpath`, without templates.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

_STEP = re.compile(
    r"""
    \.\.(?P<deep>[\w$-]+)
  | \.?\[\?\(\s*@(?P<left>[^=!<>]*?)\s*(?P<op>==|!=|<=|>=|<|>)\s*(?P<right>"[^"]*"|'[^']*'|[^)]*?)\s*\)\]
  | \.?\[\?\(\s*@(?P<exists>[^)]*?)\s*\)\]
  | \.?\[(?P<quote>['"])(?P<quoted>.*?)(?P=quote)\]
  | \.?\[(?P<index>-?\d+)\]
  | \.?\[(?P<start>-?\d*):(?P<stop>-?\d*)\]
  | (?P<star>\.?\[\*\]|\.\*)
  | \.(?P<name>(?:\\.|[^.\[\]\\])+)
    """,
    re.VERBOSE,
)


class _Step(NamedTuple):
    kind: str
    argument: Any = None
    operator: str = ""
    value: Any = None


class JsonPath:
    """A compiled path. Raises ValueError for a text that is none."""

    def __init__(self, text: str) -> None:
        source = text.strip().removeprefix("{").removesuffix("}").strip().removeprefix("$").removeprefix("@")
        if source and source[0] not in ".[":
            source = "." + source
        self._steps: list[_Step] = []
        position = 0
        while position < len(source):
            if source[position:] == ".":
                break
            found = _STEP.match(source, position)
            if found is None:
                raise ValueError(f"invalid JSON path: {text}")
            self._steps.append(_step(found))
            position = found.end()

    def find(self, value: Any) -> list[Any]:
        """Every value at the path, in order; empty if there is none."""
        found = [value]
        for step in self._steps:
            found = [result for item in found for result in _take(step, item)]
        return found


def _step(match: re.Match[str]) -> _Step:
    parts = match.groupdict()
    if parts["deep"]:
        return _Step("deep", parts["deep"])
    if parts["op"]:
        return _Step("filter", JsonPath(parts["left"]), parts["op"], _literal(parts["right"]))
    if parts["exists"] is not None:
        return _Step("exists", JsonPath(parts["exists"]))
    if parts["quote"]:
        return _Step("name", parts["quoted"])
    if parts["index"]:
        return _Step("index", int(parts["index"]))
    if parts["start"] is not None:
        return _Step(
            "slice",
            slice(
                int(parts["start"]) if parts["start"] else None,
                int(parts["stop"]) if parts["stop"] else None,
            ),
        )
    if parts["star"]:
        return _Step("star")
    return _Step("name", re.sub(r"\\(.)", r"\1", parts["name"]))


def _literal(text: str) -> Any:
    if text[:1] in "\"'" and text:
        return text[1:-1]
    if text in ("true", "false"):
        return text == "true"
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        return text


def _take(step: _Step, value: Any) -> list[Any]:
    if step.kind == "name":
        if isinstance(value, dict) and step.argument in value:
            return [value[step.argument]]
        return []
    if step.kind == "deep":
        return list(_everywhere(step.argument, value))
    items = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    if step.kind == "star":
        return list(items)
    if not isinstance(value, list):
        return []
    if step.kind == "index":
        return [value[step.argument]] if -len(value) <= step.argument < len(value) else []
    if step.kind == "slice":
        return list(value[step.argument])
    if step.kind == "exists":
        return [item for item in value if step.argument.find(item)]
    return [item for item in value if _compare(step, item)]


def _compare(step: _Step, item: Any) -> bool:
    found = step.argument.find(item)
    if not found:
        return False
    left, right = found[0], step.value
    if step.operator == "==":
        return bool(left == right)
    if step.operator == "!=":
        return bool(left != right)
    if type(left) is not type(right) and not (isinstance(left, int | float) and isinstance(right, int | float)):
        return False
    return bool({"<": left < right, ">": left > right, "<=": left <= right, ">=": left >= right}[step.operator])


def _everywhere(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        if name in value:
            yield value[name]
        for item in value.values():
            yield from _everywhere(name, item)
    elif isinstance(value, list):
        for item in value:
            yield from _everywhere(name, item)
