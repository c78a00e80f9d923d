"""What can be wrong with a field, in upstream's words (`apimachinery/pkg/util/validation/field`): makes `Cause`s."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from kumo.api.errors import Cause


def shown(value: Any) -> str:
    """A value as messages show it: texts quoted, numbers plain, the rest as JSON."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    if isinstance(value, str):
        return text
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _with(text: str, detail: str) -> str:
    return f"{text}: {detail}" if detail else text


def required(field: str, detail: str = "") -> Cause:
    """`Required value`: the field is missing or empty."""
    return Cause(field, _with("Required value", detail), "FieldValueRequired")


def invalid(field: str, value: Any, detail: str) -> Cause:
    """`Invalid value`: the value breaks a rule, which `detail` tells."""
    return Cause(field, _with(f"Invalid value: {shown(value)}", detail), "FieldValueInvalid")


def type_invalid(field: str, value: Any, detail: str) -> Cause:
    """`Invalid value` of a wrong type (custom kinds)."""
    return Cause(field, _with(f"Invalid value: {shown(value)}", detail), "FieldValueTypeInvalid")


def unsupported(field: str, value: Any, supported: Iterable[Any]) -> Cause:
    """`Unsupported value`: not one of those that there are."""
    listed = ", ".join(shown(s) for s in supported)
    text = f"Unsupported value: {shown(value)}"
    return Cause(field, _with(text, f"supported values: {listed}" if listed else ""), "FieldValueNotSupported")


def duplicate(field: str, value: Any) -> Cause:
    """`Duplicate value`: another item of the list has it."""
    return Cause(field, f"Duplicate value: {shown(value)}", "FieldValueDuplicate")


def forbidden(field: str, detail: str) -> Cause:
    """`Forbidden`: the field may not be set, or changed."""
    return Cause(field, _with("Forbidden", detail), "FieldValueForbidden")


def not_found(field: str, value: Any, detail: str = "") -> Cause:
    """`Not found`: the value names something that is not there."""
    return Cause(field, _with(f"Not found: {shown(value)}", detail), "FieldValueNotFound")


def too_long(field: str, length: int) -> Cause:
    """`Too long`: more than `length` bytes."""
    return Cause(
        field, f"Too long: may not be more than {length} byte{'' if length == 1 else 's'}", "FieldValueTooLong"
    )


def too_many(field: str, actual: int, most: int) -> Cause:
    """`Too many`: more than `most` items."""
    return Cause(
        field, f"Too many: {actual}: must have at most {most} item{'' if most == 1 else 's'}", "FieldValueTooMany"
    )


def immutable(field: str, value: Any) -> Cause:
    """The field may not be changed."""
    return invalid(field, value, "field is immutable")


def each(field: str, value: Any, complaints: Iterable[str]) -> list[Cause]:
    """One `Invalid value` for each complaint (as `kumo.api.names` gives them)."""
    return [invalid(field, value, c) for c in complaints]
