"""The shell of the cron job controller."""

from __future__ import annotations

import time
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from kumo.api.errors import StatusError, is_already_exists, is_not_found
from kumo.api.objects import Key, Object, controller_of, key_of, name_of, namespace_of, timestamp, uid_of
from kumo.api.resources import GVR
from kumo.kubernetes.controller_manager import ownership
from kumo.kubernetes.controller_manager.cron_job import books
from kumo.kubernetes.controller_manager.cron_job.decision import Plan, delay_after_change, job_for, plan
from kumo.kubernetes.controller_manager.refusals import is_namespace_ending
from kumo.machinery.client import Client
from kumo.machinery.controller import Controller
from kumo.machinery.events import NORMAL, WARNING, EventRecorder, object_reference
from kumo.machinery.informer import Informers

CRONJOBS = GVR("batch", "v1", "cronjobs")
JOBS = GVR("batch", "v1", "jobs")


class CronJobController:
    """Starts jobs on time, keeps account of them, deletes what is beyond the history limits."""

    name = "cronjob-controller"

    def __init__(self, client: Client, informers: Informers, *, workers: int = 5) -> None:
        self._client = client
        self._recorder = EventRecorder(client, self.name)
        self._cron_jobs = informers.informer(CRONJOBS)
        self._jobs = informers.informer(JOBS)
        self._jobs.add_index(ownership.OWNER_INDEX, ownership.controller_index)
        self._written: dict[Key, int] = {}
        """The revision of each cron job's last status written: what is older is not looked at again."""
        self._controller = Controller(self.name, self._reconcile, workers=workers)
        self._controller.watch(self._cron_jobs, lambda _: ())
        self._cron_jobs.on_change(self._changed)
        self._controller.watch_owned(self._jobs, "CronJob")

    async def run(self) -> None:
        """Run until cancelled."""
        await self._controller.run()

    def _changed(self, old: Object | None, new: Object | None) -> None:
        """Look at once, but after a change of the schedule not before its next start: what it missed is not made up."""
        known = old if new is None else new
        if known is None:
            return
        try:
            delay = delay_after_change(old, new, time.time())
        except ValueError:
            words = f"unparseable schedule for cronjob: {known['spec'].get('schedule')}"
            self._recorder.event(known, WARNING, "UnParseableCronJobSchedule", words)
            return
        self._controller.queue.add_after(key_of(known), delay)

    async def _reconcile(self, key: Key) -> float | None:
        cron_job = self._cron_jobs.get_key(key)
        if cron_job is None:
            self._written.pop(key, None)
            return None
        if int(cron_job["metadata"]["resourceVersion"]) < self._written.get(key, 0):
            return None
        jobs = self._jobs.by_index(ownership.OWNER_INDEX, uid_of(cron_job))
        if books.forgotten(cron_job, jobs):
            cron_job = await self._live(cron_job)
            if cron_job is None:
                return None
        removed = [uid_of(job) for job in books.surplus(cron_job, jobs) if await self._delete(cron_job, job)]
        status: books.Status = deepcopy(cron_job.get("status") or {})
        books.drop(status, removed)
        kept: Object = {**cron_job, "status": status}
        status, events = books.settle(kept, jobs, await self._gone(kept, jobs))
        current: Object = {**cron_job, "status": status}
        made = plan(current, time.time())
        for kind, reason, message in [*events, *made.events]:
            self._recorder.event(cron_job, kind, reason, message)
        failure: Exception | None = None
        if made.start is not None:
            try:
                await self._start(current, status, made, made.start)
            except (StatusError, ConnectionError, OSError, TimeoutError) as error:
                failure = error
        if status != (cron_job.get("status") or {}):
            try:
                written = await self._client.update_status(CRONJOBS, current)
                self._written[key] = int(written["metadata"]["resourceVersion"])
            except StatusError as error:
                if not is_not_found(error):
                    raise
        if failure is not None and not is_namespace_ending(failure):
            raise failure
        return made.again

    async def _live(self, cron_job: Object) -> Object | None:
        """The cron job as the API server has it: the jobs may have been heard of before it."""
        try:
            live = await self._client.get(CRONJOBS, name_of(cron_job), namespace_of(cron_job))
        except StatusError as error:
            if is_not_found(error):
                return None
            raise
        return live if uid_of(live) == uid_of(cron_job) else None

    async def _gone(self, cron_job: Object, jobs: Sequence[Object]) -> set[str]:
        """The uids of active jobs that are really no more, not just unknown to the informer yet."""
        found = set()
        for ref in books.missing(cron_job, jobs):
            try:
                await self._client.get(JOBS, str(ref.get("name")), namespace_of(cron_job))
            except StatusError as error:
                if not is_not_found(error):
                    raise
                found.add(str(ref.get("uid")))
        return found

    async def _start(self, cron_job: Object, status: dict[str, Any], made: Plan, start: float) -> None:
        """Create the start's job and enter it in the status, in place."""
        for ref in made.replace:
            await self._replace(cron_job, status, ref)
        wanted = job_for(cron_job, start)
        try:
            job = await self._client.create(JOBS, wanted)
        except StatusError as error:
            if not is_already_exists(error):
                if not is_namespace_ending(error):
                    self._recorder.event(cron_job, WARNING, "FailedCreate", f"Error creating job: {error}")
                raise
            job = await self._client.get(JOBS, name_of(wanted), namespace_of(wanted))
            if (controller_of(job) or {}).get("uid") != uid_of(cron_job):
                return
        else:
            self._recorder.event(cron_job, NORMAL, "SuccessfulCreate", f"Created job {name_of(job)}")
        status["active"] = [*books.active(status), object_reference({"apiVersion": "batch/v1", "kind": "Job", **job})]
        status["lastScheduleTime"] = timestamp(start)

    async def _replace(self, cron_job: Object, status: dict[str, Any], ref: dict[str, Any]) -> None:
        try:
            job = await self._client.get(JOBS, str(ref.get("name")), namespace_of(cron_job))
        except StatusError as error:
            self._recorder.event(cron_job, WARNING, "FailedGet", f"Get job: {error}")
            raise
        if not await self._delete(cron_job, job):
            raise ConnectionError(f"could not replace job {namespace_of(job)}/{name_of(job)}")
        books.drop(status, {ref.get("uid")})

    async def _delete(self, cron_job: Object, job: Object) -> bool:
        try:
            await self._client.delete(JOBS, name_of(job), namespace_of(job), uid=uid_of(job), propagation="Background")
        except StatusError as error:
            if is_not_found(error):
                return True
            self._recorder.event(cron_job, WARNING, "FailedDelete", f"Deleted job: {error}")
            return False
        self._recorder.event(cron_job, NORMAL, "SuccessfulDelete", f"Deleted job {name_of(job)}")
        return True
