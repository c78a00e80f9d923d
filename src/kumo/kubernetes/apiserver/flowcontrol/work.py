"""How many seats a request takes: one, but for lists, and for watches that begin with a list."""

from __future__ import annotations

import math
from collections.abc import Callable

from kumo.kubernetes.apiserver.attributes import RequestInfo
from kumo.kubernetes.apiserver.flowcontrol.flows import Level
from kumo.machinery.http import first_values

OBJECTS_PER_SEAT = 100
_MOST = 10
_SHARE = 0.15
"""No request takes more of its level's seats than this."""


def estimator(count: Callable[[str, str], int]) -> Callable[[RequestInfo, str, Level], int]:
    """The estimate for a list or watch, by `count`: how many objects of (group, resource) there are.

    One seat a hundred objects that are looked at (upstream's measure): all of them, unless `limit` and no selector
    make the part that is answered smaller.
    """

    def estimate(info: RequestInfo, query_string: str, level: Level) -> int:
        objects = count(info.group, info.resource)
        if objects <= OBJECTS_PER_SEAT or info.name:
            return 1
        query = first_values(query_string)
        if info.verb == "watch" and _begins_later(query):
            return 1
        limit = query.get("limit", "")
        if limit.isdecimal() and len(limit) < 10 and int(limit) > 0 and not _selects(query):
            objects = min(objects, int(limit))
        most = min(_MOST, max(1, math.ceil(_SHARE * level.bounds.nominal)))
        return max(1, min(most, math.ceil(objects / OBJECTS_PER_SEAT)))

    return estimate


def _begins_later(query: dict[str, str]) -> bool:
    """Whether a watch shows nothing of what is there at its beginning."""
    return query.get("resourceVersion", "0") not in ("", "0") and query.get("sendInitialEvents") not in ("true", "1")


def _selects(query: dict[str, str]) -> bool:
    return bool(query.get("labelSelector") or query.get("fieldSelector"))
