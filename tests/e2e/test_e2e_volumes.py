"""Volumes of the node's own driver in real pods: files, a device, inline ones; the node killed as they come and go."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kumo.host import loop, mounts
from support.cloud import Cloud

pytestmark = pytest.mark.e2e
SPACE = "volumes"
LINE = "wc -l < /data/f"


def claim(name: str, size: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": SPACE},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **spec},
    }


def pod(name: str, script: str, volumes: dict[str, Any], devices: dict[str, str] | None = None) -> dict[str, Any]:
    """A busybox pod; `volumes` are mounted at `/<name>`, `devices` are claims at `/dev/<name>`."""
    devices = devices or {}
    container = {
        "name": "main",
        "image": "busybox",
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", f"trap 'exit 0' TERM; {script}; while :; do sleep 0.2; done"],
        "volumeMounts": [{"name": v, "mountPath": f"/{v}"} for v in volumes],
        "volumeDevices": [{"name": d, "devicePath": f"/dev/{d}"} for d in devices],
    }
    sources = [{"name": n, **s} for n, s in volumes.items()]
    sources += [{"name": n, "persistentVolumeClaim": {"claimName": c}} for n, c in devices.items()]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": SPACE},
        "spec": {"containers": [container], "volumes": sources, "terminationGracePeriodSeconds": 5},
    }


class Space:
    """The tests' namespace in the cloud."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud

    def kubectl(self, *arguments: str) -> str:
        return self.cloud.kubectl("-n", SPACE, *arguments).stdout

    def ready(self, name: str) -> None:
        def check() -> bool:
            status = self.cloud.get("pod", name, "-n", SPACE)["status"]
            return any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", ()))

        self.cloud.wait(check, 90, f"pod {name} ready")

    def run(self, name: str, script: str) -> str:
        """What a command prints in the pod, once the node answers."""
        done = self.cloud.wait(
            lambda: self.cloud.kubectl("-n", SPACE, "exec", name, "--", "sh", "-c", script), 60, f"{script} in {name}"
        )
        return str(done.stdout)

    def kill_node(self, after: float) -> None:
        """kill -9 the node's process after so many seconds, once there is one."""
        pid = self.cloud.wait(lambda: self.cloud.pid("node"), 60, "the node's process")
        time.sleep(after)
        os.kill(pid, signal.SIGKILL)

    def left(self) -> list[str]:
        """What there still is of volumes on the node."""
        node = self.cloud.data_dir / "node"
        found = [str(d) for d in loop.attached_below(self.cloud.data_dir)]
        found += [m.path for m in mounts.mount_points() if m.path.startswith(str(node)) and "kubernetes.io" in m.path]
        return found + [str(p) for p in Path(node / "plugins").rglob("vol_data.json")]

    def clean(self) -> None:
        self.cloud.wait(lambda: not self.left(), 60, "the node clean")


@pytest.fixture
def space(cloud: Cloud) -> Iterator[Space]:
    cloud.kubectl("delete", "namespace", SPACE, "--ignore-not-found")
    cloud.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}})
    yield Space(cloud)
    cloud.kubectl("delete", "namespace", SPACE, "--ignore-not-found")


def test_files_devices_and_volumes_of_the_pod_itself(space: Space) -> None:
    template = {"spec": claim("", "16Mi")["spec"]}
    own: dict[str, Any] = {
        "data": {"persistentVolumeClaim": {"claimName": "files"}},
        "mine": {"ephemeral": {"volumeClaimTemplate": template}},
        "inline": {"csi": {"driver": "local.csi.kumo.dev", "volumeAttributes": {"size": "24Mi"}}},
    }
    for made in (claim("files", "32Mi"), claim("raw", "16Mi", volumeMode="Block")):
        space.cloud.apply(made)
    space.cloud.apply(pod("first", "echo kept > /data/f", own, {"disk": "raw"}))
    space.ready("first")
    assert space.run("first", "echo raw | dd of=/dev/disk conv=notrunc 2>/dev/null; head -c 3 /dev/disk") == "raw"
    sizes = space.run("first", "df -k /data /mine /inline | awk 'NR>1 {print $2}'").split()
    assert [16 << 10 < int(sizes[0]) <= 32 << 10, int(sizes[1]) <= 16 << 10, int(sizes[2]) <= 24 << 10] == [True] * 3
    events = space.kubectl(
        "get", "events", "--field-selector", "involvedObject.name=first,reason=SuccessfulMountVolume"
    )
    assert 'MapVolume.MapPodDevice succeeded for volume "pvc-' in events
    space.kubectl("delete", "pod", "first")
    space.clean()
    # What the pod itself had is gone with it; the claims are as they were.
    claims = json.loads(space.kubectl("get", "pvc", "-o", "json"))["items"]
    assert sorted(c["metadata"]["name"] for c in claims if "deletionTimestamp" not in c["metadata"]) == ["files", "raw"]
    files = {"data": own["data"]}
    space.cloud.apply(pod("second", "true", files, {"disk": "raw"}))
    space.ready("second")
    assert space.run("second", "cat /data/f; head -c 3 /dev/disk") == "kept\nraw"
    space.kubectl("delete", "pod", "second")


def test_node_killed_while_volumes_come_and_go(space: Space) -> None:
    for made in (claim("files", "32Mi"), claim("raw", "16Mi", volumeMode="Block")):
        space.cloud.apply(made)
    files = {"data": {"persistentVolumeClaim": {"claimName": "files"}}}
    for count, moment in ((1, 0.3), (2, 0.8)):
        space.cloud.apply(pod("p", "echo line >> /data/f", files, {"disk": "raw"}))
        space.kill_node(moment)
        space.ready("p")
        assert space.run("p", LINE).strip() == str(count)
        space.kubectl("delete", "pod", "p", "--wait=false")
        space.kill_node(moment / 2)
        space.kubectl("wait", "--for=delete", "pod/p", "--timeout=90s")
        space.clean()
