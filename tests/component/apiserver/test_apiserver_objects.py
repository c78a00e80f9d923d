"""Objects written and read: what every verb does, and the words of every refusal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kumo.api.errors import StatusError
from kumo.api.objects import Object
from kumo.api.resources import CONFIGMAPS, DEPLOYMENTS, GVR, NAMESPACES, NODES, PODS, SECRETS
from kumo.machinery.client import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH, Client
from support.apiserver import RunningApiServer, running_apiserver

pytestmark = pytest.mark.component
JOBS = GVR("batch", "v1", "jobs")
PDBS = GVR("policy", "v1", "poddisruptionbudgets")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RunningApiServer]:
    async with running_apiserver(tmp_path) as running:
        yield running


@pytest.fixture
def client(server: RunningApiServer) -> Client:
    return server.client


def configmap(name: str, **data: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def pod(name: str, **spec: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "image": "busybox"}], **spec},
    }


def deployment(name: str, replicas: int = 1) -> Object:
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "busybox"}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


async def refused(awaitable: Any) -> StatusError:
    with pytest.raises(StatusError) as found:
        await awaitable
    return found.value


# -- create


async def test_create_fills_in_what_the_server_knows(client: Client) -> None:
    made = await client.create(CONFIGMAPS, configmap("a", k="v"), "default")
    meta = made["metadata"]
    assert meta["namespace"] == "default" and meta["uid"] and meta["creationTimestamp"].endswith("Z")
    assert int(meta["resourceVersion"]) > 0
    assert made == await client.get(CONFIGMAPS, "a", "default")


async def test_create_twice(client: Client) -> None:
    await client.create(CONFIGMAPS, configmap("a"), "default")
    error = await refused(client.create(CONFIGMAPS, configmap("a"), "default"))
    assert (error.code, error.reason, error.message) == (409, "AlreadyExists", 'configmaps "a" already exists')
    assert error.details == {"name": "a", "kind": "configmaps"}


async def test_generate_name(client: Client) -> None:
    names = set()
    for _ in range(5):
        made = await client.create(CONFIGMAPS, {"metadata": {"generateName": "g-"}}, "default")
        names.add(made["metadata"]["name"])
    assert len(names) == 5 and all(n.startswith("g-") and len(n) == 7 for n in names)


async def test_names_that_collide(client: Client) -> None:
    await client.create(CONFIGMAPS, configmap("a"), "default")
    error = await refused(client.create(CONFIGMAPS, configmap("a"), "default"))
    assert (error.message, error.details) == ('configmaps "a" already exists', {"name": "a", "kind": "configmaps"})
    wanting = {**configmap("a"), "metadata": {"name": "a", "generateName": "b-"}}
    error = await refused(client.create(CONFIGMAPS, wanting, "default"))
    assert error.message.endswith("already exists, the server was not able to generate a unique name for the object")
    assert error.details == {"name": "a", "kind": "configmaps", "retryAfterSeconds": 1}


async def test_create_refusals(client: Client) -> None:
    error = await refused(client.create(CONFIGMAPS, {"metadata": {}}, "default"))
    assert error.code == 422 and "name or generateName is required" in error.message
    error = await refused(client.create(CONFIGMAPS, configmap("a"), "nowhere"))
    assert (error.code, error.message) == (404, 'namespaces "nowhere" not found')
    stated = {**configmap("a"), "metadata": {"name": "a", "namespace": "other"}}
    error = await refused(client.create(CONFIGMAPS, stated, "default"))
    assert error.message == "the namespace of the provided object does not match the namespace sent on the request"
    stated = {**configmap("a"), "metadata": {"name": "a", "resourceVersion": "5"}}
    error = await refused(client.create(CONFIGMAPS, stated, "default"))
    assert error.message == "resourceVersion should not be set on objects to be created"
    error = await refused(client.create(CONFIGMAPS, {**configmap("a"), "kind": "Secret"}, "default"))
    assert error.code == 400 and "cannot be handled as a ConfigMap" in error.message
    error = await refused(client.create(CONFIGMAPS, {**configmap("a"), "data": {"k": 5}}, "default"))
    assert error.code == 400 and "cannot unmarshal number into Go struct field ConfigMap.data" in error.message


async def test_dry_run_keeps_nothing(client: Client) -> None:
    path = CONFIGMAPS.path("default")
    made = await client.request("POST", path, query={"dryRun": "All"}, body=configmap("a", k="v"))
    assert made["metadata"]["uid"] and "resourceVersion" not in made["metadata"]
    assert (await refused(client.get(CONFIGMAPS, "a", "default"))).code == 404
    await client.create(CONFIGMAPS, configmap("a", k="v"), "default")
    error = await refused(client.request("POST", path, query={"dryRun": "All"}, body=configmap("a")))
    assert error.reason == "AlreadyExists"
    query = {"dryRun": "All"}
    changed = await client.request("PUT", f"{path}/a", query=query, body=configmap("a", k="w"))
    assert changed["data"] == {"k": "w"}
    await client.request("DELETE", f"{path}/a", query=query)
    assert (await client.get(CONFIGMAPS, "a", "default"))["data"] == {"k": "v"}
    error = await refused(client.request("POST", path, query={"dryRun": "yes"}, body=configmap("b")))
    assert error.code == 422 and 'dryRun: Unsupported value: ["yes"]: supported values: "All"' in error.message


async def test_field_validation(server: RunningApiServer) -> None:
    body = {**deployment("d"), "bogus": 1}
    body["spec"]["template"]["spec"]["containers"][0]["imag"] = "x"
    path = DEPLOYMENTS.path("default")
    error = await refused(server.client.request("POST", path, query={"fieldValidation": "Strict"}, body=body))
    assert (error.code, error.reason) == (400, "BadRequest")
    assert error.message.startswith(
        'Deployment in version "v1" cannot be handled as a Deployment: strict decoding error: unknown field "'
    )
    assert 'unknown field "spec.template.spec.containers[0].imag"' in error.message
    transport = server.client.transport
    import msgspec

    headers = {"content-type": "application/json"}
    reply = await transport.request(
        "POST", path, query="fieldValidation=Warn&dryRun=All", headers=headers, body=msgspec.json.encode(body)
    )
    assert reply.status == 201
    assert '299 - "unknown field \\"bogus\\""' in reply.headers["warning"]
    reply = await transport.request(
        "POST", path, query="fieldValidation=Ignore&dryRun=All", headers=headers, body=msgspec.json.encode(body)
    )
    assert reply.status == 201 and "warning" not in reply.headers
    twice = b'{"metadata":{"name":"a"},"data":{"k":"v","k":"w"}}'
    reply = await transport.request(
        "POST", CONFIGMAPS.path("default"), query="fieldValidation=Strict", headers=headers, body=twice
    )
    assert reply.status == 400 and b'duplicate field \\"data.k\\"' in reply.body


# -- update


async def test_update_needs_the_newest_version(client: Client) -> None:
    first = await client.create(CONFIGMAPS, configmap("a", k="1"), "default")
    second = await client.update(CONFIGMAPS, {**first, "data": {"k": "2"}})
    assert int(second["metadata"]["resourceVersion"]) > int(first["metadata"]["resourceVersion"])
    error = await refused(client.update(CONFIGMAPS, {**first, "data": {"k": "3"}}))
    assert (error.code, error.reason) == (409, "Conflict")
    assert error.message == (
        'Operation cannot be fulfilled on configmaps "a": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    bare = {**configmap("a", k="4"), "metadata": {"name": "a", "namespace": "default"}}
    assert (await client.update(CONFIGMAPS, bare))["data"] == {"k": "4"}
    other = {**bare, "metadata": {**bare["metadata"], "uid": "not-this"}}
    error = await refused(client.update(CONFIGMAPS, other))
    assert error.code == 409 and "Precondition failed: UID in precondition: not-this" in error.message


async def test_update_of_some_kinds_must_name_its_version(client: Client) -> None:
    drivers = GVR("storage.k8s.io", "v1", "csidrivers", namespaced=False)
    driver = {"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": "a.io"}, "spec": {}}
    first = await client.create(drivers, driver)
    error = await refused(client.update(drivers, driver))
    assert (error.code, error.reason) == (422, "Invalid")
    wrong = "metadata.resourceVersion: Invalid value: 0: must be specified for an update"
    assert error.message == f'csidrivers.storage.k8s.io "a.io" is invalid: {wrong}'
    changed = {**first, "spec": {**first["spec"], "requiresRepublish": True}}
    assert (await client.update(drivers, changed))["spec"]["requiresRepublish"] is True


async def test_update_that_changes_nothing_writes_nothing(client: Client) -> None:
    first = await client.create(CONFIGMAPS, configmap("a", k="1"), "default")
    again = await client.update(CONFIGMAPS, {**first, "data": {"k": "1"}})
    assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


async def test_update_keeps_what_only_the_server_writes(client: Client) -> None:
    first = await client.create(CONFIGMAPS, configmap("a", k="1"), "default")
    meta = {"name": "a", "namespace": "default", "creationTimestamp": "2001-01-01T00:00:00Z"}
    second = await client.update(CONFIGMAPS, {**configmap("a", k="2"), "metadata": meta})
    for key in ("uid", "creationTimestamp"):
        assert second["metadata"][key] == first["metadata"][key]


async def test_update_of_nothing(client: Client) -> None:
    body = {**configmap("a"), "metadata": {"name": "a", "namespace": "default"}}
    error = await refused(client.update(CONFIGMAPS, body))
    assert (error.code, error.message) == (404, 'configmaps "a" not found')


async def test_status_is_apart(client: Client) -> None:
    made = await client.create(DEPLOYMENTS, {**deployment("d"), "status": {"replicas": 7}}, "default")
    assert "status" not in made or not made["status"].get("replicas")
    assert made["metadata"]["generation"] == 1
    made["status"] = {"replicas": 3, "observedGeneration": 1}
    made["spec"]["replicas"] = 9
    changed = await client.update_status(DEPLOYMENTS, made)
    assert changed["status"]["replicas"] == 3 and changed["spec"]["replicas"] == 1
    assert changed["metadata"]["generation"] == 1
    changed["spec"]["replicas"] = 4
    changed["status"] = {"replicas": 0}
    spec = await client.update(DEPLOYMENTS, changed)
    assert spec["spec"]["replicas"] == 4 and spec["status"]["replicas"] == 3
    assert spec["metadata"]["generation"] == 2


async def test_conflicting_writers_all_get_through(client: Client) -> None:
    await client.create(CONFIGMAPS, configmap("a"), "default")
    await asyncio.gather(
        *(client.patch(CONFIGMAPS, "a", {"data": {f"k{i}": "v"}}, "default", kind=MERGE_PATCH) for i in range(8))
    )
    assert len((await client.get(CONFIGMAPS, "a", "default"))["data"]) == 8


# -- patch


async def test_patches(client: Client) -> None:
    await client.create(DEPLOYMENTS, deployment("d"), "default")
    merged = await client.patch(DEPLOYMENTS, "d", {"spec": {"replicas": 2}}, "default")
    assert merged["spec"]["replicas"] == 2
    operations = [
        {"op": "test", "path": "/spec/replicas", "value": 2},
        {"op": "replace", "path": "/spec/replicas", "value": 3},
    ]
    assert (await client.patch(DEPLOYMENTS, "d", operations, "default", kind=JSON_PATCH))["spec"]["replicas"] == 3
    error = await refused(client.patch(DEPLOYMENTS, "d", operations, "default", kind=JSON_PATCH))
    assert error.code == 422
    second = {"spec": {"template": {"spec": {"containers": [{"name": "x", "image": "y"}]}}}}
    strategic = await client.patch(DEPLOYMENTS, "d", second, "default", kind=STRATEGIC_MERGE_PATCH)
    assert {c["name"] for c in strategic["spec"]["template"]["spec"]["containers"]} == {"c", "x"}
    error = await refused(client.patch(DEPLOYMENTS, "d", {"metadata": {"resourceVersion": "1"}}, "default"))
    assert error.reason == "Conflict"
    error = await refused(client.patch(DEPLOYMENTS, "d", {"metadata": {"name": "e"}}, "default"))
    assert error.code in (400, 422)
    error = await refused(client.patch(DEPLOYMENTS, "d", {}, "default", kind="text/plain"))
    assert error.code == 415


async def test_apply_creates_and_merges(client: Client) -> None:
    body = deployment("d", 1)
    made = await client.patch(DEPLOYMENTS, "d", body, "default", kind=APPLY_PATCH, field_manager="me", force=True)
    assert made["spec"]["replicas"] == 1
    body["spec"]["replicas"] = 5
    again = await client.patch(DEPLOYMENTS, "d", body, "default", kind=APPLY_PATCH, field_manager="me", force=True)
    assert again["spec"]["replicas"] == 5 and again["metadata"]["uid"] == made["metadata"]["uid"]
    error = await refused(client.patch(DEPLOYMENTS, "d", body, "default", kind=APPLY_PATCH))
    assert error.code in (400, 422)


# -- delete


async def test_delete(client: Client) -> None:
    made = await client.create(CONFIGMAPS, configmap("a"), "default")
    error = await refused(client.delete(CONFIGMAPS, "a", "default", uid="other"))
    assert error.code == 409 and "the UID in the precondition (other) does not match the UID in record" in error.message
    error = await refused(client.delete(CONFIGMAPS, "a", "default", resource_version="1"))
    assert error.code == 409
    answer = await client.delete(CONFIGMAPS, "a", "default", uid=made["metadata"]["uid"])
    assert answer["kind"] == "Status" and answer["status"] == "Success"
    assert answer["details"] == {"name": "a", "kind": "configmaps", "uid": made["metadata"]["uid"]}
    assert (await refused(client.delete(CONFIGMAPS, "a", "default"))).code == 404


async def test_finalizers_hold_an_object(client: Client) -> None:
    body = {**configmap("a"), "metadata": {"name": "a", "finalizers": ["kumo.dev/hold"]}}
    await client.create(CONFIGMAPS, body, "default")
    held = await client.delete(CONFIGMAPS, "a", "default")
    assert held["metadata"]["deletionTimestamp"] and held["metadata"]["deletionGracePeriodSeconds"] == 0
    again = await client.delete(CONFIGMAPS, "a", "default")
    assert again["metadata"] == held["metadata"]  # Nothing was written, the revision says.
    error = await refused(
        client.patch(CONFIGMAPS, "a", {"metadata": {"finalizers": ["kumo.dev/hold", "kumo.dev/more"]}}, "default")
    )
    assert error.code == 422 and "no new finalizers can be added if the object is being deleted" in error.message
    await client.patch(CONFIGMAPS, "a", {"metadata": {"finalizers": None}}, "default")
    assert (await refused(client.get(CONFIGMAPS, "a", "default"))).code == 404


async def test_propagation_policies(client: Client) -> None:
    for policy, finalizers in (("Orphan", ["orphan"]), ("Foreground", ["foregroundDeletion"])):
        name = policy.lower()
        await client.create(DEPLOYMENTS, deployment(name), "default")
        held = await client.delete(DEPLOYMENTS, name, "default", propagation=policy)
        assert held["metadata"]["finalizers"] == finalizers and held["metadata"]["deletionTimestamp"]
    await client.create(DEPLOYMENTS, deployment("background"), "default")
    await client.delete(DEPLOYMENTS, "background", "default", propagation="Background")
    assert (await refused(client.get(DEPLOYMENTS, "background", "default"))).code == 404
    error = await refused(client.delete(DEPLOYMENTS, "orphan", "default", propagation="Sideways"))
    assert error.code == 422 and 'propagationPolicy: Unsupported value: "Sideways"' in error.message


async def test_pods_end_gracefully(client: Client) -> None:
    await client.create(NODES, {"metadata": {"name": "n"}})
    await client.create(PODS, pod("waiting"), "default")
    await client.delete(PODS, "waiting", "default")
    assert (await refused(client.get(PODS, "waiting", "default"))).code == 404
    await client.create(PODS, pod("running", nodeName="n", terminationGracePeriodSeconds=20), "default")
    ending = await client.delete(PODS, "running", "default")
    assert ending["metadata"]["deletionGracePeriodSeconds"] == 20 and ending["metadata"]["deletionTimestamp"]
    shorter = await client.delete(PODS, "running", "default", grace_period=5)
    assert shorter["metadata"]["deletionGracePeriodSeconds"] == 5
    longer = await client.delete(PODS, "running", "default", grace_period=50)
    assert longer["metadata"]["deletionGracePeriodSeconds"] == 5
    await client.delete(PODS, "running", "default", grace_period=0)
    assert (await refused(client.get(PODS, "running", "default"))).code == 404


async def test_delete_collection(client: Client) -> None:
    for name in ("a", "b", "c"):
        await client.create(SECRETS, {"metadata": {"name": name, "labels": {"n": name}}}, "default")
    await client.request("DELETE", SECRETS.path("default"), query={"labelSelector": "n in (a,b)"})
    assert [s["metadata"]["name"] for s in (await client.list(SECRETS, "default")).items] == ["c"]


async def test_namespaces_end_when_finalized(client: Client) -> None:
    await client.create(NAMESPACES, {"metadata": {"name": "n"}})
    ending = await client.delete(NAMESPACES, "n")
    assert ending["status"]["phase"] == "Terminating"
    error = await refused(client.create(CONFIGMAPS, configmap("a"), "n"))
    assert error.code == 403 and "because it is being terminated" in error.message
    ending["spec"]["finalizers"] = []
    await client.request("PUT", "/api/v1/namespaces/n/finalize", body=ending)
    assert (await refused(client.get(NAMESPACES, "n"))).code == 404


# -- subresources


async def test_scale(client: Client) -> None:
    await client.create(DEPLOYMENTS, deployment("d", 2), "default")
    scale = await client.get(DEPLOYMENTS, "d", "default", "scale")
    assert scale["kind"] == "Scale" and scale["spec"] == {"replicas": 2}
    assert scale["status"]["selector"] == "app=d"
    scale["spec"]["replicas"] = 0
    assert (await client.update(DEPLOYMENTS, scale, subresource="scale"))["spec"] == {}
    patched = await client.patch(DEPLOYMENTS, "d", {"spec": {"replicas": 6}}, "default", subresource="scale")
    assert patched["spec"]["replicas"] == 6
    found = await client.get(DEPLOYMENTS, "d", "default")
    assert found["spec"]["replicas"] == 6 and found["metadata"]["generation"] == 3
    scale["spec"]["replicas"] = 3
    assert (await refused(client.update(DEPLOYMENTS, scale, subresource="scale"))).reason == "Conflict"
    bad = {"spec": {"replicas": -1}}
    assert (await refused(client.patch(DEPLOYMENTS, "d", bad, "default", subresource="scale"))).code == 422
    for kind in (MERGE_PATCH, STRATEGIC_MERGE_PATCH):
        for body in (5112, [], "x"):
            error = await refused(client.patch(DEPLOYMENTS, "d", body, "default", kind=kind, subresource="scale"))
            assert error.code == 400 and "cannot unmarshal" in error.message


async def test_binding(client: Client) -> None:
    await client.create(PODS, pod("p"), "default")
    binding = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": "p", "annotations": {"x": "y"}},
        "target": {"kind": "Node", "name": "n"},
    }
    answer = await client.create(PODS, binding, "default", subresource="binding", name="p")
    assert answer["status"] == "Success"
    bound = await client.get(PODS, "p", "default")
    assert bound["spec"]["nodeName"] == "n" and bound["metadata"]["annotations"] == {"x": "y"}
    conditions = {c["type"]: c["status"] for c in bound["status"]["conditions"]}
    assert conditions == {"PodScheduled": "True"}
    error = await refused(client.create(PODS, binding, "default", subresource="binding", name="p"))
    assert error.code == 409
    assert error.message == 'Operation cannot be fulfilled on pods/binding "p": pod p is already assigned to node "n"'


async def test_eviction_obeys_budgets(client: Client) -> None:
    budget = {
        "metadata": {"name": "b"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "p"}}},
    }
    made = await client.create(PDBS, budget, "default")
    made["status"] = {
        "observedGeneration": 1,
        "disruptionsAllowed": 0,
        "currentHealthy": 1,
        "desiredHealthy": 1,
        "expectedPods": 1,
    }
    made = await client.update_status(PDBS, made)
    await client.create(NODES, {"metadata": {"name": "n"}})
    await client.create(PODS, pod("p", nodeName="n"), "default")
    ready = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
    await client.patch(PODS, "p", ready, "default", kind=STRATEGIC_MERGE_PATCH, subresource="status")
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
    strange = {**eviction, "apiVersion": ["policy/v1"]}
    assert (await refused(client.create(PODS, strange, "default", subresource="eviction", name="p"))).code == 400
    error = await refused(client.create(PODS, eviction, "default", subresource="eviction", name="p"))
    assert (error.code, error.reason) == (429, "TooManyRequests")
    assert error.message == "Cannot evict pod as it would violate the pod's disruption budget."
    assert error.details is not None and error.details["causes"][0]["reason"] == "DisruptionBudget"
    made["status"]["disruptionsAllowed"] = 1
    await client.update_status(PDBS, made)
    assert (await client.create(PODS, eviction, "default", subresource="eviction", name="p"))["status"] == "Success"
    assert (await client.get(PODS, "p", "default"))["metadata"]["deletionTimestamp"]
    found = await client.get(PDBS, "b", "default")
    assert found["status"]["disruptionsAllowed"] == 0 and "p" in found["status"]["disruptedPods"]


# -- the edges


async def test_bad_bodies(server: RunningApiServer) -> None:
    transport = server.client.transport

    async def post(body: bytes, kind: str = "application/json") -> tuple[int, bytes]:
        path = CONFIGMAPS.path("default")
        reply = await transport.request("POST", path, headers={"content-type": kind}, body=body)
        return reply.status, reply.body

    assert (await post(b"{"))[0] == 400
    assert (await post(b"[]"))[0] == 400
    assert (await post(b"\xff\xfe"))[0] == 400
    assert (await post(b"[" * 100_000))[0] == 400
    assert (await post(b'{"metadata":' * 2000))[0] == 400
    assert (await post(b"{}", "text/plain"))[0] == 415
    assert (await post(b"x" * (3 << 20) + b"x"))[0] == 413
    bomb = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
        b"%c: &%c [%s]\n" % (c, c, b",".join([b"*%c" % (c - 1)] * 9)) for c in range(ord("b"), ord("j"))
    )
    status, body = await post(bomb, "application/yaml")
    assert status == 400 and b"excessive aliasing" in body
    loop = b"a: &a [*a]\n"
    assert (await post(loop, "application/yaml"))[0] == 400
    yaml = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: why}\ndata:\n  date: '2001-01-01'\n"
    status, body = await post(yaml, "application/yaml")
    assert status == 201, body


async def test_unknown_paths_and_methods(server: RunningApiServer) -> None:
    client = server.client
    message = "the server could not find the requested resource"
    for path in ("/nothing", "/apis/nope.example", "/apis/nope.example/v1", "/apis/nope.example/v1/things"):
        assert (await refused(client.request("GET", path))).message == "404 page not found"
    for path in ("/api/v2/pods", "/api/v1/nothings", "/apis/apps/v9", "/apis/apps/v9/things"):
        error = await refused(client.request("GET", path))
        assert (error.code, error.reason, error.message) == (404, "NotFound", message), path
    error = await refused(client.request("PATCH", "/api/v1/namespaces/default/pods", body={}))
    assert error.code == 405
    assert (await refused(client.request("GET", "/api/v1/namespaces/default/pods/p/nothing"))).code == 404


async def test_read_your_writes(client: Client) -> None:
    async def worker(number: int) -> None:
        for i in range(20):
            name = f"w{number}-{i}"
            made = await client.create(CONFIGMAPS, configmap(name), "default")
            listed = await client.list(CONFIGMAPS, "default")
            assert name in {o["metadata"]["name"] for o in listed.items}
            assert int(listed.resource_version) >= int(made["metadata"]["resourceVersion"])
            await client.delete(CONFIGMAPS, name, "default")
            assert (await refused(client.get(CONFIGMAPS, name, "default"))).code == 404

    await asyncio.gather(*(worker(i) for i in range(8)))


async def test_a_restart_changes_nothing(tmp_path: Path) -> None:
    async with running_apiserver(tmp_path) as server:
        made = await server.client.create(CONFIGMAPS, configmap("a", k="v"), "default")
        everything = {gvr: await server.client.list(gvr) for gvr in (NAMESPACES, CONFIGMAPS)}
    async with running_apiserver(tmp_path) as server:
        assert await server.client.get(CONFIGMAPS, "a", "default") == made
        for gvr, before in everything.items():
            assert (await server.client.list(gvr)).items == before.items


async def test_a_review_whose_extra_is_null_is_answered(client: Client) -> None:
    spec = {"user": "u", "extra": {"key": None}, "nonResourceAttributes": {"path": "/", "verb": "get"}}
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    made = await client.request("POST", path, body={"spec": spec})
    assert made["status"] == {"allowed": False}
