"""Makes VolumeSnapshotContents true: what external-snapshotter's sidecar does."""

from __future__ import annotations

import json
import time
from typing import Any

import structlog

from kumo.api.errors import StatusError, is_not_found
from kumo.api.objects import Key, Object, annotations_of, is_deleting, name_of, timestamp
from kumo.api.resources import GVR
from kumo.host.csi.errors import CsiError
from kumo.host.csi.stubs import csi_pb2 as pb
from kumo.kubernetes.csi_controllers import secrets
from kumo.kubernetes.csi_controllers.tools import Backoff, Tools, Writes
from kumo.machinery.controller import Controller, Temporary
from kumo.machinery.events import WARNING, EventRecorder

GROUP = "snapshot.storage.k8s.io"
CONTENTS = GVR(GROUP, "v1", "volumesnapshotcontents", False)
CLASSES = GVR(GROUP, "v1", "volumesnapshotclasses", False)
FINALIZER = "snapshot.storage.kubernetes.io/volumesnapshotcontent-bound-protection"
BEING_CREATED = "snapshot.storage.kubernetes.io/volumesnapshot-being-created"
BEING_DELETED = "snapshot.storage.kubernetes.io/volumesnapshot-being-deleted"
SECRET_NAME = "snapshot.storage.kubernetes.io/deletion-secret-name"
SECRET_NAMESPACE = "snapshot.storage.kubernetes.io/deletion-secret-namespace"
MANAGED_BY = "snapshot.storage.kubernetes.io/managed-by"
_METADATA = "csi.storage.k8s.io/volumesnapshot"
_NOT_READY_YET = 5.0
"""Seconds after which a snapshot that is being uploaded is asked for again: drivers don't tell."""
_log = structlog.get_logger("kumo.csi-snapshotter")


class SnapshotError(Exception):
    """A snapshot can't be had; `final` if nothing is going on at the driver."""

    def __init__(self, message: str, *, final: bool = True) -> None:
        super().__init__(message)
        self.final = final


def quoted(text: str) -> str:
    """The text as upstream quotes errors within errors."""
    return json.dumps(text, ensure_ascii=False)


def is_to_be_deleted(content: Object) -> bool:
    """Whether the snapshot behind the content is to be deleted now, as far as its policy says so."""
    if not is_deleting(content):
        return False
    spec, annotations = content.get("spec") or {}, annotations_of(content)
    given = bool((spec.get("source") or {}).get("snapshotHandle"))
    if given and not (spec.get("volumeSnapshotRef") or {}).get("uid"):
        return True
    return BEING_CREATED not in annotations and BEING_DELETED in annotations


def new_status(content: Object, handle: str, *, ready: bool, created: int, size: int) -> dict[str, Any]:
    """The content's status; `created` in nanoseconds since the epoch, `size` in bytes (0 if unknown)."""
    status = dict(content.get("status") or {})
    status.setdefault("snapshotHandle", handle)
    status.setdefault("creationTime", created)
    if size > 0:
        status.setdefault("restoreSize", size)
    if ready and not status.get("readyToUse"):
        status.pop("error", None)
    return {**status, "readyToUse": ready}


class Snapshotter:
    """Has the driver cut and delete snapshots."""

    def __init__(self, tools: Tools, recorder: EventRecorder) -> None:
        self._tools = tools
        self._recorder = recorder
        self._backoff = Backoff(tools.config)
        self._writes = Writes()
        self.name = f"{tools.facts.name}-snapshotter"
        own = f"{MANAGED_BY}={tools.config.node}" if tools.config.node else ""
        self._contents = tools.informers.informer(CONTENTS, label_selector=own)
        self._classes = tools.informers.informer(CLASSES)
        self._controller = Controller(self.name, self._reconcile, workers=tools.config.workers)
        self._controller.watch(self._contents)
        self._controller.watch(self._classes, lambda _: ())

    async def run(self) -> None:
        """Run until cancelled."""
        await self._controller.run()

    async def _reconcile(self, key: Key) -> float | None:
        content = self._contents.get_key(key)
        if content is None or (content.get("spec") or {}).get("driver") != self._tools.facts.name:
            self._backoff.forget(key)
            return None
        if self._writes.is_stale(content):
            return None
        if is_to_be_deleted(content):
            await self._delete(key, content)
            return None
        if (content.get("status") or {}).get("readyToUse"):
            await self._annotate(content, created=False)
            self._backoff.forget(key)
            return None
        if not ((content.get("spec") or {}).get("volumeSnapshotRef") or {}).get("uid"):
            return None  # Nobody has it yet.
        given = (content["spec"].get("source") or {}).get("snapshotHandle")
        fresh = content.get("status") is None
        try:
            ready = await (self._look(content, given) if given else self._create(content))
        except (SnapshotError, secrets.SecretError) as error:
            created = not given and fresh
            reason = "SnapshotCreationFailed" if created else "SnapshotContentCheckandUpdateFailed"
            lead = "Failed to create snapshot" if created else "Failed to check and update snapshot content"
            await self._fail(key, f"{lead}: {error}", reason)
            raise Temporary(str(error), self._backoff.failed(key)) from None
        self._backoff.forget(key)
        return None if ready else _NOT_READY_YET

    # -- making -------------------------------------------------------------------------------------------------------

    async def _create(self, content: Object) -> bool:
        """Have the snapshot cut, which is idempotent; whether it is ready. Raises SnapshotError."""
        spec = content["spec"]
        handle = (spec.get("source") or {}).get("volumeHandle")
        lead = f"failed to get input parameters to create snapshot for content {name_of(content)}"
        name = spec.get("volumeSnapshotClassName")
        if not name:
            why = f"failed to take snapshot {name_of(content)} without a snapshot class"
            raise SnapshotError(f"{lead}: {quoted(why)}")
        snapshot_class = self._classes.get(name)
        if snapshot_class is None:
            why = f'volumesnapshotclass.{GROUP} "{name}" not found'
            raise SnapshotError(f"{lead}: {quoted(why)}")
        request = pb.CreateSnapshotRequest(
            name=f"snapshot-{spec['volumeSnapshotRef']['uid']}",
            source_volume_id=handle,
            parameters=secrets.driver_parameters(snapshot_class.get("parameters") or {}),
            secrets=await self._secrets(content),
        )
        if self._tools.config.extra_metadata:
            request.parameters[f"{_METADATA}/name"] = spec["volumeSnapshotRef"]["name"]
            request.parameters[f"{_METADATA}/namespace"] = spec["volumeSnapshotRef"]["namespace"]
            request.parameters[f"{_METADATA}content/name"] = name_of(content)
        content = await self._annotate(content, created=True)
        try:
            made = (await self._tools.csi.controller.create_snapshot(request, self._tools.config.timeout)).snapshot
        except CsiError as error:
            if error.final:
                await self._annotate(content, created=False)
            text = f"failed to take snapshot of the volume {handle}: {quoted(error.wire)}"
            raise SnapshotError(text, final=error.final) from None
        await self._write(content, made.snapshot_id, made)
        fresh = await self._tools.client.get(CONTENTS, name_of(content))
        await self._annotate(fresh, created=False)
        _log.info("snapshot cut", content=name_of(content), handle=made.snapshot_id, ready=made.ready_to_use)
        return bool(made.ready_to_use)

    async def _look(self, content: Object, handle: str) -> bool:
        """Find a snapshot that was given; whether it is ready. Raises SnapshotError."""
        if "LIST_SNAPSHOTS" not in self._tools.facts.controller:
            await self._write(content, handle, pb.Snapshot(snapshot_id=handle, ready_to_use=True))
            return True
        request = pb.ListSnapshotsRequest(snapshot_id=handle, secrets=await self._listing_secrets(content))
        try:
            answer = await self._tools.csi.controller.list_snapshots(request, self._tools.config.timeout)
        except CsiError as error:
            text = f"failed to list snapshot for content {name_of(content)}: {quoted(error.wire)}"
            raise SnapshotError(text, final=error.final) from None
        if not answer.entries:
            why = quoted(f"can not find snapshot for snapshotID {handle}")
            raise SnapshotError(f"failed to list snapshot for content {name_of(content)}: {why}")
        found = answer.entries[0].snapshot
        await self._write(content, handle, found)
        return bool(found.ready_to_use)

    async def _write(self, content: Object, handle: str, found: pb.Snapshot) -> None:
        created = found.creation_time.ToNanoseconds() if found.HasField("creation_time") else time.time_ns()
        fresh = await self._tools.client.get(CONTENTS, name_of(content))
        status = new_status(fresh, handle, ready=found.ready_to_use, created=created, size=found.size_bytes)
        if status != fresh.get("status"):
            self._writes.note(await self._tools.client.update_status(CONTENTS, {**fresh, "status": status}))

    # -- deleting -----------------------------------------------------------------------------------------------------

    async def _delete(self, key: Key, content: Object) -> None:
        """Delete the snapshot if the policy says so, then let the content go."""
        handle = (content.get("status") or {}).get("snapshotHandle")
        if (content.get("spec") or {}).get("deletionPolicy") == "Delete" and handle:
            trouble = ""
            try:
                request = pb.DeleteSnapshotRequest(snapshot_id=handle, secrets=await self._secrets(content))
                await self._tools.csi.controller.delete_snapshot(request, self._tools.config.timeout)
            except secrets.SecretError as error:
                trouble, text = str(error), "Failed to get snapshot credentials"
            except CsiError as error:
                trouble, text = error.wire, "Failed to delete snapshot"
            if trouble:
                self._recorder.event(content, WARNING, "SnapshotDeleteError", text)
                raise Temporary(trouble, self._backoff.failed(key))
            content = await self._forget_handle(content)
            _log.info("snapshot deleted", content=name_of(content), handle=handle)
        self._backoff.forget(key)
        finalizers = content["metadata"].get("finalizers") or []
        if FINALIZER in finalizers:
            left = [f for f in finalizers if f != FINALIZER]
            meta = {"finalizers": left, "resourceVersion": content["metadata"]["resourceVersion"]}
            await self._patch(content, {"metadata": meta})

    async def _forget_handle(self, content: Object) -> Object:
        gone = ("snapshotHandle", "readyToUse", "creationTime", "restoreSize")
        fresh = await self._tools.client.get(CONTENTS, name_of(content))
        status = {k: v for k, v in (fresh.get("status") or {}).items() if k not in gone}
        return self._writes.note(await self._tools.client.update_status(CONTENTS, {**fresh, "status": status}))

    # -- what both need -----------------------------------------------------------------------------------------------

    async def _secrets(self, content: Object) -> dict[str, str]:
        annotations = annotations_of(content)
        if SECRET_NAME not in annotations or SECRET_NAMESPACE not in annotations:
            return {}
        ref = {"name": annotations[SECRET_NAME], "namespace": annotations[SECRET_NAMESPACE]}
        if not ref["name"] or not ref["namespace"]:
            why = "secret name or namespace not specified"
            raise secrets.SecretError(f"cannot retrieve secrets for snapshot content {name_of(content)}, err: {why}")
        return await secrets.read(self._tools.client, ref)

    async def _listing_secrets(self, content: Object) -> dict[str, str]:
        snapshot_class = self._classes.get(content["spec"].get("volumeSnapshotClassName") or "")
        parameters = (snapshot_class or {}).get("parameters") or {}
        ref = secrets.snapshot_reference(parameters, name_of(content), None, listing=True)
        return await secrets.read(self._tools.client, ref)

    async def _annotate(self, content: Object, *, created: bool) -> Object:
        """Say whether the driver has been asked for the snapshot and has not answered for certain."""
        if (BEING_CREATED in annotations_of(content)) == created:
            return content
        meta = {"annotations": {BEING_CREATED: "yes" if created else None}}
        return await self._patch(content, {"metadata": meta}) or content

    async def _fail(self, key: Key, message: str, reason: str) -> None:
        """Write the failure down and tell it, once."""
        try:
            fresh = await self._tools.client.get(CONTENTS, key.name)
        except StatusError as error:
            if is_not_found(error):
                return
            raise
        status = dict(fresh.get("status") or {})
        if (status.get("error") or {}).get("message") == message:
            return
        status |= {"error": {"message": message, "time": timestamp()}, "readyToUse": False}
        fresh = self._writes.note(await self._tools.client.update_status(CONTENTS, {**fresh, "status": status}))
        self._recorder.event(fresh, WARNING, reason, message)

    async def _patch(self, content: Object, patch: dict[str, Any]) -> Object | None:
        try:
            return self._writes.note(await self._tools.client.patch(CONTENTS, name_of(content), patch))
        except StatusError as error:
            if is_not_found(error):
                return None
            raise
