"""Growing volumes that pods use, when their claims ask for it: NodeExpandVolume, and the claim's status after it.

A kubelet may not watch claims, only get those of its pods: they are looked at every few seconds while pods have volumes
that can grow. Upstream: `node_expander.go`, which comes by about once a minute.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import structlog

from kumo.api import quantities
from kumo.api.errors import StatusError
from kumo.api.objects import Object, timestamp
from kumo.api.resources import GVR, core
from kumo.host.csi.errors import CsiError
from kumo.host.csi.stubs import csi_pb2 as pb
from kumo.kubernetes.kubelet.csi import growth
from kumo.kubernetes.kubelet.csi.specs import VolumeKey
from kumo.kubernetes.kubelet.csi.volumes import CsiVolumes, Mounted, VolumeTrouble
from kumo.machinery.client import MERGE_PATCH, Client
from kumo.machinery.events import NORMAL, WARNING, EventRecorder

_CLAIMS = core("persistentvolumeclaims")
_VOLUMES: GVR = core("persistentvolumes", False)
PERIOD = 10.0
"""Seconds between two looks."""
_LAST = 120.0
_log = structlog.get_logger("kumo.kubelet")


@dataclass(slots=True)
class _Delay:
    due: float = 0.0
    length: float = PERIOD


class Expander:
    """Grows the volumes of `volumes`."""

    def __init__(
        self, volumes: CsiVolumes, client: Client, recorder: EventRecorder, node_name: str, period: float
    ) -> None:
        self._volumes = volumes
        self._period = period
        self._client = client
        self._recorder = recorder
        self._node = node_name
        self._delays: dict[VolumeKey, _Delay] = {}
        self._offline: set[VolumeKey] = set()
        """Volumes that can't grow while they are in use."""
        volumes.after_publish = self._after_publish

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(self._period)
            for mounted in self._volumes.mounted():
                spec = mounted.spec
                delay = self._delays.get(spec.key)
                if not spec.claim[1] or spec.key in self._offline:
                    continue
                if delay is not None and asyncio.get_running_loop().time() < delay.due:
                    continue
                try:
                    await self._look(mounted)
                except (StatusError, CsiError, VolumeTrouble, ConnectionError, OSError, TimeoutError) as error:
                    _log.info("can't look whether a volume is to grow", volume=spec.name, error=str(error))

    async def _look(self, mounted: Mounted) -> None:
        spec = mounted.spec
        driver = self._volumes.drivers.get(spec.driver)
        if driver is None:
            return
        if not await driver.can("EXPAND_VOLUME"):
            return
        claim, volume = await self._objects(mounted)
        if not growth.wanted(claim, volume):
            self._delays.pop(spec.key, None)
            return
        async with self._volumes.lock(spec.key):
            if (mounted.pod["metadata"]["uid"], spec.name) in {
                (m.pod["metadata"]["uid"], m.spec.name) for m in self._volumes.mounted()
            }:
                await self._grow(mounted, claim, volume, during_mount=False)

    async def _after_publish(self, mounted: Mounted) -> None:
        """A pod has got the volume: if it grew meanwhile, so does its file system, before the pod begins."""
        self._offline.discard(mounted.spec.key)
        claim, volume = await self._objects(mounted)
        try:
            await self._grow(mounted, claim, volume, during_mount=True)
        except CsiError as error:
            operation = "MountVolume.Setup failed while expanding volume"
            raise VolumeTrouble(operation, mounted.spec.name, error.wire) from error

    async def _objects(self, mounted: Mounted) -> tuple[Object, Object]:
        space, name = mounted.spec.claim
        claim = await self._client.get(_CLAIMS, name, space)
        if not growth.unclear(claim):
            return claim, {}
        return claim, await self._client.get(_VOLUMES, mounted.spec.name)

    async def _grow(self, mounted: Mounted, claim: Object, volume: Object, *, during_mount: bool) -> None:
        size = growth.wanted(claim, volume)
        spec, pod = mounted.spec, mounted.pod
        if not size:
            return
        if spec.read_only:
            text = f'MountVolume.NodeExpandVolume failed for volume "{spec.name}" requested read-only file system'
            self._recorder.event(pod, WARNING, "FileSystemResizeFailed", text)
            self._recorder.event(claim, WARNING, "FileSystemResizeFailed", text)
            self._offline.add(spec.key)
            return
        driver = await self._volumes.drivers.wait(spec.driver)
        if not await driver.can("EXPAND_VOLUME"):
            return
        begin = growth.in_progress(claim)
        if begin:
            claim = await self._patch(claim, begin)
        try:
            await self._call(mounted, size)
        except CsiError as error:
            await self._failed(mounted, claim, error, during_mount=during_mount)
            return
        self._delays.pop(spec.key, None)
        text = f'MountVolume.NodeExpandVolume succeeded for volume "{spec.name}" {self._node}'
        self._recorder.event(pod, NORMAL, "FileSystemResizeSuccessful", text)
        self._recorder.event(claim, NORMAL, "FileSystemResizeSuccessful", text)
        await self._patch(claim, growth.finished(claim, size))

    async def _call(self, mounted: Mounted, size: str) -> None:
        spec = mounted.spec
        driver = await self._volumes.drivers.wait(spec.driver)
        request = pb.NodeExpandVolumeRequest(
            volume_id=spec.handle,
            volume_path=str(mounted.path),
            capacity_range=pb.CapacityRange(required_bytes=quantities.whole(size)),
            staging_target_path=str(mounted.stage) if mounted.stage is not None else "",
            volume_capability=await self._volumes.capability(driver, spec),
            secrets=await self._volumes.secret(spec, "nodeExpandSecretRef"),
        )
        await driver.client.node.expand(request)

    async def _failed(self, mounted: Mounted, claim: Object, error: CsiError, *, during_mount: bool) -> None:
        spec = mounted.spec
        text = f"Expander.NodeExpand failed to expand the volume : {error.wire}"
        if growth.infeasible(error.code):
            text = f"Expander.NodeExpand failed to expand the volume {error.wire}"
        if error.final:
            await self._patch(claim, growth.failed(claim, error.code, text, timestamp()))
        if error.code == "FAILED_PRECONDITION":
            # It grows when it is mounted next.
            self._offline.add(spec.key)
            return
        if growth.infeasible(error.code):
            self._offline.add(spec.key)
        delay = self._delays.setdefault(spec.key, _Delay(length=self._period))
        delay.due = asyncio.get_running_loop().time() + delay.length
        delay.length = min(delay.length * 2, _LAST)
        if during_mount:
            raise VolumeTrouble("MountVolume.Setup failed while expanding volume", spec.name, text)
        whole = f'NodeExpandVolume.NodeExpandVolume failed for volume "{spec.name}" : {text}'
        self._recorder.event(mounted.pod, WARNING, "VolumeResizeFailed", whole)

    async def _patch(self, claim: Object, patch: dict[str, object]) -> Object:
        meta = claim["metadata"]
        return await self._client.patch(
            _CLAIMS, meta["name"], patch, meta["namespace"], kind=MERGE_PATCH, subresource="status"
        )
