"""The shell of the deployment controller."""

from __future__ import annotations

import time
from collections.abc import Iterable
from copy import deepcopy

from kumo.api import selectors
from kumo.api.errors import StatusError, is_already_exists, is_not_found
from kumo.api.objects import (
    Key,
    Object,
    annotations_of,
    controller_of,
    is_deleting,
    key_of,
    labels_of,
    name_of,
    namespace_of,
    uid_of,
)
from kumo.api.resources import DEPLOYMENTS, PODS, REPLICASETS
from kumo.kubernetes.controller_manager import ownership
from kumo.kubernetes.controller_manager import pods as p
from kumo.kubernetes.controller_manager.deployment import progress, revisions
from kumo.kubernetes.controller_manager.deployment.rollout import Plan, State, new_set, plan
from kumo.kubernetes.controller_manager.deployment.sets import REVISION, Set, limits, wanted
from kumo.kubernetes.controller_manager.deployment.templates import same
from kumo.kubernetes.controller_manager.refusals import is_namespace_ending
from kumo.machinery.client import Client
from kumo.machinery.controller import Controller
from kumo.machinery.events import NORMAL, WARNING, EventRecorder
from kumo.machinery.informer import Informers


class DeploymentController:
    """Rolls deployments out."""

    name = "deployment-controller"

    def __init__(self, client: Client, informers: Informers, *, workers: int = 5) -> None:
        self._client = client
        self._recorder = EventRecorder(client, self.name)
        self._deployments = informers.informer(DEPLOYMENTS)
        self._sets = informers.informer(REPLICASETS)
        self._pods = informers.informer(PODS)
        for informer in (self._sets, self._pods):
            informer.add_index(ownership.OWNER_INDEX, ownership.controller_index)
        self._controller = Controller(self.name, self._reconcile, workers=workers)
        self._controller.watch(self._deployments)
        self._controller.watch(self._sets, self._deployments_of)
        self._pods.on_change(self._pod_changed)

    async def run(self) -> None:
        """Run until cancelled."""
        await self._pods.wait_synced()
        await self._controller.run()

    def _deployments_of(self, replica_set: Object) -> Iterable[Key]:
        owner = controller_of(replica_set)
        namespace = namespace_of(replica_set)
        if owner is not None:
            return [Key(namespace, owner["name"])] if owner.get("kind") == "Deployment" else []
        labels = labels_of(replica_set)
        return [
            key_of(d)
            for d in self._deployments.objects(namespace)
            if selectors.matches((d.get("spec") or {}).get("selector"), labels)
        ]

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        """A pod ended or is gone: a Recreate deployment may wait for just that."""
        if old is None or (new is not None and not p.has_ended(new)):
            return
        owner = controller_of(old)
        found = self._sets.get(owner["name"], namespace_of(old)) if owner else None
        if found is not None:
            for key in self._deployments_of(found):
                self._controller.queue.add(key)

    async def _reconcile(self, key: Key) -> float | None:
        deployment = self._deployments.get_key(key)
        if deployment is None:
            return None
        selector = deployment["spec"].get("selector")
        found = ownership.candidates(self._sets, deployment)
        owned = await ownership.claim(self._client, DEPLOYMENTS, deployment, REPLICASETS, found, selector)
        sets = tuple(Set.of(o) for o in owned)
        made = plan(State(deployment, sets, self._old_pods_run(deployment, sets), time.time()))
        await self._carry_out(deployment, made)
        return made.again

    def _old_pods_run(self, deployment: Object, sets: tuple[Set, ...]) -> bool:
        new = new_set(deployment, sets)
        return any(
            not p.has_ended(pod)
            for s in sets
            if s is not new
            for pod in self._pods.by_index(ownership.OWNER_INDEX, s.uid)
        )

    # -- a plan becomes true ------------------------------------------------------------------------------------------

    async def _carry_out(self, deployment: Object, made: Plan) -> None:
        if made.create is not None and not await self._create(deployment, made.create):
            return
        if made.update is not None:
            await self._client.update(REPLICASETS, made.update)
        for found, size in made.resizes:
            await self._resize(deployment, found, size)
        for found in made.forget:
            await self._forget(found)
        status = deployment.get("status") or {} if made.status is None else made.status
        notes = annotations_of(deployment)
        if made.revision and notes.get(REVISION) != made.revision:
            # Written with the status, as upstream does: a write of its own would raise the generation.
            meta = {**deployment["metadata"], "annotations": {**notes, REVISION: made.revision}}
            await self._write_status({**deployment, "metadata": meta}, status)
        elif status != (deployment.get("status") or {}):
            await self._write_status(deployment, status)

    async def _write_status(self, deployment: Object, status: progress.Status) -> None:
        try:
            await self._client.update_status(DEPLOYMENTS, {**deployment, "status": status})
        except StatusError as error:
            if not is_not_found(error):
                raise

    async def _create(self, deployment: Object, replica_set: Object) -> bool:
        """Make the replica set; False when the deployment's status says now why it could not be made."""
        name, size = name_of(replica_set), replica_set["spec"]["replicas"]
        try:
            await self._client.create(REPLICASETS, replica_set)
        except StatusError as error:
            if is_already_exists(error):
                return await self._taken(deployment, replica_set)
            if is_namespace_ending(error):
                return False
            await self._could_not_create(deployment, f'Failed to create new replica set "{name}": {error}')
            raise
        if size:
            self._recorder.event(
                deployment, NORMAL, "ScalingReplicaSet", f"Scaled up replica set {name} from 0 to {size}"
            )
        return True

    async def _taken(self, deployment: Object, replica_set: Object) -> bool:
        """The name exists: it is ours from before (the informer is late), or the hash collided."""
        live = await self._client.get(REPLICASETS, name_of(replica_set), namespace_of(replica_set))
        owner = controller_of(live)
        mine = owner is not None and owner.get("uid") == uid_of(deployment)
        if mine and same(live["spec"]["template"], replica_set["spec"]["template"]):
            return True
        status = deepcopy(deployment.get("status") or {})
        status["collisionCount"] = int(status.get("collisionCount") or 0) + 1
        await self._write_status(deployment, status)
        return False

    async def _could_not_create(self, deployment: Object, message: str) -> None:
        self._recorder.event(deployment, WARNING, "ReplicaSetCreateError", message)
        if progress.deadline(deployment) is None:
            return
        status = deepcopy(deployment.get("status") or {})
        progress.put(status, progress.PROGRESSING, "False", "ReplicaSetCreateError", message, time.time())
        if status != deployment.get("status"):
            await self._write_status(deployment, status)

    async def _resize(self, deployment: Object, found: Set, size: int) -> None:
        maximum = wanted(deployment) + limits(deployment).surge
        notes = {**annotations_of(found.object), **revisions.size_annotations(deployment, maximum)}
        if found.wanted == size and notes == annotations_of(found.object):
            return
        changed = deepcopy(found.object)
        changed["spec"]["replicas"] = size
        changed["metadata"]["annotations"] = notes
        await self._client.update(REPLICASETS, changed)
        if size != found.wanted:
            way = "up" if size > found.wanted else "down"
            text = f"Scaled {way} replica set {found.name} from {found.wanted} to {size}"
            self._recorder.event(deployment, NORMAL, "ScalingReplicaSet", text)

    async def _forget(self, found: Set) -> None:
        if is_deleting(found.object):
            return
        try:
            await self._client.delete(REPLICASETS, found.name, namespace_of(found.object), uid=found.uid)
        except StatusError as error:
            if not is_not_found(error):
                raise
