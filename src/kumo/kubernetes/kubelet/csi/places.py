"""Where CSI volumes are below the kubelet's folder, and what they are called: upstream's layout. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

PLUGIN = "kubernetes.io~csi"
DATA = "vol_data.json"


def inline_handle(uid: str, name: str) -> str:
    """The volume id of a pod's inline volume."""
    return "csi-" + hashlib.sha256(f"{uid}{name}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Places:
    """Paths below the kubelet's folder, as drivers are told them."""

    root: Path

    @property
    def registry(self) -> Path:
        """Where drivers put the sockets by which they register."""
        return self.root / "plugins_registry"

    @property
    def _plugin(self) -> Path:
        return self.root / "plugins" / "kubernetes.io" / "csi"

    def staged(self) -> list[Path]:
        """The folders of volumes with file systems that were staged, each with its record. Blocking."""
        return [p.parent for p in self._plugin.glob(f"*/*/{DATA}") if p.parent.parent.name != "volumeDevices"]

    def staged_blocks(self) -> list[Path]:
        """The `data` folders of block volumes that were staged, each with its record. Blocking."""
        return [p.parent for p in self._plugin.glob(f"volumeDevices/*/data/{DATA}")]

    def stage_folder(self, driver: str, handle: str) -> Path:
        """Holds the record and `globalmount`."""
        return self._plugin / driver / hashlib.sha256(handle.encode()).hexdigest()

    def stage(self, driver: str, handle: str) -> Path:
        """Where a file system is staged."""
        return self.stage_folder(driver, handle) / "globalmount"

    def pods(self) -> list[str]:
        """The uids of pods that have CSI volumes. Blocking."""
        found = {p.parent.parent.name for p in self.root.glob(f"pods/*/volumes/{PLUGIN}")}
        return sorted(found | {p.parent.parent.name for p in self.root.glob(f"pods/*/volumeDevices/{PLUGIN}")})

    def pod_folder(self, uid: str, name: str) -> Path:
        """Holds the record and `mount` of a pod's volume."""
        return self.root / "pods" / uid / "volumes" / PLUGIN / name

    def pod_folders(self, uid: str) -> list[Path]:
        """Those that are there. Blocking."""
        return sorted((self.root / "pods" / uid / "volumes" / PLUGIN).glob("*"))

    def mount(self, uid: str, name: str) -> Path:
        """Where a file system is published for a pod."""
        return self.pod_folder(uid, name) / "mount"

    def block_data(self, name: str) -> Path:
        """Holds the record of a block volume."""
        return self._plugin / "volumeDevices" / name / "data"

    def block_map(self, name: str) -> Path:
        """Links to the published device, one a pod."""
        return self._plugin / "volumeDevices" / name / "dev"

    def block_stage(self, name: str) -> Path:
        """Where a block volume is staged."""
        return self._plugin / "volumeDevices" / "staging" / name

    def block_publish(self, name: str, uid: str) -> Path:
        """Where a block volume's device is published for a pod."""
        return self._plugin / "volumeDevices" / "publish" / name / uid

    def block_link(self, uid: str, name: str) -> Path:
        """The pod's link to the device."""
        return self.root / "pods" / uid / "volumeDevices" / PLUGIN / name

    def block_links(self, uid: str) -> list[Path]:
        """Those that are there. Blocking."""
        return sorted((self.root / "pods" / uid / "volumeDevices" / PLUGIN).glob("*"))
