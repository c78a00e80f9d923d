"""CSI volumes of this node's pods: staged once a node, published once a pod, and all of it undone in the same order.

One thing at a time is done to a volume. What is begun is on the disk first (`records`): a kubelet that was killed
undoes what no pod wants any more, and asks for the rest again, which drivers take as done.
"""

from __future__ import annotations

import asyncio
import base64
import os
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import structlog

from kumo.api.csi_names import attachment_name, unique_name
from kumo.api.errors import StatusError
from kumo.api.objects import Object, uid_of
from kumo.api.resources import GVR, SECRETS
from kumo.host.csi.errors import CsiError
from kumo.host.csi.stubs import csi_pb2 as pb
from kumo.kubernetes.kubelet.csi import calls, records
from kumo.kubernetes.kubelet.csi.attachment import Attachments, NeverAttached, NotAttached
from kumo.kubernetes.kubelet.csi.blocks import Blocks
from kumo.kubernetes.kubelet.csi.drivers import Driver, Drivers, NoDriver
from kumo.kubernetes.kubelet.csi.places import Places
from kumo.kubernetes.kubelet.csi.records import EPHEMERAL, PERSISTENT, VolumeData
from kumo.kubernetes.kubelet.csi.specs import VolumeKey, VolumeSpec
from kumo.kubernetes.kubelet.references import References
from kumo.kubernetes.kubelet.spec import pod_security
from kumo.kubernetes.kubelet.volumes import claims, directories
from kumo.kubernetes.kubelet.volumes.files import VolumeError
from kumo.machinery.events import NORMAL
from kumo.machinery.informer import Informer

CSI_DRIVERS = GVR("storage.k8s.io", "v1", "csidrivers", False)
_PREFIX = "kubernetes.io/csi: "
_IN_USE = "volume uses the ReadWriteOncePod access mode and is already in use by another pod"
_log = structlog.get_logger("kumo.kubelet")


class VolumeTrouble(VolumeError):
    """Something with a volume did not work: which operation, on what, and the reason of the event that says so."""

    def __init__(self, operation: str, name: str, text: str, reason: str = "FailedMount") -> None:
        super().__init__(text)
        self.operation = operation
        self.name = name
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Mounted:
    """A volume that is in use by a pod: how it was asked for, and where it is."""

    pod: Object
    spec: VolumeSpec
    path: Path
    stage: Path | None


class CsiVolumes:
    """This node's. `after_publish` is called, under the volume's lock, when a pod has got a PersistentVolume."""

    def __init__(
        self,
        places: Places,
        node_name: str,
        drivers: Drivers,
        objects: Informer,
        attachments: Attachments,
        references: References,
        say: Callable[[Object, str, str, str], None] = lambda *_: None,
    ) -> None:
        """`say` records an event about a pod: type, reason and message."""
        self._say = say
        self.places = places
        self.drivers = drivers
        self.attachments = attachments
        self.after_publish: Callable[[Mounted], Awaitable[None]] | None = None
        self._node = node_name
        self._objects = objects
        self._references = references
        self._locks: WeakValueDictionary[VolumeKey, asyncio.Lock] = WeakValueDictionary()
        """A lock is kept by those who hold it or wait for it."""
        self._users: dict[VolumeKey, set[tuple[str, str]]] = defaultdict(set)
        self._staged: set[VolumeKey] = set()
        self._mounted: dict[tuple[str, str], Mounted] = {}
        self._blocks = Blocks(places)

    # -- what is known ----------------------------------------------------------------------------------------------

    def load(self) -> list[VolumeKey]:
        """Look at what earlier kubelets began; the volumes that no pod has any more. Blocking."""
        begun: dict[VolumeKey, VolumeData] = {}
        for folder in (*self.places.staged(), *self.places.staged_blocks()):
            data = records.read(folder)
            if data is not None:
                begun[data.driver, data.handle] = data
        for uid in self.places.pods():
            for data in self._of_pod(uid):
                self._users[data.driver, data.handle].add((uid, data.name))
        for key, data in begun.items():
            if data.attachable:
                self.attachments.known(unique_name(*key))
        return [k for k in begun if not self._users.get(k)]

    def mounted(self) -> list[Mounted]:
        """The volumes in use that this kubelet has set up."""
        return list(self._mounted.values())

    def lock(self, key: VolumeKey) -> asyncio.Lock:
        """What is held while something is done to the volume."""
        found = self._locks.get(key)
        if found is None:
            found = self._locks[key] = asyncio.Lock()
        return found

    def object_of(self, driver: str) -> Object | None:
        """The CSIDriver."""
        return self._objects.get(driver)

    def _of_pod(self, uid: str) -> list[VolumeData]:
        found = [records.read(f) for f in self.places.pod_folders(uid)]
        found += [records.read(self.places.block_data(f.name)) for f in self.places.block_links(uid)]
        return [d for d in found if d is not None]

    # -- setting up -------------------------------------------------------------------------------------------------

    async def set_up(self, pod: Object, spec: VolumeSpec) -> Path:
        """Make the volume usable for the pod: where it is (folder or device). Raises VolumeTrouble, StatusError."""
        await self._objects.wait_synced()
        found = self.object_of(spec.driver)
        part = "MapVolume" if spec.block else "MountVolume"
        why = calls.unsupported_mode(spec.driver, found, ephemeral=spec.ephemeral)
        if why:
            why = f"{_PREFIX}mounter.SetupAt failed to check volume lifecycle mode: {why}"
            raise VolumeTrouble(f"{part}.SetUp failed", spec.name, why)
        async with self.lock(spec.key):
            if spec.modes == ("ReadWriteOncePod",) and any(uid != uid_of(pod) for uid, _ in self._users[spec.key]):
                operation = "MapVolume.SetUpDevice failed" if spec.block else "MountVolume.SetUp failed"
                raise VolumeTrouble(operation, spec.name, _IN_USE, "FailedMapVolume" if spec.block else "FailedMount")
            self._users[spec.key].add((uid_of(pod), spec.name))
            context: dict[str, str] = {}
            attachable = not spec.ephemeral and calls.attach_required(found)
            if attachable:
                try:
                    context = await self.attachments.ensure(spec.unique_name, *spec.key)
                except NeverAttached as error:
                    raise claims.Unprocessed(str(error), unattached=True) from error
                except NotAttached as error:
                    raise VolumeTrouble(f"{part}.WaitForAttach failed", spec.name, str(error)) from error
            if spec.block:
                mounted = await self._set_up_block(pod, spec, context, attachable)
            else:
                mounted = await self._set_up_mount(pod, spec, context, attachable)
            self._mounted[uid_of(pod), spec.name] = mounted
            if self.after_publish is not None and not spec.ephemeral:
                await self.after_publish(mounted)
        return mounted.path

    async def _set_up_mount(self, pod: Object, spec: VolumeSpec, context: dict[str, str], attachable: bool) -> Mounted:
        stage: Path | None = None
        if not spec.ephemeral:
            stage = await self._guarded(
                spec,
                "MountVolume.MountDevice failed",
                "attacher.MountDevice failed to create newCsiDriverClient",
                lambda driver: self._stage(driver, pod, spec, context, attachable),
            )
        await self._publish_with(pod, spec, context, stage)
        return Mounted(pod, spec, self.places.mount(uid_of(pod), spec.name), stage)

    async def _publish_with(self, pod: Object, spec: VolumeSpec, context: dict[str, str], stage: Path | None) -> None:
        await self._guarded(
            spec,
            "MountVolume.SetUp failed",
            "mounter.SetUpAt failed to get CSI client",
            lambda driver: self._publish(driver, pod, spec, context, stage),
        )

    async def _set_up_block(self, pod: Object, spec: VolumeSpec, context: dict[str, str], attachable: bool) -> Mounted:
        uid = uid_of(pod)

        async def stage(driver: Driver) -> Path | None:
            await asyncio.to_thread(records.write, self.places.block_data(spec.name), self._data(spec, attachable))
            if not await driver.can("STAGE_UNSTAGE_VOLUME"):
                return None
            path = self.places.block_stage(spec.name)
            if spec.key not in self._staged:
                await asyncio.to_thread(path.mkdir, parents=True, exist_ok=True, mode=0o750)
                await driver.client.node.stage(await self._stage_request(driver, pod, spec, context, path))
                self._staged.add(spec.key)
            return path

        async def publish(driver: Driver) -> None:
            await asyncio.to_thread(self._blocks.link, spec.name, uid)
            path = self.places.block_publish(spec.name, uid)
            await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True, mode=0o750)
            request = await self._publish_request(driver, pod, spec, context, self.places.block_stage(spec.name), path)
            await driver.client.node.publish(request)
            await asyncio.to_thread(self._blocks.check, spec.name, uid)
            for what, place in (
                ("globalMapPath", self.places.block_map(spec.name)),
                ("volumeMapPath", self.places.block_link(uid, spec.name).parent),
            ):
                text = f'MapVolume.MapPodDevice succeeded for volume "{spec.name}" {what} "{place}"'
                self._say(pod, NORMAL, "SuccessfulMountVolume", text)

        why = "blockMapper.{} failed to get CSI client"
        staged = await self._guarded(spec, "MapVolume.SetUpDevice failed", why.format("SetUpDevice"), stage)
        await self._guarded(spec, "MapVolume.MapPodDevice failed", why.format("MapPodDevice"), publish)
        device = await asyncio.to_thread(self.places.block_publish(spec.name, uid).resolve)
        return Mounted(pod, spec, device, staged)

    async def _guarded(
        self, spec: VolumeSpec, operation: str, no_driver: str, work: Callable[[Driver], Awaitable[Any]]
    ) -> Any:
        """Do it with the driver; trouble is told as upstream's."""
        reason = "FailedMapVolume" if spec.block else "FailedMount"
        try:
            return await work(await self.drivers.wait(spec.driver))
        except NoDriver as error:
            raise VolumeTrouble(operation, spec.name, f"{_PREFIX}{no_driver}: {error.message}", reason) from error
        except CsiError as error:
            raise VolumeTrouble(operation, spec.name, error.wire, reason) from error
        except (NotAttached, OSError) as error:
            raise VolumeTrouble(operation, spec.name, str(error), reason) from error

    # -- calls ------------------------------------------------------------------------------------------------------

    async def _stage(
        self, driver: Driver, pod: Object, spec: VolumeSpec, context: dict[str, str], attachable: bool
    ) -> Path | None:
        folder, path = self.places.stage_folder(*spec.key), self.places.stage(*spec.key)
        staging = await driver.can("STAGE_UNSTAGE_VOLUME")
        if spec.key in self._staged:
            return path if staging else None
        request = await self._stage_request(driver, pod, spec, context, path) if staging else None

        def begin() -> None:
            path.mkdir(parents=True, exist_ok=True, mode=0o750)
            records.write(folder, self._data(spec, attachable))

        await asyncio.to_thread(begin)
        if request is None:
            self._staged.add(spec.key)
            return None
        try:
            await driver.client.node.stage(request)
        except CsiError as error:
            if error.final and len(self._users[spec.key]) <= 1:
                await asyncio.to_thread(_quietly, records.clear, folder, path.name)
            raise
        self._staged.add(spec.key)
        return path

    async def _publish(
        self, driver: Driver, pod: Object, spec: VolumeSpec, context: dict[str, str], stage: Path | None
    ) -> None:
        uid = uid_of(pod)
        folder, path = self.places.pod_folder(uid, spec.name), self.places.mount(uid, spec.name)
        request = await self._publish_request(driver, pod, spec, context, stage, path)
        await asyncio.to_thread(records.write, folder, self._data(spec, False))
        try:
            await driver.client.node.publish(request)
        except CsiError as error:
            if error.final and (uid, spec.name) not in self._mounted:
                await asyncio.to_thread(_quietly, records.clear, folder, path.name)
            raise
        await self._give_to_group(driver, pod, spec, path)

    async def _give_to_group(self, driver: Driver, pod: Object, spec: VolumeSpec, path: Path) -> None:
        security = pod_security(pod)
        group = security.get("fsGroup")
        found = self.object_of(spec.driver)
        modes = None if spec.ephemeral else spec.modes
        if not calls.sets_group(found, group, read_only=spec.read_only, fs_type=spec.fs_type, modes=modes):
            return
        if await driver.can("VOLUME_MOUNT_GROUP"):
            return
        await asyncio.to_thread(
            directories.change_group, path, int(group or 0), security.get("fsGroupChangePolicy") or "Always"
        )

    async def _stage_request(
        self, driver: Driver, pod: Object, spec: VolumeSpec, context: dict[str, str], path: Path
    ) -> Any:
        return pb.NodeStageVolumeRequest(
            volume_id=spec.handle,
            publish_context=context,
            staging_target_path=str(path),
            volume_capability=await self.capability(driver, spec, pod),
            secrets=await self.secret(spec, "nodeStageSecretRef"),
            volume_context=spec.attributes,
        )

    async def _publish_request(
        self,
        driver: Driver,
        pod: Object,
        spec: VolumeSpec,
        context: dict[str, str],
        stage: Path | None,
        path: Path,
    ) -> Any:
        found = self.object_of(spec.driver)
        attributes = dict(spec.attributes)
        secrets = await self.secret(spec, "nodePublishSecretRef")
        if calls.wants(found, "podInfoOnMount"):
            attributes |= calls.pod_info(pod, ephemeral=spec.ephemeral)
        wanted = ((found or {}).get("spec") or {}).get("tokenRequests") or ()
        if wanted and not spec.block:
            given = {calls.TOKENS: calls.tokens(await self._tokens(pod, wanted))}
            if calls.wants(found, "serviceAccountTokenInSecrets"):
                secrets |= given
            else:
                attributes |= given
        return pb.NodePublishVolumeRequest(
            volume_id=spec.handle,
            publish_context=context,
            staging_target_path=str(stage) if stage is not None else "",
            target_path=str(path),
            volume_capability=await self.capability(driver, spec, pod),
            readonly=spec.read_only,
            secrets=secrets,
            volume_context=attributes,
        )

    async def _tokens(self, pod: Object, wanted: Any) -> dict[str, dict[str, str]]:
        made = {}
        for request in wanted:
            audience = request.get("audience") or ""
            text, expires = await self._references.token_until(
                pod, audience, int(request.get("expirationSeconds") or 3600)
            )
            made[audience] = {"token": text, "expirationTimestamp": expires}
        return made

    async def capability(self, driver: Driver, spec: VolumeSpec, pod: Object | None = None) -> Any:
        """How the volume is used. Raises CsiError."""
        mode = calls.access_mode(spec.modes, finer=await driver.can("SINGLE_NODE_MULTI_WRITER"))
        group = pod_security(pod).get("fsGroup") if pod is not None and not spec.block else None
        if group is not None and not await driver.can("VOLUME_MOUNT_GROUP"):
            group = None
        return calls.capability(
            mode,
            block=spec.block,
            fs_type=spec.fs_type,
            options=spec.options,
            group=None if group is None else int(group),
        )

    async def secret(self, spec: VolumeSpec, what: str) -> dict[str, str]:
        """The secret that the volume refers to for something; empty if to none. Raises OSError when it can't be had."""
        if what not in spec.secrets:
            return {}
        space, name = spec.secrets[what]
        words = f"fetching {what[0].upper()}{what[1:]} {space}/{name} failed"
        try:
            found = await self._references.get(SECRETS, space, name)
        except StatusError as error:
            raise OSError(f"{words}: {error.message}") from error
        if found is None:
            raise OSError(f'{words}: secrets "{name}" not found')
        try:
            return {k: base64.b64decode(v).decode() for k, v in (found.get("data") or {}).items()}
        except ValueError as error:
            raise OSError(f"{words}: its data is not text") from error

    def _data(self, spec: VolumeSpec, attachable: bool) -> VolumeData:
        return VolumeData(
            driver=spec.driver,
            handle=spec.handle,
            name=spec.name,
            volume=spec.volume,
            mode=EPHEMERAL if spec.ephemeral else PERSISTENT,
            node=self._node,
            attachment=attachment_name(spec.driver, spec.handle, self._node),
            attachable=attachable,
        )

    async def republish(self, pod: Object) -> None:
        """Publish again, for drivers that want it from time to time (tokens that expire). Raises VolumeTrouble."""
        for mounted in [m for (uid, _), m in self._mounted.items() if uid == uid_of(pod)]:
            spec = mounted.spec
            if spec.block or not calls.wants(self.object_of(spec.driver), "requiresRepublish"):
                continue
            async with self.lock(spec.key):
                context: dict[str, str] = {}
                if not spec.ephemeral and calls.attach_required(self.object_of(spec.driver)):
                    context = await self.attachments.metadata(*spec.key)
                await self._publish_with(pod, spec, context, mounted.stage)

    # -- taking away ------------------------------------------------------------------------------------------------

    async def tear_down(self, uid: str) -> None:
        """Undo all that was done for the pod. Raises OSError for what can't be undone now."""
        known = {(key, name) for key, users in self._users.items() for user, name in users if user == uid}
        for data in await asyncio.to_thread(self._of_pod, uid):
            known.add(((data.driver, data.handle), data.name))
        for key, name in sorted(known):
            async with self.lock(key):
                try:
                    await self._unpublish(key, uid, name)
                    self._mounted.pop((uid, name), None)
                    self._users[key].discard((uid, name))
                    await self._unstage_unused(key)
                except CsiError as error:
                    raise OSError(f'UnmountVolume.TearDown failed for volume "{name}" : {error.wire}') from error
            self._forget(key)

    async def unstage(self, key: VolumeKey) -> None:
        """Undo the staging of a volume that no pod has. Raises CsiError, OSError."""
        async with self.lock(key):
            await self._unstage_unused(key)
        self._forget(key)

    def _forget(self, key: VolumeKey) -> None:
        if not self._users.get(key):
            self._users.pop(key, None)

    async def _unpublish(self, key: VolumeKey, uid: str, name: str) -> None:
        driver, handle = key
        folder = self.places.pod_folder(uid, name)
        if await asyncio.to_thread(records.read, folder) is not None:
            path = self.places.mount(uid, name)
            request = pb.NodeUnpublishVolumeRequest(volume_id=handle, target_path=str(path))
            await (await self.drivers.wait(driver)).client.node.unpublish(request)
            await asyncio.to_thread(records.clear, folder, path.name)
        if await asyncio.to_thread(os.path.lexists, self.places.block_link(uid, name)):
            device = self.places.block_publish(name, uid)
            request = pb.NodeUnpublishVolumeRequest(volume_id=handle, target_path=str(device))
            await (await self.drivers.wait(driver)).client.node.unpublish(request)
            await asyncio.to_thread(self._blocks.unlink, name, uid)

    async def _unstage_unused(self, key: VolumeKey) -> None:
        if self._users.get(key):
            return
        name, handle = key
        folder, path = self.places.stage_folder(*key), self.places.stage(*key)
        attachable = False
        data = await asyncio.to_thread(records.read, folder)
        if data is not None:
            attachable = data.attachable
            await self._unstage_at(name, handle, path)
            await asyncio.to_thread(records.clear, folder, path.name)
        for block in await asyncio.to_thread(self._blocks.of, name, handle):
            attachable = True
            await self._unstage_at(name, handle, self.places.block_stage(block))
            await asyncio.to_thread(self._blocks.clear, block)
        self._staged.discard(key)
        _log.debug("volume is not used any more", driver=name, volume=handle, attachable=attachable)
        await self.attachments.released(unique_name(*key))

    async def _unstage_at(self, name: str, handle: str, path: Path) -> None:
        driver = await self.drivers.wait(name)
        if await driver.can("STAGE_UNSTAGE_VOLUME"):
            request = pb.NodeUnstageVolumeRequest(volume_id=handle, staging_target_path=str(path))
            await driver.client.node.unstage(request)


def _quietly(work: Callable[..., None], *arguments: Any) -> None:
    try:
        work(*arguments)
    except OSError as error:
        _log.info("not cleaned up yet", error=str(error))
