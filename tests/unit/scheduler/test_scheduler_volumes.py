"""Claims and volumes in scheduling: what keeps a pod from all nodes, from some, and what is bound where it goes."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.api.objects import Object
from kumo.kubernetes.scheduler import volumes as v
from kumo.kubernetes.scheduler.cache import Cache
from kumo.kubernetes.scheduler.decision import look
from kumo.kubernetes.scheduler.nodes import NodeInfo, PodInfo
from kumo.kubernetes.scheduler.profile import default_profile
from kumo.kubernetes.scheduler.world import Volumes, World

pytestmark = pytest.mark.unit

DONE = {"pv.kubernetes.io/bind-completed": "yes"}
CLASSES = {
    "static": {"provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer"},
    "dynamic": {"provisioner": "example.com/p", "volumeBindingMode": "WaitForFirstConsumer"},
    "zoned": {
        "provisioner": "example.com/p",
        "volumeBindingMode": "WaitForFirstConsumer",
        "allowedTopologies": [{"matchLabelExpressions": [{"key": "host", "values": ["b"]}]}],
    },
    "now": {"provisioner": "example.com/p", "volumeBindingMode": "Immediate"},
}


def pod(*names: str, ephemeral: bool = False) -> PodInfo:
    listed: list[Object] = [{"name": n, "persistentVolumeClaim": {"claimName": n}} for n in names]
    if ephemeral:
        listed.append({"name": "e", "ephemeral": {"volumeClaimTemplate": {}}})
    spec = {"containers": [], "volumes": listed}
    return PodInfo.of({"metadata": {"name": "p", "namespace": "ns", "uid": "1"}, "spec": spec})


def claim(name: str, size: str = "1Gi", phase: str = "Pending", **more: Any) -> Object:
    meta = {"name": name, "namespace": "ns", "uid": name} | {k: more.pop(k) for k in list(more) if k in META}
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **more}
    return {"metadata": meta, "spec": spec, "status": {"phase": phase}}


META = ("annotations", "deletionTimestamp", "ownerReferences")


def volume(name: str, host: str, size: str = "1Gi", storage_class: str = "static") -> Object:
    term = {"matchExpressions": [{"key": "host", "operator": "In", "values": [host]}]}
    spec = {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": size}, "storageClassName": storage_class}
    spec["nodeAffinity"] = {"required": {"nodeSelectorTerms": [term]}}
    return {"metadata": {"name": name, "resourceVersion": "1"}, "spec": spec, "status": {"phase": "Available"}}


def world(*objects: Object) -> Volumes:
    claims = {o["metadata"]["name"]: o for o in objects if "namespace" in o["metadata"]}
    there = {o["metadata"]["name"]: o for o in objects if "namespace" not in o["metadata"]}
    return Volumes(
        claim=lambda namespace, name: claims.get(name),
        volume=there.get,
        storage_class=CLASSES.get,
        of_class=lambda name: [o for o in there.values() if o["spec"]["storageClassName"] == name],
    )


def node(name: str) -> NodeInfo:
    info = NodeInfo(name)
    amounts = {"cpu": "4", "memory": "8Gi", "pods": "110"}
    info.set_node({"metadata": {"name": name, "labels": {"host": name}}, "status": {"allocatable": amounts}})
    return info


@pytest.mark.parametrize(
    ("wanted", "there", "trouble"),
    [
        (pod("c"), [], 'persistentvolumeclaim "c" not found'),
        (
            pod(ephemeral=True),
            [],
            'waiting for ephemeral volume controller to create the persistentvolumeclaim "p-e"',
        ),
        (
            pod(ephemeral=True),
            [claim("p-e")],
            "PVC ns/p-e was not created for pod ns/p (pod is not owner)",
        ),
        (
            pod("c"),
            [claim("c", phase="Lost", volumeName="v")],
            'persistentvolumeclaim "c" bound to non-existent persistentvolume "v"',
        ),
        (pod("c"), [claim("c", deletionTimestamp="x")], 'persistentvolumeclaim "c" is being deleted'),
        (pod("c"), [claim("c")], "pod has unbound immediate PersistentVolumeClaims"),
        (pod("c"), [claim("c", storageClassName="now")], "pod has unbound immediate PersistentVolumeClaims"),
        (
            pod("c"),
            [claim("c", storageClassName="static", volumeName="v")],
            "pod has unbound immediate PersistentVolumeClaims",
        ),
        (pod("c"), [claim("c", storageClassName="static")], ""),
        (pod("c"), [claim("c", volumeName="v", annotations=DONE)], ""),
        (pod(), [], ""),
    ],
)
def test_scheduler_volumes_trouble_everywhere(wanted: PodInfo, there: list[Object], trouble: str) -> None:
    assert v.pod_volumes(wanted, world(*there)).trouble == trouble


@pytest.mark.parametrize(
    ("there", "reasons"),
    [
        ([claim("c", volumeName="v", annotations=DONE), volume("v", "a")], ()),
        ([claim("c", volumeName="v", annotations=DONE), volume("v", "b")], (v.NOT_REACHABLE,)),
        ([claim("c", volumeName="v", annotations=DONE)], (v.NO_VOLUME,)),
        ([claim("c", storageClassName="static")], (v.NONE_TO_BIND,)),
        ([claim("c", storageClassName="static"), volume("v", "b")], (v.NONE_TO_BIND,)),
        ([claim("c", storageClassName="dynamic"), volume("v", "b")], ()),
        ([claim("c", storageClassName="zoned")], (v.NONE_TO_BIND,)),
        ([claim("c", storageClassName="dynamic", annotations={v.SELECTED_NODE: "b"})], (v.NONE_TO_BIND,)),
        ([claim("c", storageClassName="dynamic", annotations={v.SELECTED_NODE: "a"})], ()),
    ],
)
def test_scheduler_volumes_reasons_against_a_node(there: list[Object], reasons: tuple[str, ...]) -> None:
    assert v.on(v.pod_volumes(pod("c"), world(*there)), node("a")).reasons == reasons


def test_scheduler_volumes_each_claim_gets_its_own() -> None:
    big, small = claim("big", "3Gi", storageClassName="static"), claim("small", storageClassName="static")
    more = claim("more", storageClassName="dynamic")
    there = [big, small, more, volume("v1", "a", "2Gi"), volume("v2", "a", "4Gi"), volume("v3", "b")]
    found = v.pod_volumes(pod("big", "small", "more"), world(*there))
    chosen = v.on(found, node("a"))
    pairs = {c["metadata"]["name"]: volume["metadata"]["name"] for volume, c in chosen.bindings}
    assert pairs == {"small": "v1", "big": "v2"} and chosen.provisions == (more,)
    assert v.on(found, node("b")).reasons == (v.NONE_TO_BIND,)
    assert v.on(v.PodVolumes(), node("a")) == v.NodeVolumes()


def test_scheduler_volumes_for_one_pod_at_a_time() -> None:
    there = world(claim("c", volumeName="v", annotations=DONE, accessModes=["ReadWriteOncePod"]), volume("v", "a"))
    free: Object = {"metadata": {"name": "a", "labels": {"host": "a"}}, "status": {"allocatable": {"pods": "9"}}}
    cache = Cache()
    cache.set_node(free)
    seen = World(cache, volumes=there)
    profile = default_profile()

    def add(namespace: str, uid: str) -> None:
        meta = {"name": "q", "namespace": namespace, "uid": uid}
        cache.set_pod({"metadata": meta, "spec": {**pod("c").spec, "nodeName": "a"}})

    add("other", "3")
    assert [n.name for n in look(pod("c"), seen, profile).feasible] == ["a"]
    add("ns", "2")
    refusal = look(pod("c"), seen, profile).refusals["a"]
    assert "ReadWriteOncePod access mode already in-use by another pod" in refusal.reasons[0] and not refusal.final
