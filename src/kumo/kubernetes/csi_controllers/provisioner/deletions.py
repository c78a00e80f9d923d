"""The shell that deletes volumes which nobody needs any more, and sees to the finalizer that they have until then."""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from kumo.api.errors import StatusError, is_not_found
from kumo.api.objects import Key, Object, annotations_of, key_of, name_of, namespace_of
from kumo.api.resources import GVR, core
from kumo.api.volume_claims import class_of
from kumo.host.csi.errors import CsiError
from kumo.host.csi.stubs import csi_pb2 as pb
from kumo.kubernetes.csi_controllers import secrets
from kumo.kubernetes.csi_controllers.provisioner import decision, forms
from kumo.kubernetes.csi_controllers.provisioner.request import capability_trouble
from kumo.kubernetes.csi_controllers.tools import Backoff, Tools
from kumo.machinery.controller import Controller, Temporary
from kumo.machinery.events import WARNING, EventRecorder

VOLUMES = core("persistentvolumes", False)
CLASSES = GVR("storage.k8s.io", "v1", "storageclasses", False)
ATTACHMENTS = GVR("storage.k8s.io", "v1", "volumeattachments", False)
_log = structlog.get_logger("kumo.csi-provisioner")


class VolumeDeleter:
    """Deletes released volumes with the policy Delete: the data first, then the object."""

    def __init__(self, tools: Tools, recorder: EventRecorder) -> None:
        self._tools = tools
        self._recorder = recorder
        self._backoff = Backoff(tools.config)
        self.name = f"{tools.facts.name}-deleter"
        self._volumes, self._classes = (tools.informers.informer(gvr) for gvr in (VOLUMES, CLASSES))
        self._controller = Controller(self.name, self._reconcile, workers=tools.config.workers)
        self._controller.watch(self._volumes, self._ours)
        self._controller.watch(self._classes, lambda _: ())
        self._attachments = None
        if "PUBLISH_UNPUBLISH_VOLUME" in tools.facts.controller:
            self._attachments = tools.informers.informer(ATTACHMENTS)
            self._controller.watch(self._attachments, _volume_of)

    async def run(self) -> None:
        """Run until cancelled."""
        await self._controller.run()

    def _ours(self, volume: Object) -> Iterable[Key]:
        return [key_of(volume)] if decision.is_managed(volume, self._tools.facts.name) else []

    async def _reconcile(self, key: Key) -> float | None:
        volume = self._volumes.get_key(key)
        if volume is None or not (self._ours(volume) and self._tools.is_ours(volume)):
            self._backoff.forget(key)
            return None
        wanted = decision.wanted_finalizers(volume)
        if wanted != list(volume["metadata"].get("finalizers") or ()):
            volume = await self._finalizers(volume, wanted)
        if volume is None or not decision.is_to_be_deleted(volume):
            return None
        trouble = await self._delete(volume)
        if trouble:
            self._recorder.event(volume, WARNING, "VolumeFailedDelete", trouble)
            raise Temporary(trouble, self._backoff.failed(key))
        self._backoff.forget(key)
        _log.info("volume deleted", volume=key.name)
        await self._forget(volume)
        return None

    async def _finalizers(self, volume: Object, wanted: list[str]) -> Object | None:
        meta = {"finalizers": wanted, "resourceVersion": volume["metadata"]["resourceVersion"]}
        try:
            return await self._tools.client.patch(VOLUMES, name_of(volume), {"metadata": meta})
        except StatusError as error:
            if is_not_found(error):
                return None
            raise

    async def _delete(self, volume: Object) -> str:
        """Delete the data; why that failed, or the empty string."""
        trouble = capability_trouble(self._tools.facts, None)
        if trouble:
            return trouble
        if self._attachments is not None:
            node = decision.attached_to(volume, self._attachments.objects())
            if node:
                return f"persistentvolume {name_of(volume)} is still attached to node {node}"
        request = pb.DeleteVolumeRequest(volume_id=volume["spec"]["csi"]["volumeHandle"])
        try:
            request.secrets.update(await self._secrets(volume))
            await self._tools.csi.controller.delete_volume(request, self._tools.config.timeout)
        except secrets.SecretError as error:
            return str(error)
        except CsiError as error:
            return error.wire
        return ""

    async def _secrets(self, volume: Object) -> dict[str, str]:
        """The secret that the volume was made with, as far as it is still to be had."""
        annotations = annotations_of(volume)
        ref: dict[str, str] | None
        if forms.DELETION_SECRET_NAME in annotations and forms.DELETION_SECRET_NAMESPACE in annotations:
            name, namespace = annotations[forms.DELETION_SECRET_NAME], annotations[forms.DELETION_SECRET_NAMESPACE]
            ref = {"name": name, "namespace": namespace} if name and namespace else None
        else:
            storage_class = self._classes.get(class_of(volume)) if class_of(volume) else None
            claim = (volume.get("spec") or {}).get("claimRef")
            if storage_class is None or not claim:
                return {}
            owner = {"metadata": {"name": claim.get("name"), "namespace": claim.get("namespace")}}
            ref = secrets.reference("Provisioner", storage_class.get("parameters") or {}, name_of(volume), owner)
        try:
            return await secrets.read(self._tools.client, ref)
        except secrets.SecretError as error:
            _log.warning("a volume is deleted without its secret", volume=name_of(volume), why=str(error))
            return {}

    async def _forget(self, volume: Object) -> None:
        """The data is gone: so goes the object."""
        name = name_of(volume)
        try:
            await self._tools.client.delete(VOLUMES, name)
            fresh = await self._tools.client.get(VOLUMES, name, namespace_of(volume))
            left = [f for f in fresh["metadata"].get("finalizers") or () if f != decision.FINALIZER]
            await self._finalizers(fresh, left)
        except StatusError as error:
            if not is_not_found(error):
                raise


def _volume_of(attachment: Object) -> list[Key]:
    name = ((attachment.get("spec") or {}).get("source") or {}).get("persistentVolumeName")
    return [Key("", name)] if name else []
