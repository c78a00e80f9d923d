"""The shell of the job controller."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from kumo.api import selectors
from kumo.api.errors import StatusError, is_not_found
from kumo.api.objects import Key, Object, controller_of, is_deleting, key_of, labels_of, name_of, namespace_of, uid_of
from kumo.api.resources import GVR, PODS
from kumo.kubernetes.controller_manager import ownership
from kumo.kubernetes.controller_manager import pods as p
from kumo.kubernetes.controller_manager.batches import slow_start
from kumo.kubernetes.controller_manager.expectations import Expectations
from kumo.kubernetes.controller_manager.job import books, verdict
from kumo.kubernetes.controller_manager.job.backoff import Backoff, Record
from kumo.kubernetes.controller_manager.job.orders import orders
from kumo.kubernetes.controller_manager.job.orphans import OrphanController
from kumo.kubernetes.controller_manager.job.template import pod_for
from kumo.kubernetes.controller_manager.job.tracking import Releases
from kumo.kubernetes.controller_manager.job.view import TRACKING, View, is_finished, is_foreign, look
from kumo.kubernetes.controller_manager.refusals import is_namespace_ending
from kumo.machinery.client import Client
from kumo.machinery.controller import Controller
from kumo.machinery.events import NORMAL, WARNING, EventRecorder
from kumo.machinery.informer import Informers

JOBS = GVR("batch", "v1", "jobs")


@dataclass(slots=True)
class _Memory:
    """What is remembered of a job: its back-off, the revision of the last status written, when it was looked at."""

    uid: str = ""
    record: Record = field(default_factory=Record)
    written: int = 0
    looked: float = float("-inf")


class JobController:
    """Runs jobs and counts what became of their pods.

    `backoff` bounds how soon failed pods are replaced. A job is looked at again at most every `pause` seconds while its
    pods change, and at once when its spec does.
    """

    name = "job-controller"

    def __init__(
        self,
        client: Client,
        informers: Informers,
        *,
        workers: int = 5,
        backoff: Backoff | None = None,
        pause: float = 0.25,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._recorder = EventRecorder(client, self.name)
        self._backoff = backoff or Backoff()
        self._pause = pause
        self._clock = clock
        self._memory: dict[Key, _Memory] = {}
        self._jobs = informers.informer(JOBS)
        self._pods = informers.informer(PODS)
        self._pods.add_index(ownership.OWNER_INDEX, ownership.controller_index)
        self._expectations = Expectations()
        self._expectations.observe(self._pods, "Job")
        self._releases = Releases(client, self._pods)
        self._controller = Controller(self.name, self._reconcile, workers=workers)
        self._controller.watch(self._jobs, lambda _: ())
        self._controller.watch(self._pods, lambda _: ())
        self._jobs.on_change(self._job_changed)
        self._pods.on_change(self._pod_changed)
        self._orphans = OrphanController("job-orphan-pods", client, self._jobs, self._pods)

    async def run(self) -> None:
        """Run until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._orphans.run())
            group.create_task(self._controller.run())

    # -- what wakes it ------------------------------------------------------------------------------------------------

    def _job_changed(self, old: Object | None, new: Object | None) -> None:
        known = old if new is None else new
        if known is None:
            return
        generations = [(o or {}).get("metadata", {}).get("generation") for o in (old, new)]
        if generations[0] != generations[1]:
            self._controller.queue.add(key_of(known))
        else:
            self._soon(key_of(known))

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        keys = {key for pod in (old, new) if pod is not None for key in self._owners(pod)}
        if new is not None and controller_of(new) is None and not is_deleting(new):
            keys.update(self._selecting(new))
        for key in keys:
            self._soon(key)

    def _owners(self, pod: Object) -> Iterable[Key]:
        owner = controller_of(pod)
        if owner is not None and owner.get("kind") == "Job":
            yield Key(namespace_of(pod), owner["name"])

    def _selecting(self, pod: Object) -> Iterable[Key]:
        """Jobs that may adopt a pod that nobody controls."""
        if labels_of(pod):
            for job in self._jobs.objects(namespace_of(pod)):
                if selectors.matches(job["spec"].get("selector"), labels_of(pod)):
                    yield key_of(job)

    def _soon(self, key: Key) -> None:
        memory = self._memory.get(key)
        since = time.monotonic() - memory.looked if memory is not None else self._pause
        self._controller.queue.add_after(key, self._pause - since)

    # -- one look -----------------------------------------------------------------------------------------------------

    async def _reconcile(self, key: Key) -> float | None:
        job = self._jobs.get_key(key)
        if job is None or is_finished(job):
            self._memory.pop(key, None)
            self._expectations.forget(key)
            return None
        if is_foreign(job):
            return None
        memory = self._memory.setdefault(key, _Memory(uid_of(job)))
        if memory.uid != uid_of(job):
            memory = self._memory[key] = _Memory(uid_of(job))
        if int(job["metadata"]["resourceVersion"]) < memory.written:
            return None
        memory.looked = time.monotonic()
        settled = self._expectations.met(key)
        view = look(job, await self._claim(job), self._releases.expected, memory.record, self._clock())
        again, error = await self._act(key, view, settled=settled)
        await self._count(view, memory)
        if error is not None:
            raise error
        return again

    async def _claim(self, job: Object) -> list[Object]:
        """The job's pods, with those that it adopts, without those that it lets go."""
        found = ownership.candidates(self._pods, job)
        selector = job["spec"].get("selector")
        return await ownership.claim(self._client, JOBS, job, PODS, found, selector, finalizers=(TRACKING,))

    async def _act(self, key: Key, view: View, *, settled: bool) -> tuple[float | None, Exception | None]:
        """Delete and create pods, decide about the end; seconds until the next look, and an error if one is to be told.

        The view's numbers follow what was done.
        """
        now = self._clock()
        view.finished = verdict.verdict(view, now)
        active = len(view.active)
        wait = verdict.deadline_in(view, now)
        error: Exception | None = None
        if view.finished is not None:
            gone, error = await self._delete(key, view, view.active)
            if gone != active or not settled:
                view.finished = None
            active -= gone
        else:
            if settled and not is_deleting(view.job):
                change, due, error = await self._manage(key, view, now)
                active += change
                wait = min((w for w in (wait, due) if w is not None), default=None)
            if verdict.is_complete(view, active):
                view.finished = verdict.completion(now)
            elif settled and not is_deleting(view.job):
                event = verdict.suspension(view, now)
                if event is not None:
                    self._recorder.event(view.job, NORMAL, *event)
        view.status["active"] = active
        return wait, error

    async def _manage(self, key: Key, view: View, now: float) -> tuple[int, float | None, Exception | None]:
        """Carry out the orders: the change in active pods, when to look again, the first error."""
        made = orders(view, now, self._backoff)
        if made.delete:
            released, error = await self._releases.release(made.delete)
            gone, failure = await self._delete(key, view, [pod for pod in made.delete if uid_of(pod) in released])
            return -gone, None, error or failure
        if made.create:
            done, error = await self._create(key, view, made.create)
            return done, None, error
        return 0, made.wait, None

    async def _delete(self, key: Key, view: View, pods: list[Object]) -> tuple[int, Exception | None]:
        """How many of the pods are on their way out now (those that were gone too), and the first error."""
        self._expectations.expect_deletions(key, [uid_of(pod) for pod in pods])

        async def delete(pod: Object) -> Exception | None:
            try:
                await self._client.delete(PODS, name_of(pod), namespace_of(pod), uid=uid_of(pod))
            except (StatusError, ConnectionError, OSError, TimeoutError) as error:
                self._expectations.deleted(key, uid_of(pod))
                if is_not_found(error):
                    return None
                self._recorder.event(view.job, WARNING, "FailedDelete", f"Error deleting: {error}")
                return error
            self._recorder.event(view.job, NORMAL, "SuccessfulDelete", f"Deleted pod: {name_of(pod)}")
            return None

        answers = await asyncio.gather(*(delete(pod) for pod in pods))
        gone = [pod for pod, error in zip(pods, answers, strict=True) if error is None]
        view.terminating += len(gone)
        view.ready -= sum(map(p.is_ready, gone))
        return len(gone), next((e for e in answers if e is not None), None)

    async def _create(self, key: Key, view: View, wanted: list[int | None]) -> tuple[int, Exception | None]:
        """How many of the pods were created, and the first error."""
        self._expectations.expect_creations(key, len(wanted))
        numbers = iter(wanted)

        async def create() -> None:
            index = next(numbers)
            replaced = (view.delayed or {}).get(index) if index is not None else None
            try:
                made = await self._client.create(PODS, pod_for(view.job, index, replaced))
            except StatusError as error:
                if not is_namespace_ending(error):
                    self._recorder.event(view.job, WARNING, "FailedCreate", f"Error creating: {error}")
                raise
            self._recorder.event(view.job, NORMAL, "SuccessfulCreate", f"Created pod: {name_of(made)}")

        done, error = await slow_start(len(wanted), create)
        self._expectations.created(key, len(wanted) - done)
        view.ending = is_namespace_ending(error)
        return done, None if is_namespace_ending(error) else error

    # -- the books ----------------------------------------------------------------------------------------------------

    async def _count(self, view: View, memory: _Memory) -> None:
        """Enter pods that have ended, write, let them go, count them, write again; end the job when all is done."""
        view.status["ready"], view.status["terminating"] = view.ready, view.terminating
        account = books.enter(view, self._clock())
        await self._write(view, memory)
        memory.record = view.record
        released, error = await self._releases.release(account.release)
        books.settle(view.status, account.holding - released)
        if error is not None:
            await self._write(view, memory)
            raise error
        ended = books.finish(view, account)
        await self._write(view, memory)
        if ended:
            self._tell(view)

    async def _write(self, view: View, memory: _Memory) -> None:
        """Write the view's status if it is not what the job has; the view's job is the one written then."""
        status = books.clean(view.status)
        if status == (view.job.get("status") or {}):
            return
        try:
            view.job = await self._client.update_status(JOBS, {**view.job, "status": status})
        except StatusError as error:
            if is_not_found(error):
                return
            raise
        memory.written = int(view.job["metadata"]["resourceVersion"])

    def _tell(self, view: View) -> None:
        last = view.finished or {}
        if last.get("type") == "Failed":
            self._recorder.event(view.job, WARNING, last["reason"], last["message"])
            return
        if view.completions is not None and int(view.status.get("succeeded") or 0) > view.completions:
            words = "Too many succeeded pods running after completion count reached"
            self._recorder.event(view.job, WARNING, "TooManySucceededPods", words)
        self._recorder.event(view.job, NORMAL, "Completed", "Job completed")
