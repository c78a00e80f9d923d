"""A file system that is held still for a copy is let go of in time, whatever the copy does."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from kumo.host import filesystems, loop, mounts
from kumo.host.filesystems import ToolFailed

pytestmark = pytest.mark.component


def test_a_freeze_ends_by_itself(tmp_path: Path) -> None:
    image, place = tmp_path / "image", tmp_path / "mounted"
    place.mkdir()
    with image.open("xb") as file:
        file.truncate(32 << 20)
    filesystems.make(image, "ext4")
    device = loop.attach(image)
    try:
        mounts.mount_options(str(device), place, "ext4", [])
        loop.detach_when_unused(device)
        with filesystems.frozen(place):
            shutil.copy(image, tmp_path / "copy")
        began = time.monotonic()
        refusal = pytest.raises(ToolFailed, match="could not be held still for longer than 0 s")
        with refusal, filesystems.frozen(place, limit=0.3):
            (place / "written").write_text("late")  # waits until it thaws
        assert time.monotonic() - began >= 0.3
        with filesystems.frozen(place):
            pass
        assert not filesystems.thaw(place)
    finally:
        mounts.unmount_below(tmp_path)
