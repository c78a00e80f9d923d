"""The files around block volumes: links to devices, folders by volume. All calls block."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat

from kumo.host import mounts
from kumo.kubernetes.kubelet.csi import records
from kumo.kubernetes.kubelet.csi.places import Places


class Blocks:
    """Below the kubelet's folder."""

    def __init__(self, places: Places) -> None:
        self._places = places

    def link(self, name: str, uid: str) -> None:
        """Link the pod to the device that is about to be published for it. Raises OSError."""
        target = self._places.block_publish(name, uid)
        for place in (self._places.block_map(name) / uid, self._places.block_link(uid, name)):
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
            with contextlib.suppress(FileExistsError):
                place.symlink_to(target)

    def check(self, name: str, uid: str) -> None:
        """Raise OSError unless what was published is a block device."""
        path = self._places.block_publish(name, uid)
        if not stat.S_ISBLK(path.stat().st_mode):
            raise OSError(f"{path} is not a block device")

    def unlink(self, name: str, uid: str) -> None:
        """Undo `link`, after the device is gone. Raises OSError."""
        left = self._places.block_publish(name, uid)
        if mounts.is_mounted(os.path.realpath(left)):
            raise OSError(f"{left} is still mounted")
        for place in (left, self._places.block_map(name) / uid, self._places.block_link(uid, name)):
            place.unlink(missing_ok=True)

    def of(self, driver: str, handle: str) -> list[str]:
        """The names under which the volume was staged."""
        found = []
        for folder in self._places.staged_blocks():
            data = records.read(folder)
            if data is not None and (data.driver, data.handle) == (driver, handle):
                found.append(folder.parent.name)
        return found

    def clear(self, name: str) -> None:
        """Remove the folders of a volume that is not staged any more. Raises OSError."""
        for folder in (self._places.block_stage(name), self._places.block_publish(name, "x").parent):
            mounts.unmount_below(os.path.realpath(folder))
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(folder)
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self._places.block_data(name).parent)
