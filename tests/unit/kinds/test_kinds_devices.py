"""The kinds of resource.k8s.io: one good object each, and what one wrong field in it is refused with."""

from __future__ import annotations

from typing import Any

import pytest

from support.judging import GONE, made, put, refused, updated

pytestmark = pytest.mark.unit


def _device(kind: str, spec: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"apiVersion": "resource.k8s.io/v1", "kind": kind, "metadata": {"name": "x"}, "spec": spec, **more}


SELECTORS = [{"cel": {"expression": "device.driver == 'a.io'"}}]
OPAQUE = {"opaque": {"driver": "a.io", "parameters": {"a": "b"}}}
CLASS = _device("DeviceClass", {"selectors": SELECTORS, "config": [OPAQUE], "extendedResourceName": "ex.io/gpu"})
DEVICES = {
    "requests": [
        {"name": "r1", "exactly": {"deviceClassName": "c", "tolerations": [{"key": "k", "operator": "Exists"}]}},
        {"name": "r2", "firstAvailable": [{"name": "s1", "deviceClassName": "c"}]},
    ],
    "constraints": [{"requests": ["r1", "r2/s1"], "matchAttribute": "a.io/x"}],
    "config": [{"requests": ["r1"], **OPAQUE}],
}
RESULT = {"request": "r1", "driver": "a.io", "pool": "p", "device": "d"}
CLAIM = _device("ResourceClaim", {"devices": DEVICES})
USED = {
    "allocation": {"devices": {"results": [RESULT]}},
    "reservedFor": [{"resource": "pods", "name": "p", "uid": "u"}],
    "devices": [{"driver": "a.io", "pool": "p", "device": "d"}],
}
TEMPLATE = _device("ResourceClaimTemplate", {"spec": {"devices": DEVICES}})
RANGE = {"default": "1Gi", "validRange": {"min": "1Gi", "max": "8Gi", "step": "1Gi"}}
POOL = {"name": "p", "generation": 1, "resourceSliceCount": 1}
DEVICE = {
    "name": "d1",
    "attributes": {"x": {"string": "s"}, "a.io/v": {"version": "1.2.3"}},
    "capacity": {"mem": {"value": "8Gi", "requestPolicy": RANGE}},
    "allowMultipleAllocations": True,
    "taints": [{"key": "k", "effect": "NoSchedule"}],
}
SLICE = _device("ResourceSlice", {"driver": "a.io", "nodeName": "n", "pool": POOL, "devices": [DEVICE]})
COUNTERS = _device(
    "ResourceSlice",
    {
        "driver": "a.io",
        "allNodes": True,
        "pool": POOL,
        "sharedCounters": [{"name": "c", "counters": {"m": {"value": 1}}}],
    },
)
ONE = "spec.devices.requests.0.exactly"


@pytest.mark.parametrize("obj", [CLASS, CLAIM, TEMPLATE, SLICE, COUNTERS])
def test_good_objects_are_taken(obj: dict[str, Any]) -> None:
    assert refused(obj, "metadata.name", "x") == []
    assert updated(obj, "metadata.labels", {"a": "b"})[1] == []


@pytest.mark.parametrize(
    ("obj", "path", "value", "wrong"),
    [
        (CLASS, "spec.selectors.0.cel", GONE, ["spec.selectors[0].cel: Required value"]),
        (CLASS, "spec.selectors.0.cel.expression", "1", ["must evaluate to bool"]),
        (CLASS, "spec.config.0.opaque.driver", "A_", ["spec.config[0].opaque.driver: Invalid value"]),
        (CLASS, "spec.config.0.opaque.parameters", GONE, ["spec.config[0].opaque.parameters: Required value"]),
        (CLASS, "spec.config.0.opaque", GONE, ["spec.config[0].opaque: Required value"]),
        (CLASS, "spec.config", [OPAQUE] * 33, ["spec.config: Too many: 33: must have at most 32 items"]),
        (CLASS, "spec.extendedResourceName", "gpu", ["spec.extendedResourceName: Invalid value"]),
        (
            CLAIM,
            "spec.devices.requests.0.name",
            "",
            ["spec.devices.requests[0].name: Invalid value", "must be the name of a request"],
        ),
        (CLAIM, "spec.devices.requests.1.name", "r1", ["spec.devices.requests[1]: Duplicate value"]),
        (CLAIM, "spec.devices.requests.0.exactly", GONE, ["exactly one of `exactly` or `firstAvailable` is required"]),
        (CLAIM, f"{ONE}.deviceClassName", "", ["deviceClassName: Required value"]),
        (CLAIM, f"{ONE}.allocationMode", "Some", ['Unsupported value: "Some": supported values: "All", "ExactCount"']),
        (CLAIM, f"{ONE}.count", -1, ["exactly.count: Invalid value: -1: must be greater than zero"]),
        (CLAIM, f"{ONE}.tolerations.0.operator", "Same", ['tolerations[0].operator: Unsupported value: "Same"']),
        (CLAIM, f"{ONE}.tolerations.0.value", "v", ["must be empty for operator `Exists`"]),
        (CLAIM, f"{ONE}.tolerations.0.effect", "Now", ['tolerations[0].effect: Unsupported value: "Now"']),
        (CLAIM, "spec.devices.constraints.0.matchAttribute", "x", ["constraints[0].matchAttribute: Invalid value"]),
        (CLAIM, "spec.devices.constraints.0.requests.0", "r9", ["must be the name of a request in the claim"]),
        (CLAIM, "spec.devices.config.0.requests.0", "r2/s9", ["must be the name of a request in the claim"]),
        (TEMPLATE, "spec.metadata", {"name": "n"}, ["spec.metadata.name: Forbidden: cannot be set"]),
        (TEMPLATE, "spec.metadata", {"labels": {"_": "x"}}, ["spec.metadata.labels: Invalid value"]),
        (
            TEMPLATE,
            "spec.spec.devices.requests.0.name",
            "A",
            ["spec.spec.devices.requests[0].name: Invalid value", "must be the name of a request"],
        ),
        (SLICE, "spec.driver", "", ["spec.driver: Required value"]),
        (SLICE, "spec.nodeName", GONE, ["exactly one of `nodeName`, `nodeSelector`, `allNodes`"]),
        (SLICE, "spec.allNodes", False, ["spec.allNodes: Invalid value"]),
        (SLICE, "spec.pool.name", "", ["spec.pool.name: Required value"]),
        (SLICE, "spec.pool.generation", -1, ["spec.pool.generation: Invalid value: -1: must be greater than or equal"]),
        (SLICE, "spec.pool.resourceSliceCount", 0, ["spec.pool.resourceSliceCount: Invalid value: 0: must be greater"]),
        (SLICE, "spec.devices.0.name", "A", ["spec.devices[0].name: Invalid value"]),
        (SLICE, "spec.devices", [DEVICE, DEVICE], ['spec.devices[1]: Duplicate value: "d1"']),
        (SLICE, "spec.devices.0.attributes.x", {}, ["exactly one value must be specified"]),
        (SLICE, "spec.devices.0.attributes.x", {"version": "1"}, ["must be a string compatible with semver.org spec"]),
        (SLICE, "spec.devices.0.attributes.x", {"string": "s" * 65}, ["attributes[x].string: Too long"]),
        (SLICE, "spec.devices.0.taints.0.effect", "Go", ['taints[0].effect: Unsupported value: "Go"']),
        (
            SLICE,
            "spec.devices.0.taints.0.key",
            "",
            ['taints[0].key: Invalid value: "": name part must be non-empty', "consist of alphanumeric"],
        ),
        (SLICE, "spec.devices.0.allowMultipleAllocations", GONE, ["requestPolicy: Forbidden"]),
        (
            SLICE,
            "spec.devices.0.capacity.mem.requestPolicy.default",
            "9Gi",
            ['validRange.max: Invalid value: "9Gi": default is more than max: 8Gi'],
        ),
        (SLICE, "spec.devices.0.bindingConditions", ["a"], ["bindingFailureConditions: Invalid value"]),
        (COUNTERS, "spec.sharedCounters.0.name", "", ["spec.sharedCounters[0].name: Required value"]),
        (COUNTERS, "spec.sharedCounters.0.counters", {}, ["spec.sharedCounters[0].counters: Required value"]),
        (COUNTERS, "spec.devices", [{"name": "d"}], ["only one of `sharedCounters` or `devices` is allowed"]),
    ],
)
def test_one_wrong_field(obj: dict[str, Any], path: str, value: Any, wrong: list[str]) -> None:
    found = refused(obj, path, value)
    for part in wrong:
        assert any(part in message for message in found), found


@pytest.mark.parametrize(
    ("obj", "path", "value", "wrong"),
    [
        (CLASS, "spec.selectors", GONE, ""),
        (CLAIM, f"{ONE}.count", 2, "field is immutable"),
        (TEMPLATE, "spec.spec.devices.config", GONE, "field is immutable"),
        (SLICE, "spec.driver", "b.io", "spec.driver: Invalid value"),
        (SLICE, "spec.nodeName", "m", "spec.nodeName: Invalid value"),
        (SLICE, "spec.pool.name", "q", "spec.pool.name: Invalid value"),
        (SLICE, "spec.pool.generation", 2, ""),
        (SLICE, "spec.devices.0.attributes.x.string", "t", ""),
    ],
)
def test_updates(obj: dict[str, Any], path: str, value: Any, wrong: str) -> None:
    _, found = updated(obj, path, value)
    assert len(found) == 1 and wrong in found[0] if wrong else found == []


@pytest.mark.parametrize(
    ("path", "value", "wrong"),
    [
        ("status", USED, ""),
        (
            "status",
            put(USED, "allocation.devices.results.0.request", "r9"),
            "must be the name of a request in the claim",
        ),
        ("status", put(USED, "allocation.devices.results.0.driver", ""), "results[0].driver: Required value"),
        ("status", put(USED, "allocation.devices.results.0.pool", "/"), "results[0].pool: Invalid value"),
        ("status", put(USED, "reservedFor.0.uid", ""), "status.reservedFor[0].uid: Required value"),
        ("status", put(USED, "allocation", GONE), "may not be specified when `allocated` is not set"),
        ("status", put(USED, "devices.0.device", "e"), "must be an allocated device in the claim"),
    ],
)
def test_claim_status(path: str, value: Any, wrong: str) -> None:
    fresh, found = updated(CLAIM, path, value, "status")
    assert any(wrong in f for f in found) if wrong else found == []
    assert fresh["spec"] == made(CLAIM)["spec"]


def test_defaults() -> None:
    asked = made(CLAIM)["spec"]["devices"]["requests"]
    assert asked[0]["exactly"]["allocationMode"] == "ExactCount" and asked[0]["exactly"]["count"] == 1
    assert asked[1]["firstAvailable"][0] == {
        "name": "s1",
        "deviceClassName": "c",
        "allocationMode": "ExactCount",
        "count": 1,
    }
    timed = made(SLICE)["spec"]["devices"][0]["taints"][0]
    assert timed["timeAdded"].endswith("Z")


def test_generations_of_devices() -> None:
    assert updated(SLICE, "spec.pool.generation", 2)[0]["metadata"]["generation"] == 2
    assert updated(CLASS, "metadata.labels", {"a": "b"})[0]["metadata"]["generation"] == 1
