"""Volumes of type nfs: what mount(8) is told, what is left when it fails. (Success needs a kernel with NFS.)"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kumo.kubernetes.kubelet.volumes import nfs
from kumo.kubernetes.kubelet.volumes.files import VolumeError

pytestmark = pytest.mark.component


@pytest.mark.parametrize(
    ("source", "options", "read_only", "words"),
    [
        ({"server": "nas", "path": "/a"}, (), False, ["-t", "nfs", "nas:/a", "/t"]),
        (
            {"server": "nas", "path": "/a"},
            ("vers=4.2", "hard"),
            True,
            ["-t", "nfs", "-o", "hard,ro,vers=4.2", "nas:/a", "/t"],
        ),
        ({"server": "fd00::1", "path": "/a"}, ("ro",), True, ["-t", "nfs", "-o", "ro", "[fd00::1]:/a", "/t"]),
    ],
)
def test_kubelet_nfs_arguments(
    source: dict[str, Any], options: tuple[str, ...], read_only: bool, words: list[str]
) -> None:
    assert nfs.arguments(source, Path("/t"), options, read_only=read_only) == words


async def test_kubelet_nfs_failure_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    target, options = tmp_path / "volumes" / "v", ("soft", "timeo=1", "retrans=1", "retry=0")
    with pytest.raises(VolumeError) as refusal:
        await nfs.mount({"server": "127.0.0.1", "path": "/none"}, target, options, read_only=False)
    first, command, arguments, output = str(refusal.value).split("\n", 3)
    assert first.startswith("mount failed: exit status ") and command == "Mounting command: mount"
    assert arguments == f"Mounting arguments: -t nfs -o retrans=1,retry=0,soft,timeo=1 127.0.0.1:/none {target}"
    assert output.startswith("Output: ") and len(output) > 20 and not target.exists()
