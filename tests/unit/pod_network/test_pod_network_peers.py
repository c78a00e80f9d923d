"""Which nodes the overlay leads to."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.host.network.overlay import Peer
from kumo.kubernetes.pod_network.peers import peer_of, peers

pytestmark = pytest.mark.unit


def node(name: str, cidr: str = "", address: str = "", born: str = "2026-01-01T00:00:00Z") -> dict[str, Any]:
    addresses = [{"type": "Hostname", "address": name}]
    if address:
        addresses.append({"type": "InternalIP", "address": address})
    spec = {"podCIDR": cidr, "podCIDRs": [cidr]} if cidr else {}
    meta = {"name": name, "creationTimestamp": born}
    return {"metadata": meta, "spec": spec, "status": {"addresses": addresses}}


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (node("a", "10.1.2.0/24", "192.0.2.1"), Peer("10.1.2.0/24", "192.0.2.1")),
        (node("a", "10.1.2.0/24"), None),
        (node("a", "", "192.0.2.1"), None),
        (node("a", "10.1.2.7/24", "192.0.2.1"), None),
        (node("a", "nonsense", "192.0.2.1"), None),
        (node("a", "10.1.2.0/24", "fd00::1"), None),
        ({"metadata": {"name": "a"}}, None),
        (
            node("a", "10.1.2.0/24", "192.0.2.1") | {"spec": {"podCIDRs": ["fd00:1::/64", "10.1.2.0/24"]}},
            Peer("10.1.2.0/24", "192.0.2.1"),
        ),
    ],
)
def test_a_node_is_led_to_once_it_has_a_range_and_an_address(found: dict[str, Any], wanted: Peer | None) -> None:
    assert peer_of(found) == wanted


def test_the_others_in_the_order_of_their_ranges() -> None:
    nodes = [node("c", "10.1.10.0/24", "192.0.2.3"), node("b", "10.1.9.0/24", "192.0.2.2"), node("a", "10.1.1.0/24")]
    found = peers([*nodes, node("own", "10.1.0.0/24", "192.0.2.9")], "own", "10.1.0.0/16")
    assert [p.pod_cidr for p in found] == ["10.1.9.0/24", "10.1.10.0/24"]


def test_no_node_takes_over_anothers_range() -> None:
    own = node("own", "10.1.0.0/24", "192.0.2.9")
    honest = node("b", "10.1.1.0/24", "192.0.2.2")
    late = "2026-02-01T00:00:00Z"
    thieves = [
        node("a-whole", "10.1.0.0/16", "192.0.2.66", late),
        node("a-same", "10.1.1.0/24", "192.0.2.67", late),
        node("a-own", "10.1.0.0/25", "192.0.2.68", late),
        node("a-outside", "8.8.8.0/24", "192.0.2.69"),
        node("a-default", "0.0.0.0/0", "192.0.2.70"),
    ]
    assert peers([*thieves, own, honest], "own", "10.1.0.0/16") == [Peer("10.1.1.0/24", "192.0.2.2")]


def test_ends_have_addresses_of_their_own() -> None:
    one, other = Peer("10.1.1.0/24", "192.0.2.1"), Peer("10.1.2.0/24", "192.0.2.1")
    assert one.gateway == "10.1.1.0" and one.mac != other.mac
    assert int(one.mac[:2], 16) & 3 == 2, "locally administered, for one receiver"
