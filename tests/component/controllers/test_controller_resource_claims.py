"""Claims from templates: made with their pods, given devices, freed and deleted; controllers and scheduler are real."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kumo.api.objects import Object, name_of, uid_of
from kumo.api.resources import EVENTS, GVR, PODS
from kumo.kubernetes.controller_manager.resource_claims import ANNOTATION, FINALIZER, prefix_for
from support.hollow import HollowCluster, until

pytestmark = pytest.mark.component
DEADLINE = 60.0
CLAIMS, TEMPLATES = (GVR("resource.k8s.io", "v1", n) for n in ("resourceclaims", "resourceclaimtemplates"))
CLASSES, SLICES = (GVR("resource.k8s.io", "v1", n, False) for n in ("deviceclasses", "resourceslices"))
REQUESTS = {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "gpu"}}]}}
SLICE: Object = {
    "metadata": {"name": "slice"},
    "spec": {
        "driver": "gpu.example.com",
        "nodeName": "a",
        "pool": {"name": "a", "generation": 1, "resourceSliceCount": 1},
        "devices": [{"name": "gpu-0"}],
    },
}


def pod(name: str, **source: str) -> Object:
    container = {"name": "c", "image": "busybox", "resources": {"claims": [{"name": "d"}]}}
    spec = {"restartPolicy": "Never", "containers": [container], "resourceClaims": [{"name": "d", **source}]}
    return {"metadata": {"name": name, "namespace": "default"}, "spec": spec}


def test_names_of_claims_are_cut_in_proportion() -> None:
    assert prefix_for("p", "d") == "p-d-"
    assert prefix_for("p" * 50, "d" * 20) == "p" * 39 + "-" + "d" * 15


async def test_controller_claims_of_templates(cluster: HollowCluster) -> None:
    client = cluster.client
    pods, claims = cluster.informers.informer(PODS), cluster.informers.informer(CLAIMS)
    cluster.node("a")
    await client.create(PODS, pod("p", resourceClaimTemplateName="t"))
    events = cluster.informers.informer(EVENTS)
    text = 'PodResourceClaim d: resource claim template "t": resourceclaimtemplate.resource.k8s.io "t" not found'
    await until(events, lambda: [e for e in events.objects() if e.get("message") == text], DEADLINE)

    labels = {"metadata": {"labels": {"own": "yes"}}, "spec": REQUESTS}
    await client.create(CLASSES, {"metadata": {"name": "gpu"}, "spec": {}})
    await client.create(SLICES, SLICE)
    await client.create(TEMPLATES, {"metadata": {"name": "t", "namespace": "default"}, "spec": labels})
    found = await until(pods, lambda: status_of(pods.get("p", "default")), DEADLINE)
    name = found[0]["resourceClaimName"]
    assert found == [{"name": "d", "resourceClaimName": name}] and name.startswith("p-d-")
    claim = await until(claims, lambda: held(claims.get(name, "default")), DEADLINE)
    seen = await until(pods, lambda: bound(pods.get("p", "default")), DEADLINE)
    meta = claim["metadata"]
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid_of(seen), "controller": True}
    assert meta["ownerReferences"] == [owner] and meta["annotations"] == {ANNOTATION: "d"}
    assert meta["labels"] == {"own": "yes"} and meta["finalizers"] == [FINALIZER]
    assert claim["status"]["reservedFor"] == [{"resource": "pods", "name": "p", "uid": uid_of(seen)}]

    # One device: a second pod waits until the first one is over, although that is still there.
    await client.create(CLAIMS, {"metadata": {"name": "shared", "namespace": "default"}, "spec": REQUESTS})
    await client.create(PODS, pod("q", resourceClaimName="shared"))
    await until(pods, lambda: "cannot allocate all claims" in str(pods.get("q", "default")), DEADLINE)
    await client.patch(PODS, "p", {"status": {"phase": "Succeeded"}}, "default", subresource="status")
    await until(claims, lambda: claims.get(name, "default") is None, DEADLINE)
    await until(pods, lambda: bound(pods.get("q", "default")), DEADLINE)
    assert held(claims.get("shared", "default"))

    # A claim that nobody made for a pod stays when its pod goes, without its device and free to be deleted.
    await client.delete(PODS, "q", "default", grace_period=0)
    await until(claims, lambda: not (claims.get("shared", "default") or {}).get("status"), DEADLINE)
    await until(claims, lambda: not claims.get("shared", "default")["metadata"].get("finalizers"), DEADLINE)  # type: ignore[index]
    await client.delete(CLAIMS, "shared", "default")
    await until(claims, lambda: claims.get("shared", "default") is None, DEADLINE)


async def test_controller_claim_makes_one_claim_a_pod(cluster: HollowCluster) -> None:
    client, claims = cluster.client, cluster.informers.informer(CLAIMS)
    pods = cluster.informers.informer(PODS)
    await client.create(TEMPLATES, {"metadata": {"name": "t", "namespace": "default"}, "spec": {"spec": REQUESTS}})
    await asyncio.gather(*(client.create(PODS, pod(f"p{i}", resourceClaimTemplateName="t")) for i in range(5)))
    await until(pods, lambda: all(status_of(pods.get(f"p{i}", "default")) for i in range(5)), DEADLINE)
    named = {status_of(pods.get(f"p{i}", "default"))[0]["resourceClaimName"] for i in range(5)}
    assert {name_of(c) for c in claims.objects("default")} == named and len(named) == 5
    (gone,) = [c for c in claims.objects("default") if c["metadata"]["generateName"] == "p0-d-"]
    await client.delete(CLAIMS, name_of(gone), "default")  # it is made anew
    await until(pods, lambda: status_of(pods.get("p0", "default"))[0]["resourceClaimName"] not in named, DEADLINE)


def status_of(found: Object | None) -> Any:
    return ((found or {}).get("status") or {}).get("resourceClaimStatuses")


def held(found: Object | None) -> Any:
    return found if ((found or {}).get("status") or {}).get("reservedFor") else None


def bound(found: Object | None) -> Any:
    return found if found is not None and found["spec"].get("nodeName") else None
