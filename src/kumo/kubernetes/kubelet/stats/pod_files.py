"""What pods keep on disk: their volumes, the logs of their containers. Reading blocks."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kumo.api.objects import Object, name_of, uid_of
from kumo.host import mounts
from kumo.kubernetes.kubelet import labels
from kumo.kubernetes.kubelet.config import KubeletConfig
from kumo.kubernetes.kubelet.csi import records
from kumo.kubernetes.kubelet.stats.filesystems import DirectorySizes, DiskUse, file_system, walked

_PLUGINS = {
    "emptyDir": "empty-dir",
    "configMap": "configmap",
    "secret": "secret",
    "downwardAPI": "downward-api",
    "projected": "projected",
}


@dataclass(frozen=True, slots=True)
class VolumeUse:
    """One volume: its name in the pod, the claim behind it (empty: none), whether it counts as the pod's own disk."""

    name: str
    claim: str
    ephemeral: bool
    use: DiskUse


class PodFiles:
    """Reads below the kubelet's directories."""

    def __init__(self, config: KubeletConfig) -> None:
        self._config = config
        self._sizes = DirectorySizes(config.sizes_seconds)

    def volumes(self, pod: Object) -> Iterator[VolumeUse]:
        """The volumes that have a size of their own: not hostPath, not images, as upstream."""
        for volume in (pod.get("spec") or {}).get("volumes") or ():
            found = self._volume(pod, volume)
            if found is not None:
                yield found

    def claims(self, pod: Object) -> Iterator[VolumeUse]:
        """Those of them that are claims: a look at their file systems, without walking."""
        for volume in (pod.get("spec") or {}).get("volumes") or ():
            if "persistentVolumeClaim" in volume or "ephemeral" in volume:
                found = self._volume(pod, volume)
                if found is not None:
                    yield found

    def logs(self, pod: Object, container: str) -> tuple[int, int]:
        """Bytes and inodes of the logs of all the container's runs."""
        return walked([self._config.logs_directory / labels.log_folder(pod) / container])

    def _volume(self, pod: Object, volume: Mapping[str, Any]) -> VolumeUse | None:
        name = volume["name"]
        top = self._config.pods_directory / uid_of(pod) / "volumes"
        kind = next((k for k in volume if k != "name"), "emptyDir")
        if kind in _PLUGINS:
            path = top / f"kubernetes.io~{_PLUGINS[kind]}" / name
            # In memory it is a file system of its own. (The table of mounts would be long to read for each volume.)
            memory = kind == "emptyDir" and path.is_mount()
            use = file_system(path) if memory else self._sizes.of(path)
            return VolumeUse(name, "", ephemeral=not memory, use=use) if use is not None else None
        if kind == "csi":
            mounted = _mounted(top, name)
            use = file_system(mounted) if mounted is not None else None
            return VolumeUse(name, "", ephemeral=False, use=use) if use is not None else None
        if kind in ("persistentVolumeClaim", "ephemeral"):
            claim = volume[kind]["claimName"] if kind == "persistentVolumeClaim" else f"{name_of(pod)}-{name}"
            mounted = _mounted(top, name)
            use = file_system(mounted) if mounted is not None else None
            return VolumeUse(name, claim, ephemeral=False, use=use) if use is not None else None
        return None


def _mounted(top: Path, name: str) -> Path | None:
    """Where a claim's volume is mounted below the pod's directory: each plugin has a directory of its own."""
    try:
        with os.scandir(top) as entries:
            plugins = [e.path for e in entries if e.is_dir(follow_symlinks=False)]
    except OSError:
        return None
    by_record = records.mount_of(top, name)
    if by_record is not None:
        return by_record if mounts.is_mounted(os.path.realpath(by_record)) else None
    for plugin in plugins:
        if plugin.rpartition("~")[2] in _PLUGINS.values():
            continue
        for path in (Path(plugin) / name / "mount", Path(plugin) / name):
            if path.is_dir() and mounts.is_mounted(path):
                return path
    return None
