"""The scheduler's shell: takes pods from the queue, has them decided on, and has the verdict written."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

import structlog

from kumo.api.errors import StatusError
from kumo.api.objects import Object, labels_of, uid_of
from kumo.api.resources import GVR, NAMESPACES, NODES, PODS
from kumo.kubernetes.scheduler.assumed import AssumedVolumes
from kumo.kubernetes.scheduler.binding import Binder, Needs
from kumo.kubernetes.scheduler.cache import Cache
from kumo.kubernetes.scheduler.cluster_events import Action, Interest, Resource
from kumo.kubernetes.scheduler.configuration import Configuration
from kumo.kubernetes.scheduler.cycle import CycleError, Refusal
from kumo.kubernetes.scheduler.decision import Verdict, best, look
from kumo.kubernetes.scheduler.default_selector import DefaultSelectors
from kumo.kubernetes.scheduler.devices.claims import AssumedClaims
from kumo.kubernetes.scheduler.devices.writing import ClaimWriter
from kumo.kubernetes.scheduler.eviction import Evictor
from kumo.kubernetes.scheduler.extenders import EXTENDER, Extender
from kumo.kubernetes.scheduler.measures import HOPELESS, SUCCESS, UNSCHEDULABLE, Attempt, Measures, Now, refusals
from kumo.kubernetes.scheduler.nodes import PodInfo
from kumo.kubernetes.scheduler.plugins.resource_claims import NAME as CLAIMS
from kumo.kubernetes.scheduler.plugins.resource_claims import find_claims, left_over, reservations, unavailable
from kumo.kubernetes.scheduler.plugins.volume_binding import chosen
from kumo.kubernetes.scheduler.preemption import (
    CLAIM_DELETED,
    CLAIM_GIVEN_BACK,
    CLAIMS_KEPT,
    NO_CLAIM_STATE,
    NO_CLAIMS,
    Preemption,
    decide,
    find_candidates,
    obstacle,
    with_claims,
)
from kumo.kubernetes.scheduler.profile import Profile
from kumo.kubernetes.scheduler.queue import FLUSH_EVERY, SchedulingQueue, Waiting
from kumo.kubernetes.scheduler.reporting import Reporter
from kumo.kubernetes.scheduler.volume_binding import VolumeBinder
from kumo.kubernetes.scheduler.watching import Watching, is_gated, scheduler_of, wants_node
from kumo.kubernetes.scheduler.world import World
from kumo.machinery.client import Client
from kumo.machinery.event_series import SeriesRecorder
from kumo.machinery.informer import Informers

BUDGETS = GVR("policy", "v1", "poddisruptionbudgets")
_NO_NODES = "NoNodes"
"""The plugin that stands for the lack of any node: the first one helps."""
_log = structlog.get_logger("kumo.scheduler")


@dataclass(frozen=True, slots=True)
class SchedulerConfig:
    """The profiles and extenders, how long pods back off, and the dice that choose between equal nodes."""

    configuration: Configuration = field(default_factory=Configuration)
    rng: Random = field(default_factory=Random)


class Scheduler:
    """Binds pods to nodes. `recorder` writes the events Scheduled, FailedScheduling and Preempted."""

    name = "scheduler"

    def __init__(
        self,
        client: Client,
        informers: Informers,
        recorder: SeriesRecorder,
        config: SchedulerConfig | None = None,
    ) -> None:
        self._config = config or SchedulerConfig()
        configuration = self._config.configuration
        self._profiles: Mapping[str, Profile] = {p.name: p for p in configuration.profiles}
        self._cache = Cache()
        self._queue = SchedulingQueue(
            {p.name: _interests(p) for p in configuration.profiles},
            initial=configuration.initial_backoff,
            ceiling=configuration.max_backoff,
        )
        self._watching = Watching(self._cache, self._queue, self._profiles)
        self._pods, self._nodes = informers.informer(PODS), informers.informer(NODES)
        self._namespaces, self._budgets = informers.informer(NAMESPACES), informers.informer(BUDGETS)
        self._selectors = DefaultSelectors(informers)
        self._assumed = AssumedVolumes(informers)
        self._claims = AssumedClaims(informers)
        self._claim_writer = ClaimWriter(client, self._claims)
        self._extender_settings = configuration.extenders
        self._extenders: list[Extender] = []
        reporter = Reporter(client, recorder)
        volumes = VolumeBinder(client, self._pods, *(i for _, i in self._assumed.informers()[:2]))
        self._volume_binder = volumes
        self._binder = Binder(client, reporter, self._cache, self._queue, self._assumed, volumes, self._claim_writer)
        self._evictor = Evictor(client, reporter, self._cache, self._queue)
        self._reporter = reporter
        self._start = 0
        self._measures = Measures()
        self.tried = 0
        """How many pods were looked at so far."""

    async def run(self) -> None:
        """Schedule until cancelled."""
        volumes = [*self._assumed.informers(), *self._claims.informers()]
        for informer in (self._nodes, self._namespaces, self._budgets, self._pods, *(i for _, i in volumes)):
            await informer.wait_synced()
        await self._selectors.wait_synced()
        self._nodes.on_change(self._watching.node_changed)
        self._pods.on_change(self._pod_changed)
        for resource, informer in volumes:
            informer.on_change(self._watching.handler(resource))
            informer.on_change(lambda old, new: self._volume_binder.moved())
        self._extenders = [Extender(s) for s in self._extender_settings]
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._flush())
                while True:
                    waiting = await self._queue.get()
                    await self._attempt(waiting, group)
                    await asyncio.sleep(0)  # whoever else is on this loop has waited for a whole cycle
        finally:
            for extender in self._extenders:
                await extender.close()

    async def _flush(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_EVERY)
            self._queue.flush()

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        self._watching.pod_changed(old, new)
        if new is None:
            self._volume_binder.moved()

    def world(self) -> World:
        """The cluster as it is now."""
        return World(
            cache=self._cache,
            namespace_labels=self._namespace_labels,
            volumes=self._assumed.view(),
            default_selector=self._selectors.of,
            budgets=self._budgets.objects,
            devices=self._claims.view(),
        )

    def _namespace_labels(self, name: str) -> Mapping[str, str]:
        return labels_of(self._namespaces.get(name) or {})

    def measured(self) -> list[str]:
        """The scheduler's own metrics, as lines of the text format."""
        profiles = self._profiles
        gated = sum(
            is_gated(p) and wants_node(p) and scheduler_of(p) in profiles and profiles[scheduler_of(p)].gates
            for p in self._pods.objects()
        )
        pending = self._queue.lengths() | {"gated": gated}
        return self._measures.lines(
            Now(pending, self._queue.incoming, refusals(self._queue.refused()), self._cache.sizes())
        )

    # -- one pod ----------------------------------------------------------------------------------------------------

    async def _attempt(self, waiting: Waiting, group: asyncio.TaskGroup) -> None:
        key = self._watching.pending.get(waiting.uid)
        found = self._pods.get_key(key) if key else None
        profile = self._profiles.get(scheduler_of(found)) if found is not None else None
        if found is None or profile is None or uid_of(found) != waiting.uid or not wants_node(found):
            self._queue.remove(waiting.uid)
            return
        if profile.gates and is_gated(found):
            self._queue.remove(waiting.uid)
            return
        self.tried += 1
        began = self._measures.clock()
        waiting.first = began if waiting.first is None else waiting.first
        attempt = Attempt(profile.name, began, waiting.attempts, waiting.first)
        pod: PodInfo | None = None
        try:
            pod = PodInfo.of(found)
            world = self.world()
            if profile.claims and isinstance(find_claims(pod, world.devices.claim), str):
                self._queue.set_aside(pod.uid, {CLAIMS})  # its claims are being made: nothing to tell yet
                return
            await self._schedule(pod, profile, world, group, attempt)
        except (CycleError, ValueError) as error:
            self._measures.ended(attempt, "error")
            self._queue.back_off(waiting.uid)
            if pod is not None:
                self._spawn(group, self._reporter.failed(pod, str(error)), waiting.uid)
        except Exception:
            _log.exception("scheduling failed", pod=str(key))
            self._measures.ended(attempt, "error")
            self._queue.back_off(waiting.uid)

    async def _schedule(
        self, pod: PodInfo, profile: Profile, world: World, group: asyncio.TaskGroup, attempt: Attempt
    ) -> None:
        """One cycle. Without extenders nothing is awaited, so that no change falls in between."""
        before, since = self._queue.happenings, attempt.began

        def mark(point: str, refusal: Refusal | None) -> None:
            nonlocal since
            status = SUCCESS if refusal is None else HOPELESS if refusal.final else UNSCHEDULABLE
            since = self._measures.point(profile.name, point, status, since)

        verdict = look(pod, world, profile, self._start, mark)
        if verdict.total:
            self._start = (self._start + len(verdict.feasible) + len(verdict.refusals)) % verdict.total
        extenders = [e for e in self._extenders if e.is_interested(pod)]
        points: dict[str, int] = {}
        if extenders and verdict.feasible:
            points = await self._ask_extenders(pod, extenders, verdict)
        if verdict.feasible:
            self._take(pod, profile, verdict, points, extenders, group, attempt)
            return
        await self._refuse(pod, profile, verdict, extenders, group, attempt)
        if self._queue.happenings != before:  # while an extender was thinking
            self._queue.retry(pod.uid)

    async def _ask_extenders(self, pod: PodInfo, extenders: list[Extender], verdict: Verdict) -> dict[str, int]:
        """Let extenders take nodes away and give points to the others. Raises CycleError."""
        for extender in extenders:
            if not verdict.feasible:
                break
            try:
                left, refusals = await extender.filter(pod, verdict.feasible)
            except CycleError as error:
                if not extender.settings.ignorable:
                    raise
                _log.info("an extender is left out", extender=extender.settings.url, error=str(error))
                continue
            if len(left) != len(verdict.feasible):
                verdict.plugins.add(EXTENDER)
            verdict.refusals |= refusals
            verdict.feasible = left
        points: dict[str, int] = {}
        if len(verdict.feasible) > 1:
            for found in await asyncio.gather(*(e.prioritize(pod, verdict.feasible) for e in extenders)):
                for node, value in found.items():
                    points[node] = points.get(node, 0) + value
        return points

    def _take(
        self,
        pod: PodInfo,
        profile: Profile,
        verdict: Verdict,
        points: Mapping[str, int],
        extenders: list[Extender],
        group: asyncio.TaskGroup,
        attempt: Attempt,
    ) -> None:
        since = self._measures.clock()
        node = best(verdict, profile, self._config.rng, points)
        if len(verdict.feasible) > 1:
            self._measures.point(profile.name, "Score", SUCCESS, since)
        self._measures.decided(attempt)
        volumes = chosen(verdict.cycle, self._cache.nodes[node])
        if volumes.reasons:
            raise CycleError(f"the volumes of node {node} changed meanwhile")
        self._cache.assume(pod, node)
        self._assumed.assume(volumes, node)
        binding = next((e for e in extenders if e.settings.bind_verb), None)
        needs = Needs(volumes, reservations(verdict.cycle, node), profile.bind_timeout)
        self._claim_writer.promise(needs.claims)
        self._spawn(group, self._bind(pod, node, needs, binding, attempt), pod.uid)

    async def _bind(self, pod: PodInfo, node: str, needs: Needs, extender: Extender | None, attempt: Attempt) -> None:
        since = self._measures.clock()
        bound = await self._binder.bind(pod, node, needs, extender)
        self._measures.point(attempt.profile, "Bind", SUCCESS if bound else "Error", since)
        self._measures.ended(attempt, "scheduled" if bound else "error")

    async def _refuse(
        self,
        pod: PodInfo,
        profile: Profile,
        verdict: Verdict,
        extenders: list[Extender],
        group: asyncio.TaskGroup,
        attempt: Attempt,
    ) -> None:
        if verdict.total == 0:
            helping = Preemption()
        else:
            since = self._measures.clock()
            helping = await self._make_room(pod, profile, verdict, extenders)
            self._measures.point(profile.name, "PostFilter", SUCCESS if helping.node else UNSCHEDULABLE, since)
        self._measures.decided(attempt)
        self._measures.ended(attempt, "unschedulable")
        if helping.node:
            self._cache.nominated[pod.uid] = (helping.node, pod)
        elif not helping.keep:
            self._cache.nominated.pop(pod.uid, None)
        self._queue.set_aside(pod.uid, verdict.plugins if verdict.total else {_NO_NODES})
        message = verdict.message(helping.message)
        self._spawn(group, self._reporter.refused(pod, message, helping), pod.uid)
        if helping.node:
            self._evictor.begin(pod, helping)
            self._spawn(group, self._evictor.make_room(pod, helping), pod.uid)

    async def _make_room(
        self, pod: PodInfo, profile: Profile, verdict: Verdict, extenders: list[Extender]
    ) -> Preemption:
        """What can be done for a pod that fits nowhere: claims given back, other pods preempted."""
        if profile.claims and verdict.before is not None and verdict.before.plugin != CLAIMS:
            return Preemption(message=NO_CLAIM_STATE, keep=True)
        text = await self._give_claim_back(verdict) if profile.claims else ""
        found = Preemption(keep=True)
        if profile.preemption:
            found = await self._preempt(pod, profile, verdict, extenders)
        return with_claims(found, text) if profile.claims else found

    async def _give_claim_back(self, verdict: Verdict) -> str:
        """Deallocate a claim that nobody uses and that is in the pod's way; what is said about it."""
        claims, stale = unavailable(verdict.cycle), left_over(verdict.cycle)
        if stale is not None:
            try:
                await self._claim_writer.remove(stale)
            except (StatusError, OSError) as error:
                raise CycleError(str(error)) from error
            return CLAIM_DELETED
        if claims:
            try:
                await self._claim_writer.deallocate(self._config.rng.choice(claims))
            except (StatusError, OSError) as error:
                raise CycleError(str(error)) from error
            return CLAIM_GIVEN_BACK
        return CLAIMS_KEPT if CLAIMS in verdict.cycle.states else NO_CLAIMS

    async def _preempt(self, pod: PodInfo, profile: Profile, verdict: Verdict, extenders: list[Extender]) -> Preemption:
        found = await self._victims(pod, profile, verdict, extenders)
        self._measures.preempted(len(found.victims))
        return found

    async def _victims(self, pod: PodInfo, profile: Profile, verdict: Verdict, extenders: list[Extender]) -> Preemption:
        hindrance = obstacle(verdict)
        if hindrance is not None:
            return hindrance
        candidates, statuses = find_candidates(verdict, profile, self._config.rng)
        for extender in extenders:
            if not candidates or not extender.settings.preempt_verb:
                continue
            try:
                candidates = await extender.narrow(pod, candidates, self._cache)
            except CycleError as error:
                if not extender.settings.ignorable:
                    return Preemption(message=f"preemption: {error}", keep=True)
                _log.info("an extender is left out", extender=extender.settings.url, error=str(error))
        return decide(verdict, candidates, statuses)

    def _spawn(self, group: asyncio.TaskGroup, writing: Coroutine[Any, Any, None], uid: str) -> None:
        group.create_task(self._guarded(writing, uid))

    async def _guarded(self, writing: Coroutine[Any, Any, None], uid: str) -> None:
        """Keep a mistake in writing one pod's verdict from ending the others'."""
        try:
            await writing
        except Exception:
            _log.exception("writing a verdict failed", uid=uid)
            self._cache.forget(uid)
            self._queue.back_off(uid)


def _interests(profile: Profile) -> dict[str, tuple[Interest, ...]]:
    """What each plugin of a profile waits for after it has refused a pod."""
    found = {p.name: tuple(p.interests()) for p in profile.filters}
    return found | {_NO_NODES: (Interest(Resource.NODE, Action.ADD),)}
