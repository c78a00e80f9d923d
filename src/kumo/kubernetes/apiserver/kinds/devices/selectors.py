"""CEL expressions that choose devices (`device.driver == "..." && device.attributes["..."].model == "..."`)."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from kumo.api import fields
from kumo.api.errors import Cause
from kumo.kubernetes.apiserver.kinds.devices.identifiers import each_item

if TYPE_CHECKING:
    from kumo.machinery.cel import Environment

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

    try:
        kind = _environment().compile(expression).type
    except CompileError as error:
        return [fields.invalid(here, expression, f"compilation failed: {error.message}")]
    if kind not in (BOOL, DYN):
        return [fields.invalid(here, expression, f"must evaluate to bool or the unknown type, not {kind}")]
    return []


@cache
def _environment() -> Environment:
    from kumo.machinery.cel import BOOL, DYN, STRING, Environment, map_of, struct
    from kumo.machinery.cel.libraries.quantities import QUANTITY_TYPE

    device = struct(
        "kubernetes.DRADevice",
        {
            "driver": STRING,
            "attributes": map_of(STRING, map_of(STRING, DYN)),
            "capacity": map_of(STRING, map_of(STRING, QUANTITY_TYPE)),
            "allowMultipleAllocations": BOOL,
        },
    )
    return Environment({"device": device})
