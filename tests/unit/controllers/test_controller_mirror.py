"""Endpoints written by hand, mirrored: by tables."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.kubernetes.controller_manager.endpoints.mirror import MANAGER, changes, is_mirrored, wanted

pytestmark = pytest.mark.unit

WEB, DNS = {"name": "web", "port": 80, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}


def endpoints(*subsets: Any, **meta: Any) -> Any:
    meta = {"name": "s", "namespace": "default", "uid": "e", **meta}
    return {"apiVersion": "v1", "kind": "Endpoints", "metadata": meta, "subsets": list(subsets)}


def subset(ready: list[str], waiting: list[str] = [], ports: list[Any] = [WEB]) -> Any:  # noqa: B006
    return {
        "addresses": [{"ip": ip} for ip in ready],
        "notReadyAddresses": [{"ip": ip} for ip in waiting],
        "ports": ports,
    }


def shape(subject: Any) -> list[tuple[str, list[int], list[tuple[str, bool]]]]:
    found, _, _ = wanted(subject)
    return sorted(
        (family, [p[2] for p in ports], [(e["addresses"][0], e["conditions"]["ready"]) for e in entries])
        for (family, ports), entries in found.items()
    )


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        (endpoints(), []),
        (endpoints(subset(["10.0.0.1"], ["10.0.0.2"])), [("IPv4", [80], [("10.0.0.1", True), ("10.0.0.2", False)])]),
        (
            endpoints(subset(["10.0.0.1", "fd00:0::1"])),
            [("IPv4", [80], [("10.0.0.1", True)]), ("IPv6", [80], [("fd00::1", True)])],
        ),
        # An address with both ports stands apart from one with one of them.
        (
            endpoints(subset(["10.0.0.1", "10.0.0.2"]), subset(["10.0.0.2"], ports=[DNS])),
            [("IPv4", [53, 80], [("10.0.0.2", True)]), ("IPv4", [80], [("10.0.0.1", True)])],
        ),
        (endpoints(subset(["10.0.0.1"], ["10.0.0.1"])), [("IPv4", [80], [("10.0.0.1", False)])]),
        (endpoints(subset(["10.0.0.1"], ports=[])), [("IPv4", [], [("10.0.0.1", True)])]),
    ],
)
def test_controller_mirror_packs(subject: Any, expected: Any) -> None:
    assert shape(subject) == expected


def test_controller_mirror_leaves_out_what_is_wrong_or_too_much() -> None:
    crowd = [f"10.0.{n // 250}.{n % 250 + 1}" for n in range(1003)]
    found, invalid, spare = wanted(endpoints(subset([*crowd, "nonsense"])))
    assert (sum(map(len, found.values())), invalid, spare) == (1000, 1, 3)


def test_controller_mirror_is_made_changed_and_left_alone() -> None:
    notes = {"kubectl.kubernetes.io/last-applied-configuration": "x", "team": "a"}
    subject = endpoints(subset(["10.0.0.1"]), labels={"app": "db"}, annotations=notes)
    made = changes(subject, wanted(subject)[0], [])
    (new,) = made.create
    assert new["metadata"]["labels"] == {
        "app": "db",
        "kubernetes.io/service-name": "s",
        "endpointslice.kubernetes.io/managed-by": MANAGER,
    }
    assert new["metadata"]["annotations"] == {"team": "a"}
    assert new["metadata"]["ownerReferences"][0]["kind"] == "Endpoints"
    stored = {**new, "metadata": {**new["metadata"], "name": "s-abcde", "resourceVersion": "7"}}
    again = changes(subject, wanted(subject)[0], [stored])
    assert (again.create, again.update, again.delete) == ([], [], [])
    moved = endpoints(subset(["10.0.0.9"], ports=[DNS]), labels={"app": "db"}, annotations=notes)
    recycled = changes(moved, wanted(moved)[0], [stored])
    assert (recycled.create, recycled.delete) == ([], [])
    (update,) = recycled.update
    assert (update["metadata"]["name"], update["metadata"]["resourceVersion"]) == ("s-abcde", "7")
    assert update["endpoints"][0]["addresses"] == ["10.0.0.9"]
    nothing = endpoints(labels={"app": "db"})
    assert changes(nothing, wanted(nothing)[0], [stored]).delete == [stored]


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        ({}, True),
        ({"labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}}, False),
        ({"annotations": {"control-plane.alpha.kubernetes.io/leader": "{}"}}, False),
    ],
)
def test_controller_mirror_skips(meta: dict[str, Any], expected: bool) -> None:
    assert is_mirrored(endpoints(**meta)) is expected
