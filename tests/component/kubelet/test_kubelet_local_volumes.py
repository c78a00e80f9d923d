"""Volumes of type local on this machine: folders, and devices of their own, as files or as they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kumo.host import filesystems, loop, mounts
from kumo.kubernetes.kubelet.volumes import local
from kumo.kubernetes.kubelet.volumes.files import VolumeError

pytestmark = pytest.mark.component


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Path]:
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(16 << 20)
    found = loop.attach(image)
    try:
        yield found
    finally:
        mounts.unmount_below(tmp_path)
        loop.detach(found)


def target(root: Path, uid: str) -> Path:
    return root / "pods" / uid / "volumes" / "kubernetes.io~local-volume" / "pv"


def test_kubelet_local_folder_is_shown_to_the_pod(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    try:
        for _ in range(2):
            assert local.mount({"path": str(disk)}, "pv", tmp_path, target(tmp_path, "u")) == target(tmp_path, "u")
        (target(tmp_path, "u") / "f").write_text("x")
        assert (disk / "f").read_text() == "x"
    finally:
        mounts.unmount_below(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(VolumeError, match="is neither a directory nor a block device"):
        local.mount({"path": str(tmp_path / "file")}, "pv", tmp_path, target(tmp_path, "u"))


def test_kubelet_local_device_gets_a_file_system_once(tmp_path: Path, device: Path) -> None:
    source = {"path": str(device), "fsType": "ext3"}
    first = local.mount(source, "pv", tmp_path, target(tmp_path, "a"))
    (first / "f").write_text("kept")
    second = local.mount(source, "pv", tmp_path, target(tmp_path, "b"))
    assert (second / "f").read_text() == "kept" and filesystems.kind_of(device) == "ext3"
    mounts.unmount(first)
    first.rmdir()
    local.release_devices(tmp_path)
    assert mounts.is_mounted(tmp_path / "plugins/kubernetes.io/local-volume/mounts/pv")
    mounts.unmount(second)
    second.rmdir()
    local.release_devices(tmp_path)
    assert not (tmp_path / "plugins/kubernetes.io/local-volume/mounts/pv").exists()
    # It is never made anew over what is there.
    with pytest.raises(VolumeError, match='failed to mount the volume as "ext4", it already contains ext3'):
        local.mount({"path": str(device)}, "pv", tmp_path, target(tmp_path, "a"))
    again = local.mount(source, "pv", tmp_path, target(tmp_path, "a"))
    assert (again / "f").read_text() == "kept"


def test_kubelet_local_device_as_it_is(tmp_path: Path, device: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(device)
    assert local.block_device({"path": str(link)}, "pv", tmp_path, target(tmp_path, "u")) == device
    with pytest.raises(VolumeError, match="is not a block device"):
        local.block_device({"path": str(tmp_path)}, "pv", tmp_path, target(tmp_path, "u"))
    with pytest.raises(VolumeError, match='path "/kumo/none" does not exist'):
        local.block_device({"path": "/kumo/none"}, "pv", tmp_path, target(tmp_path, "u"))
