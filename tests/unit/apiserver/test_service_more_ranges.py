"""Cluster addresses out of several ranges."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.api.resources import GVR
from kumo.kubernetes.apiserver.admission.service_pools import Exhausted, OutOfRange, Taken
from kumo.kubernetes.apiserver.admission.service_ranges import ServiceRanges, more_blocks

pytestmark = pytest.mark.unit


def cidr(block: str, ready: str = "True", **meta: Any) -> dict[str, Any]:
    condition = {"type": "Ready", "status": ready}
    return {"metadata": meta, "spec": {"cidrs": [block]}, "status": {"conditions": [condition]}}


class Objects:
    """A reader of ServiceCIDRs."""

    def __init__(self, *objects: dict[str, Any]) -> None:
        self.found = list(objects)
        self.at = 1

    def revision(self, gvr: GVR) -> int:
        return self.at

    def objects(self, gvr: GVR, namespace: str = "") -> list[dict[str, Any]]:
        return self.found

    def get(self, gvr: GVR, name: str, namespace: str = "") -> dict[str, Any] | None:
        return None

    def listen(self, gvr: GVR, changed: Any) -> None: ...


def number(text: str) -> int:
    from ipaddress import ip_address

    return int(ip_address(text))


def test_which_ranges_count() -> None:
    gone = cidr("10.5.0.0/24", deletionTimestamp="2026-01-01T00:00:00Z")
    found = [cidr("10.1.0.0/24"), cidr("10.2.0.0/24"), cidr("10.3.0.0/24", "False"), cidr("fd00::/64"), gone]
    assert more_blocks("10.1.0.0/24", found) == ["10.2.0.0/24"]


def test_the_next_range_when_the_first_is_full() -> None:
    reader = Objects()
    ranges = ServiceRanges(reader, "10.0.0.0/30")
    ranges.refresh()
    assert {ranges.next(), ranges.next()} == {number("10.0.0.1"), number("10.0.0.2")}
    with pytest.raises(Exhausted):
        ranges.next()
    with pytest.raises(OutOfRange):
        ranges.take(number("203.0.113.10"))
    reader.found, reader.at = [cidr("203.0.113.0/30")], 2
    assert ranges.refresh() and not ranges.refresh()
    first = ranges.next()
    assert first in (number("203.0.113.1"), number("203.0.113.2"))
    with pytest.raises(Taken):
        ranges.take(first)
    ranges.release(first)
    ranges.take(first)
    reader.found, reader.at = [], 3
    assert ranges.refresh() and ranges.blocks() == ["10.0.0.0/30"]


def test_ranges_that_overlap_never_give_an_address_twice() -> None:
    ranges = ServiceRanges(Objects(cidr("10.0.0.0/28")), "10.0.0.0/29")
    ranges.refresh()
    given = [ranges.next() for _ in range(6)]
    given += [ranges.next() for _ in range(3)]
    assert len(set(given)) == len(given)
    with pytest.raises(Taken):
        ranges.take(given[0])
