"""The server as a whole: other wings' groups and hooks, health, a full disk, kill and restart."""

from __future__ import annotations

import asyncio
import base64
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest

from kumo.api.errors import StatusError
from kumo.api.objects import Object
from kumo.api.resources import CLUSTERROLEBINDINGS, CLUSTERROLES, CONFIGMAPS
from kumo.api.users import UserInfo
from kumo.kubernetes.apiserver.server import ApiServer
from kumo.machinery.extension import AdmissionHook, ApiGroup, Rule
from kumo.machinery.http import Request, Response
from kumo.store.base import Corrupted
from kumo.store.sqlite import SqliteStore
from support.apiserver import RunningApiServer, running_apiserver

pytestmark = pytest.mark.component


async def _echo(request: Request) -> Response:
    assert request.user is not None
    said = {"path": request.path, "user": request.user.name, "query": request.query_string}
    return Response(200, msgspec.json.encode(said))


def group(*, authorize: bool = True) -> ApiGroup:
    resources = [
        {"name": "things", "singularName": "", "namespaced": True, "kind": "Thing", "verbs": []},
        {"name": "things/poke", "singularName": "", "namespaced": True, "kind": "Thing", "verbs": ["update"]},
    ]
    return ApiGroup("sub.example.dev", ("v1", "v1alpha1"), _echo, resources, authorize)


async def _mark(review: Object) -> Object:
    request = review["request"]
    patch = [
        {"op": "add", "path": "/metadata/labels", "value": {"by": request["userInfo"]["username"].replace(":", "-")}}
    ]
    data = base64.b64encode(msgspec.json.encode(patch)).decode()
    answer = {"uid": request["uid"], "allowed": True, "patchType": "JSONPatch", "patch": data, "warnings": ["marked"]}
    return {**review, "response": answer}


async def _deny(review: Object) -> Object:
    answer = {"uid": review["request"]["uid"], "allowed": False, "status": {"code": 422, "message": "no such luck"}}
    return {**review, "response": answer}


def hook(name: str, kind: str, operation: str, review: object) -> AdmissionHook:
    rule = Rule(("",), ("v1",), ("configmaps",), (operation,))
    return AdmissionHook(name, kind, (rule,), review)  # type: ignore[arg-type]


async def _token(token: str) -> UserInfo | None:
    return UserInfo("from-token", ("system:masters",)) if token == "secret" else None


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RunningApiServer]:
    hooks = (hook("mark.dev", "mutating", "CREATE", _mark), hook("deny.dev", "validating", "DELETE", _deny))
    async with running_apiserver(tmp_path, groups=(group(),), hooks=hooks, token_authenticators=(_token,)) as running:
        yield running


async def test_aggregated_group(server: RunningApiServer) -> None:
    path = "/apis/sub.example.dev/v1/namespaces/default/things/t/poke"
    answer = await server.client.request("PUT", path, query={"a": "b"}, body={})
    assert answer == {"path": path, "user": "kubernetes-admin", "query": "a=b"}
    nobody = server.as_user("bob")
    with pytest.raises(StatusError) as refused:
        await nobody.request("PUT", path, body={})
    assert refused.value.code == 403
    assert 'cannot update resource "things/poke" in API group "sub.example.dev"' in refused.value.message
    rule = {"verbs": ["update"], "apiGroups": ["sub.example.dev"], "resources": ["things/poke"]}
    await server.client.create(CLUSTERROLES, {"metadata": {"name": "poker"}, "rules": [rule]})
    binding = {
        "metadata": {"name": "poker"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "poker"},
        "subjects": [{"kind": "User", "name": "bob", "apiGroup": "rbac.authorization.k8s.io"}],
    }
    await server.client.create(CLUSTERROLEBINDINGS, binding)
    assert (await nobody.request("PUT", path, body={}))["user"] == "bob"


async def test_aggregated_group_in_discovery(server: RunningApiServer) -> None:
    client = server.client
    listed = await client.request("GET", "/apis/sub.example.dev/v1")
    assert [r["name"] for r in listed["resources"]] == ["things", "things/poke"]
    groups = await client.request("GET", "/apis")
    found = next(g for g in groups["groups"] if g["name"] == "sub.example.dev")
    assert found["preferredVersion"]["version"] == "v1" and len(found["versions"]) == 2
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    reply = await client.transport.request("GET", "/apis", headers={"accept": accept})
    assert reply.headers["content-type"] == accept
    items = {i["metadata"].get("name"): i for i in msgspec.json.decode(reply.body)["items"]}
    things = items["sub.example.dev"]["versions"][0]["resources"][0]
    assert things["subresources"][0]["subresource"] == "poke"
    again = await client.transport.request(
        "GET", "/apis", headers={"accept": accept, "if-none-match": reply.headers["etag"]}
    )
    assert again.status == 304 and not again.body


async def test_hooks(server: RunningApiServer) -> None:
    body = msgspec.json.encode({"metadata": {"name": "c"}})
    reply = await server.client.transport.request("POST", CONFIGMAPS.path("default"), body=body)
    assert reply.status == 201 and reply.headers["warning"] == '299 - "marked"'
    assert msgspec.json.decode(reply.body)["metadata"]["labels"] == {"by": "kubernetes-admin"}
    with pytest.raises(StatusError) as refused:
        await server.client.delete(CONFIGMAPS, "c", "default")
    assert refused.value.message == 'admission webhook "deny.dev" denied the request: no such luck'
    assert (await server.client.get(CONFIGMAPS, "c", "default"))["metadata"]["name"] == "c"


async def test_tokens_of_other_wings(server: RunningApiServer) -> None:
    async def status(token: str) -> int:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        answer = await server.server.handle(Request("GET", "/api/v1/namespaces", headers=headers))
        assert isinstance(answer, Response)
        return answer.status

    assert await status("secret") == 200
    assert await status("wrong") == 401
    assert await status("") == 403


async def test_health_and_version(server: RunningApiServer) -> None:
    for path in ("/healthz", "/livez", "/readyz", "/readyz/ping", "/healthz/etcd"):
        reply = await server.client.transport.request("GET", path)
        assert (reply.status, reply.body) == (200, b"ok")
    assert (await server.client.transport.request("GET", "/readyz/nope")).status == 404
    verbose = await server.client.transport.request("GET", "/livez", query="verbose&exclude=log")
    assert b"[+]ping ok\n[+]log excluded: ok\n" in verbose.body and verbose.body.endswith(b"livez check passed\n")
    version = await server.client.request("GET", "/version")
    assert version["gitVersion"].startswith("v1.36.") and version["major"] == "1"
    assert "/apis/apps/v1" in (await server.client.request("GET", "/"))["paths"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    where = tmp_path / "disk"
    where.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(where)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting needs root")
    yield where
    subprocess.run(["umount", "-l", str(where)], check=True)


async def test_a_full_disk_refuses_writes_clearly(small_disk: Path) -> None:
    async with running_apiserver(small_disk) as server:
        client, made = server.client, 0
        with pytest.raises(StatusError) as refused:
            for i in range(1000):
                data = {"k": base64.b64encode(os.urandom(20_000)).decode()}
                await client.create(CONFIGMAPS, {"metadata": {"name": f"c{i}"}, "data": data}, "default")
                made += 1
        assert refused.value.code == 500
        assert "no space left for the database" in refused.value.message and "free some" in refused.value.message
        assert len((await client.list(CONFIGMAPS, "default")).items) == made
        subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
        await client.create(CONFIGMAPS, {"metadata": {"name": "again"}}, "default")


async def test_a_corrupted_store_is_one_clear_error(tmp_path: Path) -> None:
    async with running_apiserver(tmp_path) as server:
        config = server.server._config
    database = tmp_path / "store" / "kumo.db"
    database.write_bytes(os.urandom(8192))
    with pytest.raises(Corrupted, match="is corrupted"):
        await ApiServer(SqliteStore(database), config).start()


async def test_two_hundred_clients_at_once(server: RunningApiServer) -> None:
    async def work(number: int) -> None:
        name = f"c{number % 20}"
        try:
            await server.client.create(CONFIGMAPS, {"metadata": {"name": name}}, "default")
        except StatusError as error:
            assert error.reason == "AlreadyExists"
        await server.client.patch(CONFIGMAPS, name, {"data": {f"k{number}": "v"}}, "default")

    await asyncio.gather(*(work(number) for number in range(200)))
    found = (await server.client.list(CONFIGMAPS, "default")).items
    assert sum(len(o["data"]) for o in found) == 200
