"""Storage as kubectl has it: volumes made, grown, copied and deleted by the nodes' own driver, with real pods."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kumo.api.resources import GVR
from kumo.cli.instance import load
from kumo.kubernetes.csi_controllers.component import CsiControllers
from kumo.kubernetes.csi_controllers.config import CsiControllersConfig
from kumo.machinery.client import Client
from kumo.machinery.transport import HttpTransport
from support.cloud import Cloud
from support.csi_memory import NAME, MemoryDriver

pytestmark = pytest.mark.e2e
SPACE = "storage"
ATTACHMENTS = GVR("storage.k8s.io", "v1", "volumeattachments", False)
GROUP = "snapshot.storage.k8s.io"


def claim(name: str, size: str = "32Mi", **spec: Any) -> dict[str, Any]:
    wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **spec}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": wanted}


def pod(name: str, command: str = "true", **claims: str) -> dict[str, Any]:
    """A pod that runs the command, then sleeps; `claims` are mounted at their names (`raw...`: as devices)."""
    main: dict[str, Any] = {"name": "main", "image": "busybox", "imagePullPolicy": "IfNotPresent"}
    main["command"] = ["sh", "-c", f"trap 'exit 0' TERM; {command}; sync; while :; do sleep 0.2; done"]
    main["volumeMounts"] = [{"name": n, "mountPath": f"/{n}"} for n in claims if not n.startswith("raw")]
    main["volumeDevices"] = [{"name": n, "devicePath": f"/dev/{n}"} for n in claims if n.startswith("raw")]
    volumes = [{"name": n, "persistentVolumeClaim": {"claimName": c}} for n, c in claims.items()]
    spec = {"containers": [main], "volumes": volumes, "terminationGracePeriodSeconds": 1}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def sockets() -> int:
    """How many sockets this process has open."""
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found += os.readlink(entry).startswith("socket:")
    return found


class Space:
    """The namespace of these tests, and where the driver keeps its volumes."""

    def __init__(self, cloud: Cloud, root: Path) -> None:
        self.cloud, self.wait = cloud, cloud.wait
        self.kept = root / "volumes"

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        return self.cloud.kubectl("-n", SPACE, *arguments, stdin=stdin).stdout

    def get(self, *arguments: str) -> Any:
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def apply(self, *manifests: dict[str, Any]) -> None:
        self.kubectl("apply", "-f", "-", stdin="\n".join(json.dumps(m) for m in manifests))

    def ready(self, *names: str) -> None:
        pods = [f"pod/{name}" for name in names]
        self.wait(lambda: self.kubectl("wait", "--for=condition=Ready", *pods, "--timeout=60s"), 120, "pods ready")

    def run(self, name: str, command: str) -> str:
        """What the command prints in the pod, as soon as its node answers for it."""
        return str(self.wait(lambda: self.kubectl("exec", name, "--", "sh", "-c", command), 60, f"an answer of {name}"))

    def volumes(self) -> list[str]:
        """What the driver has: a folder for each volume or snapshot."""
        return sorted(p.name for kind in ("volumes", "snapshots") for p in (self.kept / kind).glob("*"))

    def bound(self) -> dict[str, str]:
        """The claims and their volumes, as far as they are bound."""
        claims = self.get("pvc")["items"]
        return {c["metadata"]["name"]: c["spec"]["volumeName"] for c in claims if c["status"]["phase"] == "Bound"}

    def clear(self) -> None:
        """Delete everything, and see that nothing is left."""
        self.kubectl("delete", "pod", "--all", "--grace-period=0", "--force")
        self.kubectl("delete", "volumesnapshot,pvc", "--all", "--timeout=60s")
        self.wait(lambda: not self.mine(), 60, "no volumes left")
        self.wait(lambda: not self.volumes(), 60, "no data left")

    def mine(self) -> list[str]:
        found = self.cloud.get("pv")["items"]
        return [v["metadata"]["name"] for v in found if v["spec"]["claimRef"]["namespace"] == SPACE]


@pytest.fixture(scope="module")
def space(cloud: Cloud) -> Iterator[Space]:
    instance = load(cloud.data_dir)
    assert instance is not None
    cloud.kubectl("create", "namespace", SPACE)
    cloud.wait(lambda: cloud.kubectl("-n", SPACE, "get", "serviceaccount", "default"), 10, "the service account")
    at_once = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "at-once"}}
    cloud.apply(at_once | {"provisioner": "local.csi.kumo.dev", "volumeBindingMode": "Immediate"})
    yield Space(cloud, instance.root)
    cloud.kubectl("delete", "namespace", SPACE, "--timeout=60s")
    cloud.kubectl("delete", "storageclass", "at-once")


def test_volumes_are_made_copied_grown_and_deleted(space: Space) -> None:
    space.apply(claim("data"), pod("writer", "echo one > /data/f", data="data"))
    space.ready("writer")
    snapshot = {"apiVersion": f"{GROUP}/v1", "kind": "VolumeSnapshot", "metadata": {"name": "monday"}}
    space.apply(snapshot | {"spec": {"source": {"persistentVolumeClaimName": "data"}}})
    space.kubectl("wait", "volumesnapshot/monday", "--for=jsonpath={.status.readyToUse}=true", "--timeout=60s")
    assert "monday   true         data" in space.kubectl("get", "vs")
    space.run("writer", "echo two > /data/f; sync; echo done")
    of = {"apiGroup": GROUP, "kind": "VolumeSnapshot", "name": "monday"}
    space.apply(
        claim("restored", "64Mi", dataSource=of),
        claim("clone", dataSource={"kind": "PersistentVolumeClaim", "name": "data"}),
        claim("raw", volumeMode="Block"),
        claim("now", storageClassName="at-once"),
        pod("reader", restored="restored", clone="clone", raw="raw", now="now"),
    )
    space.wait(lambda: "now" in space.bound(), 60, "a claim of the class at-once bound")
    space.ready("reader")
    assert space.run("reader", "cat /restored/f /clone/f") == "one\ntwo\n"
    assert space.run("reader", "blockdev --getsize64 /dev/raw") == f"{32 << 20}\n"
    assert len(space.volumes()) == 6, "five volumes and a snapshot"

    larger = {"spec": {"resources": {"requests": {"storage": "96Mi"}}}}
    space.kubectl("patch", "pvc", "data", "--type=merge", "-p", json.dumps(larger))
    space.wait(lambda: "FileSystemResizeRequired" in space.kubectl("get", "events"), 60, "the volume grown")
    # Not every machine lets a mounted file system grow: the next pod has it in any case.
    space.kubectl("delete", "pod", "writer")
    space.apply(pod("writer", data="data"))
    space.ready("writer")

    def grown() -> bool:
        return bool(space.get("pvc", "data")["status"]["capacity"]["storage"] == "96Mi")

    space.wait(grown, 60, "the claim's new size")
    assert int(space.run("writer", "df -k /data | tail -1 | tr -s ' ' | cut -d' ' -f2")) > 64 << 10
    assert space.run("writer", "cat /data/f") == "two\n"
    space.clear()


def test_killed_while_volumes_are_made_and_deleted(space: Space) -> None:
    names = [f"v{n}" for n in range(5)]
    space.apply(*(claim(n) for n in names), claim("now", storageClassName="at-once"))
    space.apply(*(pod(f"p-{n}", f"echo {n} > /v/f", v=n) for n in names))
    for victim in ("control-plane", "node"):
        time.sleep(0.3)  # Somewhere in the midst of it: a moment like any other.
        space.wait(lambda v=victim: os.kill(space.cloud.pid(v), signal.SIGKILL) is None, 30, f"{victim} killed")
    space.wait(lambda: len(space.bound()) == 6, 120, "all claims bound")
    space.ready(*(f"p-{n}" for n in names))
    assert [space.run(f"p-{n}", "cat /v/f") for n in names] == [f"{n}\n" for n in names]
    assert len(set(space.bound().values())) == len(space.mine()) == len(space.volumes()) == 6

    space.kubectl("delete", "pod", "--all", "--grace-period=0", "--force")
    space.kubectl("delete", "pvc", "--all", "--wait=false")
    os.kill(space.cloud.pid("node"), signal.SIGKILL)
    space.clear()


async def test_killed_while_a_volume_is_attached(space: Space) -> None:
    """A driver of another machine, whose volumes are attached: it is asked once, whenever the control plane dies."""
    instance = load(space.cloud.data_dir)
    assert instance is not None
    pki = instance.pki_dir
    transport = HttpTransport(instance.url, ca=pki / "ca.crt", cert=pki / "admin.crt", key=pki / "admin.key")
    client, driver = Client(transport), MemoryDriver(abilities=("PUBLISH_UNPUBLISH_VOLUME",))
    node = instance.node_name
    labels = space.cloud.get("node", node)["metadata"]["name"]
    csi: dict[str, Any] = {"driver": NAME, "volumeHandle": "h1"}
    volume: dict[str, Any] = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "far"}}
    volume["spec"] = {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "csi": csi}
    volume["spec"] |= {"storageClassName": "", "persistentVolumeReclaimPolicy": "Retain"}
    registered = {"name": NAME, "nodeID": f"id-{labels}", "topologyKeys": []}

    def patch_csi_node(drivers: list[dict[str, Any]]) -> None:
        others = [d for d in space.cloud.get("csinode", node)["spec"]["drivers"] or [] if d["name"] != NAME]
        patch = json.dumps({"spec": {"drivers": others + drivers}})
        space.cloud.kubectl("patch", "csinode", node, "--type=merge", "-p", patch)

    async def kill() -> None:
        await asyncio.to_thread(
            space.wait,
            lambda: os.kill(space.cloud.pid("control-plane"), signal.SIGKILL) is None,
            30,
            "the control plane killed",
        )

    with tempfile.TemporaryDirectory(prefix="kumo-e2e-", dir="/var/tmp") as folder:
        socket = Path(folder) / "csi.sock"
        async with driver.serving(socket):
            before = sockets()
            settings = CsiControllersConfig(socket=str(socket), retry=0.1, longest_retry=1.0)
            tasks = [asyncio.create_task(CsiControllers(settings, client).run())]
            try:
                await asyncio.to_thread(patch_csi_node, [registered])
                await asyncio.to_thread(space.apply, volume, claim("far", "1Gi", storageClassName=""))
                await asyncio.to_thread(space.apply, pod("user", far="far"))
                await kill()

                def attached() -> Any:
                    listed = space.cloud.get("node", node)["status"].get("volumesAttached") or []
                    return [v["name"] for v in listed] == [f"kubernetes.io/csi/{NAME}^h1"]

                await asyncio.to_thread(space.wait, attached, 60, "the volume attached")
                assert driver.published == {"h1": f"id-{labels}"}
                found = space.cloud.get("volumeattachments")["items"]
                assert [a["status"]["attached"] for a in found] == [True]
                assert "SuccessfulAttachVolume" in space.kubectl("get", "events")
                await asyncio.to_thread(space.kubectl, "delete", "pod", "user", "--grace-period=0", "--force")
                await kill()

                def detached() -> Any:
                    return not space.cloud.get("volumeattachments")["items"] and not driver.published

                await asyncio.to_thread(space.wait, detached, 60, "the volume detached")
                assert not space.cloud.get("node", node)["status"].get("volumesAttached")
            finally:
                await asyncio.to_thread(space.kubectl, "delete", "pod,pvc", "--all", "--ignore-not-found", "--force")
                await asyncio.to_thread(space.cloud.kubectl, "delete", "pv", "far", "--ignore-not-found")
                await asyncio.to_thread(patch_csi_node, [])
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await transport.close()
                # Connections to a server that was killed take a moment to end; the loop must not be closed before.
                async with asyncio.timeout(30):
                    while sockets() > before:
                        await asyncio.sleep(0.05)
