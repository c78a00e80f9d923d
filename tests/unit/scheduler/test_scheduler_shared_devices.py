"""Devices that claims share, that differ, that have to become ready: as kube-scheduler 1.36 has them."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from kumo.kubernetes.scheduler.devices.allocator import Allocator
from kumo.kubernetes.scheduler.devices.capacity import consumed, fits
from kumo.kubernetes.scheduler.devices.claims import taken_by
from kumo.kubernetes.scheduler.devices.pools import DeviceId, InUse, Spot
from kumo.kubernetes.scheduler.devices.readiness import NotReady, deadline, is_hopeless, is_ready
from kumo.kubernetes.scheduler.devices.selecting import CelSelectors

pytestmark = pytest.mark.unit
D = "nic.example.com"
G = 1 << 30
NOTHING = InUse()


def allocate(devices: list[Any], *requests: Any, used: InUse = NOTHING, **spec: Any) -> Any:
    slices = [
        {
            "metadata": {"name": "s"},
            "spec": {
                "driver": D,
                "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1},
                "nodeName": "a",
                "devices": devices,
            },
        }
    ]
    made = [{"name": f"r{i}", "exactly": {"deviceClassName": "c", **r}} for i, r in enumerate(requests)]
    claim = {"metadata": {"name": "x", "namespace": "ns"}, "spec": {"devices": {"requests": made, **spec}}}
    classes = {"c": {"metadata": {"name": "c"}, "spec": {}}}
    found = Allocator(slices, used, classes.get, CelSelectors()).allocate(Spot("a", {}), [claim])
    return None if found is None else found[0]["devices"]["results"]


def nic(name: str, **policy: Any) -> dict[str, Any]:
    amount = {"value": "10Gi"} | ({"requestPolicy": policy} if policy else {})
    return {"name": name, "allowMultipleAllocations": True, "capacity": {"bandwidth": amount}}


def wants(amount: str, **more: Any) -> dict[str, Any]:
    return {"capacity": {"requests": {"bandwidth": amount}}, **more}


@pytest.mark.parametrize(
    ("policy", "asked", "amount", "allowed"),
    [
        ({}, None, "10Gi", True),
        ({}, "3Gi", "3Gi", True),
        ({}, "11Gi", "11Gi", False),
        ({"default": "1Gi"}, None, "1Gi", True),
        ({"default": "1Gi", "validRange": {"min": "2Gi"}}, None, "1Gi", True),
        ({"default": "2Gi", "validRange": {"min": "2Gi"}}, "1Gi", "2Gi", True),
        ({"default": "2Gi", "validRange": {"min": "1Gi", "step": "2Gi"}}, "2Gi", "3Gi", True),
        ({"default": "2Gi", "validRange": {"min": "1Gi", "max": "4Gi"}}, "5Gi", "5Gi", False),
        ({"default": "1Gi", "validValues": ["1Gi", "4Gi"]}, "2Gi", "4Gi", True),
        ({"default": "1Gi", "validValues": ["1Gi", "4Gi"]}, "5Gi", "5Gi", False),
    ],
)
def test_consumed_capacity_follows_the_policy(policy: Any, asked: str | None, amount: str, allowed: bool) -> None:
    requests = {} if asked is None else {"bandwidth": asked}
    assert consumed(requests, nic("n", **policy)) == {"bandwidth": amount}
    assert fits(requests, nic("n", **policy), {}) is allowed


def test_capacity_that_a_device_does_not_have() -> None:
    assert not fits({"light": "1"}, nic("n"), {})


def test_shared_device_is_given_until_it_is_used_up() -> None:
    found = allocate([nic("n")], wants("4Gi"), wants("6Gi"))
    assert [r["consumedCapacity"]["bandwidth"] for r in found] == ["4Gi", "6Gi"]
    assert len({r["shareID"] for r in found}) == 2
    assert allocate([nic("n")], wants("4Gi"), wants("7Gi")) is None
    used = InUse(frozenset(), {DeviceId(D, "p", "n"): {"bandwidth": Fraction(5 * G)}})
    assert allocate([nic("n")], wants("6Gi"), used=used) is None
    assert allocate([nic("n")], wants("5Gi"), used=used) is not None


def test_one_request_gets_different_devices() -> None:
    assert allocate([nic("n")], wants("1Gi", count=2)) is None
    found = allocate([nic("n"), nic("m")], wants("1Gi", count=2))
    assert [r["device"] for r in found] == ["n", "m"]


def test_all_devices_with_room() -> None:
    used = InUse(frozenset(), {DeviceId(D, "p", "n"): {"bandwidth": Fraction(9 * G)}})
    found = allocate([nic("n"), nic("m")], wants("2Gi", allocationMode="All"), used=used)
    assert [r["device"] for r in found] == ["m"]


def test_counters_of_a_shared_device_count_once() -> None:
    results = [
        {"driver": D, "pool": "p", "device": "n", "shareID": "1", "consumedCapacity": {"bandwidth": "1Gi"}},
        {"driver": D, "pool": "p", "device": "n", "shareID": "2", "consumedCapacity": {"bandwidth": "2Gi"}},
        {"driver": D, "pool": "p", "device": "whole"},
        {"driver": D, "pool": "p", "device": "looked-at", "adminAccess": True},
    ]
    found = taken_by([{"devices": {"results": results}}])
    assert found == InUse(frozenset({DeviceId(D, "p", "whole")}), {DeviceId(D, "p", "n"): {"bandwidth": 3 * G}})


def test_distinct_attribute() -> None:
    def card(name: str, rack: str) -> dict[str, Any]:
        return {"name": name, "attributes": {"rack": {"string": rack}}}

    apart = [{"distinctAttribute": f"{D}/rack"}]
    found = allocate([card("a", "1"), card("b", "1"), card("c", "2")], {"count": 2}, constraints=apart)
    assert [r["device"] for r in found] == ["a", "c"]
    assert allocate([card("a", "1"), card("b", "1")], {"count": 2}, constraints=apart) is None


def test_conditions_are_written_into_the_result() -> None:
    device = {"name": "n", "bindingConditions": ["ready"], "bindingFailureConditions": ["broken"]}
    found = allocate([device], {})
    assert (found[0]["bindingConditions"], found[0]["bindingFailureConditions"]) == (["ready"], ["broken"])


def waiting(**conditions: str) -> dict[str, Any]:
    result = {
        "driver": D,
        "pool": "p",
        "device": "n",
        "bindingConditions": ["ready"],
        "bindingFailureConditions": ["broken"],
    }
    told = [{"type": t, "status": s, "reason": "Why", "message": 'so "it" is'} for t, s in conditions.items()]
    status: dict[str, Any] = {
        "allocation": {"allocationTimestamp": "2026-01-01T00:00:00Z", "devices": {"results": [result]}}
    }
    if told:
        status["devices"] = [{"driver": D, "pool": "p", "device": "n", "conditions": told}]
    return {"metadata": {"name": "x", "namespace": "ns"}, "status": status}


def test_readiness_of_a_claim() -> None:
    assert not is_ready(waiting())
    assert not is_ready(waiting(ready="False"))
    assert is_ready(waiting(ready="True"))
    with pytest.raises(NotReady) as error:
        is_ready(waiting(ready="True", broken="True"))
    assert str(error.value) == 'device binding failed: claim=x, reason=Why, message="so \\"it\\" is"'
    assert is_ready({"metadata": {"name": "y"}, "status": {"allocation": {"devices": {"results": [{}]}}}})


def test_claim_that_will_not_be_ready_may_be_given_back() -> None:
    begin = 1767225600.0
    assert deadline(waiting()) == begin + 600
    assert not is_hopeless(waiting(), begin + 599)
    assert is_hopeless(waiting(), begin + 601)
    assert not is_hopeless(waiting(ready="True"), begin + 601)
    assert is_hopeless(waiting(broken="True"), begin)
