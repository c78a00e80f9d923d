"""Which endpoints a Service port has: tables of objects."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.kubernetes.kube_proxy.config import IPV4, IPV6, Family
from kumo.kubernetes.kube_proxy.endpoints import Endpoint, Known, Place, usable
from kumo.kubernetes.kube_proxy.services import ServicePort, health_port, is_ours, local_count, service_ports

pytestmark = pytest.mark.unit

HERE = Place("node1", "west")
READY = {"ready": True, "serving": True, "terminating": False}
ENDING = {"ready": False, "serving": True, "terminating": True}
NOT_READY = {"ready": False, "serving": False, "terminating": False}


def service(**spec: Any) -> dict[str, Any]:
    body = {"clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10"], "ports": [{"name": "http", "port": 80}], **spec}
    return {"metadata": {"name": "web", "namespace": "shop"}, "spec": body}


def piece(*endpoints: tuple[str, dict[str, Any], str], port: int = 8080, family: str = "IPv4") -> dict[str, Any]:
    return {
        "metadata": {"name": "web-1", "namespace": "shop"},
        "addressType": family,
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
        "endpoints": [{"addresses": [a], "conditions": c, "nodeName": n} for a, c, n in endpoints],
    }


def only(obj: dict[str, Any], *slices: dict[str, Any], family: Family = IPV4) -> ServicePort:
    found = service_ports(obj, slices, HERE, family)
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize(
    ("spec", "ours"),
    [
        ({}, True),
        ({"clusterIP": "None"}, False),
        ({"clusterIP": ""}, False),
        ({"type": "ExternalName", "externalName": "example.org"}, False),
    ],
)
def test_headless_and_external_names_are_not_ours(spec: dict[str, Any], ours: bool) -> None:
    assert is_ours(service(**spec)) is ours


@pytest.mark.parametrize("label", ["service-proxy-name", "headless"])
def test_another_proxys_service_is_left_alone(label: str) -> None:
    found = service()
    found["metadata"]["labels"] = {f"service.kubernetes.io/{label}": "other"}
    assert service_ports(found, [], HERE) == []


def test_ready_endpoints_of_all_slices_count() -> None:
    one = piece(("10.244.0.3", READY, "node1"), ("10.244.0.2", NOT_READY, "node1"))
    two = piece(("10.244.1.3", {}, "node2"), port=8081)
    found = only(service(), one, two)
    assert found.cluster == (Endpoint("10.244.0.3", 8080), Endpoint("10.244.1.3", 8081))
    assert found.title == "shop/web/http"


def test_terminating_endpoints_serve_while_there_is_no_other() -> None:
    ending = ("10.244.0.2", ENDING, "node1")
    assert only(service(), piece(ending)).cluster == (Endpoint("10.244.0.2", 8080),)
    assert only(service(), piece(ending, ("10.244.0.3", READY, "node1"))).cluster == (Endpoint("10.244.0.3", 8080),)


def test_other_families_and_other_ports_are_ignored() -> None:
    six = piece(("fd00::1", READY, "node1"), family="IPv6")
    other = piece(("10.244.0.2", READY, "node1"))
    other["ports"][0]["name"] = "metrics"
    assert only(service(), six, other).cluster == ()


@pytest.mark.parametrize(
    ("spec", "inside", "outside"),
    [
        ({}, 2, 2),
        ({"externalTrafficPolicy": "Local"}, 2, 1),
        ({"internalTrafficPolicy": "Local"}, 1, 2),
    ],
)
def test_traffic_policies(spec: dict[str, Any], inside: int, outside: int) -> None:
    found = only(service(**spec), piece(("10.244.0.2", READY, "node1"), ("10.244.1.2", READY, "node2")))
    assert (len(found.inside), len(found.outside)) == (inside, outside)


def test_external_addresses_and_affinity() -> None:
    obj = service(sessionAffinity="ClientIP", externalIPs=["203.0.113.1", "fd00::1"])
    obj["status"] = {"loadBalancer": {"ingress": [{"ip": "203.0.113.2"}, {"hostname": "x"}]}}
    found = only(obj)
    assert (found.external_addresses, found.balanced) == (("203.0.113.1",), ("203.0.113.2",))
    assert found.affinity == 10800
    obj["spec"]["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": 60}}
    assert only(obj).affinity == 60


def test_each_family_has_its_own_addresses_and_endpoints() -> None:
    obj = service(clusterIPs=["10.96.0.10", "fd00::a"], externalIPs=["203.0.113.1", "2001:db8::1"])
    four, six = piece(("10.244.0.2", READY, "node1")), piece(("fd00::2", READY, "node1"), family="IPv6")
    found = only(obj, four, six, family=IPV6)
    assert found.cluster_addresses == ("fd00::a",)
    assert found.external_addresses == ("2001:db8::1",)
    assert found.cluster == (Endpoint("fd00::2", 8080),)
    assert service_ports(service(), [six], HERE, IPV6) == []


def test_source_ranges_and_balancers_of_mode_proxy() -> None:
    obj = service(loadBalancerSourceRanges=["192.0.2.0/24", " 10.1.2.3/8", "fd00::/8", "nonsense"])
    obj["status"] = {"loadBalancer": {"ingress": [{"ip": "203.0.113.2", "ipMode": "Proxy"}]}}
    found = only(obj)
    assert found.source_ranges == ("192.0.2.0/24", "10.0.0.0/8")
    assert found.balanced == ()


def test_the_health_port_belongs_to_local_balancers_and_counts_pods_not_ports() -> None:
    obj = service(type="LoadBalancer", externalTrafficPolicy="Local", healthCheckNodePort=32000)
    assert health_port(obj) == 32000
    assert health_port(service(type="LoadBalancer", healthCheckNodePort=32000)) == 0
    four = piece(("10.244.0.2", READY, "node1"), ("10.244.0.3", ENDING, "node1"), ("10.244.1.2", READY, "node2"))
    six = piece(("fd00::2", READY, "node1"), family="IPv6")
    assert local_count([four, piece(("10.244.0.2", READY, "node1"), port=9), six], "node1") == 1


def ready(number: int, node: str = "node1", zones: str = "", nodes: str = "") -> Known:
    return Known(
        Endpoint(f"10.244.0.{number}", 80), True, False, node, frozenset(zones.split()), frozenset(nodes.split())
    )


@pytest.mark.parametrize(
    ("endpoints", "numbers"),
    [
        ([ready(1), ready(2)], [1, 2]),
        ([ready(1, zones="west"), ready(2, zones="east")], [1]),
        ([ready(1, zones="west"), ready(2)], [1, 2]),  # one without a hint: none counts
        ([ready(1, zones="east"), ready(2, zones="east")], [1, 2]),  # nobody is for us
        ([ready(1, zones="west", nodes="node2"), ready(2, zones="west", nodes="node1")], [2]),
        ([ready(1, zones="west", nodes="node2"), ready(2, zones="east", nodes="node3")], [1]),  # the zone, then
    ],
)
def test_hints_choose_near_endpoints(endpoints: list[Known], numbers: list[int]) -> None:
    assert usable(endpoints, HERE).cluster == tuple(Endpoint(f"10.244.0.{n}", 80) for n in numbers)


def test_local_endpoints_fall_back_to_terminating_ones_of_this_node() -> None:
    ending = Known(Endpoint("10.244.0.9", 80), False, True, "node1")
    found = usable([ready(1, "node2"), ending], HERE)
    assert (found.cluster, found.local) == ((Endpoint("10.244.0.1", 80),), (Endpoint("10.244.0.9", 80),))
    assert usable([], HERE).anywhere is False
