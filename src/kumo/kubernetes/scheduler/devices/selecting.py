"""Selectors of classes and requests, compiled once and asked about devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from kumo.kubernetes.scheduler.devices.pools import Device
from kumo.kubernetes.scheduler.devices.wishes import Impossible

if TYPE_CHECKING:
    from kumo.machinery.cel import Program

_KEPT = 256
"""So many compiled expressions are kept."""


class CelSelectors:
    """Remembers programs; CEL is imported with the first expression."""

    def __init__(self) -> None:
        self._compiled = lru_cache(maxsize=_KEPT)(_compile)

    def matches(self, where: str, selectors: Sequence[Mapping[str, Any]], device: Device) -> bool:
        """Whether all of them choose the device; `where` says whose they are. Raises Impossible."""
        if not selectors:
            return True
        from kumo.machinery.cel import CelError
        from kumo.machinery.cel.devices import device_value, selects

        for i, selector in enumerate(selectors):
            program = self._compiled((selector.get("cel") or {}).get("expression") or "")
            if isinstance(program, str):
                raise Impossible(f"{where}: selector #{i}: CEL compile error: {program}")
            try:
                if not selects(program, device_value(device.id.driver, device.spec)):
                    return False
            except CelError as error:
                raise Impossible(f"{where}: selector #{i}: CEL runtime error: {error}") from error
        return True


def _compile(expression: str) -> Program | str:
    from kumo.machinery.cel import CompileError
    from kumo.machinery.cel.devices import device_environment

    try:
        return device_environment().compile(expression)
    except CompileError as error:
        return f"compilation failed: {error.message}"
