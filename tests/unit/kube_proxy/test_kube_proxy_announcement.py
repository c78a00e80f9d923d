"""Which node answers for a load balancer's address, and the frame that tells neighbours."""

from __future__ import annotations

import struct
from ipaddress import IPv6Address
from typing import Any

import pytest

from kumo.kubernetes.kube_proxy.announcement import (
    OWNED,
    addresses,
    candidates,
    chosen,
    gratuitous_arp,
    unsolicited_advertisement,
)
from kumo.kubernetes.kube_proxy.health import ProxyHealth, is_eligible

pytestmark = pytest.mark.unit

NODES = ["n1", "n2", "n3"]


def service(policy: str = "Cluster", **annotations: str) -> dict[str, Any]:
    return {
        "metadata": {"name": "a", "annotations": annotations},
        "spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.9", "externalTrafficPolicy": policy},
        "status": {"loadBalancer": {"ingress": [{"ip": "10.92.0.1"}]}},
    }


def test_one_node_answers_and_few_addresses_move_when_one_goes() -> None:
    found = {f"10.92.0.{i}": chosen(f"10.92.0.{i}", NODES) for i in range(1, 100)}
    assert {n: 20 < list(found.values()).count(n) < 50 for n in NODES} == dict.fromkeys(NODES, True)
    left = {a: chosen(a, ["n1", "n2"]) for a in found}
    assert all(left[a] == n for a, n in found.items() if n != "n3")


def test_only_the_clouds_own_balancers_are_answered_for() -> None:
    holders = [n for n in NODES if addresses(service(**{OWNED: "x"}), {}, NODES, n)]
    assert holders == [chosen("10.92.0.1", NODES)]
    assert not any(addresses(service(), {}, NODES, n) for n in NODES)


def test_with_a_local_policy_a_node_with_endpoints_answers() -> None:
    for node in NODES:
        assert addresses(service("Local", **{OWNED: "x"}), {node: 1}, NODES, node) == {"10.92.0.1"}


def test_nodes_that_may_answer() -> None:
    def node(name: str, ready: str, **labels: str) -> dict[str, Any]:
        status = {"conditions": [{"type": "Ready", "status": ready}]}
        return {"metadata": {"name": name, "labels": labels}, "status": status}

    excluded = {"node.kubernetes.io/exclude-from-external-load-balancers": ""}
    assert candidates([node("b", "True"), node("a", "True"), node("c", "False")], "c") == ["a", "b"]
    assert candidates([node("a", "True", **excluded)], "z") == ["z"]


def test_the_frame() -> None:
    frame = gratuitous_arp("02:00:00:00:00:01", "10.92.0.1")
    assert len(frame) == 42
    assert frame[:14] == b"\xff" * 6 + bytes.fromhex("020000000001") + b"\x08\x06"
    assert frame[28:32] == frame[38:] == bytes((10, 92, 0, 1))


def test_the_frame_of_the_other_family() -> None:
    frame = unsolicited_advertisement("02:00:00:00:00:01", "fd00::1")
    assert frame[:14] == bytes.fromhex("33330000000102000000000186dd")
    header, body = frame[14:54], frame[54:]
    assert (header[6], header[7], len(body)) == (58, 255, 32)  # ICMPv6, and a hop limit that no router lets pass
    assert (body[0], body[4]) == (136, 0x20)
    assert body[8:24] == header[8:24] == IPv6Address("fd00::1").packed
    words = header[8:] + struct.pack("!II", 32, 58) + body
    total = sum(struct.unpack(f"!{len(words) // 2}H", words))
    assert (total & 0xFFFF) + (total >> 16) == 0xFFFF


def test_a_change_that_waits_too_long_makes_the_proxy_ill() -> None:
    now = [0.0]
    health = ProxyHealth(("IPv4",), lambda: now[0])
    health.queued()
    now[0] = 1000.0
    assert health.healthy  # it has not begun yet
    health.updated()
    health.queued()
    now[0] += 119.0
    good, body = health.report(True)
    assert (good, body["nodeEligible"], body["status"]["IPv4"]["healthy"]) == (True, True, True)
    assert health.report(False)[0] is False
    now[0] += 2.0
    assert health.report(None)[0] is False
    health.updated()
    assert health.report(None)[0] is True


def test_nodes_that_are_about_to_go_are_not_eligible() -> None:
    taint = {"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}
    assert is_eligible({"metadata": {}})
    assert not is_eligible({"metadata": {}, "spec": {"taints": [taint]}})
    assert not is_eligible({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}})
    assert not is_eligible(None)
