"""The ranges of services' addresses, as they may be chosen."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from pathlib import Path

import pytest

from kumo.cli import ranges
from kumo.cli.instance import InstanceError, save
from kumo.cli.instance import choose as fresh

pytestmark = pytest.mark.unit


def test_one_family_or_two(tmp_path: Path) -> None:
    made = replace(fresh(tmp_path / "a"), pod_cidr="10.244.0.0/16")
    assert ranges.choose(made, {"service_cidr": ""}) == made
    assert ranges.choose(made, {"service_cidr": "10.7.0.0/16"}).service_cidr == "10.7.0.0/16"
    two = ranges.choose(made, {"service_cidr": "10.7.0.0/16, fd00:7::/112"})
    assert (two.service_cidr, two.service_cidr4) == ("10.7.0.0/16,fd00:7::/112", "10.7.0.0/16")
    assert (two.kubernetes_ip, two.cluster_dns) == ("10.7.0.1", "10.7.0.10")


def test_what_has_begun_only_grows(tmp_path: Path) -> None:
    made = replace(fresh(tmp_path / "a"), service_cidr="10.7.0.0/16", pod_cidr="10.244.0.0/16")
    save(made)
    assert ranges.choose(made, {"service_cidr": "10.7.0.0/16"}) == made
    grown = ranges.choose(made, {"service_cidr": "10.7.0.0/16,fd00:7::/112"})
    save(grown)
    for other in ("10.8.0.0/16", "10.7.0.0/16", "10.7.0.0/16,fd00:8::/112"):
        with pytest.raises(InstanceError, match="since its first start"):
            ranges.choose(grown, {"service_cidr": other})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", "does not appear to be an IPv4 or IPv6 network"),
        ("10.7.0.1/16", "has host bits set"),
        ("10.0.0.0/8", "must be of /12 to /28"),
        ("10.7.0.0/16,fd00::/48", "must be of /64 to /124"),
        ("fd00:7::/112", "give one IPv4 range"),
        ("10.7.0.0/16,10.8.0.0/16", "give one IPv4 range"),
        ("10.244.0.0/20", "overlaps the pods' range"),
    ],
)
def test_what_can_not_be(tmp_path: Path, text: str, message: str) -> None:
    made = replace(fresh(tmp_path / "a"), pod_cidr="10.244.0.0/16")
    with pytest.raises(InstanceError, match=message):
        ranges.choose(made, {"service_cidr": text})


def test_pods_have_a_second_family_where_services_have(tmp_path: Path) -> None:
    made = replace(fresh(tmp_path / "a"), pod_cidr="10.244.0.0/16", node_pod_cidr="10.244.3.0/24")
    assert (made.pod_cidr6, made.node_pod_cidr6) == ("", "")
    both = replace(made, service_cidr="10.7.0.0/16,fd00:7::/112")
    whole, own = ipaddress.ip_network(both.pod_cidr6), ipaddress.ip_network(both.node_pod_cidr6)
    assert (whole.prefixlen, own.prefixlen, str(own.network_address)) == (
        48,
        64,
        f"{whole.network_address}"[:-1] + "3::",
    )
    assert whole.is_private
    # every machine of the cluster comes to the same range
    assert replace(fresh(tmp_path / "b"), service_cidr=both.service_cidr).pod_cidr6 == both.pod_cidr6


def test_load_balancers_ranges_meet_nothing(tmp_path: Path) -> None:
    made = fresh(tmp_path / "a")
    (default,) = made.balancer_ranges
    taken = [ipaddress.ip_network(c) for c in (made.pod_cidr, made.service_cidr, "10.244.0.0/16", "10.96.0.0/16")]
    assert not any(ipaddress.ip_network(default).overlaps(t) for t in taken)
    chosen = ranges.choose_outside(made, {"load_balancer_range": "192.0.2.0/25, fd00:9::/120"})
    assert chosen.balancer_ranges == ("192.0.2.0/25", "fd00:9::/120")
    assert ranges.choose_outside(chosen, {"load_balancer_range": "none"}).balancer_ranges == ()
    assert ranges.choose_outside(chosen, {}) == chosen
    ports = ranges.choose_outside(made, {"node_port_addresses": "127.0.0.0/8,192.0.2.0/24"})
    assert ports.node_port_addresses == "127.0.0.0/8,192.0.2.0/24"
    assert ranges.node_port_ranges(ports, "192.0.2.7", "") == ("127.0.0.0/8", "192.0.2.0/24")
    assert ranges.node_port_ranges(made, "192.0.2.7", "") == ()
    primary = ranges.choose_outside(made, {"node_port_addresses": "primary"})
    assert ranges.node_port_ranges(primary, "192.0.2.7", "fd00::7") == ("192.0.2.7/32", "fd00::7/128")
    for text, message in (
        (made.service_cidr, "which is in use"),
        (made.node_pod_cidr, "which is in use"),
        ("192.0.2.0/24,192.0.2.0/25", "which is in use"),
        ("x", "does not appear to be"),
    ):
        with pytest.raises(InstanceError, match=message):
            ranges.choose_outside(made, {"load_balancer_range": text})
