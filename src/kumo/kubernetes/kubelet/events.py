"""The kubelet's events about pods and their containers."""

from __future__ import annotations

from kumo.api.objects import Object
from kumo.machinery.events import NORMAL, WARNING, EventRecorder

__all__ = ["NORMAL", "WARNING", "PodEvents"]


class PodEvents:
    """Records events about pods."""

    def __init__(self, recorder: EventRecorder) -> None:
        self._recorder = recorder

    def record(self, pod: Object, kind: str, reason: str, message: str, path: str = "") -> None:
        """Record an event; `path` is the fieldPath of the container it is about."""
        whole = pod if pod.get("kind") else {"apiVersion": "v1", "kind": "Pod", **pod}
        self._recorder.event(whole, kind, reason, message, field_path=path)
