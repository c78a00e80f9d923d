"""What is told about a pod that was placed or not: its condition, its nominated node, and events."""

from __future__ import annotations

from typing import Any

import structlog

from kumo.api import conditions
from kumo.api.errors import StatusError, is_not_found
from kumo.api.objects import timestamp
from kumo.api.resources import PODS
from kumo.kubernetes.scheduler.nodes import PodInfo
from kumo.kubernetes.scheduler.preemption import Preemption
from kumo.kubernetes.scheduler.watching import scheduler_of
from kumo.machinery.client import STRATEGIC_MERGE_PATCH, Client
from kumo.machinery.event_series import SeriesRecorder
from kumo.machinery.events import NORMAL, WARNING

_log = structlog.get_logger("kumo.scheduler")
UNREACHABLE = (StatusError, ConnectionError, OSError, TimeoutError)
UNSCHEDULABLE, ERROR = "Unschedulable", "SchedulerError"


class Reporter:
    """Writes conditions and events; a pod that is gone by then is nobody's worry."""

    def __init__(self, client: Client, recorder: SeriesRecorder) -> None:
        self._client = client
        self._recorder = recorder

    def placed(self, pod: PodInfo, node: str) -> None:
        """The pod is bound."""
        text = f"Successfully assigned {pod.namespace}/{pod.name} to {node}"
        self._recorder.event(pod.pod, NORMAL, "Scheduled", "Binding", text, controller=scheduler_of(pod.pod))

    def waiting(self, pod: PodInfo, node: str) -> None:
        """The pod's devices are still to become ready."""
        text = f"waiting for binding conditions for device on node {node}"
        who = scheduler_of(pod.pod)
        self._recorder.event(pod.pod, NORMAL, "BindingConditionsPending", "Scheduling", text, controller=who)

    def preempted(self, victim: PodInfo, pod: PodInfo, node: str) -> None:
        """The victim was deleted to make room for the pod."""
        text = f"Preempted by pod {pod.uid} on node {node}"
        who = scheduler_of(pod.pod)
        self._recorder.event(victim.pod, NORMAL, "Preempted", "Preempting", text, controller=who)

    async def refused(self, pod: PodInfo, message: str, helping: Preemption) -> None:
        """No node will do; another may be nominated."""
        await self._say(pod, UNSCHEDULABLE, message, None if helping.keep else helping.node)

    async def failed(self, pod: PodInfo, message: str) -> None:
        """Something went wrong on the way: the pod is tried again."""
        await self._say(pod, ERROR, message, "")

    async def _say(self, pod: PodInfo, reason: str, message: str, node: str | None) -> None:
        who = scheduler_of(pod.pod)
        self._recorder.event(pod.pod, WARNING, "FailedScheduling", "Scheduling", message, controller=who)
        status = status_change(pod, reason, message, node)
        if status:
            await self.patch(pod, status)

    async def patch(self, pod: PodInfo, status: dict[str, Any]) -> None:
        """Change the pod's status, if it is still the same pod."""
        body = {"metadata": {"uid": pod.uid}, "status": status}
        try:
            await self._client.patch(
                PODS, pod.name, body, pod.namespace, kind=STRATEGIC_MERGE_PATCH, subresource="status"
            )
        except UNREACHABLE as error:
            if not is_not_found(error):
                _log.warning("pod's condition not written", pod=pod.name, error=str(error))


def status_change(pod: PodInfo, reason: str, message: str, node: str | None) -> dict[str, Any]:
    """What has to change in the pod's status; empty if it says so already. `node` None leaves the nomination alone."""
    wanted: dict[str, Any] = {"type": "PodScheduled", "status": "False", "reason": reason, "message": message}
    generation = (pod.pod.get("metadata") or {}).get("generation")
    if generation is not None:
        wanted["observedGeneration"] = generation
    old = conditions.condition(pod.pod, "PodScheduled") or {}
    status: dict[str, Any] = {}
    if any(old.get(k) != v for k, v in wanted.items()):
        moved = old.get("status") != "False" or not old.get("lastTransitionTime")
        wanted |= {"lastProbeTime": None, "lastTransitionTime": timestamp() if moved else old["lastTransitionTime"]}
        status["conditions"] = [wanted]
    if node is not None and pod.nominated != node:
        status["nominatedNodeName"] = node or None
    return status
