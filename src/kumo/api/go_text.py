"""JSON values in the words of Go, which upstream's messages quote: their types (`%T`), their text (`%v`)."""

from __future__ import annotations

from typing import Any

_TYPES = {
    bool: "bool",
    int: "int64",
    float: "float64",
    str: "string",
    dict: "map[string]interface {}",
    list: "[]interface {}",
}
_JSON = {bool: "bool", int: "number", float: "number", str: "string", list: "array"}


def go_type(value: Any) -> str:
    """The type that Go gives a decoded JSON value (`%T`)."""
    return _TYPES.get(type(value), "<nil>")


def json_kind(value: Any) -> str:
    """What encoding/json calls the value where it can't take it: `cannot unmarshal array into ...`."""
    return _JSON.get(type(value), "object")


def go_value(value: Any) -> str:
    """The value's text (`%v`): `map[a:1 b:[x y]]`, `<nil>`, `true`."""
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{k}:{go_value(value[k])}" for k in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(go_value, value)) + "]"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    return str(value)
