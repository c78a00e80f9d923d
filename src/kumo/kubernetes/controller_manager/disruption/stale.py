"""A disruption that was announced on a pod (condition DisruptionTarget) and did not come in two minutes is over."""

from __future__ import annotations

import time

from kumo.api import conditions
from kumo.api.errors import is_not_found
from kumo.api.objects import Key, Object, is_deleting, parse_timestamp
from kumo.api.resources import PODS
from kumo.kubernetes.controller_manager.pods import has_ended
from kumo.machinery.client import STRATEGIC_MERGE_PATCH, Client
from kumo.machinery.controller import Controller
from kumo.machinery.informer import Informer

STALE = 120.0
_KIND = "DisruptionTarget"


def stale_in(pod: Object, now: float) -> float | None:
    """Seconds until the pod's announcement is stale (0 when it is), or None when it has none that can be."""
    found = conditions.condition(pod, _KIND)
    if found is None or found.get("status") != "True" or is_deleting(pod) or has_ended(pod):
        return None
    if found.get("reason") == "TerminationByKubelet" or not found.get("lastTransitionTime"):
        return None
    return max(parse_timestamp(found["lastTransitionTime"]) + STALE - now, 0.0)


class StaleDisruptions:
    """Sets stale conditions to False."""

    def __init__(self, client: Client, pods: Informer) -> None:
        self._client = client
        self._pods = pods
        self._controller = Controller("disruption-controller", self._reconcile, workers=1)
        self._controller.watch(pods, lambda pod: () if stale_in(pod, 0.0) is None else (_key(pod),))

    async def run(self) -> None:
        """Run until cancelled."""
        await self._controller.run()

    async def _reconcile(self, key: Key) -> float | None:
        pod = self._pods.get_key(key)
        wait = None if pod is None else stale_in(pod, time.time())
        if wait is None or wait > 0:
            return wait
        patch = {"status": {"conditions": [{"type": _KIND, "status": "False", "reason": "", "message": ""}]}}
        try:
            await self._client.patch(
                PODS, key.name, patch, key.namespace, kind=STRATEGIC_MERGE_PATCH, subresource="status"
            )
        except Exception as error:
            if not is_not_found(error):
                raise
        return None


def _key(pod: Object) -> Key:
    meta = pod["metadata"]
    return Key(meta.get("namespace") or "", meta["name"])
