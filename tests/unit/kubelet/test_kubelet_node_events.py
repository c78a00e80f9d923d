"""What is said of a node whose conditions change."""

from __future__ import annotations

import pytest

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


def test_others_conditions_are_not_the_kubelets() -> None:
    assert standing(conditions(Ready="True", NetworkUnavailable="False")) == {"Ready": "True"}
