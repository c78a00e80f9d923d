"""The shell of the snapshot controller."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import structlog

from kumo.api.errors import StatusError, is_already_exists, is_conflict, is_not_found
from kumo.api.objects import Key, Object, annotations_of, is_deleting, key_of, name_of, namespace_of
from kumo.api.resources import GVR, NODES, core
from kumo.api.volume_secrets import SecretError, snapshot_reference
from kumo.kubernetes.snapshot_controller import decision, forms
from kumo.kubernetes.snapshot_controller.decision import Trouble, bound_content, own_content, source
from kumo.kubernetes.snapshot_controller.names import (
    BEING_DELETED,
    BOUND_FINALIZER,
    CLAIM_FINALIZER,
    CLASSES,
    CONTENT_FINALIZER,
    CONTENTS,
    SNAPSHOTS,
    SOURCE_FINALIZER,
)
from kumo.machinery.client import Client
from kumo.machinery.controller import Controller, Temporary
from kumo.machinery.events import NORMAL, WARNING, EventRecorder
from kumo.machinery.informer import Informers

CLAIMS, VOLUMES = core("persistentvolumeclaims"), core("persistentvolumes", False)
_INDEX = "snapshot-controller"
_RETRY = 15.0
"""Seconds after which a snapshot in trouble is looked at again, if nothing that it waits for changes before."""
_log = structlog.get_logger("kumo.snapshot-controller")


class SnapshotController:
    """Makes contents for snapshots, binds both, and keeps what they are cut of."""

    name = "snapshot-controller"

    def __init__(self, client: Client, informers: Informers) -> None:
        self._client = client
        self._recorder = EventRecorder(client, "snapshot-controller")
        self._snapshots, self._contents = informers.informer(SNAPSHOTS), informers.informer(CONTENTS)
        self._classes, self._claims = informers.informer(CLASSES), informers.informer(CLAIMS)
        self._volumes, self._nodes = informers.informer(VOLUMES), informers.informer(NODES)
        self._snapshots.add_index(_INDEX, _snapshot_index)
        self._of_snapshots = Controller("snapshot-controller-snapshots", self._snapshot, workers=4)
        self._of_snapshots.watch(self._snapshots)
        self._of_snapshots.watch(self._contents, _snapshot_of)
        self._of_snapshots.watch(self._claims, self._cut_of)
        self._of_snapshots.watch(self._classes, lambda _: self._unready())
        self._of_snapshots.watch(self._volumes, lambda _: ())
        self._of_snapshots.watch(self._nodes, lambda _: ())
        self._of_contents = Controller("snapshot-controller-contents", self._content, workers=2)
        self._of_contents.watch(self._contents)

    async def run(self) -> None:
        """Run until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._of_snapshots.run(), name="snapshots")
            group.create_task(self._of_contents.run(), name="contents")

    def _cut_of(self, claim: Object) -> Iterable[Key]:
        """Snapshots of the claim, and one that it is made of: both wait for it."""
        for snapshot in self._snapshots.by_index(_INDEX, f"{namespace_of(claim)}/{name_of(claim)}"):
            yield key_of(snapshot)
        wanted = (claim.get("spec") or {}).get("dataSource") or {}
        if wanted.get("kind") == "VolumeSnapshot":
            yield Key(namespace_of(claim), wanted.get("name") or "")

    def _unready(self) -> Iterable[Key]:
        return [key_of(s) for s in self._snapshots.objects() if not decision.is_ready(s)]

    # -- contents -----------------------------------------------------------------------------------------------------

    async def _content(self, key: Key) -> float | None:
        """A content that somebody has is kept from being deleted before its snapshot is."""
        content = self._contents.get_key(key)
        ref = ((content or {}).get("spec") or {}).get("volumeSnapshotRef") or {}
        if content is None or is_deleting(content) or not ref.get("uid"):
            return None
        finalizers = content["metadata"].get("finalizers") or []
        if CONTENT_FINALIZER not in finalizers:
            await self._patch(CONTENTS, content, {"finalizers": [*finalizers, CONTENT_FINALIZER]})
        return None

    # -- snapshots ----------------------------------------------------------------------------------------------------

    async def _snapshot(self, key: Key) -> float | None:
        snapshot = self._snapshots.get_key(key)
        if snapshot is None:
            return None
        try:
            if is_deleting(snapshot):
                await self._release_claim(snapshot)
                await self._delete(snapshot)
                return None
            snapshot = await self._with_class(snapshot)
            await self._release_claim(snapshot)
            content = self._found_content(snapshot)
            snapshot = await self._hold(snapshot, content)
            if decision.is_ready(snapshot) and bound_content(snapshot):
                self._check_bound(snapshot)
                return None
            await self._bind(snapshot, content)
        except Trouble as trouble:
            await self._tell(key, trouble)
            return _RETRY
        return None

    async def _with_class(self, snapshot: Object) -> Object:
        """The snapshot with its class, the default one if it names none. Raises Trouble."""
        name = (snapshot.get("spec") or {}).get("volumeSnapshotClassName")
        if name:
            if self._classes.get(name) is None:
                why = f'volumesnapshotclass.snapshot.storage.k8s.io "{name}" not found'
                text = f"Failed to get snapshot class with error {why}"
                raise Trouble("GetSnapshotClassFailed", text, unready=False)
            return snapshot
        if source(snapshot).get("volumeSnapshotContentName"):
            return snapshot
        lead = "Failed to set default snapshot class with error"
        volume = self._volume(snapshot, "SetDefaultSnapshotClassFailed", lead)
        driver = ((volume.get("spec") or {}).get("csi") or {}).get("driver")
        if not driver:
            where = f"{namespace_of(snapshot)}/{name_of(snapshot)}"
            why = f"snapshotting non-CSI volumes is not supported, snapshot:{where}"
            raise Trouble("SetDefaultSnapshotClassFailed", f"{lead} {why}", unready=False)
        chosen = decision.default_class(self._classes.objects(), driver)
        patch = {"spec": {"volumeSnapshotClassName": name_of(chosen)}}
        return await self._client.patch(SNAPSHOTS, name_of(snapshot), patch, namespace_of(snapshot))

    def _claim(self, snapshot: Object) -> Object | None:
        name = source(snapshot).get("persistentVolumeClaimName")
        return self._claims.get(name, namespace_of(snapshot)) if name else None

    def _volume(self, snapshot: Object, reason: str, lead: str) -> Object:
        """The volume that the snapshot is to be of. Raises Trouble."""
        claim = self._claim(snapshot)
        if claim is None:
            name = source(snapshot).get("persistentVolumeClaimName")
            gone = f'persistentvolumeclaim \\"{name}\\" not found'
            why = f'failed to retrieve PVC {name} from the lister: "{gone}"'
            raise Trouble(reason, f"{lead} {why}", unready=False)
        volume = self._volumes.get((claim.get("spec") or {}).get("volumeName") or "")
        why = decision.volume_trouble(claim, volume)
        if why or volume is None:
            raise Trouble(reason, f"{lead} {why}", unready=False)
        return volume

    def _found_content(self, snapshot: Object) -> Object | None:
        """The content that the snapshot names or that was made for it, if it is there. Raises Trouble."""
        content = self._contents.get(source(snapshot).get("volumeSnapshotContentName") or own_content(snapshot))
        if content is not None:
            decision.check_content(snapshot, content)
        return content

    async def _hold(self, snapshot: Object, content: Object | None) -> Object:
        missing = decision.missing_finalizers(snapshot, content)
        if not missing:
            return snapshot
        finalizers = [*(snapshot["metadata"].get("finalizers") or []), *missing]
        return await self._patch(SNAPSHOTS, snapshot, {"finalizers": finalizers})

    def _check_bound(self, snapshot: Object) -> None:
        """Raise Trouble if a ready snapshot has lost its content."""
        content = self._contents.get(bound_content(snapshot))
        if content is None:
            raise Trouble("SnapshotContentMissing", "VolumeSnapshotContent is missing")
        if not decision.names(content, snapshot):
            why = "VolumeSnapshotContent is not bound to the VolumeSnapshot correctly"
            raise Trouble("SnapshotMisbound", why)

    async def _bind(self, snapshot: Object, content: Object | None) -> None:
        """Find or make the content, and take over what it says. Raises Trouble."""
        if source(snapshot).get("volumeSnapshotContentName"):
            if content is None:
                raise Trouble("SnapshotContentMissing", "VolumeSnapshotContent is missing")
            content = await self._claim_content(snapshot, content)
        elif content is None:
            content = await self._make_content(snapshot)
        await self._take_over(snapshot, content)

    async def _claim_content(self, snapshot: Object, content: Object) -> Object:
        """Say in a content that was given to whom it belongs."""
        spec = content.get("spec") or {}
        ref = spec.get("volumeSnapshotRef") or {}
        wanted = (snapshot.get("spec") or {}).get("volumeSnapshotClassName")
        if ref.get("uid") and (spec.get("volumeSnapshotClassName") or not wanted):
            return content
        changed: dict[str, Any] = {"volumeSnapshotRef": {**ref, "uid": snapshot["metadata"]["uid"]}}
        if wanted:
            changed["volumeSnapshotClassName"] = wanted
        patch = {"metadata": {"resourceVersion": content["metadata"]["resourceVersion"]}, "spec": changed}
        return await self._client.patch(CONTENTS, name_of(content), patch)

    async def _make_content(self, snapshot: Object) -> Object:
        where = f"{namespace_of(snapshot)}/{name_of(snapshot)}"
        lead = "Failed to create snapshot content with error"
        reason = "SnapshotContentCreationFailed"
        await self._hold_claim(snapshot, reason, lead)
        inputs = f"{lead} failed to get input parameters to create snapshot {name_of(snapshot)}:"
        volume = self._volume(snapshot, reason, inputs)
        if not (volume.get("spec") or {}).get("csi"):
            raise Trouble(reason, f"{lead} cannot find CSI PersistentVolumeSource for volume {name_of(volume)}")
        snapshot_class = self._classes.get((snapshot.get("spec") or {}).get("volumeSnapshotClassName") or "")
        if snapshot_class is None:
            why = f"failed to take snapshot {name_of(snapshot)} without a snapshot class"
            raise Trouble(reason, f'{inputs} "{why}"')
        try:
            secret = snapshot_reference(snapshot_class.get("parameters") or {}, own_content(snapshot), snapshot)
        except SecretError as error:
            raise Trouble(reason, f"{inputs} {error}") from None
        node = forms.node_of(volume, self._nodes.objects())
        content = forms.content_for(snapshot, snapshot_class, volume, secret, node)
        try:
            made = await self._client.create(CONTENTS, content)
        except StatusError as error:
            if is_already_exists(error):
                return await self._client.get(CONTENTS, name_of(content))
            text = f"Error creating volume snapshot content object for snapshot {where}: {error}."
            raise Trouble("CreateSnapshotContentFailed", text) from None
        text = f"Waiting for a snapshot {where} to be created by the CSI driver."
        self._recorder.event(snapshot, NORMAL, "CreatingSnapshot", text)
        return made

    async def _take_over(self, snapshot: Object, content: Object) -> None:
        """Write what the content says into the snapshot's status, as it is now."""
        fresh = await self._client.get(SNAPSHOTS, name_of(snapshot), namespace_of(snapshot))
        status = forms.status_of(fresh, content)
        old = fresh.get("status") or {}
        if status == old:
            return
        where = f"{namespace_of(snapshot)}/{name_of(snapshot)}"
        await self._client.update_status(SNAPSHOTS, {**fresh, "status": status})
        if status.get("creationTime") and not old.get("creationTime"):
            text = f"Snapshot {where} was successfully created by the CSI driver."
            self._recorder.event(snapshot, NORMAL, "SnapshotCreated", text)
        if status["readyToUse"] and not old.get("readyToUse"):
            self._recorder.event(snapshot, NORMAL, "SnapshotReady", f"Snapshot {where} is ready to use.")

    async def _tell(self, key: Key, trouble: Trouble) -> None:
        """Write the trouble into the status and tell it, unless the status says so already."""
        try:
            fresh = await self._client.get(SNAPSHOTS, key.name, key.namespace)
        except StatusError as error:
            if is_not_found(error):
                return
            raise
        status = forms.failed_status(fresh, trouble.message, unready=trouble.unready)
        if status is None:
            return
        _log.info("snapshot in trouble", snapshot=str(key), why=trouble.message)
        fresh = await self._client.update_status(SNAPSHOTS, {**fresh, "status": status})
        self._recorder.event(fresh, WARNING, trouble.reason, trouble.message)

    # -- the claim that is cut ----------------------------------------------------------------------------------------

    async def _hold_claim(self, snapshot: Object, reason: str, lead: str) -> None:
        claim = self._claim(snapshot)
        failed = f"{lead} snapshot controller failed to update"
        if claim is None:
            why = "on API server: cannot get claim from snapshot"
            raise Trouble(reason, f"{failed} {name_of(snapshot)} {why}")
        finalizers = claim["metadata"].get("finalizers") or []
        if CLAIM_FINALIZER in finalizers:
            return
        if is_deleting(claim):
            why = "on API server: cannot add finalizer on claim because it is being deleted"
            raise Trouble(reason, f"{failed} {name_of(claim)} {why}")
        await self._patch(CLAIMS, claim, {"finalizers": [*finalizers, CLAIM_FINALIZER]})

    async def _release_claim(self, snapshot: Object, *, done: bool = False) -> None:
        """Let the claim go once no snapshot is being cut of it; `done`: this one counts no more."""
        claim = self._claim(snapshot)
        finalizers = list((claim or {}).get("metadata", {}).get("finalizers") or ())
        if claim is None or CLAIM_FINALIZER not in finalizers:
            return
        others = self._snapshots.by_index(_INDEX, f"{namespace_of(claim)}/{name_of(claim)}")
        if not decision.is_being_cut(claim, others, name_of(snapshot) if done else ""):
            left = [f for f in finalizers if f != CLAIM_FINALIZER]
            await self._patch(CLAIMS, claim, {"finalizers": left})

    # -- deletion -----------------------------------------------------------------------------------------------------

    async def _delete(self, snapshot: Object) -> None:
        """Delete the content first, if its policy says so; then let the snapshot go."""
        if not decision.is_deletable(snapshot):
            return
        content = self._contents.get(bound_content(snapshot) or own_content(snapshot))
        if content is not None and not decision.names(content, snapshot):
            content = None
        where = f"{namespace_of(snapshot)}/{name_of(snapshot)}"
        if content is not None and decision.is_being_restored(snapshot, self._claims.objects(namespace_of(snapshot))):
            text = "Snapshot is being used to restore a PVC"
            self._recorder.event(snapshot, WARNING, "SnapshotDeletePending", text)
            raise Temporary(f"snapshot {where} is being restored", _RETRY)
        cascade = content is not None and (content.get("spec") or {}).get("deletionPolicy") == "Delete"
        if content is not None:
            await self._delete_content(snapshot, content, cascade=cascade)
        await self._release_claim(snapshot, done=True)
        gone = {SOURCE_FINALIZER} if cascade else {SOURCE_FINALIZER, BOUND_FINALIZER}
        finalizers = snapshot["metadata"].get("finalizers") or []
        left = [f for f in finalizers if f not in gone]
        if left != finalizers:
            await self._patch(SNAPSHOTS, snapshot, {"finalizers": left})

    async def _delete_content(self, snapshot: Object, content: Object, *, cascade: bool) -> None:
        if BEING_DELETED not in annotations_of(content):
            await self._patch(CONTENTS, content, {"annotations": {BEING_DELETED: "yes"}})
        if not cascade or is_deleting(content):
            return
        try:
            await self._client.delete(CONTENTS, name_of(content))
        except StatusError as error:
            if not is_not_found(error):
                text = "Failed to delete snapshot content API object"
                self._recorder.event(snapshot, WARNING, "SnapshotContentObjectDeleteError", text)
                raise

    async def _patch(self, gvr: GVR, obj: Object, meta: dict[str, Any]) -> Object:
        """Change the metadata of an object as it was seen; one that is gone is left alone."""
        patch = {"metadata": {**meta, "resourceVersion": obj["metadata"]["resourceVersion"]}}
        try:
            return await self._client.patch(gvr, name_of(obj), patch, namespace_of(obj))
        except StatusError as error:
            if is_not_found(error):
                return obj
            if is_conflict(error):
                raise Temporary(str(error), 0.05) from None
            raise


def _snapshot_index(snapshot: Object) -> Iterable[str]:
    claim = source(snapshot).get("persistentVolumeClaimName")
    return [f"{namespace_of(snapshot)}/{claim}"] if claim else []


def _snapshot_of(content: Object) -> Iterable[Key]:
    ref = (content.get("spec") or {}).get("volumeSnapshotRef") or {}
    return [Key(ref.get("namespace") or "", ref.get("name") or "")] if ref.get("name") else []
