"""What is wrong between services and IPAddress objects, and what is done about it."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.api.objects import Object, timestamp
from kumo.kubernetes.apiserver.addresses.findings import of_address, of_service
from kumo.kubernetes.apiserver.addresses.objects import addresses_of, canonical, new_address

pytestmark = pytest.mark.unit
NOW = 1_800_000_000.0
BLOCKS = ["10.96.0.0/16", "fd00::/112"]


def service(name: str = "s", *addresses: str, **spec: Any) -> Object:
    return {"metadata": {"name": name, "namespace": "n"}, "spec": {"clusterIPs": list(addresses), **spec}}


def address(name: str, owner: Object, *, age: float = 100.0, labels: dict[str, str] | None = None) -> Object:
    found = new_address(name, owner)
    found["metadata"]["creationTimestamp"] = timestamp(NOW - age)
    if labels is not None:
        found["metadata"]["labels"] = labels
    return found


OWN, OTHER = service("s", "10.96.0.9"), service("other", "10.96.0.9")
ELSEWHERE = service("other", "10.96.0.10")
FOREIGN = {"metadata": {"name": "10.96.0.9"}, "spec": {"parentRef": {"resource": "appliances", "name": "x"}}}


@pytest.mark.parametrize(
    ("found", "other", "deed", "reason"),
    [
        (None, None, "create", "ClusterIPNotAllocated"),
        (address("10.96.0.9", OWN), OWN, "", ""),
        (address("10.96.0.9", OWN, labels={}), OWN, "recreate", ""),
        (address("10.96.0.9", OTHER), OTHER, "tell", "ClusterIPAlreadyAllocated"),
        (address("10.96.0.9", OTHER), ELSEWHERE, "", ""),
        (address("10.96.0.9", OTHER), None, "recreate", "ClusterIPNotAllocated"),
        (FOREIGN, None, "recreate", "ClusterIPNotAllocated"),
    ],
)
def test_about_a_service(found: Object | None, other: Object | None, deed: str, reason: str) -> None:
    said = of_service(OWN, "10.96.0.9", found, other, BLOCKS)
    assert (said.deed, said.reason) == (deed, reason) if said is not None else not deed


def test_an_address_of_no_range() -> None:
    said = of_service(service("s", "192.0.2.1"), "192.0.2.1", None, None, BLOCKS)
    assert said is not None and (said.deed, said.reason) == ("tell", "ClusterIPOutOfRange")
    assert of_service(service("s", "fd00::9"), "fd00::9", None, None, BLOCKS[:1]) is not None


@pytest.mark.parametrize(
    ("found", "holder", "deed", "after"),
    [
        (address("10.96.0.9", OWN), OWN, "", 0),
        (address("10.96.0.9", OWN, labels={}), None, "", 0),
        (address("10.96.0.9", OWN), None, "delete", 0),
        (address("10.96.0.9", OWN, age=20), None, "wait", 40),
        (address("10.96.0.9", OWN), service("s", "10.96.0.8"), "delete", 0),
        (address("10.96.0.9", OWN, age=2), service("s", "10.96.0.8"), "wait", 3),
        (address("10.96.0.9", OWN), service("s", type="ExternalName"), "delete", 0),
    ],
)
def test_about_an_address(found: Object, holder: Object | None, deed: str, after: float) -> None:
    said = of_address(found, holder, NOW)
    assert (said.deed, said.after) == (deed, pytest.approx(after)) if said is not None else not deed


def test_one_that_names_no_service() -> None:
    found = address("10.96.0.9", OWN)
    found["spec"]["parentRef"] = {"group": "example.com", "resource": "gateways", "name": "g"}
    said = of_address(found, None, NOW)
    assert said is not None and (said.deed, said.reason) == ("delete", "IPAddressNotAllocated")


def test_addresses_have_one_form() -> None:
    assert canonical("010.096.000.001") == "10.96.0.1" and canonical("FD00:0::1") == "fd00::1"
    assert list(addresses_of(service("s", "010.96.0.1", "None", "x"))) == ["10.96.0.1"]
    assert list(addresses_of(service("s", "10.96.0.1", type="ExternalName"))) == []
    with pytest.raises(ValueError):
        canonical("x")
