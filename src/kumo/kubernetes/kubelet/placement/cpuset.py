"""Sets of processors as the kernel writes them: `0-3,8`."""

from __future__ import annotations

from collections.abc import Collection

MOST = 1 << 16
"""No machine has more processors: a longer range is a mistake."""


def parse(text: str) -> frozenset[int]:
    """The set that a list stands for, empty for an empty one. Raises ValueError."""
    found: set[int] = set()
    for part in text.strip().split(",") if text.strip() else ():
        first, dash, last = part.strip().partition("-")
        try:
            begin, end = int(first), int(last) if dash else int(first)
        except ValueError:
            raise ValueError(f"{part!r} is no range of processors") from None
        if not 0 <= begin <= end < MOST:
            raise ValueError(f"{part!r} is no range of processors")
        found.update(range(begin, end + 1))
    return frozenset(found)


def text(cpus: Collection[int]) -> str:
    """The shortest list of a set."""
    parts: list[str] = []
    begin = end = None
    for cpu in sorted(cpus):
        if end is not None and cpu == end + 1:
            end = cpu
            continue
        if begin is not None:
            parts.append(_range(begin, end))
        begin = end = cpu
    if begin is not None:
        parts.append(_range(begin, end))
    return ",".join(parts)


def _range(begin: int, end: int | None) -> str:
    return str(begin) if begin == end else f"{begin}-{end}"
