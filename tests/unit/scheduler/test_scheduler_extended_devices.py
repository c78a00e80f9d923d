"""Which requests a pod's extended resources become, and which class stands for them: as kube-scheduler 1.36 does it."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.kubernetes.scheduler.devices.extended import class_for, extended_of, is_extended, requests_for
from kumo.kubernetes.scheduler.nodes import PodInfo

pytestmark = pytest.mark.unit
GPU = "example.com/gpu"


def container(name: str, count: int, **more: Any) -> dict[str, Any]:
    amounts = {"cpu": "1"} | ({GPU: str(count)} if count else {})
    return {"name": name, "resources": {"requests": amounts}, **more}


def asked(containers: list[Any], init: list[Any]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    pod = {"spec": {"containers": containers, "initContainers": init}}
    requests, mappings = requests_for(pod, {GPU: "gpu"})
    counts = {r["name"]: r["exactly"]["count"] for r in requests}
    return counts, [(m["containerName"], m["requestName"]) for m in mappings]


def test_requests_of_containers() -> None:
    counts, mappings = asked([container("a", 2), container("b", 0), container("c", 1)], [])
    assert counts == {"container-0-request-1": 2, "container-2-request-1": 1}
    assert mappings == [("a", "container-0-request-1"), ("c", "container-2-request-1")]


def test_init_containers_use_what_others_get_later() -> None:
    counts, mappings = asked([container("a", 2)], [container("i", 3), container("j", 5), container("k", 1)])
    assert counts == {"container-1-request-1": 3, "container-3-request-1": 2}
    assert mappings == [
        ("a", "container-3-request-1"),
        ("i", "container-3-request-1"),
        ("i", "container-1-request-1"),
        ("j", "container-3-request-1"),
        ("j", "container-1-request-1"),
        ("k", "container-3-request-1"),
    ]


def test_sidecars_that_run_already_share_nothing() -> None:
    counts, _ = asked([container("a", 1)], [container("s", 1, restartPolicy="Always"), container("i", 1)])
    assert counts == {"container-0-request-1": 1, "container-2-request-1": 1}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (GPU, True),
        ("deviceclass.resource.kubernetes.io/gpu", True),
        ("cpu", False),
        ("hugepages-2Mi", False),
        ("kubernetes.io/x", False),
        ("requests.example.com/x", False),
    ],
)
def test_names_of_extended_resources(name: str, expected: bool) -> None:
    assert is_extended(name) is expected


def test_class_of_a_resource() -> None:
    def item(name: str, made: str, resource: str = GPU) -> dict[str, Any]:
        meta = {"name": name, "creationTimestamp": f"2026-01-01T00:00:0{made}Z"}
        return {"metadata": meta, "spec": {"extendedResourceName": resource}}

    assert class_for(GPU, [item("a", "1"), item("c", "2"), item("b", "2"), item("d", "3", "example.com/other")]) == "b"
    assert class_for("deviceclass.resource.kubernetes.io/a", [item("a", "1")]) == "a"
    assert class_for("example.com/none", [item("a", "1")]) == ""


def test_claim_that_an_earlier_attempt_made_is_found() -> None:
    owner = {"uid": "u", "controller": True}
    meta = {"name": "x", "ownerReferences": [owner]}
    made = {"metadata": {**meta, "annotations": {"resource.kubernetes.io/extended-resource-claim": "true"}}}
    pod = {"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": {"containers": [container("a", 1)]}}
    info = PodInfo.of(pod)
    classes = [{"metadata": {"name": "gpu"}, "spec": {"extendedResourceName": GPU}}]
    found = extended_of(info, classes, [{"metadata": meta}, made])
    assert found is not None and found.claim is made
    fresh = extended_of(info, classes, [])
    assert fresh is not None and fresh.claim["metadata"]["name"] == "<extended-resources>"
    assert extended_of(info, [], []) is None
