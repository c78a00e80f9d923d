"""Container disks and disks of configuration, found in a directory that stands in for a pod's root."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from kumo.kubevirt.virt_handler import config_disks, container_disk, pod_files
from kumo.kubevirt.virt_handler.container_disk import DiskInvalid

pytestmark = pytest.mark.component

IMAGE = "/var/run/kubevirt-image-volume/disk_0"


@pytest.fixture
def pod(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    (tmp_path / "var").mkdir()
    (tmp_path / "var/run").symlink_to("../run")
    (tmp_path / f"run/{IMAGE.removeprefix('/var/run/')}/disk").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def root(pod: Path) -> Iterator[int]:
    with pod_files.directory_at(pod) as descriptor:
        yield descriptor


def disk(pod: Path, name: str, content: bytes = b"disk", mode: int = 0o444) -> Path:
    path = pod / IMAGE.removeprefix("/").replace("var/run", "run") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_the_only_file_is_the_disk(pod: Path, root: int) -> None:
    disk(pod, "disk/any.qcow2", b"12345")
    assert container_disk.find(root, 0) == (f"{IMAGE}/disk/any.qcow2", 5)


def test_a_chosen_path(pod: Path, root: int) -> None:
    disk(pod, "images/a.img")
    assert container_disk.find(root, 0, "/images/a.img").path == f"{IMAGE}/images/a.img"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "no file found in folder disk, no disk present"),
        (("disk/a", "disk/b"), "more than one file found in folder disk, only one disk is allowed"),
    ],
)
def test_not_one_file(pod: Path, root: int, names: tuple[str, ...], message: str) -> None:
    for name in names:
        disk(pod, name)
    with pytest.raises(DiskInvalid, match=message):
        container_disk.find(root, 0)


def test_no_image(root: int) -> None:
    with pytest.raises(DiskInvalid, match="the image of volume 7 is not mounted"):
        container_disk.find(root, 7)


def test_a_missing_path(root: int) -> None:
    with pytest.raises(DiskInvalid, match="No such file"):
        container_disk.find(root, 0, "/nothing")


def test_a_file_that_only_root_may_read_is_copied(pod: Path, root: int) -> None:
    disk(pod, "disk/a.img", b"secret", mode=0o400)
    found = container_disk.find(root, 0)
    assert found.path == "/var/run/kubevirt-ephemeral-disks/container-disk-copies/disk_0"
    copy = pod / "run/kubevirt-ephemeral-disks/container-disk-copies/disk_0"
    assert (copy.read_bytes(), copy.stat().st_uid) == (b"secret", 107)


def test_links_cannot_lead_out_of_the_image(pod: Path, root: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("node") / "shadow"
    outside.write_text("the node's")
    (pod / "run/kubevirt-image-volume/disk_0/disk/a.img").symlink_to(outside)
    with pytest.raises(DiskInvalid, match="No such file"):
        container_disk.find(root, 0)


def test_a_link_within_the_image_is_followed(pod: Path, root: int) -> None:
    disk(pod, "real.img", b"real")
    (pod / "run/kubevirt-image-volume/disk_0/disk/a.img").symlink_to("/real.img")
    assert container_disk.find(root, 0).path.startswith("/var/run/kubevirt-ephemeral-disks/")
    assert (pod / "run/kubevirt-ephemeral-disks/container-disk-copies/disk_0").read_bytes() == b"real"


def test_a_folder_is_no_disk(pod: Path, root: int) -> None:
    (pod / "run/kubevirt-image-volume/disk_0/disk/folder").mkdir()
    with pytest.raises(DiskInvalid, match="Is a directory"):
        container_disk.find(root, 0)


def test_files_are_written_for_the_launchers_user(pod: Path, root: int) -> None:
    pod_files.write(root, "/var/run/libvirt/a/b/c.iso", b"one", 107)
    pod_files.write(root, "/var/run/libvirt/a/b/c.iso", b"two", 107)
    path = pod / "run/libvirt/a/b/c.iso"
    assert (path.read_bytes(), path.stat().st_uid, path.parent.stat().st_uid) == (b"two", 107, 107)
    assert os.listdir(path.parent) == ["c.iso"]
    assert pod_files.read(root, "/var/run/libvirt/a/b/c.iso") == b"two"


def test_a_socket_with_a_long_path(pod: Path, root: int) -> None:
    folder = pod / "run" / ("x" * 120)
    folder.mkdir()
    listener = socket.socket(socket.AF_UNIX)
    client = socket.socket(socket.AF_UNIX)
    with listener, client, pod_files.directory_at(folder) as at:
        listener.bind(f"/proc/self/fd/{at}/s")
        listener.listen()
        with pod_files.socket_path(root, f"/var/run/{'x' * 120}/s") as path:
            client.connect(path)


def test_what_is_no_socket_is_refused(pod: Path, root: int) -> None:
    (pod / "run/file").write_text("x")
    with pytest.raises(OSError, match="is no socket"), pod_files.socket_path(root, "/run/file"):
        pass


def test_config_maps_as_disks(pod: Path, root: int) -> None:
    # As the kubelet writes them: links into a directory that is replaced as a whole.
    volume = pod / "run/kubevirt-private/config-map/cfg"
    (volume / "..data_1").mkdir(parents=True)
    (volume / "..data_1/key").write_text("value")
    (volume / "..data").symlink_to("..data_1")
    (volume / "key").symlink_to("..data/key")
    vmi = {
        "spec": {
            "domain": {"devices": {"disks": [{"name": "cfg", "disk": {}}]}},
            "volumes": [
                {"name": "cfg", "configMap": {"name": "x", "volumeLabel": "mine"}},
                {"name": "no", "secret": {}},
            ],
        }
    }
    found = config_disks.contents(root, vmi)
    assert {k: (v.files, v.label) for k, v in found.items()} == {"cfg": ({"key": b"value"}, "mine")}


def test_a_config_map_that_is_not_there(root: int) -> None:
    vmi = {
        "spec": {
            "domain": {"devices": {"disks": [{"name": "cfg", "disk": {}}]}},
            "volumes": [{"name": "cfg", "configMap": {"name": "x"}}],
        }
    }
    with pytest.raises(ValueError, match="config-map/cfg is not in the pod"):
        config_disks.contents(root, vmi)
