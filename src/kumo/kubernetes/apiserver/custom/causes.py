"""Complaints with values shown in the words of Go's encoder, next to those of `kumo.api.fields`."""

from __future__ import annotations

from typing import Any

from kumo.api.errors import Cause
from kumo.kubernetes.apiserver.custom.gojson import go_json


def invalid(field: str, shown: str, detail: str) -> Cause:
    """`Invalid value` with a text for the value."""
    return Cause(field, f"Invalid value: {shown}: {detail}", "FieldValueInvalid")


def invalid_json(field: str, value: Any, detail: str) -> Cause:
    """`Invalid value` with the value as Go's JSON."""
    return invalid(field, go_json(value), detail)


def ordered(causes: list[Cause]) -> list[Cause]:
    """The causes in the order of their whole texts."""
    return sorted(causes, key=lambda c: f"{c.field}: {c.message}")
