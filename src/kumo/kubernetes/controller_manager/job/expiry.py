"""Deletes finished jobs whose time to live is over (upstream's ttl-after-finished controller)."""

from __future__ import annotations

import time

from kumo.api import conditions
from kumo.api.errors import StatusError, is_not_found
from kumo.api.objects import Key, Object, is_deleting, name_of, namespace_of, parse_timestamp, uid_of
from kumo.api.resources import GVR
from kumo.machinery.client import Client
from kumo.machinery.controller import Controller
from kumo.machinery.informer import Informers

JOBS = GVR("batch", "v1", "jobs")


def expiry(job: Object) -> float | None:
    """When a finished job is to be deleted (epoch seconds), by `ttlSecondsAfterFinished`."""
    ttl = job["spec"].get("ttlSecondsAfterFinished")
    for kind in ("Complete", "Failed"):
        found = conditions.condition(job, kind)
        if ttl is not None and found is not None and found.get("status") == "True":
            return parse_timestamp(found["lastTransitionTime"]) + int(ttl)
    return None


class TtlAfterFinishedController:
    """Waits for the end of `ttlSecondsAfterFinished`, asks again whether the job is still to go, and deletes it."""

    name = "ttl-after-finished-controller"

    def __init__(self, client: Client, informers: Informers) -> None:
        self._client = client
        self._jobs = informers.informer(JOBS)
        self._controller = Controller(self.name, self._reconcile, workers=2)
        self._controller.watch(self._jobs)

    async def run(self) -> None:
        """Run until cancelled."""
        await self._controller.run()

    async def _reconcile(self, key: Key) -> float | None:
        job = self._jobs.get_key(key)
        end = expiry(job) if job is not None else None
        if job is None or end is None or is_deleting(job):
            return None
        if end > time.time():
            return end - time.time()
        try:
            live = await self._client.get(JOBS, name_of(job), namespace_of(job))
            end = expiry(live)
            if uid_of(live) != uid_of(job) or end is None or end > time.time():
                return 1.0
            version = live["metadata"]["resourceVersion"]
            await self._client.delete(
                JOBS,
                name_of(job),
                namespace_of(job),
                uid=uid_of(job),
                resource_version=version,
                propagation="Foreground",
            )
        except StatusError as error:
            if not is_not_found(error):
                raise
        return None
