"""Pages and orders of lists, made in memory from what the API server's cache gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlencode

from kumo.openstack.common.errors import ApiError

MAX_LIMIT = 1000


class Page(NamedTuple):
    """A part of a list, and the id after which the next part begins (empty at the end)."""

    items: list[dict[str, Any]]
    next_marker: str


def number(query: Mapping[str, str], name: str, default: int) -> int:
    """A whole number of the query. Raises ApiError 400 for anything else."""
    text = query.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise ApiError(400, f"{name} param must be an integer")
    return int(text)


def page(
    items: Sequence[dict[str, Any]],
    query: Mapping[str, str],
    *,
    default: int = MAX_LIMIT,
    missing: str = "marker [{}] not found",
) -> Page:
    """The part that `limit` and `marker` ask for. Raises ApiError 400 for a marker that is not in the list."""
    limit = min(number(query, "limit", default), MAX_LIMIT)
    start = 0
    if marker := query.get("marker", ""):
        ids = [item["id"] for item in items]
        if marker not in ids:
            raise ApiError(400, missing.format(marker))
        start = ids.index(marker) + 1
    part = list(items[start : start + limit])
    more = bool(part) and start + limit < len(items)
    return Page(part, part[-1]["id"] if more else "")


def next_query(query: Sequence[tuple[str, str]], marker: str) -> str:
    """The query of the next part."""
    return urlencode([*((k, v) for k, v in query if k != "marker"), ("marker", marker)])


def by_keys(items: Sequence[dict[str, Any]], keys: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """The items ordered by (key, `asc` or `desc`) pairs, the first the most important; missing values come first."""
    found = list(items)
    for key, direction in reversed(keys):

        def rank(item: dict[str, Any], key: str = key) -> tuple[bool, str | float]:
            value = item.get(key)
            return (value is not None, value if isinstance(value, (int, float)) else str(value or "").lower())

        try:
            found.sort(key=rank, reverse=direction == "desc")
        except TypeError:
            found.sort(key=lambda item: str(rank(item)), reverse=direction == "desc")
    return found
