"""containerd's configuration for each version, mirrors, image names, and what an image is made of."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from kumo.host.containerd.archive import File, ImageConfig, build_image, chain_ids, digest_of
from kumo.host.containerd.config import ContainerdConfig, Machine, hosts_toml, parse_version, render
from kumo.host.containerd.images import normalize

pytestmark = pytest.mark.unit

CONFIG = ContainerdConfig(Path("/d"), Path("/cni/conf"), Path("/cni/bin"), "kumo.dev/pause:1")
MACHINE = Machine((1, 6), "/usr/bin/containerd", "/usr/sbin/runc", restrict_oom=True, hugetlb=False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3", (1, 6)),
        ("containerd github.com/containerd/containerd/v2 v2.1.3 abc", (2, 1)),
    ],
)
def test_versions(text: str, expected: tuple[int, int]) -> None:
    assert parse_version(text) == expected


def test_the_old_format() -> None:
    found = tomllib.loads(render(CONFIG, MACHINE))
    cri = found["plugins"]["io.containerd.grpc.v1.cri"]
    assert (found["version"], found["grpc"]["address"], cri["sandbox_image"]) == (2, "/d/c.sock", "kumo.dev/pause:1")
    assert cri["restrict_oom_score_adj"] is True
    assert cri["disable_hugetlb_controller"] is True
    assert cri["cni"] == {"bin_dir": "/cni/bin", "conf_dir": "/cni/conf"}
    assert cri["containerd"]["runtimes"]["runc"]["options"]["SystemdCgroup"] is False


def test_the_new_format() -> None:
    found = tomllib.loads(render(CONFIG, replace(MACHINE, version=(2, 1))))
    assert found["version"] == 3
    assert found["plugins"]["io.containerd.cri.v1.images"]["pinned_images"] == {"sandbox": "kumo.dev/pause:1"}
    assert found["plugins"]["io.containerd.cri.v1.runtime"]["cni"]["bin_dirs"] == ["/cni/bin"]


def test_mirrors() -> None:
    found = tomllib.loads(hosts_toml("docker.io", "http://127.0.0.1:5000"))
    assert found["server"] == "https://registry-1.docker.io"
    assert found["host"]["http://127.0.0.1:5000"]["capabilities"] == ["pull", "resolve"]
    with pytest.raises(ValueError, match="plain http only on a loopback address"):
        hosts_toml("quay.io", "http://mirror.test")
    with pytest.raises(ValueError, match="must be an http:// or https:// URL"):
        hosts_toml("quay.io", "mirror.test")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("team/app:1", "docker.io/team/app:1"),
        ("docker.io/busybox:1", "docker.io/library/busybox:1"),
        ("localhost/x", "localhost/x:latest"),
        ("r.test:5000/x", "r.test:5000/x:latest"),
        ("quay.io/a/b@sha256:00", "quay.io/a/b@sha256:00"),
    ],
)
def test_names(name: str, expected: str) -> None:
    assert normalize(name) == expected


def test_an_image_is_reproducible_and_complete() -> None:
    files = [File("/a/b/c", b"text", uid=107), File("/l", link="a/b/c")]
    first, again = (build_image(files=files, config=ImageConfig(cmd=["x"])) for _ in range(2))
    assert first.manifest.digest == again.manifest.digest
    layer = gzip.decompress(first.layers[0].data or b"")
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        assert [m.name for m in tar.getmembers()] == ["a", "a/b", "a/b/c", "l"]
        assert tar.getmember("a/b/c").uid == 107
    config = json.loads(first.config.data or b"")
    assert config["rootfs"]["diff_ids"] == [digest_of(layer)]
    assert config["config"]["Cmd"] == ["x"]


def test_chain_ids() -> None:
    assert chain_ids(["sha256:a"]) == ["sha256:a"]
    assert chain_ids(["sha256:a", "sha256:b"])[1] == digest_of(b"sha256:a sha256:b")
