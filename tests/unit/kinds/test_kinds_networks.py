"""The kinds of networking.k8s.io and discovery.k8s.io: good objects, and what one wrong field is refused with."""

from __future__ import annotations

from typing import Any

import pytest

from support.judging import GONE, made, put, refused, updated

pytestmark = pytest.mark.unit


def _networking(kind: str, spec: dict[str, Any], name: str = "x") -> dict[str, Any]:
    return {"apiVersion": "networking.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


SERVICE = {"service": {"name": "svc", "port": {"number": 80}}}
REFERENCE = {"resource": {"apiGroup": "g.io", "kind": "K", "name": "n"}}
INGRESS = _networking(
    "Ingress",
    {
        "ingressClassName": "nginx",
        "defaultBackend": SERVICE,
        "tls": [{"hosts": ["a.io"], "secretName": "s"}],
        "rules": [
            {
                "host": "a.io",
                "http": {
                    "paths": [
                        {"path": "/a", "pathType": "Prefix", "backend": SERVICE},
                        {"path": "/b", "pathType": "Exact", "backend": REFERENCE},
                    ]
                },
            }
        ],
    },
)
INGRESS_CLASS = _networking(
    "IngressClass",
    {"controller": "a.io/b", "parameters": {"kind": "P", "name": "p", "scope": "Namespace", "namespace": "n"}},
)
POLICY = _networking(
    "NetworkPolicy",
    {
        "podSelector": {"matchExpressions": [{"key": "k", "operator": "In", "values": ["x"]}]},
        "ingress": [
            {
                "ports": [{"port": 80, "endPort": 90}, {"port": "http"}],
                "from": [{"podSelector": {}}, {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}],
            }
        ],
    },
)
ADDRESS = _networking("IPAddress", {"parentRef": {"resource": "services", "namespace": "n", "name": "s"}}, "10.0.0.7")
RANGES = _networking("ServiceCIDR", {"cidrs": ["10.0.0.0/16", "fd00::/64"]})
SLICE: dict[str, Any] = {
    "apiVersion": "discovery.k8s.io/v1",
    "kind": "EndpointSlice",
    "metadata": {"name": "x"},
    "addressType": "IPv4",
    "ports": [{"name": "http", "port": 80}, {"name": "", "port": 81, "protocol": "UDP"}],
    "endpoints": [
        {
            "addresses": ["10.1.1.1"],
            "hostname": "h",
            "nodeName": "n",
            "hints": {"forZones": [{"name": "z"}], "forNodes": [{"name": "n"}]},
        }
    ],
}
PATH = "spec.rules.0.http.paths.0"
SHOWN = "spec.rules[0].http.paths[0]"
FROM = "spec.ingress.0.from"


@pytest.mark.parametrize("obj", [INGRESS, INGRESS_CLASS, POLICY, ADDRESS, RANGES, SLICE])
def test_good_objects_are_taken(obj: dict[str, Any]) -> None:
    assert refused(obj, "metadata.labels", {"a": "b"}) == []
    assert updated(obj, "metadata.labels", {"a": "b"})[1] == []


@pytest.mark.parametrize(
    ("obj", "path", "value", "wrong"),
    [
        (INGRESS, "spec", GONE, "spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"),
        (INGRESS, "spec.ingressClassName", "A_", "spec.ingressClassName: Invalid value"),
        (INGRESS, "spec.defaultBackend", {}, "resource or service backend is required"),
        (INGRESS, "spec.defaultBackend", {**SERVICE, **REFERENCE}, "cannot set both resource and service backends"),
        (INGRESS, "spec.defaultBackend.service.name", "", "spec.defaultBackend.service.name: Required value"),
        (INGRESS, "spec.defaultBackend.service.port", {}, "port name or number is required"),
        (INGRESS, "spec.defaultBackend.service.port.name", "p", "cannot set both port name & port number"),
        (INGRESS, "spec.defaultBackend.service.port.number", 70000, "must be between 1 and 65535, inclusive"),
        (INGRESS, "spec.tls.0.hosts.0", "A_", "spec.tls[0].hosts[0]: Invalid value"),
        (INGRESS, "spec.tls.0.secretName", "A_", "spec.tls[0].secretName: Invalid value"),
        (INGRESS, "spec.rules.0.host", "10.0.0.1", "must be a DNS name, not an IP address"),
        (INGRESS, "spec.rules.0.host", "a.*.io", "spec.rules[0].host: Invalid value"),
        (INGRESS, "spec.rules.0.http.paths", [], "spec.rules[0].http.paths: Required value"),
        (INGRESS, f"{PATH}.path", "a", f'{SHOWN}.path: Invalid value: "a": must be an absolute path'),
        (INGRESS, f"{PATH}.path", "/a//b", f"{SHOWN}.path: Invalid value: \"/a//b\": must not contain '//'"),
        (INGRESS, f"{PATH}.pathType", GONE, f"{SHOWN}.pathType: Required value: pathType must be specified"),
        (INGRESS, f"{PATH}.pathType", "Regex", f'{SHOWN}.pathType: Unsupported value: "Regex"'),
        (INGRESS, f"{PATH}.backend", GONE, f'{SHOWN}.backend: Invalid value: "": resource or'),
        (INGRESS_CLASS, "spec.controller", "", "spec.controller: Required value"),
        (INGRESS_CLASS, "spec.controller", "nodomain", "must be a domain-prefixed path"),
        (INGRESS_CLASS, "spec.parameters.kind", "", "spec.parameters.kind: Required value"),
        (INGRESS_CLASS, "spec.parameters.scope", "Own", 'spec.parameters.scope: Unsupported value: "Own"'),
        (INGRESS_CLASS, "spec.parameters.namespace", GONE, "spec.parameters.namespace: Required value"),
        (INGRESS_CLASS, "spec.parameters.scope", "Cluster", "spec.parameters.namespace: Forbidden"),
        (POLICY, "spec.podSelector.matchExpressions.0.operator", "Is", "not a valid selector operator"),
        (POLICY, "spec.policyTypes", ["Both"], 'spec.policyTypes[0]: Unsupported value: "Both"'),
        (POLICY, "spec.policyTypes", ["Ingress"] * 3, "may not specify more than two policyTypes"),
        (POLICY, "spec.ingress.0.ports.0.port", 0, "must be between 1 and 65535, inclusive"),
        (POLICY, "spec.ingress.0.ports.0.endPort", 70, "must be greater than or equal to `port`"),
        (POLICY, "spec.ingress.0.ports.1.endPort", 90, "may not be specified when `port` is non-numeric"),
        (POLICY, "spec.ingress.0.ports.0.port", GONE, "may not be specified when `port` is not specified"),
        (
            POLICY,
            "spec.ingress.0.ports.0.protocol",
            "X",
            'Unsupported value: "X": supported values: "TCP", "UDP", "SCTP"',
        ),
        (POLICY, f"{FROM}.0", {}, "spec.ingress[0].from[0]: Required value: must specify a peer"),
        (POLICY, f"{FROM}.1.podSelector", {}, "may not specify both ipBlock and another peer"),
        (POLICY, f"{FROM}.1.ipBlock.cidr", "", "spec.ingress[0].from[1].ipBlock.cidr: Required value"),
        (POLICY, f"{FROM}.1.ipBlock.except.0", "11.0.0.0/16", "must be a strict subset of `cidr`"),
        (ADDRESS, "metadata.name", "010.0.0.7", 'metadata.name: Invalid value: "010.0.0.7"'),
        (ADDRESS, "spec.parentRef", GONE, "spec.parentRef: Required value"),
        (ADDRESS, "spec.parentRef.name", "", "spec.parentRef.name: Required value"),
        (RANGES, "spec.cidrs", [], "spec.cidrs: Required value: at least one CIDR required"),
        (RANGES, "spec.cidrs.1", "10.1.0.0/16", "may specify no more than one IP for each IP family"),
        (RANGES, "spec.cidrs.0", "10.0.0.1/16", "spec.cidrs[0]: Invalid value"),
        (SLICE, "addressType", GONE, "addressType: Required value"),
        (SLICE, "addressType", "IPv5", 'addressType: Unsupported value: "IPv5"'),
        (SLICE, "endpoints.0.addresses", [], "endpoints[0].addresses: Required value: must contain at least 1 address"),
        (SLICE, "endpoints.0.addresses.0", "fd00::1", "must be an IPv4 address"),
        (SLICE, "endpoints.0.addresses.0", "127.0.0.1", "may not be in the loopback range"),
        (SLICE, "endpoints.0.nodeName", "A_", "endpoints[0].nodeName: Invalid value"),
        (SLICE, "endpoints.0.hostname", "A_", "endpoints[0].hostname: Invalid value"),
        (SLICE, "endpoints.0.hints.forZones", [{"name": "z"}] * 2, "hints.forZones[1].name: Duplicate value"),
        (SLICE, "endpoints.0.hints.forNodes.0.name", "A_", "endpoints[0].hints.forNodes[0].name: Invalid value"),
        (SLICE, "ports.1.name", "http", "ports[1].name: Duplicate value"),
        (SLICE, "ports.0.name", "A_", "ports[0].name: Invalid value"),
        (SLICE, "ports.0.appProtocol", "_", "ports[0].appProtocol: Invalid value"),
        (SLICE, "ports.0.port", GONE, ""),
    ],
)
def test_one_wrong_field(obj: dict[str, Any], path: str, value: Any, wrong: str) -> None:
    found = refused(obj, path, value)
    assert any(wrong in message for message in found) if wrong else found == [], found


@pytest.mark.parametrize(
    ("obj", "path", "value", "wrong"),
    [
        (INGRESS, "spec.ingressClassName", GONE, ""),
        (INGRESS_CLASS, "spec.controller", "b.io/c", "spec.controller: Invalid value"),
        (POLICY, "spec.ingress", GONE, ""),
        (ADDRESS, "spec.parentRef.name", "t", "spec.parentRef: Invalid value"),
        (RANGES, "spec.cidrs", ["10.0.0.0/16"], "field is immutable"),
        (RANGES, "spec.cidrs.0", "10.1.0.0/16", "spec.cidrs[0]: Invalid value"),
        (SLICE, "addressType", "IPv6", "addressType: Invalid value"),
        (SLICE, "endpoints", [], ""),
    ],
)
def test_updates(obj: dict[str, Any], path: str, value: Any, wrong: str) -> None:
    _, found = updated(obj, path, value)
    assert any(wrong in message for message in found) if wrong else found == [], found


@pytest.mark.parametrize(
    ("status", "wrong"),
    [
        ({"loadBalancer": {"ingress": [{"ip": "1.2.3.4", "ports": [{"port": 80, "protocol": "TCP"}]}]}}, ""),
        ({"loadBalancer": {"ingress": [{"ip": "1.2.3"}]}}, "status.loadBalancer.ingress[0].ip: Invalid value"),
        ({"loadBalancer": {"ingress": [{"hostname": "1.2.3.4"}]}}, "must be a DNS name, not an IP address"),
    ],
)
def test_ingress_status(status: dict[str, Any], wrong: str) -> None:
    fresh, found = updated(INGRESS, "status", status, "status")
    assert any(wrong in message for message in found) if wrong else found == [], found
    assert fresh["spec"] == made(INGRESS)["spec"]


def test_defaults() -> None:
    policy = made(POLICY)["spec"]
    assert policy["policyTypes"] == ["Ingress"] and policy["ingress"][0]["ports"][0]["protocol"] == "TCP"
    assert made(put(POLICY, "spec.egress", [{}]))["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert made(SLICE)["ports"][0]["protocol"] == "TCP"


@pytest.mark.parametrize(
    ("obj", "path", "value", "generation"),
    [
        (INGRESS, "spec.ingressClassName", "z", 2),
        (INGRESS, "metadata.labels", {"a": "b"}, 1),
        (SLICE, "metadata.labels", {"a": "b"}, 2),
        (SLICE, "metadata.annotations", {"a": "b"}, 1),
        (POLICY, "spec.podSelector", {}, 2),
    ],
)
def test_generations(obj: dict[str, Any], path: str, value: Any, generation: int) -> None:
    assert updated(obj, path, value)[0]["metadata"]["generation"] == generation


def test_a_status_write_leaves_the_metadata_of_some_kinds() -> None:
    labels = {"a": "b"}
    assert "labels" not in updated(RANGES, "metadata.labels", labels, "status")[0]["metadata"]
    assert updated(RANGES, "metadata.generateName", "g", "status")[0]["metadata"]["generateName"] == "g"
    assert updated(INGRESS, "metadata.labels", labels, "status")[0]["metadata"]["labels"] == labels
