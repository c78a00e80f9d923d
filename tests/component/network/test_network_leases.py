"""Addresses and the file that remembers them."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

import pytest

from kumo.host.network.cni import PortMapping
from kumo.host.network.leases import Lease, Leases, NoAddressLeft

pytestmark = pytest.mark.component

NETWORK = IPv4Network("10.250.0.0/29")


def take(leases: Leases, name: str, ports: tuple[PortMapping, ...] = ()) -> Lease:
    return leases.add(name, "eth0", netns=f"/run/netns/{name}", device=f"kp{name}", pod=f"d/{name}", ports=ports)


def test_addresses_go_round_before_one_is_used_again(tmp_path: Path) -> None:
    leases = Leases(tmp_path / "leases.json", NETWORK)
    assert [take(leases, n).address for n in "abc"] == ["10.250.0.2", "10.250.0.3", "10.250.0.4"]
    assert leases.remove("a", "eth0") is not None
    assert leases.remove("a", "eth0") is None
    assert [take(leases, n).address for n in "def"] == ["10.250.0.5", "10.250.0.6", "10.250.0.2"]
    with pytest.raises(NoAddressLeft, match="all 5 pod addresses"):
        take(leases, "g")


def test_the_same_interface_keeps_its_address(tmp_path: Path) -> None:
    leases = Leases(tmp_path / "leases.json", NETWORK)
    assert take(leases, "a") == take(leases, "a")


def test_a_new_agent_finds_the_leases(tmp_path: Path) -> None:
    path = tmp_path / "leases.json"
    first = Leases(path, NETWORK)
    a, b = take(first, "a", (PortMapping(80, 8080),)), take(first, "b")
    second = Leases(path, NETWORK)
    assert second.all() == [a, b]
    assert second.collect(lambda lease: lease.container == "b") == [a]
    assert Leases(path, NETWORK).all() == [b]
    assert take(Leases(path, NETWORK), "c").address == "10.250.0.4"


def test_a_damaged_file_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "leases.json"
    path.write_text("{")
    with pytest.raises(ValueError, match="put aside"):
        Leases(path, NETWORK)
    assert Leases(path, NETWORK).all() == []
