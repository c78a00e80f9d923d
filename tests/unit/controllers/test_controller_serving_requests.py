"""Which kubelets' serving certificates are approved without a human."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from kumo.kubernetes.controller_manager.certificates.serving import fault
from kumo.machinery import enrolment
from kumo.machinery.certificate_requests import parse_request

pytestmark = pytest.mark.unit
NODES = [
    {
        "metadata": {"name": name},
        "status": {"addresses": [{"type": "InternalIP", "address": ip}, {"type": "Hostname", "address": name}]},
    }
    for name, ip in (("n1", "192.0.2.1"), ("n2", "192.0.2.2"))
]


def judged(
    names: list[str],
    addresses: list[str],
    *,
    subject: str = "system:node:n1",
    user: str = "system:node:n1",
    groups: tuple[str, ...] = ("system:nodes", "system:authenticated"),
    usages: tuple[str, ...] = enrolment.SERVER_USAGES,
    nodes: list[dict[str, Any]] = NODES,
) -> str:
    made = enrolment.new_request(subject, ("system:nodes",), dns_names=names, addresses=addresses)
    text = base64.b64encode(made.request).decode()
    spec = {"username": user, "groups": list(groups), "usages": list(usages), "request": text}
    return fault({"spec": spec}, parse_request(text), nodes, ["10.96.0.1"])


def test_a_nodes_own_names_and_addresses() -> None:
    assert judged(["n1"], ["192.0.2.1"]) == ""
    assert judged([], ["192.0.2.1"]) == ""


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"names": ["n1"], "addresses": ["192.0.2.2"]}, "no name or address of node n1"),
        ({"names": ["n2"], "addresses": []}, "no name or address of node n1"),
        ({"names": ["kubernetes.default"], "addresses": []}, "no name or address of node n1"),
        ({"names": ["n1"], "addresses": ["127.0.0.1"]}, "no name or address of node n1"),
        ({"names": ["n1"], "addresses": [], "user": "system:node:n2"}, "not made by the node"),
        ({"names": ["n1"], "addresses": [], "user": "kubernetes-admin"}, "not made by the node"),
        ({"names": ["n1"], "addresses": [], "groups": ("system:authenticated",)}, "not made by the node"),
        ({"names": ["n1"], "addresses": [], "usages": enrolment.CLIENT_USAGES}, "usages did not match"),
        ({"names": [], "addresses": []}, "DNS or IP subjectAltName is required"),
        ({"names": ["n9"], "addresses": [], "subject": "system:node:n9", "user": "system:node:n9"}, "no node n9"),
        ({"names": ["n1"], "addresses": [], "nodes": []}, "no node n1"),
    ],
)
def test_nothing_else(given: dict[str, Any], why: str) -> None:
    assert why in judged(given.pop("names"), given.pop("addresses"), **given)


def test_an_address_that_two_nodes_claim_is_neithers() -> None:
    twin = {"metadata": {"name": "n3"}, "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]}}
    assert "another node's" in judged([], ["192.0.2.1"], nodes=[*NODES, twin])


@pytest.mark.parametrize("name", ["kubernetes", "kubernetes.default", "kubernetes.default.svc.x.example", "localhost"])
def test_no_node_passes_for_the_api_server_by_its_name(name: str) -> None:
    node = {"metadata": {"name": name}}
    user = f"system:node:{name}"
    assert "is the API server's" in judged([name], [], subject=user, user=user, nodes=[node])
    other = f"x{name}"
    user = f"system:node:{other}"
    assert judged([other], [], subject=user, user=user, nodes=[{"metadata": {"name": other}}]) == ""


@pytest.mark.parametrize("address", ["10.96.0.1", "127.0.0.1", "::1"])
def test_no_node_passes_for_the_api_server_by_an_address_that_it_claims(address: str) -> None:
    liar = {"metadata": {"name": "n1"}, "status": {"addresses": [{"type": "InternalIP", "address": address}]}}
    assert "is the API server's" in judged([], [address], nodes=[liar])


def test_a_name_that_a_node_writes_into_its_status_is_not_proven() -> None:
    liar = {"metadata": {"name": "n1"}, "status": {"addresses": [{"type": "Hostname", "address": "api.example"}]}}
    assert "no name or address" in judged(["api.example"], [], nodes=[liar])
