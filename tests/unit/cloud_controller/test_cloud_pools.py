"""Which addresses load balancers get: tables."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.kubernetes.cloud_controller_manager.pools import PoolError, Pools
from kumo.kubernetes.cloud_controller_manager.service_controller import CLASS, FINALIZER, OWNED, patch, wants_balancer

pytestmark = pytest.mark.unit

POOLS = Pools(["10.92.0.0/30", "10.93.0.7/32", "fd00::/126"])


@pytest.mark.parametrize(
    ("held", "requested", "taken", "expected"),
    [
        ([], "", [], "10.92.0.1"),
        ([], "", ["10.92.0.1"], "10.92.0.2"),
        ([], "", ["10.92.0.1", "10.92.0.2"], "10.93.0.7"),
        (["10.92.0.2"], "", ["10.92.0.1"], "10.92.0.2"),  # what it has it keeps
        (["10.92.0.2"], "", ["10.92.0.2"], "10.92.0.1"),  # unless another one has it by right
        (["203.0.113.1"], "", [], "10.92.0.1"),
        (["10.92.0.2"], "10.93.0.7", [], "10.93.0.7"),
    ],
)
def test_an_address_is_kept_requested_or_the_lowest_free_one(
    held: list[str], requested: str, taken: list[str], expected: str
) -> None:
    assert POOLS.choose(["IPv4"], held, requested, taken) == (expected,)


@pytest.mark.parametrize(
    ("requested", "taken", "message"),
    [
        ("10.92.0.0", [], "the requested address 10.92.0.0 is in no pool of this cloud"),
        ("192.0.2.1", [], "the requested address 192.0.2.1 is in no pool of this cloud"),
        ("10.92.0.1", ["10.92.0.1"], "the requested address 10.92.0.1 is in use"),
        ("", ["10.92.0.1", "10.92.0.2", "10.93.0.7"], "no IPv4 address is left for load balancers: all 3 are in use"),
    ],
)
def test_what_is_not_to_be_had(requested: str, taken: list[str], message: str) -> None:
    with pytest.raises(PoolError) as caught:
        POOLS.choose(["IPv4"], [], requested, taken)
    assert str(caught.value) == message


def test_families() -> None:
    assert POOLS.wanted(["IPv4", "IPv6"], "PreferDualStack") == ["IPv4", "IPv6"]
    assert POOLS.choose(["IPv4", "IPv6"], [], "", ()) == ("10.92.0.1", "fd00::1")
    four = Pools(["10.92.0.0/24"])
    assert four.wanted(["IPv6", "IPv4"], "PreferDualStack") == ["IPv4"]
    for families, policy in ((["IPv6"], "SingleStack"), (["IPv4", "IPv6"], "RequireDualStack")):
        with pytest.raises(PoolError, match="there is no pool of IPv6 addresses"):
            four.wanted(families, policy)


@pytest.mark.parametrize(
    ("spec", "ours"),
    [
        ({"type": "LoadBalancer"}, True),
        ({"type": "LoadBalancer", "loadBalancerClass": CLASS}, True),
        ({"type": "LoadBalancer", "loadBalancerClass": "example.com/other"}, False),
        ({"type": "NodePort"}, False),
    ],
)
def test_whose_load_balancer_it_is(spec: dict[str, Any], ours: bool) -> None:
    assert wants_balancer({"metadata": {}, "spec": spec}) is ours


def test_the_patch_gives_and_takes_all_at_once() -> None:
    service = {"metadata": {"resourceVersion": "7", "uid": "u", "finalizers": ["other"]}}
    given = patch(service, ("10.92.0.1",))
    assert given["metadata"]["finalizers"] == ["other", FINALIZER]
    assert given["metadata"]["annotations"] == {OWNED: CLASS}
    assert given["status"]["loadBalancer"]["ingress"] == [{"ip": "10.92.0.1", "ipMode": "VIP"}]
    taken = patch({"metadata": {**service["metadata"], "finalizers": [FINALIZER]}}, ())
    assert taken["metadata"]["finalizers"] is None
    assert taken["metadata"]["annotations"] == {OWNED: None}
    assert taken["status"] == {"loadBalancer": {"ingress": None}}
