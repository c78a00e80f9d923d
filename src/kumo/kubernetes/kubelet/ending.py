"""Why the kubelet ends a pod before its time: pressure on the node, a critical pod, the node's own shutdown. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kumo.kubernetes.kubelet.conditions import EVICTED_BY


@dataclass(frozen=True, slots=True)
class Ending:
    """Reason and message of the pod's status.

    `at`: when it was decided (a timestamp). `disruption`: the message of the condition DisruptionTarget, empty if it is
    the pod's own fault. `grace`: seconds that it has to end, None for as many as the pod asks for.
    """

    reason: str
    message: str
    at: str
    disruption: str = ""
    grace: float | None = None

    def conditions(self, generation: int | None) -> list[dict[str, Any]]:
        """The pod's condition that says so (`DisruptionTarget`), in a list; empty for a fault of its own."""
        if not self.disruption:
            return []
        found = {"type": "DisruptionTarget", "status": "True", "reason": EVICTED_BY, "message": self.disruption}
        made = {**found, "lastTransitionTime": self.at, "lastProbeTime": None}
        return [made if generation is None else {**made, "observedGeneration": generation}]

    def seconds(self, wanted: float) -> float:
        """How long a pod has that wants so many seconds."""
        return wanted if self.grace is None else self.grace
