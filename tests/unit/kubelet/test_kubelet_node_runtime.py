"""When a container runtime that does not answer makes its node not ready."""

from __future__ import annotations

import pytest

from kumo.kubernetes.kubelet.node import RUNTIME_PATIENCE, is_away

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("said", "silent", "away"),
    [
        ("True", 0.0, False),
        ("True", RUNTIME_PATIENCE, False),
        ("True", RUNTIME_PATIENCE + 0.1, True),
        ("False", 0.0, True),
        ("Unknown", 0.0, True),
        (None, 0.0, True),
    ],
)
def test_a_ready_node_bears_a_silent_runtime_for_a_while(said: str | None, silent: float, away: bool) -> None:
    node = {"status": {"conditions": [{"type": "Ready", "status": said}]}} if said else None
    assert is_away(node, silent) is away
