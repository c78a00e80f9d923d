"""The shell of the replica set controller, which is that of replication controllers, too."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from kumo.api import selectors
from kumo.api.errors import StatusError, is_not_found
from kumo.api.objects import Key, Object, controller_of, is_deleting, key_of, labels_of, name_of, namespace_of, uid_of
from kumo.api.resources import PODS
from kumo.kubernetes.controller_manager import ownership
from kumo.kubernetes.controller_manager import pods as p
from kumo.kubernetes.controller_manager.batches import slow_start
from kumo.kubernetes.controller_manager.expectations import Expectations
from kumo.kubernetes.controller_manager.refusals import is_namespace_ending
from kumo.kubernetes.controller_manager.replicaset.flavours import REPLICA_SETS, REPLICATION_CONTROLLERS, Flavour
from kumo.kubernetes.controller_manager.replicaset.ranking import to_delete
from kumo.kubernetes.controller_manager.replicaset.status import next_look, status
from kumo.machinery.client import Client
from kumo.machinery.controller import Controller
from kumo.machinery.events import NORMAL, WARNING, EventRecorder
from kumo.machinery.informer import Informers

BURST = 500
"""How many pods are created or deleted in one go."""


class ReplicaSetController:
    """Creates and deletes pods until there are as many as wanted."""

    name = "replicaset-controller"
    flavour: Flavour = REPLICA_SETS

    def __init__(self, client: Client, informers: Informers, *, workers: int = 5) -> None:
        self._client = client
        self._recorder = EventRecorder(client, self.name)
        self._sets = informers.informer(self.flavour.gvr)
        self._pods = informers.informer(PODS)
        for informer in (self._sets, self._pods):
            informer.add_index(ownership.OWNER_INDEX, ownership.controller_index)
        self._expectations = Expectations()
        self._expectations.observe(self._pods, self.flavour.kind)
        self._controller = Controller(self.name, self._reconcile, workers=workers)
        self._controller.watch(self._sets)
        self._controller.watch(self._pods, self._sets_of)

    async def run(self) -> None:
        """Run until cancelled."""
        await self._controller.run()

    def _sets_of(self, pod: Object) -> Iterable[Key]:
        owner = controller_of(pod)
        if owner is not None:
            return [Key(namespace_of(pod), owner["name"])] if owner.get("kind") == self.flavour.kind else []
        if not labels_of(pod) or is_deleting(pod):
            return []
        return [
            key_of(s)
            for s in self._sets.objects(namespace_of(pod))
            if selectors.matches(self.flavour.selector(s), labels_of(pod))
        ]

    async def _reconcile(self, key: Key) -> float | None:
        replica_set = self._sets.get_key(key)
        if replica_set is None:
            self._expectations.forget(key)
            return None
        settled = self._expectations.met(key)
        selector = self.flavour.selector(replica_set)
        found = [o for o in ownership.candidates(self._pods, replica_set) if not p.has_ended(o)]
        owned = await ownership.claim(self._client, self.flavour.gvr, replica_set, PODS, found, selector)
        active = [pod for pod in owned if p.is_active(pod)]
        failure: tuple[str, str] | None = None
        error: Exception | None = None
        if settled and not is_deleting(replica_set):
            failure, error = await self._resize(key, replica_set, active)
        terminating = sum(is_deleting(pod) for pod in owned)
        await self._report(replica_set, active, terminating, failure)
        if error is not None:
            raise error
        return next_look(replica_set, active, time.time())

    async def _resize(
        self, key: Key, replica_set: Object, active: list[Object]
    ) -> tuple[tuple[str, str] | None, Exception | None]:
        wanted = int(replica_set["spec"].get("replicas", 1))
        missing = wanted - len(active)
        if missing > 0:
            error = await self._create(key, replica_set, min(missing, BURST))
            return (("FailedCreate", str(error)), error) if error else (None, None)
        if missing < 0:
            victims = to_delete(active, self._related(replica_set), min(-missing, BURST), time.time())
            error = await self._delete(key, replica_set, victims)
            return (("FailedDelete", str(error)), error) if error else (None, None)
        return None, None

    async def _create(self, key: Key, replica_set: Object, count: int) -> Exception | None:
        self._expectations.expect_creations(key, count)

        async def create() -> None:
            try:
                pod = p.from_template(replica_set["spec"]["template"], replica_set)
                made = await self._client.create(PODS, pod)
            except StatusError as error:
                if not is_namespace_ending(error):
                    self._recorder.event(replica_set, WARNING, "FailedCreate", f"Error creating: {error}")
                raise
            self._recorder.event(replica_set, NORMAL, "SuccessfulCreate", f"Created pod: {name_of(made)}")

        done, error = await slow_start(count, create)
        self._expectations.created(key, count - done)
        return None if is_namespace_ending(error) else error

    async def _delete(self, key: Key, replica_set: Object, victims: list[Object]) -> Exception | None:
        self._expectations.expect_deletions(key, [uid_of(v) for v in victims])

        async def delete(pod: Object) -> Exception | None:
            try:
                await self._client.delete(PODS, name_of(pod), namespace_of(pod), uid=uid_of(pod))
            except (StatusError, ConnectionError, OSError, TimeoutError) as error:
                self._expectations.deleted(key, uid_of(pod))
                if is_not_found(error):
                    return None
                self._recorder.event(replica_set, WARNING, "FailedDelete", f"Error deleting: {error}")
                return error
            self._recorder.event(replica_set, NORMAL, "SuccessfulDelete", f"Deleted pod: {name_of(pod)}")
            return None

        errors = await asyncio.gather(*(delete(v) for v in victims))
        return next((e for e in errors if e is not None), None)

    def _related(self, replica_set: Object) -> list[Object]:
        owner = controller_of(replica_set)
        sets = self._sets.by_index(ownership.OWNER_INDEX, owner["uid"]) if owner else [replica_set]
        pods = (pod for s in sets for pod in self._pods.by_index(ownership.OWNER_INDEX, uid_of(s)))
        return [pod for pod in pods if p.is_active(pod)]

    async def _report(
        self, replica_set: Object, active: list[Object], terminating: int, failure: tuple[str, str] | None
    ) -> None:
        new = status(replica_set, active, terminating, failure, time.time())
        if not self.flavour.tells_terminating:
            del new["terminatingReplicas"]
        if new == (replica_set.get("status") or {}):
            return
        try:
            await self._client.update_status(self.flavour.gvr, {**replica_set, "status": new})
        except StatusError as error:
            if not is_not_found(error):
                raise


class ReplicationManager(ReplicaSetController):
    """The same for ReplicationControllers."""

    name = "replication-controller"
    flavour = REPLICATION_CONTROLLERS
