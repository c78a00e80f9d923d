"""Which endpoints a Service port has: tables of objects."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.kubernetes.kube_proxy.services import Endpoint, ServicePort, is_ours, service_ports

pytestmark = pytest.mark.unit

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


def only(obj: dict[str, Any], *slices: dict[str, Any]) -> ServicePort:
    found = service_ports(obj, slices, "node1")
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


def test_another_proxys_service_is_left_alone() -> None:
    found = service()
    found["metadata"]["labels"] = {"service.kubernetes.io/service-proxy-name": "other"}
    assert service_ports(found, [], "node1") == []


def test_ready_endpoints_of_all_slices_count() -> None:
    one = piece(("10.244.0.3", READY, "node1"), ("10.244.0.2", NOT_READY, "node1"))
    two = piece(("10.244.1.3", {}, "node2"), port=8081)
    found = only(service(), one, two)
    assert found.endpoints == (Endpoint("10.244.0.3", 8080), Endpoint("10.244.1.3", 8081))
    assert found.title == "shop/web/http"


def test_terminating_endpoints_serve_while_there_is_no_other() -> None:
    ending = ("10.244.0.2", ENDING, "node1")
    assert only(service(), piece(ending)).endpoints == (Endpoint("10.244.0.2", 8080),)
    assert only(service(), piece(ending, ("10.244.0.3", READY, "node1"))).endpoints == (Endpoint("10.244.0.3", 8080),)


def test_other_families_and_other_ports_are_ignored() -> None:
    six = piece(("fd00::1", READY, "node1"), family="IPv6")
    other = piece(("10.244.0.2", READY, "node1"))
    other["ports"][0]["name"] = "metrics"
    assert only(service(), six, other).endpoints == ()


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
    assert (len(found.endpoints), len(found.external_endpoints)) == (inside, outside)


def test_external_addresses_and_affinity() -> None:
    obj = service(sessionAffinity="ClientIP", externalIPs=["203.0.113.1", "fd00::1"])
    obj["status"] = {"loadBalancer": {"ingress": [{"ip": "203.0.113.2"}, {"hostname": "x"}]}}
    found = only(obj)
    assert found.external_addresses == ("203.0.113.1", "203.0.113.2")
    assert found.affinity == 10800
    obj["spec"]["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": 60}}
    assert only(obj).affinity == 60
