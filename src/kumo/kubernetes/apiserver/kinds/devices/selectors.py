"""CEL expressions that choose devices (`device.driver == "..." && device.attributes["..."].model == "..."`)."""

from __future__ import annotations

from typing import Any

from kumo.api import fields
from kumo.api.errors import Cause
from kumo.kubernetes.apiserver.kinds.devices.identifiers import each_item

_MOST = 32
_LONGEST = 10 * 1024


def check_selectors(path: str, selectors: Any) -> list[Cause]:
    """A request's or a class's selectors."""
    return each_item(path, selectors, _MOST, _selector)


def _selector(path: str, selector: dict[str, Any]) -> list[Cause]:
    if selector.get("cel") is None:
        return [fields.required(f"{path}.cel")]
    here, expression = f"{path}.cel.expression", selector["cel"].get("expression") or ""
    if len(expression.encode()) > _LONGEST:
        return [fields.too_long(here, _LONGEST)]
    from kumo.machinery.cel import BOOL, DYN, CompileError  # Not before somebody writes an expression.
    from kumo.machinery.cel.devices import device_environment

    try:
        kind = device_environment().compile(expression).type
    except CompileError as error:
        return [fields.invalid(here, expression, f"compilation failed: {error.message}")]
    if kind not in (BOOL, DYN):
        return [fields.invalid(here, expression, f"must evaluate to bool or the unknown type, not {kind}")]
    return []
