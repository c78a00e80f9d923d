"""Lists: selectors, parts of one snapshot, versions, and the forms that clients ask for."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kumo.api.errors import StatusError
from kumo.api.objects import Object
from kumo.api.resources import CONFIGMAPS, NAMESPACES, PODS
from kumo.machinery.client import Client
from support.apiserver import RunningApiServer, running_apiserver

pytestmark = pytest.mark.component
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RunningApiServer]:
    async with running_apiserver(tmp_path) as running:
        yield running


@pytest.fixture
def client(server: RunningApiServer) -> Client:
    return server.client


async def make(client: Client, count: int, namespace: str = "default", **labels: str) -> list[str]:
    names = [f"c-{i:03d}" for i in range(count)]
    for i, name in enumerate(names):
        meta = {"name": name, "labels": {"parity": "even" if i % 2 == 0 else "odd", **labels}}
        await client.create(CONFIGMAPS, {"metadata": meta, "data": {"n": str(i)}}, namespace)
    return names


def names(items: list[Object]) -> list[str]:
    return [o["metadata"]["name"] for o in items]


async def get(server: RunningApiServer, path: str, query: str = "", **headers: str) -> tuple[int, Any, Any]:
    sent = {k.replace("_", "-"): v for k, v in headers.items()}
    reply = await server.client.transport.request("GET", path, query=query, headers=sent)
    return reply.status, msgspec.json.decode(reply.body) if reply.body[:1] == b"{" else reply.body, reply.headers


async def refused(awaitable: Any) -> StatusError:
    with pytest.raises(StatusError) as found:
        await awaitable
    return found.value


async def test_selectors(client: Client) -> None:
    await make(client, 6, tier="a")
    listed = await client.list(CONFIGMAPS, "default", label_selector="parity=odd,tier in (a,b)")
    assert names(listed.items) == ["c-001", "c-003", "c-005"]
    assert names((await client.list(CONFIGMAPS, "default", label_selector="parity!=odd,tier")).items) == [
        "c-000",
        "c-002",
        "c-004",
    ]
    assert names((await client.list(CONFIGMAPS, "default", field_selector="metadata.name=c-002")).items) == ["c-002"]
    assert names((await client.list(CONFIGMAPS, field_selector="metadata.name=c-002")).items) == ["c-002"]
    assert (await client.list(CONFIGMAPS, "default", label_selector="nope=1")).items == []
    error = await refused(client.list(CONFIGMAPS, "default", field_selector="data.n=1"))
    assert error.code == 400 and "data.n" in error.message
    error = await refused(client.list(CONFIGMAPS, "default", label_selector="a in b"))
    assert error.code == 400 and error.message.startswith("unable to parse requirement")


async def test_field_selectors_of_pods(client: Client) -> None:
    containers = [{"name": "c", "image": "busybox"}]
    for name, node in (("a", "n1"), ("b", "n2"), ("c", "")):
        spec = {"containers": containers, **({"nodeName": node} if node else {})}
        await client.create(PODS, {"metadata": {"name": name}, "spec": spec}, "default")
    assert names((await client.list(PODS, field_selector="spec.nodeName=n1")).items) == ["a"]
    assert names((await client.list(PODS, field_selector="spec.nodeName=")).items) == ["c"]
    assert names((await client.list(PODS, field_selector="spec.nodeName!=n1,status.phase=Pending")).items) == ["b", "c"]


async def test_parts_show_one_snapshot(client: Client) -> None:
    made = await make(client, 25)
    first = await client.list(CONFIGMAPS, "default", limit=10)
    assert names(first.items) == made[:10] and first.continue_token
    await client.delete(CONFIGMAPS, "c-015", "default")
    await client.patch(CONFIGMAPS, "c-016", {"data": {"n": "changed"}}, "default")
    await client.create(CONFIGMAPS, {"metadata": {"name": "c-0155"}}, "default")
    second = await client.list(CONFIGMAPS, "default", limit=10, continue_token=first.continue_token)
    assert names(second.items) == made[10:20]
    assert second.items[6]["data"] == {"n": "16"}
    assert second.resource_version == first.resource_version
    third = await client.list(CONFIGMAPS, "default", limit=10, continue_token=second.continue_token)
    assert names(third.items) == made[20:] and not third.continue_token
    fresh = await client.list(CONFIGMAPS, "default")
    assert "c-0155" in names(fresh.items) and "c-015" not in names(fresh.items)


async def test_parts_over_namespaces_with_selector(client: Client) -> None:
    for namespace in ("b", "a", "a-b"):
        await client.create(NAMESPACES, {"metadata": {"name": namespace}})
        await make(client, 6, namespace)
    for change in (False, True):
        token, seen = "", []
        while True:
            part = await client.list(CONFIGMAPS, label_selector="parity=odd", limit=2, continue_token=token)
            seen += [(o["metadata"]["namespace"], o["metadata"]["name"]) for o in part.items]
            token = part.continue_token
            if not token:
                break
            if change:
                await client.patch(CONFIGMAPS, "c-000", {"data": {"x": str(len(seen))}}, "a")
        whole = await client.list(CONFIGMAPS, label_selector="parity=odd")
        assert seen == [(o["metadata"]["namespace"], o["metadata"]["name"]) for o in whole.items]
        assert len(seen) == len(set(seen)) == 9


async def test_remaining_count_and_token_errors(server: RunningApiServer) -> None:
    await make(server.client, 5)
    _, body, _ = await get(server, CONFIGMAPS.path("default"), "limit=2")
    assert body["metadata"]["remainingItemCount"] == 3
    status, body, _ = await get(server, CONFIGMAPS.path("default"), "limit=2&continue=nonsense")
    assert status == 400 and body["message"].startswith("invalid continue token: continue key is not valid")
    status, body, _ = await get(server, CONFIGMAPS.path("default"), "limit=x")
    assert status == 400


async def test_an_expired_token_says_how_to_go_on(server: RunningApiServer) -> None:
    client = server.client
    await make(client, 6)
    first = await client.list(CONFIGMAPS, "default", limit=2)
    await client.delete(CONFIGMAPS, "c-003", "default")
    store = server.server._store
    await store.compact(await store.current_revision())
    status, body, _ = await get(server, CONFIGMAPS.path("default"), f"limit=2&continue={first.continue_token}")
    assert (status, body["reason"]) == (410, "Expired")
    assert body["message"].startswith("The provided continue parameter is too old to display a consistent list result.")
    rest = await client.list(CONFIGMAPS, "default", continue_token=body["metadata"]["continue"])
    assert names(rest.items) == ["c-002", "c-004", "c-005"]


async def test_a_token_expires_also_when_nothing_of_its_list_has_changed(server: RunningApiServer) -> None:
    client = server.client
    await make(client, 6)
    first = await client.list(CONFIGMAPS, "default", limit=2)
    await client.create(NAMESPACES, {"metadata": {"name": "other"}})
    store = server.server._store
    path, query = CONFIGMAPS.path("default"), f"limit=2&continue={first.continue_token}"
    exact = f"resourceVersion={first.resource_version}&resourceVersionMatch=Exact"
    assert [(await get(server, path, q))[0] for q in (query, exact)] == [200, 200]
    await store.compact(await store.current_revision())
    status, body, _ = await get(server, path, query)
    assert (status, body["reason"]) == (410, "Expired")
    rest = await client.list(CONFIGMAPS, "default", continue_token=body["metadata"]["continue"])
    assert names(rest.items) == ["c-002", "c-003", "c-004", "c-005"]
    status, body, _ = await get(server, path, exact)
    assert (status, body["reason"]) == (410, "Expired")


async def test_resource_versions(server: RunningApiServer) -> None:
    client = server.client
    await make(client, 2)
    revision = (await client.list(CONFIGMAPS, "default")).resource_version
    await client.delete(CONFIGMAPS, "c-000", "default")
    path = CONFIGMAPS.path("default")
    _, body, _ = await get(server, path, f"resourceVersion={revision}&resourceVersionMatch=Exact")
    assert names(body["items"]) == ["c-000", "c-001"] and body["metadata"]["resourceVersion"] == revision
    _, body, _ = await get(server, path, f"resourceVersion={revision}")
    assert names(body["items"]) == ["c-001"]
    _, body, _ = await get(server, path, "resourceVersion=0")
    assert names(body["items"]) == ["c-001"]
    status, body, _ = await get(server, path, "resourceVersionMatch=Exact")
    assert status == 422 and "resourceVersionMatch is forbidden unless resourceVersion is provided" in body["message"]
    status, body, _ = await get(server, path, "resourceVersion=abc")
    assert status == 400
    status, body, _ = await get(server, path, "resourceVersion=99999999")
    assert (status, body["reason"]) == (504, "Timeout")
    assert body["message"].startswith("Timeout: Too large resource version: 99999999, current: ")


async def test_forms(server: RunningApiServer) -> None:
    await make(server.client, 3)
    path = CONFIGMAPS.path("default")
    _, body, _ = await get(server, path, accept=TABLE)
    assert body["kind"] == "Table" and [c["name"] for c in body["columnDefinitions"]] == ["Name", "Data", "Age"]
    assert [row["cells"][0] for row in body["rows"]] == ["c-000", "c-001", "c-002"]
    assert body["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    _, body, _ = await get(server, path, "includeObject=Object", accept=TABLE)
    assert body["rows"][0]["object"]["data"] == {"n": "0"}
    partial = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
    _, body, _ = await get(server, path, accept=partial)
    assert body["kind"] == "PartialObjectMetadataList" and "data" not in body["items"][0]
    one = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
    _, body, _ = await get(server, path + "/c-000", accept=one)
    assert body["kind"] == "PartialObjectMetadata" and body["metadata"]["name"] == "c-000" and "data" not in body
    _, body, headers = await get(server, path + "/c-000", accept="application/yaml")
    assert b"kind: ConfigMap" in body and headers["content-type"] == "application/yaml"
    status, body, _ = await get(server, path, accept="application/vnd.kubernetes.protobuf")
    assert status == 406
    protobuf_first = "application/vnd.kubernetes.protobuf,application/json"
    status, body, _ = await get(server, path, accept=protobuf_first)
    assert status == 200 and body["kind"] == "ConfigMapList"


async def test_compressed_lists(server: RunningApiServer) -> None:
    await make(server.client, 300)
    path = CONFIGMAPS.path("default")
    plain = await server.client.transport.request("GET", path)
    zipped = await server.client.transport.request("GET", path, headers={"accept-encoding": "gzip"})
    assert zipped.headers["content-encoding"] == "gzip" and len(zipped.body) < len(plain.body) / 5
    assert gzip.decompress(zipped.body) == plain.body
    assert len(msgspec.json.decode(plain.body)["items"]) == 300


async def test_an_empty_list(server: RunningApiServer) -> None:
    _, body, _ = await get(server, PODS.path("default"))
    assert body["kind"] == "PodList" and body["items"] == []


async def test_two_versions_of_one_resource(server: RunningApiServer) -> None:
    scaler: Object = {
        "apiVersion": "autoscaling/v1",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "h"},
        "spec": {
            "maxReplicas": 3,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"},
            "targetCPUUtilizationPercentage": 70,
        },
    }
    path = "/apis/autoscaling/{}/namespaces/default/horizontalpodautoscalers"
    await server.client.request("POST", path.format("v1"), body=scaler)
    two = await server.client.request("GET", path.format("v2") + "/h")
    assert two["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 70
    listed = await server.client.request("GET", path.format("v1"))
    assert listed["items"][0]["spec"]["targetCPUUtilizationPercentage"] == 70
    assert listed["items"][0]["apiVersion"] == "autoscaling/v1"
