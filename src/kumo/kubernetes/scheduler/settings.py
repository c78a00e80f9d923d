"""Reading settings out of a document: each helper gives a checked value or says which field is wrong. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


class SettingsError(ValueError):
    """A configuration can't be used; the message names the field and what it should be."""


def fields_of(value: Any, where: str) -> Mapping[str, Any]:
    """The value as a mapping."""
    if not isinstance(value, dict) or not all(isinstance(k, str) for k in value):
        raise SettingsError(f"{where} is not a mapping")
    return value


def known_fields(body: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    """Refuse a field that nobody knows."""
    for name in body:
        if name not in known:
            raise SettingsError(f'unknown field "{where}.{name}"' if where else f'unknown field "{name}"')


def items(body: Mapping[str, Any], name: str, where: str) -> list[Any]:
    """A list; empty without it."""
    value = body.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise SettingsError(f"{where}.{name} is not a list" if where else f"{name} is not a list")
    return value


def text_of(body: Mapping[str, Any], name: str, where: str) -> str:
    """A text; empty without it."""
    value = body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise SettingsError(f"{where}.{name} is not a text")
    return value


def flag(body: Mapping[str, Any], name: str, where: str) -> bool:
    """A truth value; false without it."""
    value = body.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise SettingsError(f"{where}.{name} is neither true nor false")
    return value


def integer(body: Mapping[str, Any], name: str, default: int, low: int, high: int) -> int:
    """A whole number between two bounds; the default without it (which may lie outside: then it is required)."""
    value = body.get(name, default)
    if value is None:
        value = default
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise SettingsError(f"{name}: {value!r} is not a whole number from {low} to {high}")
    return value
