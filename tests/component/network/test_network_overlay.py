"""The overlay with the kernel: three nodes' ends in namespaces, real packets between the ranges behind them."""

from __future__ import annotations

import os
import socket
import subprocess
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv6Network

import pytest

from kumo.api.pod_ranges import range6
from kumo.host.network.config import OVERHEAD, OVERHEAD6, OverlayConfig
from kumo.host.network.links import Links
from kumo.host.network.namespaces import run_in_netns
from kumo.host.network.overlay import Overlay, Peer

pytestmark = [
    pytest.mark.component,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces and links"),
]
_MTU_DISCOVER, _ALWAYS, _HEADERS = 10, 2, 28
"""Of linux/in.h: don't fragment; and the size of an IPv4 and a UDP header."""


def sh(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr}"
    return done.stdout


@dataclass
class End:
    """One node: its namespace, with an uplink and a bridge that stands for its pods."""

    name: str
    number: int

    @property
    def config(self) -> OverlayConfig:
        return OverlayConfig(
            device="kumotestv",
            vni=4711,
            address=f"198.18.0.{self.number}",
            pod_cidr=f"10.9.{self.number}.0/24",
            cluster_cidr="10.9.0.0/16",
            bridge="pods",
        )

    @property
    def address6(self) -> str:
        return f"fd18::{self.number}"

    @property
    def peer(self) -> Peer:
        return Peer(self.config.pod_cidr, self.config.address)

    def within(self, work: Callable[[], None]) -> None:
        run_in_netns(f"/run/netns/{self.name}", work)

    def apply(self, *peers: Peer, config: OverlayConfig | None = None) -> None:
        self.within(lambda: Overlay(config or self.config).apply(peers))

    def ip(self, *argv: str) -> str:
        return sh("ip", "-n", self.name, *argv)

    def socket(self) -> socket.socket:
        """A UDP socket with a pod's address, which sends nothing in pieces."""

        def opened() -> socket.socket:
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            made.setsockopt(socket.IPPROTO_IP, _MTU_DISCOVER, _ALWAYS)
            made.bind((f"10.9.{self.number}.1", 0))
            made.settimeout(1.0)
            return made

        return run_in_netns(f"/run/netns/{self.name}", opened)

    def reaches(self, other: End, size: int = 56) -> bool:
        """Whether a packet (of that many bytes, all headers counted) comes to one of the other's pods, and back."""
        with self.socket() as near, other.socket() as far:
            try:
                near.sendto(bytes(size - _HEADERS), far.getsockname())
                data, sender = far.recvfrom(65535)
                far.sendto(data, sender)
                return near.recv(65535) == data
            except OSError:
                return False


@pytest.fixture
def ends() -> Iterator[list[End]]:
    lab = f"ko{uuid.uuid4().hex[:8]}"
    made = [End(f"{lab}-{n}", n) for n in (1, 2, 3)]
    try:
        sh("ip", "netns", "add", lab)
        sh("ip", "-n", lab, "link", "add", "br0", "type", "bridge")
        sh("ip", "-n", lab, "link", "set", "br0", "up")
        for end in made:
            sh("ip", "netns", "add", end.name)
            end.ip("link", "add", "eth0", "type", "veth", "peer", "name", f"p{end.number}", "netns", lab)
            sh("ip", "-n", lab, "link", "set", f"p{end.number}", "master", "br0", "up")
            end.ip("addr", "add", f"{end.config.address}/24", "dev", "eth0")
            end.ip("addr", "add", f"{end.address6}/64", "dev", "eth0", "nodad")
            end.ip("link", "set", "eth0", "up")

            def bridge(number: int = end.number) -> None:
                with Links() as links:
                    links.create_bridge("pods", mtu=1500 - OVERHEAD)
                    links.add_address("pods", f"10.9.{number}.1", 24)

            end.within(bridge)
        yield made
    finally:
        for name in (*(e.name for e in made), lab):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def test_ranges_reach_each_other_without_a_broadcast(ends: list[End]) -> None:
    one, two, three = ends
    for end in ends:
        end.apply(*(e.peer for e in ends if e is not end))
    assert all(a.reaches(b) for a in ends for b in ends if a is not b)
    assert one.reaches(two, size=1500 - OVERHEAD), "the largest packet, in one piece"
    assert not one.reaches(two, size=1501 - OVERHEAD)
    assert "nolearning" in one.ip("-d", "link", "show", "kumotestv")
    one.apply(three.peer)
    assert not one.reaches(two) and one.reaches(three), "who is gone is not led to"
    assert two.config.pod_cidr not in one.ip("route") and "10.9.2.0 " not in one.ip("neigh", "show", "nud", "permanent")
    one.apply()
    assert "kumotestv" not in one.ip("link")


def test_the_nodes_may_reach_each_other_by_ipv6(ends: list[End]) -> None:
    """The outer packets are IPv6: pods' largest ones are 20 bytes smaller, and both families of theirs go through."""
    cluster6 = "fd09::/48"

    def six(end: End) -> str:
        return str(IPv6Network(range6(end.config.pod_cidr, end.config.cluster_cidr, cluster6))[1])

    for end in ends:
        config = replace(end.config, address=end.address6, cluster_cidr6=cluster6)
        peers = [Peer(e.config.pod_cidr, e.address6) for e in ends if e is not end]
        end.ip("addr", "add", f"{six(end)}/128", "dev", "pods", "nodad")
        end.ip("link", "set", "pods", "mtu", str(1500 - OVERHEAD6))
        end.apply(*peers, config=config)
        end.apply(*peers, config=config)
        end.ip("-4", "addr", "del", f"{end.config.address}/24", "dev", "eth0")
    one, two, _ = ends
    assert all(a.reaches(b) for a in ends for b in ends if a is not b)
    assert one.reaches(two, size=1500 - OVERHEAD6), "the largest packet, in one piece"

    def opened(end: End) -> socket.socket:
        def work() -> socket.socket:
            made = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            made.bind((six(end), 0))
            made.settimeout(10.0)
            return made

        return run_in_netns(f"/run/netns/{end.name}", work)

    with opened(one) as near, opened(two) as far:
        near.sendto(b"hello", far.getsockname())
        assert far.recv(10) == b"hello"
    assert f"local {one.address6}" in one.ip("-d", "link", "show", "kumotestv")


def test_what_somebody_else_has_changed_is_put_right(ends: list[End]) -> None:
    one, two, three = ends
    for end in (one, two):
        end.apply(*(e.peer for e in ends if e is not end))
    one.apply(two.peer, three.peer)
    assert one.reaches(two), "a second time changes nothing"
    one.ip("route", "del", two.config.pod_cidr)
    one.ip("neigh", "del", two.peer.gateway, "dev", "kumotestv")
    assert not one.reaches(two)
    one.apply(two.peer)
    assert one.reaches(two)
    # The node has another address now: all that leads to it follows.
    two.ip("addr", "del", "198.18.0.2/24", "dev", "eth0")
    two.ip("addr", "add", "198.18.0.22/24", "dev", "eth0")
    moved = replace(two.config, address="198.18.0.22")
    two.apply(one.peer, config=moved)
    assert not one.reaches(two)
    one.apply(Peer(two.config.pod_cidr, "198.18.0.22"))
    assert one.reaches(two) and two.reaches(one)


def test_the_other_family_goes_the_same_way(ends: list[End]) -> None:
    one, two, three = ends
    configs = {e.number: replace(e.config, cluster_cidr6="fd09::/48") for e in ends}
    assert str(range6(two.config.pod_cidr, two.config.cluster_cidr, "fd09::/48")) == "fd09:0:0:2::/64"
    for end in ends:

        def bridge(number: int = end.number) -> None:
            with Links() as links:
                links.add_address("pods", f"fd09:0:0:{number}::1", 64)

        end.within(bridge)
        end.apply(*(e.peer for e in ends if e is not end), config=configs[end.number])

    def reaches(near: End, far: End) -> bool:
        def opened(number: int) -> socket.socket:
            made = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            made.bind((f"fd09:0:0:{number}::1", 0))
            made.settimeout(1.0)
            return made

        here = run_in_netns(f"/run/netns/{near.name}", lambda: opened(near.number))
        there = run_in_netns(f"/run/netns/{far.name}", lambda: opened(far.number))
        with here, there:
            try:
                here.sendto(b"?", there.getsockname())
                data, sender = there.recvfrom(10)
                there.sendto(data, sender)
                return here.recv(10) == b"?"
            except OSError:
                return False

    assert all(reaches(a, b) and a.reaches(b) for a in ends for b in ends if a is not b)
    one.apply(three.peer, config=configs[1])
    assert not reaches(one, two) and reaches(one, three)
    assert "fd09:0:0:2::" not in one.ip("-6", "route")
    one.apply(two.peer, three.peer)  # services have no second family any more
    assert one.reaches(two) and not reaches(one, two)
    assert two.peer.link_local not in one.ip("-6", "neigh", "show", "nud", "permanent")
