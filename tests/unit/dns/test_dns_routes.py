"""Stub domains and upstream servers by the ConfigMap kube-dns."""

from __future__ import annotations

import pytest

from kumo.kubernetes.dns.routes import Routes, Server, routes_of

pytestmark = pytest.mark.unit


def test_the_longest_domain_has_the_servers() -> None:
    data = {
        "stubDomains": '{"Acme.local": ["10.0.0.1"], "eu.acme.local.": ["10.0.0.2:5353", "[fd00::1]:53", "fd00::2"]}',
        "upstreamNameservers": '["192.0.2.1"]',
    }
    found = routes_of({"data": data})
    assert found.servers("x.acme.local") == (Server("10.0.0.1"),)
    assert found.servers("eu.acme.local") == (Server("10.0.0.2", 5353), Server("fd00::1", 53), Server("fd00::2"))
    assert found.servers("xacme.local") == (Server("192.0.2.1"),)
    assert routes_of(None) == routes_of({"data": {}}) == Routes()


@pytest.mark.parametrize(
    "data",
    [
        {"stubDomains": "{"},
        {"stubDomains": "[]"},
        {"stubDomains": '{"a": "10.0.0.1"}'},
        {"stubDomains": '{"a": ["nowhere"]}'},
        {"upstreamNameservers": "{}"},
        {"upstreamNameservers": '["10.0.0.1:x"]'},
    ],
)
def test_what_can_not_be_understood(data: dict[str, str]) -> None:
    with pytest.raises(ValueError):
        routes_of({"data": data})
