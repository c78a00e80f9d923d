"""Makes VolumeAttachments true: what external-attacher does."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import structlog

from kumo.api.errors import StatusError, is_not_found
from kumo.api.objects import Key, Object, annotations_of, is_deleting, key_of, name_of, timestamp
from kumo.api.resources import GVR, core
from kumo.host.csi.errors import CsiError
from kumo.host.csi.stubs import csi_pb2 as pb
from kumo.kubernetes.csi_controllers import secrets, volumes
from kumo.kubernetes.csi_controllers.tools import Backoff, Tools, Writes
from kumo.machinery.controller import Controller, Temporary

VOLUMES = core("persistentvolumes", False)
ATTACHMENTS = GVR("storage.k8s.io", "v1", "volumeattachments", False)
CSI_NODES = GVR("storage.k8s.io", "v1", "csinodes", False)
NODE_ID = "csi.alpha.kubernetes.io/node-id"
"""On a VolumeAttachment: the driver's name of the node, for when the node no longer tells it."""
_log = structlog.get_logger("kumo.csi-attacher")


class AttachError(Exception):
    """A volume can't be attached or detached, for reasons that are not the driver's."""


def finalizer(driver: str) -> str:
    """What the attacher of a driver holds objects by."""
    name = re.sub("[^a-zA-Z0-9-]", "-", driver)
    return f"external-attacher/{name}X" if name.endswith("-") else f"external-attacher/{name}"


def node_id(csi_node: Object | None, driver: str) -> str:
    """The driver's name of a node; empty if the driver is not there."""
    drivers = ((csi_node or {}).get("spec") or {}).get("drivers") or ()
    return next((d.get("nodeID") or "" for d in drivers if d.get("name") == driver), "")


class Attacher:
    """Publishes volumes to nodes and withdraws them; for a driver that needs neither it only says that it is done.

    Keys without a namespace are attachments, those in `volume` are PersistentVolumes that may be let go.
    """

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._calls = "PUBLISH_UNPUBLISH_VOLUME" in tools.facts.controller
        self._finalizer = finalizer(tools.facts.name)
        self._backoff = Backoff(tools.config)
        self._writes = Writes()
        self.name = f"{tools.facts.name}-attacher"
        self._attachments, self._volumes = (tools.informers.informer(gvr) for gvr in (ATTACHMENTS, VOLUMES))
        self._csi_nodes = tools.informers.informer(CSI_NODES)
        self._controller = Controller(self.name, self._reconcile, workers=tools.config.workers)
        self._controller.watch(self._attachments, self._ours)
        self._controller.watch(self._volumes, self._waiting_for)
        self._controller.watch(self._csi_nodes, lambda _: ())

    async def run(self) -> None:
        """Run until cancelled."""
        await self._controller.run()

    def _ours(self, attachment: Object) -> Iterable[Key]:
        spec = attachment.get("spec") or {}
        own = not self._tools.config.node or spec.get("nodeName") == self._tools.config.node
        if spec.get("attacher") == self._tools.facts.name and own:
            yield key_of(attachment)
            name = (spec.get("source") or {}).get("persistentVolumeName")
            if name and self._attachments.get(name_of(attachment)) is None:
                yield Key("volume", name)

    def _waiting_for(self, volume: Object) -> Iterable[Key]:
        if is_deleting(volume) and self._finalizer in (volume["metadata"].get("finalizers") or ()):
            yield Key("volume", name_of(volume))

    async def _reconcile(self, key: Key) -> float | None:
        if key.namespace:
            await self._release(key.name)
            return None
        attachment = self._attachments.get(key.name)
        if attachment is None:
            self._backoff.forget(key)
            return None
        if self._writes.is_stale(attachment):
            return None
        detaching = is_deleting(attachment)
        attached = bool((attachment.get("status") or {}).get("attached"))
        if (not detaching and attached) or (detaching and self._finalizer not in _finalizers(attachment)):
            return None
        try:
            await (self._detach(attachment) if detaching else self._attach(attachment))
        except (AttachError, CsiError, secrets.SecretError, volumes.Unsupported) as error:
            text = error.wire if isinstance(error, CsiError) else str(error)
            field = "detachError" if detaching else "attachError"
            await self._status(attachment, {field: {"message": text, "time": timestamp()}})
            raise Temporary(text, self._backoff.failed(key)) from None
        self._backoff.forget(key)
        return None

    # -- attaching ----------------------------------------------------------------------------------------------------

    async def _attach(self, attachment: Object) -> None:
        if not self._calls:
            await self._status(attachment, {"attached": True, "attachError": None})
            return
        volume = await self._volume(attachment)
        if is_deleting(volume):
            raise AttachError(f'PersistentVolume "{name_of(volume)}" is marked for deletion')
        source = _source(volume)
        request = pb.ControllerPublishVolumeRequest(
            volume_id=source["volumeHandle"],
            node_id=self._node_id(attachment, recorded=False),
            readonly=bool(source.get("readOnly")) and "PUBLISH_READONLY" in self._tools.facts.controller,
            volume_context=source.get("volumeAttributes") or {},
        )
        facts, default = self._tools.facts, self._tools.config.default_fs_type
        request.volume_capability.CopyFrom(
            volumes.capability_of(volume, many_writers=facts.many_writers, default_fs_type=default)
        )
        request.secrets.update(await secrets.read(self._tools.client, source.get("controllerPublishSecretRef")))
        await self._hold(attachment, volume, request.node_id)
        answer = await self._tools.csi.controller.publish(request, self._tools.config.timeout)
        metadata = dict(answer.publish_context)
        await self._status(attachment, {"attached": True, "attachmentMetadata": metadata, "attachError": None})
        _log.info("attached", volume=name_of(volume), node=attachment["spec"]["nodeName"])

    async def _hold(self, attachment: Object, volume: Object, node: str) -> None:
        """From now on neither goes before the volume is detached."""
        if self._finalizer not in _finalizers(volume) and volume["metadata"].get("name"):
            await self._finalizers_of(VOLUMES, volume, [*_finalizers(volume), self._finalizer])
        if self._finalizer in _finalizers(attachment) and annotations_of(attachment).get(NODE_ID) == node:
            return
        held = list(dict.fromkeys([*_finalizers(attachment), self._finalizer]))
        meta = {"annotations": {NODE_ID: node}, "finalizers": held}
        meta["resourceVersion"] = attachment["metadata"]["resourceVersion"]
        await self._tools.client.patch(ATTACHMENTS, name_of(attachment), {"metadata": meta})

    # -- detaching ----------------------------------------------------------------------------------------------------

    async def _detach(self, attachment: Object) -> None:
        if self._calls:
            source = _source(await self._volume(attachment))
            request = pb.ControllerUnpublishVolumeRequest(
                volume_id=source["volumeHandle"], node_id=self._node_id(attachment, recorded=True)
            )
            request.secrets.update(await secrets.read(self._tools.client, source.get("controllerPublishSecretRef")))
            await self._tools.csi.controller.unpublish(request, self._tools.config.timeout)
        left = [f for f in _finalizers(attachment) if f != self._finalizer]
        await self._finalizers_of(ATTACHMENTS, attachment, left)
        await self._status(attachment, {"attached": False, "detachError": None, "attachmentMetadata": None})
        _log.info("detached", attachment=name_of(attachment), node=attachment["spec"]["nodeName"])

    async def _release(self, name: str) -> None:
        """Let a volume go that is being deleted and attached nowhere."""
        volume = self._volumes.get(name)
        if volume is None or not is_deleting(volume) or self._finalizer not in _finalizers(volume):
            return
        sources = ((a.get("spec") or {}).get("source") or {} for a in self._attachments.objects())
        if not any(source.get("persistentVolumeName") == name for source in sources):
            left = [f for f in _finalizers(volume) if f != self._finalizer]
            await self._finalizers_of(VOLUMES, volume, left)

    # -- what both need -----------------------------------------------------------------------------------------------

    async def _volume(self, attachment: Object) -> Object:
        """The attachment's volume; one that is given inline has no name. Raises AttachError."""
        source = (attachment.get("spec") or {}).get("source") or {}
        inline = source.get("inlineVolumeSpec")
        if inline:
            return {"metadata": {}, "spec": inline}
        name = source.get("persistentVolumeName")
        if not name:
            raise AttachError("neither InlineCSIVolumeSource nor PersistentVolumeName specified in VA source")
        found = self._volumes.get(name)
        if found is not None:
            return found
        try:
            return await self._tools.client.get(VOLUMES, name)
        except StatusError as error:
            raise AttachError(str(error)) from None

    def _node_id(self, attachment: Object, *, recorded: bool) -> str:
        """The driver's name of the node; `recorded`: also as the attachment remembers it. Raises AttachError."""
        node, driver = attachment["spec"]["nodeName"], self._tools.facts.name
        csi_node = self._csi_nodes.get(node)
        found = node_id(csi_node, driver) or (annotations_of(attachment).get(NODE_ID) if recorded else "")
        if found:
            return found
        if csi_node is None:
            raise AttachError(f'csinode.storage.k8s.io "{node}" not found')
        raise AttachError(f"CSINode {node} does not contain driver {driver}")

    async def _status(self, attachment: Object, status: Mapping[str, Any]) -> None:
        try:
            patch = {"status": {"attached": bool((attachment.get("status") or {}).get("attached")), **status}}
            made = await self._tools.client.patch(ATTACHMENTS, name_of(attachment), patch, subresource="status")
            self._writes.note(made)
        except StatusError as error:
            if not is_not_found(error):
                raise

    async def _finalizers_of(self, gvr: GVR, obj: Object, wanted: list[str]) -> None:
        """Replace the finalizers of the object as it was seen, or fail with a conflict."""
        meta = {"finalizers": wanted, "resourceVersion": obj["metadata"]["resourceVersion"]}
        try:
            await self._tools.client.patch(gvr, name_of(obj), {"metadata": meta})
        except StatusError as error:
            if not is_not_found(error):
                raise


def _finalizers(obj: Object) -> list[str]:
    return list((obj.get("metadata") or {}).get("finalizers") or ())


def _source(volume: Object) -> dict[str, Any]:
    source: dict[str, Any] | None = (volume.get("spec") or {}).get("csi")
    if not source:
        raise AttachError("pv spec contained non-csi source that was not migrated")
    return source
