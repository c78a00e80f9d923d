"""What a pod's claim stands for on the node: the volume that is bound to it, and never somebody else's."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from kumo.api.objects import Object, owner_reference
from kumo.kubernetes.kubelet.env import Sources
from kumo.kubernetes.kubelet.references import References
from kumo.kubernetes.kubelet.volumes.manager import FailedVolume, VolumeManager

pytestmark = pytest.mark.unit


class Stored:
    """What the API server would answer, by resource and name."""

    def __init__(self, *objects: Object) -> None:
        self._objects = {(o["resource"], o["metadata"]["name"]): o for o in objects}

    async def get(self, gvr: Any, namespace: str, name: str, max_age: float = 0.0) -> Object | None:
        return self._objects.get((gvr.resource, name))


def claim(name: str = "c", phase: str = "Bound", **meta: Any) -> Object:
    meta = {"name": name, "namespace": "ns", "uid": "1", **meta}
    spec, status = {"volumeName": "v"}, {"phase": phase}
    return {"resource": "persistentvolumeclaims", "metadata": meta, "spec": spec, "status": status}


def volume(uid: str = "1", **source: Any) -> Object:
    ref = {"name": "c", "namespace": "ns", "uid": uid}
    return {"resource": "persistentvolumes", "metadata": {"name": "v"}, "spec": {"claimRef": ref, **source}}


def pod(**source: Any) -> Object:
    meta = {"name": "p", "namespace": "ns", "uid": "9"}
    spec = {"volumes": [{"name": "data", **source}], "containers": [{"volumeMounts": [{"name": "data"}]}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


NAMED = {"persistentVolumeClaim": {"claimName": "c"}}
OWN = {"ephemeral": {"volumeClaimTemplate": {}}}


async def prepare(root: Path, wanted: Object, *objects: Object) -> Path:
    references = cast(References, Stored(*objects))
    manager = VolumeManager(root, references, cast(Any, None), cast(Any, None))
    return (await manager.prepare(wanted, cast(Sources, None)))["data"].path


async def test_kubelet_claims_stand_for_their_volume(tmp_path: Path) -> None:
    there = tmp_path / "disk"
    there.mkdir()
    source = {"path": str(there)}
    assert await prepare(tmp_path, pod(**NAMED), claim(), volume(hostPath=source)) == there
    owned = claim("p-data", ownerReferences=[owner_reference(pod())])
    assert await prepare(tmp_path, pod(**OWN), owned, volume(hostPath=source)) == there


BLOCK = {"volumeMode": "Block", "local": {"path": "/"}}
DEVICE = {**pod(**NAMED), "spec": {**pod(**NAMED)["spec"], "containers": [{"volumeDevices": [{"name": "data"}]}]}}


@pytest.mark.parametrize(
    ("wanted", "objects", "why"),
    [
        (
            pod(**NAMED),
            [],
            'error processing PVC ns/c: failed to fetch PVC from API server: persistentvolumeclaims "c" not found',
        ),
        (pod(**NAMED), [claim(phase="Pending")], "error processing PVC ns/c: PVC is not bound"),
        (
            pod(**NAMED),
            [claim(deletionTimestamp="2026-01-01T00:00:00Z")],
            "error processing PVC ns/c: PVC is being deleted",
        ),
        (
            pod(**NAMED),
            [claim()],
            'error processing PVC ns/c: failed to fetch PV v from API server: persistentvolumes "v" not found',
        ),
        (
            pod(**NAMED),
            [claim(), volume("2")],
            "error processing PVC ns/c: found PV object v but its pv.Spec.ClaimRef.UID 2 does not point to claim.UID 1",
        ),
        (
            pod(**OWN),
            [claim("p-data"), volume(local={"path": "/"})],
            "PVC ns/p-data was not created for pod ns/p (pod is not owner)",
        ),
        (
            pod(**NAMED),
            [claim(), volume(**BLOCK)],
            "volume data has volumeMode Block, but is specified in volumeMounts",
        ),
        (
            DEVICE,
            [claim(), volume(local={"path": "/"})],
            "volume data has volumeMode Filesystem, but is specified in volumeDevices",
        ),
    ],
)
async def test_kubelet_claims_that_won_t_do(tmp_path: Path, wanted: Object, objects: list[Object], why: str) -> None:
    with pytest.raises(FailedVolume) as refusal:
        await prepare(tmp_path, wanted, *objects)
    start = "Unable to attach or mount volumes: unmounted volumes=[data], unattached volumes=[], "
    assert str(refusal.value) == f"{start}failed to process volumes=[data]: {why}"


async def test_kubelet_volumes_that_no_container_uses_are_not_made(tmp_path: Path) -> None:
    unused = {**pod(**NAMED), "spec": {**pod(**NAMED)["spec"], "containers": [{}]}}
    manager = VolumeManager(tmp_path, cast(References, Stored()), cast(Any, None), cast(Any, None))
    assert await manager.prepare(unused, cast(Sources, None)) == {}


@pytest.mark.parametrize(
    ("wanted", "source", "reason", "text"),
    [
        (
            pod(**NAMED),
            {"local": {"path": "/kumo/none"}},
            "FailedMount",
            'MountVolume.SetUp failed for volume "v" : path "/kumo/none" does not exist',
        ),
        (
            DEVICE,
            {"local": {"path": "/"}, "volumeMode": "Block"},
            "FailedMapVolume",
            'MapVolume.SetUpDevice failed for volume "v" : path / is not a block device',
        ),
        (
            pod(**NAMED),
            {"fc": {}},
            "FailedMount",
            "Unable to attach or mount volumes: unmounted volumes=[data], unattached volumes=[], failed to process "
            'volumes=[data]: failed to get Plugin from volumeSpec for volume "v" err=no volume plugin matched',
        ),
    ],
)
async def test_kubelet_volumes_that_can_t_be_set_up(
    tmp_path: Path, wanted: Object, source: dict[str, Any], reason: str, text: str
) -> None:
    with pytest.raises(FailedVolume) as refusal:
        await prepare(tmp_path, wanted, claim(), volume(**source))
    assert (refusal.value.reason, str(refusal.value)) == (reason, text)
