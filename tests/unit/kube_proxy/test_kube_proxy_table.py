"""Transactions: the smallest one between two states, and elements that several Services claim."""

from __future__ import annotations

import pytest

from kumo.api.objects import Key
from kumo.kubernetes.kube_proxy.config import KubeProxyConfig
from kumo.kubernetes.kube_proxy.conntrack import Flow, stale_flows
from kumo.kubernetes.kube_proxy.rules import Element, Fragment, fragment
from kumo.kubernetes.kube_proxy.services import Endpoint, ServicePort
from kumo.kubernetes.kube_proxy.table import Table

pytestmark = pytest.mark.unit

CONFIG = KubeProxyConfig("t", "node1", "10.96.0.0/16", "10.244.0.0/16", "kumo0", "10.244.0.1")
A, B = Key("d", "a"), Key("d", "b")


def port(name: str, *endpoints: str, node_port: int = 0, affinity: int = 0) -> ServicePort:
    found = tuple(Endpoint(e, 8080) for e in endpoints)
    return ServicePort(
        "d",
        name,
        "",
        "tcp",
        80,
        cluster_addresses=("10.96.0.10",),
        node_port=node_port,
        affinity=affinity,
        endpoints=found,
        external_endpoints=found,
    )


def made(*ports: ServicePort) -> Fragment:
    return fragment(ports, CONFIG)


def test_a_new_service_is_a_chain_and_its_elements() -> None:
    commands = Table("t").change({A: made(port("a", "10.244.0.2", "192.0.2.1"))}).splitlines()
    chain = commands[0].split()[-1]
    assert commands == [
        f"add chain ip t {chain}",
        f"add rule ip t {chain} meta l4proto tcp dnat ip to numgen random mod 2 map "
        "{ 0 : 10.244.0.2 . 8080, 1 : 192.0.2.1 . 8080 }",
        f"add element ip t service-ips {{ 10.96.0.10 . tcp . 80 : goto {chain} }}",
        "add element ip t hairpin { 10.244.0.2 . 10.244.0.2 }",
    ]


def test_one_more_endpoint_touches_one_rule() -> None:
    table = Table("t")
    table.change({A: made(port("a", "10.244.0.2"))})
    commands = table.change({A: made(port("a", "10.244.0.2", "10.244.0.3"))}).splitlines()
    assert [c.split(" ip t ")[0] for c in commands] == ["flush chain", "add rule", "add element"]
    assert table.change({A: made(port("a", "10.244.0.2", "10.244.0.3"))}) == ""


def test_the_last_endpoint_takes_the_chain_along_and_a_node_port_is_refused() -> None:
    table = Table("t")
    table.change({A: made(port("a", "10.244.0.2", node_port=30000))})
    commands = table.change({A: made(port("a", node_port=30000))})
    assert "add element ip t refused-nodeports { tcp . 30000 }" in commands
    assert commands.count("delete chain") == 2
    assert table.elements() == {Element("refused-nodeports", "tcp . 30000"): ""}


def test_sets_come_before_and_go_after_the_chains_that_use_them() -> None:
    table = Table("t")
    come = table.change({A: made(port("a", "10.244.0.2", "10.244.0.3", affinity=60))}).splitlines()
    kinds = [" ".join(c.split()[:2]) for c in come]
    assert kinds.index("add set") < kinds.index("add chain") < kinds.index("add rule")
    gone = table.change({A: Fragment()}).splitlines()
    kinds = [" ".join(c.split()[:2]) for c in gone]
    assert kinds == sorted(kinds, key=["delete element", "flush chain", "delete chain", "delete set"].index)
    assert table.owners() == set()


def test_a_shared_element_stays_until_its_last_owner_goes() -> None:
    table = Table("t")
    table.change({A: made(port("a", "10.244.0.2")), B: made(port("b", "10.244.0.2"))})
    hairpin = Element("hairpin", "10.244.0.2 . 10.244.0.2")
    address = Element("service-ips", "10.96.0.10 . tcp . 80")
    assert "-d/a/80" in table.elements()[address]  # both ask for the address: the first by name has it
    commands = table.change({A: Fragment()})
    assert "hairpin" not in commands
    assert "-d/b/80" in table.elements()[address]
    assert "delete element ip t service-ips" in commands
    assert "add element ip t service-ips" in commands
    assert hairpin in table.elements()
    assert "hairpin" in table.change({B: Fragment()})


def test_udp_flows_to_a_lost_endpoint_are_stale() -> None:
    def udp(*endpoints: str) -> ServicePort:
        found = tuple(Endpoint(e, 53) for e in endpoints)
        return ServicePort("d", "dns", "", "udp", 53, ("10.96.0.10",), endpoints=found)

    gone, woken = stale_flows({A: [udp("10.244.0.2", "10.244.0.3")]}, {A: [udp("10.244.0.3")]})
    assert (gone, woken) == ({Flow("10.96.0.10", 53, "10.244.0.2")}, set())
    gone, woken = stale_flows({A: [udp()]}, {A: [udp("10.244.0.3")]})
    assert (gone, woken) == (set(), {("10.96.0.10", 53)})


def test_names_are_readable_unique_and_short() -> None:
    long = ServicePort("n" * 63, "s" * 63, "p" * 15, "tcp", 80, endpoints=(Endpoint("10.244.0.2", 1),))
    twin = ServicePort("n" * 63, "s" * 63, "q" * 15, "tcp", 80, endpoints=(Endpoint("10.244.0.2", 1),))
    names = [*made(long).chains, *made(twin).chains]
    assert len(set(names)) == 2
    assert max(map(len, names)) <= 100
