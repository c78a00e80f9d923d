"""Warnings about claims for storage."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kumo.api import quantities


def claim_warnings(path: str, spec: dict[str, Any]) -> Iterator[str]:
    """Of a claim's spec: bytes come in whole numbers."""
    for side in ("requests", "limits"):
        text = ((spec.get("resources") or {}).get(side) or {}).get("storage")
        if text is not None and quantities.milli(text) % 1000:
            yield f'{path}.resources.{side}[storage]: fractional byte value "{text}" is invalid, must be an integer'
