"""Pods whose devices get taints leave, at once or when they no longer tolerate them; the scheduler and API are real."""

from __future__ import annotations

import pytest

from kumo.api.device_taints import eviction_time, tolerates
from kumo.api.objects import Object
from kumo.api.resources import EVENTS, GVR, PODS
from support.hollow import HollowCluster, until

pytestmark = pytest.mark.component
DEADLINE = 60.0
CLAIMS = GVR("resource.k8s.io", "v1", "resourceclaims")
CLASSES, SLICES = (GVR("resource.k8s.io", "v1", n, False) for n in ("deviceclasses", "resourceslices"))
TAINT = {"key": "broken", "effect": "NoExecute"}


def pod(name: str) -> Object:
    container = {"name": "c", "image": "busybox", "resources": {"claims": [{"name": "d"}]}}
    spec = {"containers": [container], "resourceClaims": [{"name": "d", "resourceClaimName": name}]}
    return {"metadata": {"name": name, "namespace": "default"}, "spec": spec}


async def test_pods_leave_tainted_devices(cluster: HollowCluster) -> None:
    client, pods = cluster.client, cluster.informers.informer(PODS)
    events = cluster.informers.informer(EVENTS)
    cluster.node("a")
    await client.create(CLASSES, {"metadata": {"name": "gpu"}, "spec": {}})
    pool = {"name": "a", "generation": 1, "resourceSliceCount": 1}
    spec = {"driver": "gpu.example.com", "nodeName": "a", "pool": pool, "devices": [{"name": "g0"}, {"name": "g1"}]}
    item = await client.create(SLICES, {"metadata": {"name": "slice"}, "spec": spec})
    for name, tolerations in (("strict", []), ("patient", [{"operator": "Exists", "effect": "NoExecute"}])):
        exactly = {"deviceClassName": "gpu", "tolerations": tolerations}
        wanted = {"devices": {"requests": [{"name": "r", "exactly": exactly}]}}
        await client.create(CLAIMS, {"metadata": {"name": name, "namespace": "default"}, "spec": wanted})
        await client.create(PODS, pod(name))
        await until(
            pods,
            lambda n=name: ((pods.get(n, "default") or {}).get("status") or {}).get("phase") == "Running",
            DEADLINE,
        )
    item["spec"]["devices"] = [{"name": n, "taints": [TAINT]} for n in ("g0", "g1")]
    await client.update(SLICES, item)
    gone = await until(pods, lambda: leaving(pods.get("strict", "default")), DEADLINE)
    if isinstance(gone, dict):
        condition = next(c for c in gone["status"]["conditions"] if c["type"] == "DisruptionTarget")
        assert (condition["reason"], condition["message"]) == (
            "DeletionByDeviceTaintManager",
            "Device Taint manager: deleting due to NoExecute taint",
        )
    await until(
        events,
        lambda: [
            e
            for e in events.objects()
            if (e.get("reason"), e.get("message")) == ("DeviceTaintManagerEviction", "Marking for deletion")
            and e["involvedObject"]["name"] == "strict"
        ],
        DEADLINE,
    )
    assert not leaving(pods.get("patient", "default"))


def phase(found: Object | None) -> str:
    return ((found or {}).get("status") or {}).get("phase") or ""


def leaving(found: Object | None) -> Object | bool:
    if found is None:
        return True
    return found if found["metadata"].get("deletionTimestamp") else False


@pytest.mark.parametrize(
    ("toleration", "taint", "expected"),
    [
        ({}, {"key": "k", "effect": "NoExecute"}, True),
        ({"key": "k"}, {"key": "k", "value": "v", "effect": "NoExecute"}, False),
        ({"key": "k", "operator": "Exists"}, {"key": "k", "value": "v", "effect": "NoExecute"}, True),
        ({"key": "k", "effect": "NoSchedule"}, {"key": "k", "effect": "NoExecute"}, False),
        ({"key": "j", "operator": "Exists"}, {"key": "k", "effect": "NoExecute"}, False),
    ],
)
def test_tolerations_of_devices(toleration: Object, taint: Object, expected: bool) -> None:
    assert tolerates(toleration, taint) is expected


def test_when_pods_have_to_go() -> None:
    taint = {"key": "k", "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:00Z"}
    begin, anything = 1767225600.0, {"operator": "Exists", "effect": "NoExecute"}
    assert eviction_time([taint], [], begin + 5) == begin
    assert eviction_time([taint], [anything], begin) is None
    assert eviction_time([taint], [{**anything, "tolerationSeconds": 30}], begin) == begin + 30
    assert eviction_time([taint], [{**anything, "tolerationSeconds": -1}], begin) == begin
    assert eviction_time([{**taint, "effect": "NoSchedule"}], [], begin) is None
    # Only who names the effect is spared, as with upstream's controller.
    assert eviction_time([taint], [{"operator": "Exists"}], begin) == begin
