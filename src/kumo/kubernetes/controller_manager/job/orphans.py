"""Frees pods that carry the tracking finalizer though no job will ever count them."""

from __future__ import annotations

from collections.abc import Iterable

from kumo.api.errors import StatusError, is_not_found
from kumo.api.objects import Key, Object, controller_of, is_deleting, key_of, namespace_of, uid_of
from kumo.kubernetes.controller_manager import ownership
from kumo.kubernetes.controller_manager.job.tracking import remove
from kumo.kubernetes.controller_manager.job.view import has_finalizer, is_finished, is_foreign
from kumo.machinery.client import Client
from kumo.machinery.controller import Controller
from kumo.machinery.informer import Informer


def is_jobs(pod: Object) -> bool:
    """Whether a job controls the pod."""
    owner = controller_of(pod)
    return owner is not None and (owner.get("kind"), owner.get("apiVersion")) == ("Job", "batch/v1")


def counts(job: Object | None, pod: Object) -> bool:
    """Whether `job`, found by the name in the pod's owner reference, is going to count the pod (or somebody for it)."""
    if job is None or uid_of(job) != (controller_of(pod) or {}).get("uid"):
        return False
    return is_foreign(job) or not is_finished(job)


class OrphanController(Controller):
    """Takes the finalizer off pods whose job is gone or has ended, and off pods that no controller has."""

    def __init__(self, name: str, client: Client, jobs: Informer, pods: Informer) -> None:
        super().__init__(name, self._free, workers=2)
        self._client = client
        self._jobs = jobs
        self._pods = pods
        self.watch(jobs, self._left_by)
        self.watch(pods, self._worth_a_look)

    def _job_of(self, pod: Object) -> Object | None:
        owner = controller_of(pod)
        return self._jobs.get(str(owner.get("name")), namespace_of(pod)) if owner is not None else None

    def _left_by(self, job: Object) -> Iterable[Key]:
        """Pods of a job that has ended or (its last state is what the informer tells) is no more."""
        gone = self._jobs.get_key(key_of(job))
        if gone is not None and uid_of(gone) == uid_of(job) and not is_finished(job):
            return []
        found = self._pods.by_index(ownership.OWNER_INDEX, uid_of(job))
        return [key_of(pod) for pod in found if has_finalizer(pod)]

    def _worth_a_look(self, pod: Object) -> Iterable[Key]:
        if not has_finalizer(pod) or (controller_of(pod) is not None and not is_jobs(pod)):
            return []
        return [] if counts(self._job_of(pod), pod) else [key_of(pod)]

    async def _free(self, key: Key) -> float | None:
        pod = self._pods.get_key(key)
        if pod is None or not has_finalizer(pod):
            return None
        if controller_of(pod) is not None and (not is_jobs(pod) or counts(await self._known_job(pod), pod)):
            return None
        try:
            await remove(self._client, pod)
        except StatusError as error:
            if not is_not_found(error):
                raise
        return None

    async def _known_job(self, pod: Object) -> Object | None:
        """The pod's job; where the informer has none the API server is asked: the pod may have been heard of first."""
        job = self._job_of(pod)
        owner = controller_of(pod) or {}
        if (job is not None and uid_of(job) == owner.get("uid")) or is_deleting(pod):
            return job
        try:
            return await self._client.get(self._jobs.gvr, str(owner.get("name")), namespace_of(pod))
        except StatusError as error:
            if is_not_found(error):
                return None
            raise
