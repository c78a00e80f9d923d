"""The shell of the stateful set controller."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from kumo.api import selectors
from kumo.api.errors import StatusError, is_not_found
from kumo.api.objects import (
    Key,
    Object,
    controller_of,
    is_deleting,
    key_of,
    labels_of,
    name_of,
    namespace_of,
    uid_of,
)
from kumo.api.resources import PODS, STATEFULSETS
from kumo.kubernetes.controller_manager import ownership, revisions
from kumo.kubernetes.controller_manager.expectations import Expectations
from kumo.kubernetes.controller_manager.history import History
from kumo.kubernetes.controller_manager.refusals import is_namespace_ending
from kumo.kubernetes.controller_manager.statefulset import claims, identity
from kumo.kubernetes.controller_manager.statefulset import status as s
from kumo.kubernetes.controller_manager.statefulset.decision import Act, Plan, State, Step, plan
from kumo.kubernetes.controller_manager.statefulset.pods import PodControl
from kumo.machinery.client import Client
from kumo.machinery.controller import Controller
from kumo.machinery.events import EventRecorder
from kumo.machinery.informer import Informers

BURST = 500
"""How many pods are written side by side at most; begun with one, then twice as many after each success."""
_LIMIT = 10


class StatefulSetController:
    """Keeps the pods and claims of stateful sets."""

    name = "statefulset-controller"

    def __init__(self, client: Client, informers: Informers, *, workers: int = 5) -> None:
        self._client = client
        self._sets = informers.informer(STATEFULSETS)
        self._pods = informers.informer(PODS)
        self._pods.add_index(ownership.OWNER_INDEX, ownership.controller_index)
        self._claims = informers.informer(claims.CLAIMS)
        self._history = History(client, informers, STATEFULSETS, revisions.OWN_HASH_LABEL)
        self._expectations = Expectations()
        self._expectations.observe(self._pods, "StatefulSet")
        self._control = PodControl(client, EventRecorder(client, self.name), self._claims, self._expectations)
        self._controller = Controller(self.name, self._reconcile, workers=workers)
        self._controller.watch(self._sets)
        self._controller.watch(self._pods, self._sets_of)
        self._controller.watch_owned(self._history.informer, "StatefulSet")
        self._claims.on_change(self._claim_changed)

    async def run(self) -> None:
        """Run until cancelled."""
        await self._claims.wait_synced()
        await self._controller.run()

    def _sets_of(self, pod: Object) -> Iterable[Key]:
        owner = controller_of(pod)
        if owner is not None:
            return [Key(namespace_of(pod), owner["name"])] if owner.get("kind") == "StatefulSet" else []
        if not labels_of(pod) or is_deleting(pod):
            return []
        return [
            key_of(found)
            for found in self._sets.objects(namespace_of(pod))
            if selectors.matches(found["spec"].get("selector"), labels_of(pod))
        ]

    def _claim_changed(self, old: Object | None, new: Object | None) -> None:
        """A claim came or is gone: its owners are to be set, or a pod may wait for the former one to go."""
        claim = new if old is None else old if new is None else None
        for found in self._sets.objects(namespace_of(claim)) if claim is not None else ():
            if claim is not None and claims.may_be_of(found, claim):
                self._controller.queue.add(key_of(found))

    async def _reconcile(self, key: Key) -> float | None:
        stateful_set = self._sets.get_key(key)
        if stateful_set is None:
            self._expectations.forget(key)
            return None
        if not self._expectations.met(key):
            return None
        selector = stateful_set["spec"].get("selector")
        found = [o for o in ownership.candidates(self._pods, stateful_set) if identity.is_member(stateful_set, o)]
        strangers = self._pods.by_index(ownership.OWNER_INDEX, uid_of(stateful_set))
        found += [o for o in strangers if not identity.is_member(stateful_set, o)]
        pods = await ownership.claim(self._client, STATEFULSETS, stateful_set, PODS, found, selector)
        known = await self._history.claimed(stateful_set)
        if is_deleting(stateful_set) and not known:
            return None
        update, collisions = await self._history.current(stateful_set, known)
        former = (stateful_set.get("status") or {}).get("currentRevision")
        current = next((r for r in known if name_of(r) == former), update)
        now = time.time()
        there = {name_of(c): c for c in self._claims_of(stateful_set)}
        made = plan(State(stateful_set, current, update, pods, there, now, collisions))
        try:
            await self._carry_out(stateful_set, made)
        finally:
            await self._report(stateful_set, made)
        await self._forget(stateful_set, known, pods, {name_of(current), name_of(update)})
        return s.next_look(stateful_set, pods, now)

    def _claims_of(self, stateful_set: Object) -> list[Object]:
        if not identity.templates(stateful_set):
            return []
        return self._claims.objects(namespace_of(stateful_set))

    async def _carry_out(self, stateful_set: Object, made: Plan) -> None:
        for stage in made.stages:
            done, size = 0, 1
            while done < len(stage):
                await self._side_by_side(stateful_set, stage[done : done + size])
                done, size = done + size, min(size * 2, BURST)

    async def _side_by_side(self, stateful_set: Object, steps: list[Step]) -> None:
        answers = await asyncio.gather(*(self._step(stateful_set, x) for x in steps), return_exceptions=True)
        for error in answers:
            if isinstance(error, BaseException) and not is_namespace_ending(error):
                raise error

    async def _step(self, stateful_set: Object, step: Step) -> None:
        match step.act:
            case Act.CREATE:
                await self._control.create(stateful_set, step.pod)
            case Act.DELETE:
                await self._control.delete(stateful_set, step.pod)
            case Act.CLAIMS:
                await self._control.make_claims(stateful_set, step.pod)
                await self._control.own_claims(stateful_set, step.pod)
            case Act.OWNERS:
                await self._control.own_claims(stateful_set, step.pod)
            case Act.UPDATE:
                await self._control.update(stateful_set, step.pod)

    async def _report(self, stateful_set: Object, made: Plan) -> None:
        status = s.shown(s.completed(stateful_set, made.status))
        if status == (stateful_set.get("status") or {}):
            return
        try:
            await self._client.update_status(STATEFULSETS, {**stateful_set, "status": status})
        except StatusError as error:
            if not is_not_found(error):
                raise

    async def _forget(self, stateful_set: Object, known: list[Object], pods: list[Object], live: set[str]) -> None:
        limit = int(stateful_set["spec"].get("revisionHistoryLimit", _LIMIT))
        live |= {revisions.hash_of(pod) for pod in pods}
        for revision in revisions.to_forget(known, live, limit):
            await self._history.forget(revision)
