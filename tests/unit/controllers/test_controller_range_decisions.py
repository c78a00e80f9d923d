"""When a ServiceCIDR may go."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from kumo.kubernetes.controller_manager.service_ranges import addresses_of, may_go

pytestmark = pytest.mark.unit


def cidr(*blocks: str) -> dict[str, Any]:
    return {"spec": {"cidrs": list(blocks)}}


@pytest.mark.parametrize(
    ("own", "others", "held", "goes"),
    [
        (("10.0.0.0/24",), [], [], True),
        (("10.0.0.0/24",), [], ["10.0.0.9"], False),
        (("10.0.0.0/24",), [], ["10.0.1.9"], True),
        (("10.0.0.0/24",), [("10.0.0.0/16",)], ["10.0.0.9"], True),
        (("10.0.0.0/16",), [("10.0.0.0/24",)], ["10.0.0.9"], True),
        (("10.0.0.0/16",), [("10.0.0.0/24",)], ["10.0.0.9", "10.0.7.1"], False),
        (("10.0.0.0/24", "fd00::/64"), [("10.0.0.0/16",)], ["10.0.0.9"], True),
        (("10.0.0.0/24", "fd00::/64"), [("10.0.0.0/16",)], ["fd00::1"], False),
    ],
)
def test_may_go(own: tuple[str, ...], others: list[tuple[str, ...]], held: list[str], goes: bool) -> None:
    assert may_go(cidr(*own), [cidr(*other) for other in others], [ip_address(a) for a in held]) is goes


def test_addresses_of_services() -> None:
    assert list(addresses_of({"spec": {"clusterIP": "None", "clusterIPs": ["None"]}})) == []
    assert list(addresses_of({"spec": {"clusterIP": "10.0.0.1"}})) == [ip_address("10.0.0.1")]
    assert list(addresses_of({"spec": {"type": "ExternalName"}})) == []
