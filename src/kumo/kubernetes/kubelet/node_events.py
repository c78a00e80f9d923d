"""What is said of a node when its conditions change. Pure. Upstream: `pkg/kubelet/nodestatus/setters.go`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kumo.api import conditions as api_conditions

OWN = ("MemoryPressure", "DiskPressure", "PIDPressure", "Ready")
"""The conditions that a kubelet posts."""
_REASONS = {
    ("MemoryPressure", "True"): "NodeHasInsufficientMemory",
    ("MemoryPressure", "False"): "NodeHasSufficientMemory",
    ("DiskPressure", "True"): "NodeHasDiskPressure",
    ("DiskPressure", "False"): "NodeHasNoDiskPressure",
    ("PIDPressure", "True"): "NodeHasInsufficientPID",
    ("PIDPressure", "False"): "NodeHasSufficientPID",
    ("Ready", "True"): "NodeReady",
    ("Ready", "False"): "NodeNotReady",
}
Conditions = Sequence[Mapping[str, Any]]


def standing(conditions: Conditions) -> dict[str, str]:
    """Each of the kubelet's conditions and its status, as far as they are there."""
    return {c["type"]: c.get("status", "") for c in conditions if c.get("type") in OWN}


def reasons(old: Conditions, new: Conditions) -> Iterator[str]:
    """The events' reasons for what has changed. That a node is ready from the beginning is no change."""
    for kind in OWN:
        before = api_conditions.find([dict(c) for c in old], kind)
        after = api_conditions.find([dict(c) for c in new], kind)
        if after is None or (before is None and kind == "Ready"):
            continue
        if before is None or before.get("status") != after.get("status"):
            reason = _REASONS.get((kind, after.get("status", "")))
            if reason:
                yield reason
