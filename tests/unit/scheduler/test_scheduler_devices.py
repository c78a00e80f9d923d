"""Which devices claims get, by tables: what kube-scheduler 1.36 writes for the same slices, classes and claims."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.kubernetes.scheduler.devices import allocator as searching
from kumo.kubernetes.scheduler.devices.allocator import Allocator, NotHere, TooLong
from kumo.kubernetes.scheduler.devices.pools import DeviceId, InUse, Spot
from kumo.kubernetes.scheduler.devices.selecting import CelSelectors
from kumo.kubernetes.scheduler.devices.wishes import Impossible

pytestmark = pytest.mark.unit
D = "gpu.example.com"
A, B = Spot("a", {"zone": "x"}), Spot("b", {"zone": "y"})


def device(name: str, model: str = "m", mem: str = "1Gi", **more: Any) -> dict[str, Any]:
    return {"name": name, "attributes": {"model": {"string": model}}, "capacity": {"mem": {"value": mem}}, **more}


def slice_of(*devices: Any, name: str = "s", pool: str = "p", count: int = 1, generation: int = 1, **more: Any) -> Any:
    place = more or {"nodeName": "a"}
    named = {"name": pool, "generation": generation, "resourceSliceCount": count}
    return {"metadata": {"name": name}, "spec": {"driver": D, "pool": named, "devices": list(devices), **place}}


def cel(*expressions: str) -> list[Any]:
    return [{"cel": {"expression": e}} for e in expressions]


def claim(*requests: Any, **devices: Any) -> dict[str, Any]:
    made = [
        r if "name" in r else {"name": f"r{i}", "exactly": {"deviceClassName": "c", **r}}
        for i, r in enumerate(requests)
    ]
    return {"metadata": {"name": "x", "namespace": "ns"}, "spec": {"devices": {"requests": made, **devices}}}


CLASSES: dict[str, Any] = {
    "c": {"metadata": {"name": "c"}, "spec": {"selectors": cel(f'device.driver == "{D}"')}},
    "set": {"metadata": {"name": "set"}, "spec": {"config": [{"opaque": {"driver": D, "parameters": {"k": 1}}}]}},
}


def allocate(slices: Any, *claims: Any, node: Spot = A, taken: Any = ()) -> Any:
    used = taken if isinstance(taken, InUse) else InUse(frozenset(DeviceId(D, "p", name) for name in taken))
    return Allocator(slices, used, CLASSES.get, CelSelectors()).allocate(node, claims)


def names(found: Any) -> Any:
    if found is None:
        return None
    return [" ".join(f"{r['request']}={r['device']}" for r in a["devices"]["results"]) for a in found]


SMALL, LARGE = device("g0", "small", "8Gi"), device("g1", "large", "80Gi")
BIG = f'device.capacity["{D}"].mem.compareTo(quantity("10Gi")) > 0'
EITHER = {
    "name": "r",
    "firstAvailable": [
        {"name": "two", "deviceClassName": "c", "count": 2, "selectors": cel(BIG)},
        {"name": "one", "deviceClassName": "c"},
    ],
}


@pytest.mark.parametrize(
    ("claims", "taken", "expected"),
    [
        ([claim({})], (), ["r0=g0"]),
        ([claim({})], ("g0",), ["r0=g1"]),
        ([claim({})], ("g0", "g1"), None),
        ([claim({"count": 2})], (), ["r0=g0 r0=g1"]),
        ([claim({"count": 3})], (), None),
        ([claim({"selectors": cel(BIG)})], (), ["r0=g1"]),
        ([claim({}, {"selectors": cel('device.attributes["gpu.example.com"].model == "small"')})], (), ["r0=g1 r1=g0"]),
        ([claim({}), claim({})], (), ["r0=g0", "r0=g1"]),
        ([claim({"allocationMode": "All"})], (), ["r0=g0 r0=g1"]),
        ([claim({"allocationMode": "All"})], ("g1",), None),
        ([claim({"allocationMode": "All", "adminAccess": True})], ("g1",), ["r0=g0 r0=g1"]),
        ([claim(EITHER)], (), ["r/one=g0"]),
        ([claim({}, {}, constraints=[{"matchAttribute": f"{D}/model"}])], (), None),
        ([claim({}, {}, constraints=[{"matchAttribute": f"{D}/model", "requests": ["r0"]}])], (), ["r0=g0 r1=g1"]),
    ],
)
def test_devices_first_fit(claims: Any, taken: Any, expected: Any) -> None:
    assert names(allocate([slice_of(SMALL, LARGE)], *claims, taken=taken)) == expected


def test_devices_of_one_kind_are_searched_for_until_they_match() -> None:
    slices = [slice_of(device("g0", "u"), device("g1", "v"), device("g2", "v"))]
    wanted = claim({"count": 2}, constraints=[{"matchAttribute": f"{D}/model"}])
    assert names(allocate(slices, wanted)) == ["r0=g1 r0=g2"]


@pytest.mark.parametrize(
    ("slices", "node", "expected"),
    [
        ([slice_of(SMALL)], B, None),
        ([slice_of(SMALL, allNodes=True)], B, ["r0=g0"]),
        ([slice_of(device("g0", nodeName="a"), device("g1", nodeName="b"), perDeviceNodeSelection=True)], B, ["r0=g1"]),
        ([slice_of(SMALL, generation=1), slice_of(LARGE, name="t", generation=2)], A, ["r0=g1"]),
        ([slice_of(SMALL, count=2), slice_of(LARGE, name="t", generation=2, nodeName="b")], A, None),
        ([slice_of(SMALL, count=2)], A, None),
        ([slice_of(SMALL, count=2), slice_of(LARGE, name="t", count=2, nodeName="b")], B, ["r0=g1"]),
        ([slice_of(SMALL, pool="q"), slice_of(LARGE, name="t")], A, ["r0=g1"]),
        ([slice_of(LARGE, name="t", count=2), slice_of(SMALL, count=2)], A, ["r0=g0"]),
        ([slice_of(device("g0", taints=[{"key": "k", "effect": "NoSchedule"}]))], A, None),
        ([slice_of(device("g0", taints=[{"key": "k", "effect": "None"}]))], A, ["r0=g0"]),
        ([slice_of(device("g0", bindingConditions=["ready"]))], A, ["r0=g0"]),
    ],
)
def test_devices_of_pools(slices: Any, node: Spot, expected: Any) -> None:
    assert names(allocate(slices, claim({}), node=node)) == expected


def test_devices_share_counters() -> None:
    def part(name: str, amount: str) -> Any:
        return device(name, consumesCounters=[{"counterSet": "mem", "counters": {"total": {"value": amount}}}])

    shared = slice_of(name="t", count=2, sharedCounters=[{"name": "mem", "counters": {"total": {"value": "10"}}}])
    slices = [slice_of(part("g0", "8"), part("g1", "4"), part("g2", "2"), count=2), shared]
    assert names(allocate(slices, claim({"count": 2}))) == ["r0=g0 r0=g2"]
    assert names(allocate(slices, claim({}), taken=("g1",))) == ["r0=g2"]
    assert allocate(slices, claim({"count": 3})) is None


def test_devices_come_with_configuration_and_place() -> None:
    selector = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["x"]}]}]}
    own = {"requests": ["r1"], "opaque": {"driver": D, "parameters": {"k": 2}}}
    toleration = {"key": "k", "operator": "Exists"}
    wanted = claim({"deviceClassName": "set", "tolerations": [toleration]}, {"deviceClassName": "set"}, config=[own])
    assert allocate([slice_of(SMALL, LARGE, nodeSelector=selector)], wanted) == [
        {
            "devices": {
                "results": [
                    {"request": "r0", "driver": D, "pool": "p", "device": "g0", "tolerations": [toleration]},
                    {"request": "r1", "driver": D, "pool": "p", "device": "g1"},
                ],
                "config": [
                    {
                        "source": "FromClass",
                        "requests": ["r0", "r1"],
                        "opaque": {"driver": D, "parameters": {"k": 1}},
                    },
                    {"source": "FromClaim", **own},
                ],
            },
            "nodeSelector": selector,
        }
    ]
    (found,) = allocate([slice_of(SMALL)], claim({"adminAccess": True}))
    assert found["devices"]["results"][0]["adminAccess"] is True
    field = {"key": "metadata.name", "operator": "In", "values": ["a"]}
    assert found["nodeSelector"] == {"nodeSelectorTerms": [{"matchFields": [field]}]}


@pytest.mark.parametrize(
    ("slices", "wanted", "error", "text"),
    [
        (
            [slice_of(SMALL)],
            claim({"count": 33}),
            Impossible,
            "requested devices 33 exceeds the claim limit of 32",
        ),
        ([slice_of(SMALL)], claim({"deviceClassName": "no"}), Impossible, "could not retrieve device class no: "),
        (
            [slice_of(SMALL, count=2)],
            claim({"allocationMode": "All"}),
            Impossible,
            f"{D}/p is currently being updated",
        ),
        (
            [slice_of(SMALL)],
            claim({"selectors": cel("1 +")}),
            Impossible,
            "ns/x: selector #0: CEL compile error: ",
        ),
        (
            [slice_of(SMALL)],
            claim({"selectors": cel('device.attributes["no"].such')}),
            Impossible,
            "claim ns/x: selector #0: CEL runtime error: no such key: such",
        ),
        ([slice_of(SMALL, SMALL)], claim({}), NotHere, "invalid resource pools were encountered"),
    ],
)
def test_devices_that_cannot_be_had(slices: Any, wanted: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as found:
        allocate(slices, wanted)
    assert text in str(found.value)


def test_devices_are_not_searched_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "MOST_STEPS", 500)
    many = [device(f"g{i:02}", f"m{i % 7}") for i in range(60)]
    with pytest.raises(TooLong):
        allocate([slice_of(*many)], claim({"count": 12}, constraints=[{"matchAttribute": f"{D}/model"}]))
