from __future__ import annotations

from typing import Any

import pytest

from kumo.kubevirt.virt_handler.network.plan import (
    NetworkInvalid,
    PodInterface,
    PortRule,
    default_mac,
    hostname_of,
    parse_resolv_conf,
    pod_binding,
)
from kumo.kubevirt.virt_handler.network.rules import masquerade_rules

pytestmark = pytest.mark.unit

POD = PodInterface("0a:58:0a:f4:00:07", 1450, "10.244.0.7", 24, "10.244.0.1", (("10.244.0.0", 24, ""),))


def vmi(interface: dict[str, Any], network: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "metadata": {"name": "vm.example", "namespace": "default", "uid": "u1"},
        "spec": {
            "domain": {"devices": {"interfaces": [{"name": "default", **interface}]}},
            "networks": [{"name": "default", **(network or {"pod": {}})}],
        },
    }


def test_masquerade() -> None:
    binding = pod_binding(vmi({"masquerade": {}}), POD, ["10.96.0.10"], ["a.b"])
    assert binding is not None
    assert (binding.kind, binding.bridge_address, binding.guest_address) == ("masquerade", "10.0.2.1", "10.0.2.2")
    lease = binding.lease
    assert lease is not None
    assert (lease.address, lease.prefix, lease.router, lease.mtu) == ("10.0.2.2", 24, "10.0.2.1", 1450)
    assert (lease.dns, lease.search, lease.hostname) == (("10.96.0.10",), ("a.b",), "vm")
    assert binding.nic.mac == lease.mac == default_mac(vmi({}), "default")


def test_masquerade_in_another_network() -> None:
    binding = pod_binding(vmi({"masquerade": {}}, {"pod": {"vmNetworkCIDR": "192.168.7.0/28"}}), POD, [], [])
    assert binding is not None
    assert (binding.bridge_address, binding.bridge_prefix, binding.guest_address) == ("192.168.7.1", 28, "192.168.7.2")


@pytest.mark.parametrize("cidr", ["10.0.2.0/31", "nonsense"])
def test_a_network_that_cannot_be(cidr: str) -> None:
    with pytest.raises(NetworkInvalid, match="vmNetworkCIDR"):
        pod_binding(vmi({"masquerade": {}}, {"pod": {"vmNetworkCIDR": cidr}}), POD, [], [])


def test_bridge_hands_over_the_pods_address() -> None:
    binding = pod_binding(vmi({"bridge": {}}), POD, [], [])
    assert binding is not None
    assert binding.lease is not None
    assert (binding.nic.mac, binding.lease.address, binding.lease.router) == (POD.mac, "10.244.0.7", "10.244.0.1")
    assert binding.lease.routes == ()


def test_bridge_with_a_router_outside_the_subnet() -> None:
    pod = PodInterface("0a:58:0a:f4:00:07", 1500, "10.244.0.7", 32, "169.254.1.1", (("169.254.1.1", 32, ""),))
    binding = pod_binding(vmi({"bridge": {}}), pod, [], [])
    assert binding is not None
    assert binding.lease is not None
    assert binding.lease.routes == (("169.254.1.1", 32, "0.0.0.0"), ("0.0.0.0", 0, "169.254.1.1"))


def test_a_chosen_mac_is_kept() -> None:
    binding = pod_binding(vmi({"masquerade": {}, "macAddress": "02-AA-00-00-00-01"}), POD, [], [])
    assert binding is not None
    assert binding.nic.mac == "02:aa:00:00:00:01"


@pytest.mark.parametrize(
    ("interface", "network", "message"),
    [
        ({"masquerade": {}}, {"multus": {"networkName": "x"}}, "is not the pod network"),
        ({"sriov": {}}, {"pod": {}}, "no binding that is supported"),
    ],
)
def test_what_is_not_supported_is_said(interface: dict[str, Any], network: dict[str, Any], message: str) -> None:
    with pytest.raises(NetworkInvalid, match=message):
        pod_binding(vmi(interface, network), POD, [], [])


def test_no_interface() -> None:
    machine = vmi({})
    machine["spec"]["domain"]["devices"]["interfaces"] = []
    assert pod_binding(machine, POD, [], []) is None


def test_macs_are_stable_and_different() -> None:
    one, other = vmi({}), vmi({})
    other["metadata"]["uid"] = "u2"
    assert default_mac(one, "a") == default_mac(one, "a")
    assert len({default_mac(one, "a"), default_mac(one, "b"), default_mac(other, "a")}) == 3
    assert default_mac(one, "a").startswith("52:54:00:")


def test_hostname() -> None:
    machine = vmi({})
    machine["spec"]["hostname"] = "chosen"
    assert hostname_of(machine) == "chosen"


def test_rules_for_all_ports() -> None:
    binding = pod_binding(vmi({"masquerade": {}}), POD, [], [])
    assert binding is not None
    text = masquerade_rules(binding)
    assert 'iifname "eth0" counter jump KUBEVIRT_PREINBOUND' in text
    assert "chain KUBEVIRT_PREINBOUND {\n    counter dnat to 10.0.2.2\n  }" in text
    assert "ip daddr { 127.0.0.1 } counter dnat to 10.0.2.2" in text
    assert "ip saddr 10.0.2.2 counter masquerade" in text
    assert "ip saddr { 127.0.0.1 } counter snat to 10.0.2.1" in text


def test_rules_for_listed_ports() -> None:
    ports = [{"name": "http", "port": 80}, {"port": 53, "protocol": "UDP"}]
    binding = pod_binding(vmi({"masquerade": {}, "ports": ports}), POD, [], [])
    assert binding is not None
    assert binding.ports == (PortRule("tcp", 80), PortRule("udp", 53))
    text = masquerade_rules(binding)
    assert "tcp dport { 80 } counter dnat to 10.0.2.2" in text
    assert "udp dport { 53 } counter dnat to 10.0.2.2" in text
    assert "\n    counter dnat to" not in text


def test_resolv_conf() -> None:
    text = "# x\nsearch a.b c.d\nnameserver 10.96.0.10\nnameserver fd00::1\nnameserver 1.1.1.1\noptions ndots:5\n"
    assert parse_resolv_conf(text) == (["10.96.0.10", "1.1.1.1"], ["a.b", "c.d"])
