"""The shell of the job controller."""

from __future__ import annotations

import time

from kumo.api.errors import StatusError, is_not_found
from kumo.api.objects import Key, Object, is_deleting, labels_of, name_of, namespace_of, uid_of
from kumo.api.resources import GVR, PODS
from kumo.kubernetes.controller_manager import ownership
from kumo.kubernetes.controller_manager import pods as p
from kumo.kubernetes.controller_manager.batches import slow_start
from kumo.kubernetes.controller_manager.expectations import Expectations
from kumo.kubernetes.controller_manager.job.decision import TRACKING, Plan, has_finalizer, is_finished, plan
from kumo.kubernetes.controller_manager.refusals import is_namespace_ending
from kumo.machinery.client import Client
from kumo.machinery.controller import Controller
from kumo.machinery.events import NORMAL, WARNING, EventRecorder
from kumo.machinery.informer import Informers

JOBS = GVR("batch", "v1", "jobs")


class JobController:
    """Runs jobs and counts what became of their pods."""

    name = "job-controller"

    def __init__(self, client: Client, informers: Informers, *, workers: int = 5) -> None:
        self._client = client
        self._recorder = EventRecorder(client, self.name)
        self._jobs = informers.informer(JOBS)
        self._pods = informers.informer(PODS)
        self._pods.add_index(ownership.OWNER_INDEX, ownership.controller_index)
        self._expectations = Expectations()
        self._expectations.observe(self._pods, "Job")
        self._controller = Controller(self.name, self._reconcile, workers=workers)
        self._controller.watch(self._jobs)
        self._controller.watch_owned(self._pods, "Job")

    async def run(self) -> None:
        """Run until cancelled."""
        await self._controller.run()

    async def _reconcile(self, key: Key) -> float | None:
        job = self._jobs.get_key(key)
        if job is None:
            self._expectations.forget(key)
            return None
        if job["spec"].get("completionMode") == "Indexed" or job["spec"].get("managedBy"):
            return None
        pods = self._pods.by_index(ownership.OWNER_INDEX, uid_of(job))
        if is_deleting(job) or is_finished(job):
            await self._release([pod for pod in pods if has_finalizer(pod)])
            return None
        made = plan(job, pods, time.time(), settled=self._expectations.met(key))
        await self._carry_out(key, job, made)
        return made.again

    async def _carry_out(self, key: Key, job: Object, made: Plan) -> None:
        if made.status != (job.get("status") or {}):
            job = await self._client.update_status(JOBS, {**job, "status": made.status})
        await self._release(made.release)
        for pod in made.delete:
            await self._delete(key, job, pod)
        if made.create:
            await self._create(key, job, made.create)
        if made.finished == "Complete":
            self._recorder.event(job, NORMAL, "Completed", "Job completed")
        elif made.finished:
            last = made.status["conditions"][-1]
            self._recorder.event(job, WARNING, last["reason"], last["message"])

    async def _create(self, key: Key, job: Object, count: int) -> None:
        self._expectations.expect_creations(key, count)

        async def create() -> None:
            pod = p.from_template(job["spec"]["template"], job)
            pod["metadata"]["labels"] = {**_identity(job), **labels_of(pod)}
            pod["metadata"]["finalizers"] = [*(pod["metadata"].get("finalizers") or ()), TRACKING]
            try:
                made = await self._client.create(PODS, pod)
            except StatusError as error:
                if not is_namespace_ending(error):
                    self._recorder.event(job, WARNING, "FailedCreate", f"Error creating: {error}")
                raise
            self._recorder.event(job, NORMAL, "SuccessfulCreate", f"Created pod: {name_of(made)}")

        done, error = await slow_start(count, create)
        self._expectations.created(key, count - done)
        if error is not None and not is_namespace_ending(error):
            raise error

    async def _delete(self, key: Key, job: Object, pod: Object) -> None:
        try:
            await self._client.delete(PODS, name_of(pod), namespace_of(pod), uid=uid_of(pod))
        except StatusError as error:
            if not is_not_found(error):
                raise
            return
        self._recorder.event(job, NORMAL, "SuccessfulDelete", f"Deleted pod: {name_of(pod)}")

    async def _release(self, pods: list[Object]) -> None:
        """Drop the tracking finalizer."""
        for pod in pods:
            finalizers = [f for f in pod["metadata"].get("finalizers") or () if f != TRACKING]
            version = pod["metadata"]["resourceVersion"]
            patch = {"metadata": {"uid": uid_of(pod), "resourceVersion": version, "finalizers": finalizers or None}}
            try:
                await self._client.patch(PODS, name_of(pod), patch, namespace_of(pod))
            except StatusError as error:
                if not is_not_found(error):
                    raise


def _identity(job: Object) -> dict[str, str]:
    return {
        "batch.kubernetes.io/controller-uid": uid_of(job),
        "batch.kubernetes.io/job-name": name_of(job),
        "controller-uid": uid_of(job),
        "job-name": name_of(job),
    }
