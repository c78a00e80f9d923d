"""`IntOrString`: a number, or a share in percent (`25%`), of `apimachinery/pkg/util/intstr`."""

from __future__ import annotations

import re

IntOrString = int | str


def percent(value: IntOrString) -> int | None:
    """The number before the percent sign, or None for anything else."""
    found = re.fullmatch(r"([+-]?\d+)%", value) if isinstance(value, str) else None
    return int(found[1]) if found else None


def scaled(value: IntOrString, total: int, *, round_up: bool) -> int:
    """The number itself, or that many percent of `total`, rounded. Raises ValueError for another text."""
    if isinstance(value, int):
        return value
    share = percent(value)
    if share is None:
        raise ValueError("invalid value for IntOrString: invalid type: string is not a percentage")
    return -(-share * total // 100) if round_up else share * total // 100
