"""Taking the tracking finalizer off pods, and remembering whose removal the informer does not show yet."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from kumo.api.errors import StatusError, is_not_found
from kumo.api.objects import Object, name_of, namespace_of, uid_of
from kumo.api.resources import PODS
from kumo.kubernetes.controller_manager.job.view import TRACKING, has_finalizer
from kumo.machinery.client import STRATEGIC_MERGE_PATCH, Client
from kumo.machinery.informer import Informer

_AT_ONCE = 50


class Releases:
    """Removes finalizers; `expected` are the uids of pods that have lost theirs without the informer showing it."""

    def __init__(self, client: Client, pods: Informer) -> None:
        self._client = client
        self.expected: set[str] = set()
        pods.on_change(self._seen)

    def _seen(self, old: Object | None, new: Object | None) -> None:
        pod = new if new is not None else old
        if pod is not None and (new is None or not has_finalizer(pod)):
            self.expected.discard(uid_of(pod))

    async def release(self, pods: Sequence[Object]) -> tuple[set[str], Exception | None]:
        """Remove the finalizer from the pods that have it; the uids of those that are without it now, an error if any.

        A pod that is gone is without it.
        """
        gate = asyncio.Semaphore(_AT_ONCE)
        held = [pod for pod in pods if has_finalizer(pod)]
        self.expected.update(uid_of(pod) for pod in held)

        async def one(pod: Object) -> Exception | None:
            async with gate:
                try:
                    await remove(self._client, pod)
                except (StatusError, ConnectionError, OSError, TimeoutError) as error:
                    self.expected.discard(uid_of(pod))
                    return None if is_not_found(error) else error
            return None

        answers = await asyncio.gather(*(one(pod) for pod in held))
        failed = {uid_of(pod) for pod, error in zip(held, answers, strict=True) if error is not None}
        return {uid_of(pod) for pod in pods} - failed, next((e for e in answers if e is not None), None)


async def remove(client: Client, pod: Object) -> None:
    """Remove the finalizer from one pod. Raises StatusError, also for a pod that is gone."""
    patch = {"metadata": {"uid": uid_of(pod), "$deleteFromPrimitiveList/finalizers": [TRACKING]}}
    await client.patch(PODS, name_of(pod), patch, namespace_of(pod), kind=STRATEGIC_MERGE_PATCH)
