"""The shell that makes volumes for claims."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable

import structlog

from kumo.api.errors import StatusError, is_already_exists, is_conflict, is_not_found
from kumo.api.objects import Key, Object, annotations_of, key_of, name_of, namespace_of, uid_of
from kumo.api.resources import GVR, NODES, core
from kumo.api.volume_claims import SELECTED_NODE, class_of
from kumo.host.csi.errors import CsiError
from kumo.host.csi.stubs import csi_pb2 as pb
from kumo.kubernetes.csi_controllers.provisioner import decision, forms
from kumo.kubernetes.csi_controllers.provisioner.decision import Failed, State, Turn
from kumo.kubernetes.csi_controllers.provisioner.ownership import offer, select
from kumo.kubernetes.csi_controllers.provisioner.protection import release_source
from kumo.kubernetes.csi_controllers.provisioner.request import CSI_NODES, prepare
from kumo.kubernetes.csi_controllers.provisioner.whereabouts import home
from kumo.kubernetes.csi_controllers.tools import Backoff, Tools
from kumo.machinery.controller import Controller, Temporary
from kumo.machinery.events import NORMAL, WARNING, EventRecorder

CLAIMS, VOLUMES = core("persistentvolumeclaims"), core("persistentvolumes", False)
CLASSES = GVR("storage.k8s.io", "v1", "storageclasses", False)
_CLEAN_UP_TRIES = 5
_log = structlog.get_logger("kumo.csi-provisioner")


class ClaimProvisioner:
    """Makes a volume for every claim that was handed to the driver, once.

    The driver is asked by a name that follows from the claim, so that to ask again, after a failure or a restart, gives
    the same volume. While it may be at work the claim is remembered, also beyond its deletion, lest the volume be lost.
    """

    def __init__(self, tools: Tools, recorder: EventRecorder) -> None:
        self._tools = tools
        self._recorder = recorder
        self._claims, self._volumes = (tools.informers.informer(gvr) for gvr in (CLAIMS, VOLUMES))
        self._classes = tools.informers.informer(CLASSES)
        self._in_progress: dict[Key, Object] = {}
        self._made: dict[Key, str] = {}
        """The uids of claims whose volume was made and is perhaps not seen yet."""
        self._backoff = Backoff(tools.config)
        self.name = f"{tools.facts.name}-provisioner"
        stamp = f"{time.time_ns() // 1_000_000}-{random.randrange(10_000)}-{tools.facts.name}"
        self._identity = f"{stamp}-{tools.config.node}" if tools.config.node else stamp
        self._controller = Controller(self.name, self._reconcile, workers=tools.config.workers)
        self._controller.watch(self._claims, self._ours)
        self._controller.watch(self._classes, self._of_class)
        self._controller.watch(self._volumes, lambda _: ())
        if tools.facts.has_topology:
            for gvr in (CSI_NODES, NODES):
                self._controller.watch(tools.informers.informer(gvr), lambda _: ())

    async def run(self) -> None:
        """Run until cancelled."""
        await self._controller.run()

    def _ours(self, claim: Object) -> Iterable[Key]:
        asked = decision.is_asked(claim, self._tools.facts.name)
        return [key_of(claim)] if asked or key_of(claim) in self._in_progress else []

    def _of_class(self, storage_class: Object) -> Iterable[Key]:
        if storage_class.get("provisioner") != self._tools.facts.name:
            return []
        return [k for c in self._claims.objects() if class_of(c) == name_of(storage_class) for k in self._ours(c)]

    async def _reconcile(self, key: Key) -> float | None:
        held = self._in_progress.get(key)
        claim = self._claims.get_key(key)
        if held is not None and (claim is None or uid_of(claim) != uid_of(held)):
            claim = held
        if claim is None or not decision.is_asked(claim, self._tools.facts.name):
            self._in_progress.pop(key, None)
            self._made.pop(key, None)
            self._backoff.forget(key)
            return None
        if self._made.get(key) == uid_of(claim):
            return None
        try:
            await self._provision(key, claim)
        except Failed as error:
            return await self._failed(key, claim, error)
        self._in_progress.pop(key, None)
        self._backoff.forget(key)
        return None

    async def _provision(self, key: Key, claim: Object) -> None:
        storage_class = self._classes.get(class_of(claim))
        if storage_class is None:
            raise Failed(f'storageClass "{class_of(claim)}" not found', State.UNCHANGED, silent=True)
        if key not in self._in_progress:
            whose = decision.turn(claim, storage_class, self._tools.config.node)
            if whose is Turn.NOBODYS:
                await offer(self._tools, claim, storage_class, await home(self._tools, claim))
            if whose is not Turn.OURS or await self._handed_over(claim):
                return
        if self._volumes.get(decision.volume_name_for(claim)) is not None:
            return
        if storage_class.get("provisioner") != self._tools.facts.name:
            return
        where = f"{namespace_of(claim)}/{name_of(claim)}"
        text = f'External provisioner is provisioning volume for claim "{where}"'
        self._recorder.event(claim, NORMAL, "Provisioning", text)
        prepared = await prepare(self._tools, claim, storage_class)
        made = await self._create(key, claim, prepared)
        volume = forms.volume_for(claim, storage_class, self._tools.facts, self._identity, prepared, made)
        try:
            await self._tools.client.create(VOLUMES, volume)
        except StatusError as error:
            if not is_already_exists(error):
                raise Failed(f"error saving volume {name_of(volume)}: {error}", State.BACKGROUND, silent=True) from None
        self._made[key] = uid_of(claim)
        _log.info("volume made", claim=where, volume=name_of(volume), handle=made.volume_id)
        text = f"Successfully provisioned volume {name_of(volume)}"
        self._recorder.event(claim, NORMAL, "ProvisioningSucceeded", text)
        await release_source(self._tools, claim, self._claims)

    async def _handed_over(self, claim: Object) -> bool:
        """Give a claim whose source is on another node to that node; the scheduler follows the volume."""
        node = await home(self._tools, claim)
        if node in ("", self._tools.config.node):
            return False
        self._recorder.event(claim, NORMAL, "Provisioning", f"the source is on node {node}: the volume is made there")
        await select(self._tools, claim, node)
        return True

    async def _create(self, key: Key, claim: Object, prepared: forms.Prepared) -> pb.Volume:
        """Have the driver make it. Raises Failed."""
        self._in_progress[key] = claim
        try:
            answer = await self._tools.csi.controller.create_volume(prepared.request, self._tools.config.timeout)
        except CsiError as error:
            raise self._refused(claim, error) from None
        made, asked = answer.volume, prepared.request.capacity_range.required_bytes
        trouble = ""
        if 0 < made.capacity_bytes < asked:
            trouble = f"created volume capacity {made.capacity_bytes} less than requested capacity {asked}"
        elif (claim.get("spec") or {}).get("dataSource") and not made.HasField("content_source"):
            trouble = "volume content source missing"
        if trouble:
            raise Failed(trouble + await self._clean_up(made, prepared), State.BACKGROUND)
        return made

    async def _clean_up(self, made: pb.Volume, prepared: forms.Prepared) -> str:
        """Delete what is of no use; what to add to the message if that fails."""
        request = pb.DeleteVolumeRequest(volume_id=made.volume_id, secrets=prepared.request.secrets)
        why = ""
        for _ in range(_CLEAN_UP_TRIES):
            try:
                await self._tools.csi.controller.delete_volume(request, self._tools.config.timeout)
            except CsiError as error:
                why = f". Cleanup of volume {prepared.request.name} failed, volume is orphaned: {error.wire}"
            else:
                return ""
        return why

    def _refused(self, claim: Object, error: CsiError) -> Failed:
        if error.code == "INVALID_ARGUMENT":
            lead = "Volume provisioning failed with infeasible error. Retries will be delayed."
            return Failed(f"{lead} {error.wire}", infeasible=True)
        if error.code == "RESOURCE_EXHAUSTED":
            elsewhere = self._tools.facts.has_topology and SELECTED_NODE in annotations_of(claim)
            return Failed(error.wire, State.RESCHEDULE if elsewhere else State.FINISHED)
        return Failed(error.wire, State.FINISHED if error.final else State.BACKGROUND)

    async def _failed(self, key: Key, claim: Object, error: Failed) -> float | None:
        """Tell it, and when to try again."""
        _log.info("volume not made", claim=str(key), why=error.message, state=error.state.value)
        if error.state in (State.FINISHED, State.RESCHEDULE):
            self._in_progress.pop(key, None)
        if not error.again:
            self._recorder.event(claim, NORMAL, "Provisioning", error.message)
            return None
        if not error.silent:
            self._recorder.event(claim, WARNING, "ProvisioningFailed", error.message)
        if error.infeasible:
            return self._tools.config.infeasible
        if error.state is State.RESCHEDULE and SELECTED_NODE in annotations_of(claim) and await self._give_back(claim):
            return None
        if self._claims.get_key(key) is None and key not in self._in_progress:
            return None
        raise Temporary(error.message, self._backoff.failed(key))

    async def _give_back(self, claim: Object) -> bool:
        """Let the scheduler choose another node; False if somebody changed the claim meanwhile."""
        meta = {"annotations": {SELECTED_NODE: None}, "resourceVersion": claim["metadata"]["resourceVersion"]}
        try:
            await self._tools.client.patch(CLAIMS, name_of(claim), {"metadata": meta}, namespace_of(claim))
        except StatusError as error:
            if is_conflict(error) or is_not_found(error):
                return False
            raise
        return True
