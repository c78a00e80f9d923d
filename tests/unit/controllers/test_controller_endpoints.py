"""Endpoints and slices of services, by tables."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.kubernetes.controller_manager.endpoints.addresses import endpoints
from kumo.kubernetes.controller_manager.endpoints.slices import changes
from kumo.kubernetes.controller_manager.endpoints.subsets import subsets, wanted

pytestmark = pytest.mark.unit


def service(**spec: Any) -> Any:
    ports = [{"name": "web", "port": 80, "targetPort": "http"}]
    return {
        "metadata": {"name": "s", "namespace": "default", "uid": "s", "labels": {"tier": "front"}},
        "spec": {"selector": {"app": "web"}, "ports": ports, "clusterIP": "10.0.0.1", **spec},
    }


def pod(name: str, ip: str, *, ready: bool = True, port: int = 8080, phase: str = "Running", **meta: Any) -> Any:
    return {
        "metadata": {"name": name, "namespace": "default", "uid": name, **meta},
        "spec": {
            "nodeName": "n1",
            "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": port}]}],
        },
        "status": {"podIP": ip, "phase": phase, "conditions": [{"type": "Ready", "status": str(ready)}]},
    }


NODES = {"n1": {"metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "z"}}}}


def found(subject: Any, *pods: Any) -> Any:
    return endpoints(subject, pods, NODES, "IPv4")


def test_controller_endpoints_a_slice_says_all_of_its_pods() -> None:
    made = changes(service(), "IPv4", found(service(), pod("a", "10.1.0.1")), [])
    (new,) = made.create
    assert new["metadata"]["labels"] == {
        "tier": "front",
        "kubernetes.io/service-name": "s",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }
    assert new["ports"] == [{"name": "web", "protocol": "TCP", "port": 8080}]
    assert new["endpoints"] == [
        {
            "addresses": ["10.1.0.1"],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "targetRef": {"kind": "Pod", "namespace": "default", "name": "a", "uid": "a"},
            "nodeName": "n1",
            "zone": "z",
        }
    ]
    assert (made.update, made.delete) == ([], [])


@pytest.mark.parametrize(
    ("subject", "behind", "expected"),
    [
        (service(), pod("a", "10.1.0.1", ready=False), (False, False, False)),
        (service(publishNotReadyAddresses=True), pod("a", "10.1.0.1", ready=False), (True, False, False)),
        (service(), pod("a", "10.1.0.1", deletionTimestamp="x"), (False, True, True)),
    ],
)
def test_controller_endpoints_conditions(subject: Any, behind: Any, expected: tuple[bool, bool, bool]) -> None:
    (one,) = found(subject, behind)
    assert (one.ready, one.serving, one.terminating) == expected


def test_controller_endpoints_leave_out_pods_without_address_and_ended_ones() -> None:
    assert found(service(), pod("a", ""), pod("b", "10.1.0.2", phase="Succeeded")) == []


def test_controller_endpoints_pods_with_other_port_numbers_get_their_own_slice() -> None:
    made = changes(service(), "IPv4", found(service(), pod("a", "10.1.0.1"), pod("b", "10.1.0.2", port=9090)), [])
    assert sorted(s["ports"][0]["port"] for s in made.create) == [8080, 9090]


def test_controller_endpoints_slices_settle_and_hold_a_hundred_each() -> None:
    pods = [pod(f"p{i}", f"10.1.{i // 250}.{i % 250 + 1}") for i in range(230)]
    made = changes(service(), "IPv4", found(service(), *pods), [])
    assert sorted(len(s["endpoints"]) for s in made.create) == [30, 100, 100]
    again = changes(service(), "IPv4", found(service(), *pods), made.create)
    assert (again.create, again.update, again.delete) == ([], [], [])
    fewer = changes(service(), "IPv4", found(service(), *pods[:99]), made.create)
    assert sum(len(s["endpoints"]) for s in made.create if s not in fewer.delete) >= 99
    none = changes(service(), "IPv4", [], made.create)
    assert len(none.delete) == 3 and [s["endpoints"] for s in none.create] == [[]]


def test_controller_endpoints_subsets_keep_unready_pods_apart() -> None:
    group = found(service(), pod("a", "10.1.0.1"), pod("b", "10.1.0.2", ready=False))
    (subset,) = subsets(group)
    assert [a["ip"] for a in subset["addresses"]] == ["10.1.0.1"]
    assert [a["ip"] for a in subset["notReadyAddresses"]] == ["10.1.0.2"]
    assert subset["ports"] == [{"name": "web", "protocol": "TCP", "port": 8080}]
    made = wanted(service(), group, None)
    assert made is not None
    assert wanted(service(), group, made) is None
