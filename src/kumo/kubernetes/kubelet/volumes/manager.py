"""All volumes of a pod: prepared before its containers start, refreshed while they run, removed after them."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kumo.api.objects import Object, name_of, uid_of
from kumo.host import mounts
from kumo.host.containerd.rpc import EngineError
from kumo.host.containerd.snapshots import SnapshotStore
from kumo.kubernetes.kubelet.csi.specs import inline, persistent
from kumo.kubernetes.kubelet.csi.volumes import CsiVolumes, VolumeTrouble
from kumo.kubernetes.kubelet.env import Sources
from kumo.kubernetes.kubelet.references import FRESH, References
from kumo.kubernetes.kubelet.resources import pod_limits
from kumo.kubernetes.kubelet.spec import every_container, pod_security
from kumo.kubernetes.kubelet.volumes import alone, atomic, claims, directories, local, nfs
from kumo.kubernetes.kubelet.volumes.files import FileVolumes, VolumeError

_FILES = ("configMap", "secret", "downwardAPI", "projected")
_PLUGINS = {"configMap": "configmap", "secret": "secret", "downwardAPI": "downward-api", "projected": "projected"}

EnsureImage = Callable[[Object, str, str], Awaitable[None]]
"""Makes sure that an image (reference, pull policy) is here for the pod. Raises NoImage."""


@dataclass(frozen=True, slots=True)
class Volume:
    """A prepared volume: where it is on the host, whether it is read-only itself, whether it is a block device."""

    path: Path
    read_only: bool = False
    block: bool = False


class NoImage(VolumeError):
    """The image of an image volume is not to be had now: reason and message as for a container's image."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message


class FailedVolume(Exception):
    """A volume can't be prepared; the text is the FailedMount event's.

    `no_image` is set when its image is missing, which the containers that mount the volume `name` then wait for.
    """

    def __init__(self, text: str, name: str = "", no_image: NoImage | None = None, reason: str = "FailedMount") -> None:
        super().__init__(text)
        self.name = name
        self.no_image = no_image
        self.reason = reason


class VolumeManager:
    """Prepares and removes volumes below `root/<pod uid>/volumes`."""

    def __init__(
        self,
        root: Path,
        references: References,
        snapshots: SnapshotStore,
        ensure_image: EnsureImage,
        csi: CsiVolumes | None = None,
    ) -> None:
        self._root = root
        self._csi = csi
        self._references = references
        self._files = FileVolumes(references)
        self._snapshots = snapshots
        self._ensure_image = ensure_image
        self._taking = asyncio.Lock()

    async def prepare(self, pod: Object, sources: Sources) -> dict[str, Volume]:
        """Make every volume that a container of the pod uses; by name. FailedVolume, StatusError, ConnectionError."""
        found: dict[str, Volume] = {}
        used = used_volumes(pod)
        for volume in pod["spec"].get("volumes") or ():
            name = volume["name"]
            if name not in used:
                continue
            try:
                found[name] = await self._prepare(pod, volume, sources)
            except VolumeTrouble as error:
                text = f'{error.operation} for volume "{error.name}" : {error}'
                raise FailedVolume(text, name, reason=error.reason) from error
            except claims.Unprocessed as error:
                raise FailedVolume(claims.unable(name, error), name) from error
            except (VolumeError, OSError, EngineError) as error:
                text = error.wire if isinstance(error, EngineError) else str(error)
                missing = error if isinstance(error, NoImage) else None
                raise FailedVolume(f'MountVolume.SetUp failed for volume "{name}" : {text}', name, missing) from error
        return found

    async def refresh(self, pod: Object, sources: Sources) -> None:
        """Write anew what has changed in the objects behind the pod's volumes. Raises as `prepare`."""
        used = used_volumes(pod)
        for volume in pod["spec"].get("volumes") or ():
            kind = _kind(volume)
            if kind not in _FILES or volume["name"] not in used:
                continue
            try:
                await self._write(pod, volume, kind, sources, FRESH)
            except VolumeError as error:
                name = volume["name"]
                raise FailedVolume(f'MountVolume.SetUp failed for volume "{name}" : {error}', name) from error
        if self._csi is not None:
            try:
                await self._csi.republish(pod)
            except VolumeError as error:
                raise OSError(str(error)) from error

    async def remove(self, uid: str) -> None:
        """Unmount and delete everything that the pod had. Raises OSError."""
        if self._csi is not None:
            await self._csi.tear_down(uid)
        folder = self._root / uid
        images = folder / "volumes" / "kubernetes.io~image"
        for target in await asyncio.to_thread(lambda: list(images.iterdir()) if images.is_dir() else []):
            await self._snapshots.unmount_image(target, _image_key(uid, target.name))

        def clean() -> None:
            if folder.exists():
                mounts.unmount_below(folder)
                shutil.rmtree(folder, ignore_errors=True)
            local.release_devices(self._root.parent)

        await asyncio.to_thread(clean)
        self._references.forget_pod(uid)

    def known(self) -> list[str]:
        """The uids of the pods that have something here. Blocking."""
        return [p.name for p in self._root.iterdir()] if self._root.is_dir() else []

    async def _prepare(self, pod: Object, volume: Mapping[str, Any], sources: Sources) -> Volume:
        kind = _kind(volume)
        if kind in _FILES:
            return await self._write(pod, volume, kind, sources, FRESH)
        if kind == "emptyDir":
            path = self._path(pod, "empty-dir", volume["name"])
            source, group = volume.get("emptyDir") or {}, pod_security(pod).get("fsGroup")
            limit = pod_limits(pod).memory
            await asyncio.to_thread(directories.empty_dir, path, source, limit, None if group is None else int(group))
            return Volume(path)
        if kind == "hostPath":
            return Volume(await asyncio.to_thread(directories.host_path, volume["hostPath"]))
        if kind == "image":
            return await self._image(pod, volume)
        if kind == "nfs":
            return await self._nfs(self._path(pod, "nfs", volume["name"]), volume["nfs"])
        if kind == "csi" and self._csi is not None:
            spec = inline(pod, volume)
            return Volume(await self._csi.set_up(pod, spec), spec.read_only)
        if kind in ("persistentVolumeClaim", "ephemeral"):
            return await self._claim(pod, volume, kind)
        raise claims.no_plugin(volume["name"])

    async def _nfs(
        self, path: Path, source: Mapping[str, Any], options: Sequence[str] = (), *, read_only: bool = False
    ) -> Volume:
        sealed = read_only or bool(source.get("readOnly"))
        return Volume(await nfs.mount(source, path, options, read_only=sealed), sealed)

    async def _write(self, pod: Object, volume: Mapping[str, Any], kind: str, sources: Sources, age: float) -> Volume:
        files = await self._files.collect(pod, volume, sources, age)
        group = pod_security(pod).get("fsGroup")
        if group is not None:
            # The group may read what the owner may.
            files = {
                name: atomic.Entry(e.content, e.mode | (e.mode & 0o600) >> 3, e.uid, int(group))
                for name, e in files.items()
            }
        path = self._path(pod, _PLUGINS[kind], volume["name"])
        await asyncio.to_thread(atomic.write, path, files)
        return Volume(path, read_only=True)

    async def _image(self, pod: Object, volume: Mapping[str, Any]) -> Volume:
        source = volume["image"]
        reference = source.get("reference") or ""
        await self._ensure_image(pod, reference, source.get("pullPolicy") or "")
        path = self._path(pod, "image", volume["name"])
        await self._snapshots.mount_image(reference, path, _image_key(uid_of(pod), volume["name"]))
        return Volume(path, read_only=True)

    async def _claim(self, pod: Object, volume: Mapping[str, Any], kind: str) -> Volume:
        found = await claims.behind(self._references, pod, volume)
        return await self._persistent(pod, volume, found, bool((volume.get(kind) or {}).get("readOnly")))

    async def _persistent(self, pod: Object, volume: Mapping[str, Any], found: Object, read_only: bool) -> Volume:
        spec, name = found["spec"], name_of(found)
        block = spec.get("volumeMode") == "Block"
        if spec.get("csi") and self._csi is not None:
            wanted = persistent(found, volume["name"], read_only=read_only)
            return Volume(await self._csi.set_up(pod, wanted), read_only, block)
        if alone.for_one(found):
            async with self._taking:
                mine = await asyncio.to_thread(alone.take, self._root, uid_of(pod), name)
            if not mine:
                operation = "MapVolume.SetUpDevice failed" if block else "MountVolume.SetUp failed"
                raise VolumeTrouble(operation, name, alone.IN_USE, "FailedMapVolume" if block else "FailedMount")
        try:
            if spec.get("local"):
                group = pod_security(pod).get("fsGroup")
                path = self._root / uid_of(pod) / "volumes" / "kubernetes.io~local-volume" / name
                made = await asyncio.to_thread(
                    local.block_device if block else local.mount, spec["local"], name, self._root.parent, path
                )
                if group is not None and not block and not read_only:
                    policy = pod_security(pod).get("fsGroupChangePolicy") or "Always"
                    await asyncio.to_thread(directories.change_group, made, int(group), policy)
                return Volume(made, read_only, block)
            if spec.get("hostPath"):
                if block:
                    raise VolumeError("no volume plugin matched: hostPath volumes have no block devices")
                return Volume(await asyncio.to_thread(directories.host_path, spec["hostPath"]), read_only)
            if spec.get("nfs"):
                if block:
                    raise VolumeError("no volume plugin matched: nfs volumes have no block devices")
                path = self._path(pod, "nfs", name)
                return await self._nfs(path, spec["nfs"], spec.get("mountOptions") or (), read_only=read_only)
        except (VolumeError, OSError) as error:
            operation, reason = "MountVolume.SetUp failed", "FailedMount"
            if block:
                operation, reason = "MapVolume.SetUpDevice failed", "FailedMapVolume"
            raise VolumeTrouble(operation, name, str(error), reason) from error
        raise claims.Unprocessed(
            f'failed to get Plugin from volumeSpec for volume "{name}" err=no volume plugin matched'
        )

    def _path(self, pod: Object, plugin: str, name: str) -> Path:
        return self._root / uid_of(pod) / "volumes" / f"kubernetes.io~{plugin}" / name


def used_volumes(pod: Object) -> set[str]:
    """The names of the volumes that containers of the pod use: the others are never made."""
    uses = [u for c in every_container(pod) for f in ("volumeMounts", "volumeDevices") for u in c.get(f) or ()]
    return {u["name"] for u in uses}


def _kind(volume: Mapping[str, Any]) -> str:
    return next((k for k in volume if k != "name"), "emptyDir")


def _image_key(uid: str, name: str) -> str:
    return f"kumo-pod-{uid}-{name}"
