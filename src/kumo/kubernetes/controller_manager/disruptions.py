"""Pods that a controller ends for a cause outside of them: the condition DisruptionTarget says so, then they go.

Upstream: KEP 3329 (pod failure policies of Jobs look at the condition).
"""

from __future__ import annotations

from kumo.api.errors import StatusError, is_not_found
from kumo.api.objects import Object, name_of, namespace_of, timestamp, uid_of
from kumo.api.resources import PODS
from kumo.machinery.client import STRATEGIC_MERGE_PATCH, Client


async def disrupt(client: Client, pod: Object, reason: str, message: str) -> None:
    """Say why on the pod, and delete it; one that has gone is fine. Raises StatusError."""
    condition = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": reason,
        "message": message,
        "lastTransitionTime": timestamp(),
    }
    patch = {"metadata": {"uid": uid_of(pod)}, "status": {"conditions": [condition]}}
    try:
        await client.patch(
            PODS, name_of(pod), patch, namespace_of(pod), kind=STRATEGIC_MERGE_PATCH, subresource="status"
        )
        await client.delete(PODS, name_of(pod), namespace_of(pod), uid=uid_of(pod))
    except StatusError as error:
        if not is_not_found(error):
            raise
