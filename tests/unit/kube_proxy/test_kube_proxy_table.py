"""Transactions: the smallest one between two states, and elements that several Services claim."""

from __future__ import annotations

import pytest

from kumo.api.objects import Key
from kumo.host.fragments import Element, Fragment, FragmentTable
from kumo.kubernetes.kube_proxy.config import Network
from kumo.kubernetes.kube_proxy.conntrack import Flow, Way, answerers, disturbed, is_stale
from kumo.kubernetes.kube_proxy.endpoints import Endpoint
from kumo.kubernetes.kube_proxy.rules import Writer
from kumo.kubernetes.kube_proxy.services import ServicePort

pytestmark = pytest.mark.unit

WRITER = Writer(Network("10.96.0.0/16", "10.244.0.0/16", "10.244.0.1"), ["192.0.2.7"])
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
        cluster=found,
        local=found,
        anywhere=bool(found),
    )


def made(*ports: ServicePort) -> Fragment:
    return WRITER.fragment(ports)


def test_a_new_service_is_a_chain_and_its_elements() -> None:
    commands = FragmentTable("ip", "t").change({A: made(port("a", "10.244.0.2", "192.0.2.1"))}).splitlines()
    chain = commands[0].split()[-1]
    assert commands == [
        f"add chain ip t {chain}",
        f"add rule ip t {chain} meta l4proto tcp dnat ip to numgen inc mod 2 map "
        "{ 0 : 10.244.0.2 . 8080, 1 : 192.0.2.1 . 8080 }",
        f"add element ip t service-ips {{ 10.96.0.10 . tcp . 80 : goto {chain} }}",
        "add element ip t hairpin { 10.244.0.2 . 10.244.0.2 }",
    ]


def test_one_more_endpoint_touches_one_rule() -> None:
    table = FragmentTable("ip", "t")
    table.change({A: made(port("a", "10.244.0.2"))})
    commands = table.change({A: made(port("a", "10.244.0.2", "10.244.0.3"))}).splitlines()
    assert [c.split(" ip t ")[0] for c in commands] == ["flush chain", "add rule", "add element"]
    assert table.change({A: made(port("a", "10.244.0.2", "10.244.0.3"))}) == ""


def test_the_last_endpoint_takes_the_chain_along_and_a_node_port_is_refused() -> None:
    table = FragmentTable("ip", "t")
    table.change({A: made(port("a", "10.244.0.2", node_port=30000))})
    commands = table.change({A: made(port("a", node_port=30000))})
    assert "add element ip t unanswered-nodeports { tcp . 30000 : goto refuse }" in commands
    assert commands.count("delete chain") == 2
    assert table.elements() == {Element("unanswered-nodeports", "tcp . 30000"): "goto refuse"}


def test_sets_come_before_and_go_after_the_chains_that_use_them() -> None:
    table = FragmentTable("ip", "t")
    come = table.change({A: made(port("a", "10.244.0.2", "10.244.0.3", affinity=60))}).splitlines()
    kinds = [" ".join(c.split()[:2]) for c in come]
    assert kinds.index("add set") < kinds.index("add chain") < kinds.index("add rule")
    gone = table.change({A: Fragment()}).splitlines()
    kinds = [" ".join(c.split()[:2]) for c in gone]
    assert kinds == sorted(kinds, key=["delete element", "flush chain", "delete chain", "delete set"].index)
    assert table.owners() == set()


def test_a_shared_element_stays_until_its_last_owner_goes() -> None:
    table = FragmentTable("ip", "t")
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


def udp(*endpoints: str, node_port: int = 0) -> ServicePort:
    found = tuple(Endpoint(e, 53) for e in endpoints)
    return ServicePort("d", "dns", "", "udp", 53, ("10.96.0.10",), node_port=node_port, cluster=found)


def test_udp_ways_whose_answerers_went_or_woke_are_looked_at() -> None:
    way = Way("10.96.0.10", 53)
    one, both = (
        frozenset({Endpoint("10.244.0.3", 53)}),
        frozenset({Endpoint("10.244.0.2", 53), Endpoint("10.244.0.3", 53)}),
    )
    assert answerers([udp("10.244.0.2", "10.244.0.3")]) == {way: both}
    assert disturbed({way: both}, {way: one}) == {way: one}
    assert disturbed({way: frozenset()}, {way: one}) == {way: one}
    assert disturbed({way: one}, {}) == {way: frozenset()}
    assert disturbed({way: one}, {way: both}) == {}


@pytest.mark.parametrize(
    ("flow", "local", "stale"),
    [
        (Flow("10.96.0.10", 53, Endpoint("10.244.0.2", 53)), False, True),
        (Flow("10.96.0.10", 53, Endpoint("10.244.0.3", 53)), False, False),
        (Flow("10.96.0.10", 53, Endpoint("10.244.0.3", 54)), False, True),  # another target port
        (Flow("10.96.0.10", 53, Endpoint("10.96.0.10", 53)), False, True),
        (Flow("192.0.2.1", 30053, Endpoint("10.244.0.2", 53)), True, True),
        (Flow("192.0.2.1", 30053, Endpoint("192.0.2.1", 30053)), True, True),
        (Flow("203.0.113.1", 30053, Endpoint("203.0.113.1", 30053)), False, False),
        (Flow("10.96.0.11", 53, Endpoint("10.244.0.2", 53)), False, False),
    ],
)
def test_flows_that_nobody_answers_who_may_are_stale(flow: Flow, local: bool, stale: bool) -> None:
    assert is_stale(flow, answerers([udp("10.244.0.3", node_port=30053)]), local) is stale


def test_names_are_readable_unique_and_short() -> None:
    long = ServicePort("n" * 63, "s" * 63, "p" * 15, "tcp", 80, ("10.96.0.1",), cluster=(Endpoint("10.244.0.2", 1),))
    twin = ServicePort("n" * 63, "s" * 63, "q" * 15, "tcp", 80, ("10.96.0.1",), cluster=(Endpoint("10.244.0.2", 1),))
    names = [*made(long).chains, *made(twin).chains]
    assert len(set(names)) == 2
    assert max(map(len, names)) <= 100


def test_source_ranges_guard_the_balancers_address_only() -> None:
    found = (Endpoint("10.244.0.2", 8080),)
    ports = ServicePort(
        "d",
        "a",
        "",
        "tcp",
        80,
        ("10.96.0.10",),
        external_addresses=("203.0.113.9",),
        balanced=("10.240.0.5",),
        source_ranges=("192.0.2.0/24", "192.0.2.128/25"),
        cluster=found,
        anywhere=True,
    )
    one = made(ports)
    guard = one.elements[Element("service-ips", "10.240.0.5 . tcp . 80")].split()[1]
    outside = one.elements[Element("service-ips", "203.0.113.9 . tcp . 80")]
    # 192.0.2.7 is the node's: what it sends to the balancer bears the balancer's own address
    assert one.chains[guard] == ("ip saddr != { 192.0.2.0/24, 10.240.0.5/32 } drop", outside)
    assert Element("balanced", "10.240.0.5") in one.elements


def test_a_local_policy_without_local_endpoints_drops_and_does_not_refuse() -> None:
    found = (Endpoint("10.244.1.2", 8080),)
    port = ServicePort("d", "a", "", "tcp", 80, ("10.96.0.10",), internal_local=True, cluster=found, anywhere=True)
    assert made(port).elements == {Element("unanswered-ips", "10.96.0.10 . tcp . 80"): "drop"}
    port = ServicePort(
        "d", "a", "", "tcp", 80, ("10.96.0.10",), node_port=30000, external_local=True, cluster=found, anywhere=True
    )
    outside = made(port).chains[made(port).elements[Element("service-nodeports", "tcp . 30000")].split()[1]]
    assert outside[0].startswith("ip saddr 10.244.0.0/16 goto svc-")
    assert outside[-1] == "drop"
