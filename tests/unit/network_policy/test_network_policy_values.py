"""Policies as values, whom they mean, and what of the kernel's tables a change touches."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.api.objects import Key
from kumo.kubernetes.network_policy import rules
from kumo.kubernetes.network_policy.census import Census
from kumo.kubernetes.network_policy.policies import NamedPort, Pod, Policy, PortMatch, pod_of, policy_of

pytestmark = pytest.mark.unit


def policy(name: str = "p", **spec: Any) -> Policy:
    return policy_of({"metadata": {"name": name, "namespace": "x"}, "spec": {"podSelector": {}, **spec}})


def pod(name: str, *addresses: str, namespace: str = "x", node: str = "n1", uid: str = "", **labels: str) -> Pod:
    ports = frozenset({NamedPort("web", "tcp", 8080)})
    return Pod(Key(namespace, name), labels, node, addresses, ports, uid)


@pytest.mark.parametrize(
    ("spec", "ingress", "egress"),
    [
        ({}, True, False),
        ({"egress": [{}]}, True, True),
        ({"policyTypes": ["Egress"]}, False, True),
        ({"policyTypes": ["Ingress"], "egress": [{}]}, True, False),
        ({"policyTypes": ["Ingress", "Egress"]}, True, True),
    ],
)
def test_a_policys_types_and_their_defaults(spec: dict[str, Any], ingress: bool, egress: bool) -> None:
    found = policy(**spec)
    assert (found.ingress is not None, found.egress is not None) == (ingress, egress)


def test_ports_and_peers_of_a_rule() -> None:
    (rule,) = (
        policy(
            ingress=[
                {
                    "from": [{"ipBlock": {"cidr": "10.0.0.5/8", "except": ["10.1.0.0/16"]}}, {"podSelector": {}}],
                    "ports": [{"port": 80}, {"port": 90, "endPort": 95, "protocol": "UDP"}, {"port": "web"}, {}],
                }
            ]
        ).ingress
        or ()
    )
    assert rule.ports == (
        PortMatch("tcp", 80, 80),
        PortMatch("udp", 90, 95),
        PortMatch("tcp", name="web"),
        PortMatch("tcp"),
    )
    assert (rule.blocks[0].cidr, rule.blocks[0].excepts) == ("10.0.0.0/8", ("10.1.0.0/16",))
    assert (len(rule.selections), rule.everybody) == (1, False)


@pytest.mark.parametrize(
    ("spec", "status", "addresses"),
    [
        ({}, {"podIPs": [{"ip": "10.0.0.2"}, {"ip": "fd00::2"}]}, ("10.0.0.2", "fd00::2")),
        ({}, {"podIP": "10.0.0.2"}, ("10.0.0.2",)),
        ({}, {}, ()),
        ({"hostNetwork": True}, {"podIP": "192.0.2.1"}, None),
        ({}, {"podIP": "10.0.0.2", "phase": "Succeeded"}, None),
    ],
)
def test_who_is_a_pod(spec: dict[str, Any], status: dict[str, Any], addresses: tuple[str, ...] | None) -> None:
    found = pod_of({"metadata": {"name": "a", "namespace": "x"}, "spec": spec, "status": status})
    assert (found.addresses if found else None) == addresses


def test_a_static_pod_is_known_by_its_own_uid() -> None:
    meta = {"name": "a", "namespace": "x", "uid": "of-the-mirror"}
    assert pod_of({"metadata": meta}).uid == "of-the-mirror"  # type: ignore[union-attr]
    mirror = {**meta, "annotations": {"kubernetes.io/config.mirror": "of-the-file"}}
    assert pod_of({"metadata": mirror}).uid == "of-the-file"  # type: ignore[union-attr]


def test_rules_of_one_family_in_nfts_language() -> None:
    census = Census("n1")
    census.put_pod(pod("a", "10.0.0.2", "fd00::2", app="web"))
    census.put_pod(pod("b", "10.0.0.3", app="db"))
    found = policy(
        ingress=[
            {
                "from": [{"podSelector": {"matchLabels": {"app": "db"}}}],
                "ports": [{"port": 80}, {"port": 81, "endPort": 90}],
            },
            {
                "from": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8", "10.1.0.0/16"]}}],
                "ports": [{"port": "web"}],
            },
            {},
        ]
    )
    made = rules.PolicyWriter(found, "ip", census).fragment()
    peers, ports = sorted(made.sets)
    (lines,) = made.chains.values()
    assert lines == (
        f"ip saddr @{peers} tcp dport {{ 80-90 }} accept",
        f"ip saddr != {{ 10.0.0.0/8 }} meta l4proto tcp ip daddr . th dport @{ports} accept",
        "accept",
    )
    assert {e.key for e in made.elements} == {"10.0.0.3", "10.0.0.2 . 8080", "10.0.0.3 . 8080"}
    six = rules.PolicyWriter(found, "ip6", census).fragment()
    assert [line for chain in six.chains.values() for line in chain if "10.0" in line] == []


def test_ports_of_sctp_and_none_at_all() -> None:
    census = Census("n1")
    found = policy("p", ingress=[{"ports": [{"port": 7777, "protocol": "SCTP"}, {"protocol": "SCTP"}]}])
    (lines,) = rules.PolicyWriter(found, "ip6", census).fragment().chains.values()
    assert lines == ("meta l4proto sctp accept",)
    found = policy("p", ingress=[{"ports": [{"port": 7777, "protocol": "SCTP"}]}])
    (lines,) = rules.PolicyWriter(found, "ip", census).fragment().chains.values()
    assert lines == ("sctp dport { 7777 } accept",)


def test_pods_with_the_same_policies_share_a_gate_and_other_nodes_see_to_theirs() -> None:
    census = Census("n1")
    census.put_policy(policy("p"))
    census.put_policy(policy("q", policyTypes=["Egress"]))
    one, two, far = pod("a", "10.0.0.2"), pod("b", "10.0.0.3"), pod("c", "10.0.1.2", node="n2")
    isolating = census.isolating(one)
    assert {d: [p.key.name for p in found] for d, found in isolating.items()} == {"in": ["p"], "out": ["q"]}
    values = {v for p in (one, two) for v in rules.pod_fragment(p, census.isolating(p), "ip").elements.values()}
    assert len(values - {""}) == 2
    assert rules.pod_fragment(far, census.isolating(far), "ip").elements == {}


def test_a_change_touches_only_what_it_must() -> None:
    census = Census("n1")
    census.put_policy(policy("db", ingress=[{"from": [{"podSelector": {"matchLabels": {"app": "db"}}}]}]))
    census.put_policy(policy("all", ingress=[{"from": [{"namespaceSelector": {}}]}]))
    census.put_namespace("y", {})
    census.take()
    census.put_pod(pod("a", "10.0.0.2", app="web"))
    assert census.take() == ({Key("x", "a")}, set())  # its namespace is not known yet
    census.put_pod(pod("b", "10.0.0.3", app="db"))
    assert census.take() == ({Key("x", "b")}, {Key("x", "db")})
    census.put_pod(pod("c", "10.0.0.4", namespace="y"))
    assert census.take() == ({Key("y", "c")}, {Key("x", "all")})
    census.put_pod(pod("c", "10.0.0.4", namespace="y"))
    assert census.take() == (set(), set())
    census.drop_policy(Key("x", "db"))
    assert census.take() == ({Key("x", "a"), Key("x", "b")}, {Key("x", "db")})


def test_an_address_belongs_to_whom_it_was_given_last() -> None:
    census = Census("n1")
    census.put_pod(pod("old", "10.0.0.2", uid="1"))
    census.hold(Key("x", "new"), "2", ["10.0.0.2"])
    assert census.pod(Key("x", "old")).addresses == ()  # type: ignore[union-attr]
    census.put_pod(pod("new", uid="2"))
    assert census.pod(Key("x", "new")).addresses == ("10.0.0.2",)  # type: ignore[union-attr]
    # of the same name, but the one that went: the new one keeps what it was given
    census.hold(Key("x", "new"), "3", ["10.0.0.9"])
    census.drop_pod(Key("x", "new"), "2")
    census.put_pod(pod("new", uid="3"))
    assert census.pod(Key("x", "new")).addresses == ("10.0.0.9",)  # type: ignore[union-attr]
