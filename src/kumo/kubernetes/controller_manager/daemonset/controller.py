"""The shell of the daemon set controller."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import replace

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
from kumo.api.resources import DAEMONSETS, NODES, PODS
from kumo.kubernetes.controller_manager import ownership, revisions
from kumo.kubernetes.controller_manager.batches import slow_start
from kumo.kubernetes.controller_manager.daemonset import decision, placement, status
from kumo.kubernetes.controller_manager.daemonset.backoff import FailureBackoff
from kumo.kubernetes.controller_manager.daemonset.decision import Plan, State
from kumo.kubernetes.controller_manager.expectations import Expectations
from kumo.kubernetes.controller_manager.history import History
from kumo.kubernetes.controller_manager.refusals import is_namespace_ending
from kumo.machinery.client import Client
from kumo.machinery.controller import Controller
from kumo.machinery.events import NORMAL, WARNING, EventRecorder
from kumo.machinery.informer import Informers

BURST = 250
"""How many pods are created or deleted in one go."""
_LIMIT = 10


class DaemonSetController:
    """Keeps a pod of every daemon set on every node where one belongs."""

    name = "daemonset-controller"

    def __init__(self, client: Client, informers: Informers, *, workers: int = 2) -> None:
        self._client = client
        self._recorder = EventRecorder(client, self.name)
        self._sets = informers.informer(DAEMONSETS)
        self._pods = informers.informer(PODS)
        self._nodes = informers.informer(NODES)
        self._pods.add_index(ownership.OWNER_INDEX, ownership.controller_index)
        self._history = History(client, informers, DAEMONSETS, revisions.HASH_LABEL)
        self._expectations = Expectations()
        self._expectations.observe(self._pods, "DaemonSet")
        self._backoff = FailureBackoff()
        self._controller = Controller(self.name, self._reconcile, workers=workers)
        self._controller.watch(self._sets)
        self._controller.watch(self._pods, self._sets_of)
        self._controller.watch_owned(self._history.informer, "DaemonSet")
        self._nodes.on_change(self._node_changed)

    async def run(self) -> None:
        """Run until cancelled."""
        await self._nodes.wait_synced()
        await self._controller.run()

    def _sets_of(self, pod: Object) -> Iterable[Key]:
        owner = controller_of(pod)
        if owner is not None:
            return [Key(namespace_of(pod), owner["name"])] if owner.get("kind") == "DaemonSet" else []
        if not labels_of(pod) or is_deleting(pod):
            return []
        return [
            key_of(found)
            for found in self._sets.objects(namespace_of(pod))
            if selectors.matches(found["spec"].get("selector"), labels_of(pod))
        ]

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        """Labels and taints say what may run on a node; its heartbeats say nothing to daemon sets."""
        if old is not None and new is not None and _decisive(old) == _decisive(new):
            return
        for found in self._sets.objects():
            before = placement.fits(found, old) if old is not None else None
            if before != (placement.fits(found, new) if new is not None else None):
                self._controller.queue.add(key_of(found))

    async def _reconcile(self, key: Key) -> float | None:
        daemon_set = self._sets.get_key(key)
        if daemon_set is None:
            self._expectations.forget(key)
            self._backoff.forget(key)
            return None
        selector = daemon_set["spec"].get("selector") or {}
        if not any(selector.values()):
            text = "This daemon set is selecting all pods. A non-empty selector is required."
            self._recorder.event(daemon_set, WARNING, "SelectingAll", text)
            return None
        if is_deleting(daemon_set):
            return None
        known = await self._history.claimed(daemon_set)
        current, collisions = await self._history.current(daemon_set, known)
        settled = self._expectations.met(key)
        found = ownership.candidates(self._pods, daemon_set)
        owned = await ownership.claim(self._client, DAEMONSETS, daemon_set, PODS, found, selector)
        twins = [r for r in known if name_of(r) != name_of(current) and revisions.same_data(r, current)]
        if settled and twins:
            owned = await self._merge(twins, current, owned)
            known = [r for r in known if r not in twins]
        state = State.of(
            daemon_set, self._nodes.objects(), placement.by_node(owned), revisions.hash_of(current), time.time()
        )
        again = None
        try:
            if settled:
                again = await self._advance(key, state)
                await self._forget(daemon_set, known, current, owned)
        finally:
            await self._report(state, settled, collisions)
        looks = (again, status.next_look(state))
        return min((t for t in looks if t is not None), default=None)

    async def _advance(self, key: Key, state: State) -> float | None:
        """Make the pods right, then roll on; the seconds until a failed pod may be replaced."""
        made = decision.manage(state)
        again = self._judge_ended(key, state, made)
        await self._carry_out(key, state, made)
        if not (made.create or made.delete) and decision.is_rolling(state.daemon_set):
            await self._carry_out(key, state, decision.roll(replace(state, now=time.time())))
        return again

    def _judge_ended(self, key: Key, state: State, made: Plan) -> float | None:
        waits = []
        for node, pod in made.failed:
            wait = self._backoff.attempt(key, node, time.monotonic())
            if wait:
                waits.append(wait)
                continue
            text = f"Found failed daemon pod {namespace_of(pod)}/{name_of(pod)} on node {node}, will try to kill it"
            self._recorder.event(state.daemon_set, WARNING, "FailedDaemonPod", text)
            made.delete.append(pod)
        for node, pod in made.succeeded:
            text = (
                f"Found succeeded daemon pod {namespace_of(pod)}/{name_of(pod)} on node {node}, will try to delete it"
            )
            self._recorder.event(state.daemon_set, NORMAL, "SucceededDaemonPod", text)
            made.delete.append(pod)
        return min(waits, default=None)

    # -- a plan becomes true ------------------------------------------------------------------------------------------

    async def _carry_out(self, key: Key, state: State, made: Plan) -> None:
        create, delete = made.create[:BURST], made.delete[:BURST]
        first = await self._create(key, state, create) if create else None
        self._expectations.expect_deletions(key, [uid_of(pod) for pod in delete])
        errors = await asyncio.gather(*(self._delete(key, state.daemon_set, pod) for pod in delete))
        error = next((e for e in (first, *errors) if e is not None), None)
        if error is not None:
            raise error

    async def _create(self, key: Key, state: State, nodes: list[str]) -> Exception | None:
        self._expectations.expect_creations(key, len(nodes))
        left = iter(nodes)

        async def create() -> None:
            pod = placement.new_pod(state.daemon_set, state.digest, next(left))
            try:
                made = await self._client.create(PODS, pod)
            except StatusError as error:
                if not is_namespace_ending(error):
                    self._recorder.event(state.daemon_set, WARNING, "FailedCreate", f"Error creating: {error}")
                raise
            self._recorder.event(state.daemon_set, NORMAL, "SuccessfulCreate", f"Created pod: {name_of(made)}")

        done, error = await slow_start(len(nodes), create)
        self._expectations.created(key, len(nodes) - done)
        return None if is_namespace_ending(error) else error

    async def _delete(self, key: Key, daemon_set: Object, pod: Object) -> Exception | None:
        try:
            await self._client.delete(PODS, name_of(pod), namespace_of(pod), uid=uid_of(pod))
        except (StatusError, ConnectionError, OSError, TimeoutError) as error:
            self._expectations.deleted(key, uid_of(pod))
            if is_not_found(error):
                return None
            self._recorder.event(daemon_set, WARNING, "FailedDelete", f"Error deleting: {error}")
            return error
        self._recorder.event(daemon_set, NORMAL, "SuccessfulDelete", f"Deleted pod: {name_of(pod)}")
        return None

    async def _report(self, state: State, observed: bool, collisions: int) -> None:
        new = status.status(state, observed=observed, collisions=collisions)
        if new == (state.daemon_set.get("status") or {}):
            return
        try:
            await self._client.update_status(DAEMONSETS, {**state.daemon_set, "status": new})
        except StatusError as error:
            if not is_not_found(error):
                raise

    async def _merge(self, twins: list[Object], current: Object, pods: list[Object]) -> list[Object]:
        """Revisions that say the same become the current one: their pods are marked as its, then they go."""
        gone, digest = {revisions.hash_of(r) for r in twins}, revisions.hash_of(current)
        change = {"metadata": {"labels": {revisions.HASH_LABEL: digest}}}
        marked = [
            await self._client.patch(PODS, name_of(pod), change, namespace_of(pod))
            if revisions.hash_of(pod) in gone
            else pod
            for pod in pods
        ]
        for revision in twins:
            await self._history.forget(revision)
        return marked

    async def _forget(self, daemon_set: Object, known: list[Object], current: Object, pods: list[Object]) -> None:
        """Forget old revisions beyond the limit; those that pods are of count, but stay."""
        old = [r for r in known if name_of(r) != name_of(current)]
        surplus = len(old) - int(daemon_set["spec"].get("revisionHistoryLimit", _LIMIT))
        live = {revisions.hash_of(pod) for pod in pods}
        spare = [r for r in old if revisions.hash_of(r) not in live]
        for revision in spare[: max(surplus, 0)]:
            await self._history.forget(revision)


def _decisive(node: Object) -> tuple[object, object]:
    return labels_of(node), (node.get("spec") or {}).get("taints")
