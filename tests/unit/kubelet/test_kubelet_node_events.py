"""What is said of a node whose conditions change."""

from __future__ import annotations

import pytest

from kumo.host.containerd.stubs import cri_pb2 as cri
from kumo.kubernetes.kubelet.node import runtime_abilities
from kumo.kubernetes.kubelet.node_advertised import advertised, is_behind
from kumo.kubernetes.kubelet.node_events import reasons, standing

pytestmark = pytest.mark.unit


def conditions(**given: str) -> list[dict[str, str]]:
    return [{"type": kind, "status": status} for kind, status in given.items()]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ({}, {"MemoryPressure": "False", "Ready": "True"}, ["NodeHasSufficientMemory"]),
        ({"Ready": "False"}, {"Ready": "True"}, ["NodeReady"]),
        ({"Ready": "Unknown"}, {"Ready": "True"}, ["NodeReady"]),
        ({"Ready": "True"}, {"Ready": "False"}, ["NodeNotReady"]),
        ({"Ready": "True"}, {"Ready": "True"}, []),
        (
            {"MemoryPressure": "False", "DiskPressure": "False", "PIDPressure": "False"},
            {"MemoryPressure": "True", "DiskPressure": "True", "PIDPressure": "True"},
            ["NodeHasInsufficientMemory", "NodeHasDiskPressure", "NodeHasInsufficientPID"],
        ),
        ({"Other": "True"}, {"Other": "False"}, []),
    ],
)
def test_changes_are_told_once(old: dict[str, str], new: dict[str, str], said: list[str]) -> None:
    assert list(reasons(conditions(**old), conditions(**new))) == said


def test_what_a_runtime_can_do_is_told_by_those_that_say_so() -> None:
    assert runtime_abilities(cri.StatusResponse()) == {}
    plain = cri.RuntimeHandler(features=cri.RuntimeHandlerFeatures(recursive_read_only_mounts=True))
    told = cri.StatusResponse(
        runtime_handlers=[plain, cri.RuntimeHandler(name="runc")],
        features=cri.RuntimeFeatures(supplemental_groups_policy=True),
    )
    assert runtime_abilities(told) == {
        "features": {"supplementalGroupsPolicy": True},
        "runtimeHandlers": [
            {"name": "", "features": {"recursiveReadOnlyMounts": True, "userNamespaces": False}},
            {"name": "runc", "features": {"recursiveReadOnlyMounts": False, "userNamespaces": False}},
        ],
    }


def test_others_conditions_are_not_the_kubelets() -> None:
    assert standing(conditions(Ready="True", NetworkUnavailable="False")) == {"Ready": "True"}


@pytest.mark.parametrize(
    ("capacity", "allocatable", "written"),
    [
        ({"cpu": "4"}, {"cpu": "3"}, {}),
        ({"cpu": "4", "example.com/thing": "2"}, {"cpu": "3"}, {"example.com/thing": "2"}),
        ({"cpu": "4", "example.com/thing": "2"}, {"cpu": "3", "example.com/thing": "1"}, {"example.com/thing": "2"}),
        ({"cpu": "4"}, {"cpu": "3", "example.com/thing": "2"}, {"example.com/thing": None}),
        ({"cpu": "4"}, {"cpu": "3", "example.kubernetes.io/thing": "2"}, {}),
        ({}, {}, {}),
    ],
)
def test_what_others_advertise(
    capacity: dict[str, str], allocatable: dict[str, str], written: dict[str, str | None]
) -> None:
    node = {"status": {"capacity": capacity, "allocatable": allocatable}}
    assert advertised(node, {"cpu"}) == written
    assert is_behind(node, {"cpu"}) == bool(written)
    right = {k: v for k, v in {**allocatable, **written}.items() if v is not None}
    assert not is_behind({"status": {"capacity": capacity, "allocatable": right}}, {"cpu"})
