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
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"volumes": [{"name": "data", **source}]}}


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
    assert await prepare(tmp_path, pod(**NAMED), claim(), volume(local=source)) == there
    assert await prepare(tmp_path, pod(**NAMED), claim(), volume(hostPath=source)) == there
    owned = claim("p-data", ownerReferences=[owner_reference(pod())])
    assert await prepare(tmp_path, pod(**OWN), owned, volume(local=source)) == there


@pytest.mark.parametrize(
    ("wanted", "objects", "why"),
    [
        (pod(**NAMED), [], 'persistentvolumeclaim "c" not found'),
        (pod(**NAMED), [claim(phase="Pending")], 'persistentvolumeclaim "c" is not bound'),
        (pod(**NAMED), [claim()], 'persistentvolume "v" not found'),
        (pod(**NAMED), [claim(), volume("2")], 'persistentvolume "v" is not bound to persistentvolumeclaim "c"'),
        (pod(**NAMED), [claim(), volume(nfs={})], 'persistentvolume "v" is neither hostPath nor local'),
        (pod(**NAMED), [claim(), volume(local={"path": "/kumo/none"})], 'path "/kumo/none" does not exist'),
        (
            pod(**OWN),
            [claim("p-data"), volume(local={"path": "/"})],
            "PVC ns/p-data was not created for pod ns/p (pod is not owner)",
        ),
    ],
)
async def test_kubelet_claims_that_won_t_do(tmp_path: Path, wanted: Object, objects: list[Object], why: str) -> None:
    with pytest.raises(FailedVolume) as refusal:
        await prepare(tmp_path, wanted, *objects)
    assert str(refusal.value) == f'MountVolume.SetUp failed for volume "data" : {why}'
