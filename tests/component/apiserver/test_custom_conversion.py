"""Custom resources in several versions, converted by a real webhook over HTTPS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from kumo.api.errors import StatusError
from kumo.api.resources import CRDS, GVR, SERVICES
from kumo.kubernetes.apiserver.admission.webhooks.dispatch import MUTATING, VALIDATING
from kumo.kubernetes.apiserver.conversion import converter, views
from kumo.kubernetes.apiserver.patching import APPLY_PATCH
from kumo.machinery.http import Response
from support.apiserver import RunningApiServer, running_apiserver
from support.webhooks import WebhookServer, allow, configuration, convert, patch, rule, webhook, webhook_server

pytestmark = pytest.mark.component
V1, V2 = GVR("shapes.kumo.dev", "v1", "doors"), GVR("shapes.kumo.dev", "v2", "doors")
TEXT, NUMBER = {"type": "string"}, {"type": "integer"}


def _change(obj: dict[str, Any], version: str) -> None:
    """v1 has `hostPort: "h:1"`, v2 (and v3) has host and port."""
    spec = obj.get("spec") or {}
    if version.endswith("/v1"):
        if "host" in spec or "port" in spec:
            spec["hostPort"] = f"{spec.pop('host', '')}:{spec.pop('port', '')}"
    elif "hostPort" in spec:
        spec["host"], _, spec["port"] = spec.pop("hostPort").partition(":")


def _version(name: str, properties: dict[str, Any], field: str, storage: str, *, served: bool = True) -> dict[str, Any]:
    spec = {"type": "object", "properties": {**properties, "replicas": NUMBER, "color": {**TEXT, "default": "red"}}}
    status = {"type": "object", "properties": {"replicas": NUMBER}}
    return {
        "name": name,
        "served": served,
        "storage": name == storage,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": status}}},
        "subresources": {
            "status": {},
            "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
        },
        "selectableFields": [{"jsonPath": field}],
        "additionalPrinterColumns": [{"name": "Where", "type": "string", "jsonPath": field}],
    }


def _definition(client_config: dict[str, Any], storage: str = "v1") -> dict[str, Any]:
    both = {"host": TEXT, "port": TEXT}
    return {
        "metadata": {"name": "doors.shapes.kumo.dev"},
        "spec": {
            "group": "shapes.kumo.dev",
            "scope": "Namespaced",
            "names": {"plural": "doors", "kind": "Door"},
            "versions": [
                _version("v1", {"hostPort": TEXT}, ".spec.hostPort", storage),
                _version("v2", both, ".spec.host", storage),
                _version("v3", both, ".spec.host", storage, served=False),
            ],
            "conversion": {
                "strategy": "Webhook",
                "webhook": {"clientConfig": client_config, "conversionReviewVersions": ["v1"]},
            },
        },
    }


def _door(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": spec}


@asynccontextmanager
async def _doors(tmp_path: Path, path: str = "/convert") -> AsyncIterator[tuple[RunningApiServer, WebhookServer]]:
    async with running_apiserver(tmp_path) as server, webhook_server(tmp_path) as hook:
        hook.answers["/convert"] = convert(_change)
        await server.client.create(CRDS, _definition(hook.client_config(path)))
        yield server, hook


async def _refused(awaitable: Any) -> StatusError:
    with pytest.raises(StatusError) as caught:
        await awaitable
    return caught.value


async def _change_definition(server: RunningApiServer, change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    while True:
        found = await server.client.get(CRDS, "doors.shapes.kumo.dev")
        change(found)
        try:
            return await server.client.update(CRDS, found)
        except StatusError as error:
            if error.reason != "Conflict":
                raise


async def test_objects_are_read_and_written_at_every_version(tmp_path: Path) -> None:
    async with _doors(tmp_path) as (server, hook):
        client = server.client
        made = await client.create(V2, _door("a", host="h", port="1"), "default")
        assert made["apiVersion"] == "shapes.kumo.dev/v2" and made["spec"] == {"host": "h", "port": "1", "color": "red"}
        (sent,) = hook.requests["/convert"][0]["objects"]
        assert sent["metadata"]["uid"] == made["metadata"]["uid"] and "resourceVersion" not in sent["metadata"]
        one = await client.get(V1, "a", "default")
        assert one["spec"] == {"hostPort": "h:1", "color": "red"}
        assert one["metadata"] == made["metadata"]
        changed = await client.patch(V2, "a", {"spec": {"port": "2"}}, "default")
        assert changed["spec"]["port"] == "2" and changed["metadata"]["generation"] == 2
        assert {m["apiVersion"] for m in changed["metadata"]["managedFields"]} == {"shapes.kumo.dev/v2"}
        wanted = {"apiVersion": "shapes.kumo.dev/v1", "kind": "Door", **_door("a", hostPort="x:3")}
        applied = await client.patch(V1, "a", wanted, "default", kind=APPLY_PATCH, field_manager="m", force=True)
        assert applied["spec"]["hostPort"] == "x:3"
        again = await client.get(V2, "a", "default")
        # Who managed host and port does no more: somebody has applied the field in which they lie in version 1.
        fields = {m["manager"]: m["fieldsV1"]["f:spec"] for m in again["metadata"]["managedFields"]}
        assert fields["m"] == {"f:hostPort": {}}
        assert all("f:host" not in f and "f:port" not in f for f in fields.values())
        gone = await client.delete(V2, "a", "default")
        assert gone["status"] == "Success"


async def test_a_list_converts_what_lies_in_another_version_in_one_call(tmp_path: Path) -> None:
    async with _doors(tmp_path) as (server, hook):
        client = server.client
        for number in range(30):
            await client.create(V1, _door(f"d{number:02}", hostPort=f"h{number % 3}:1"), "default")
        assert "/convert" not in hook.requests
        found = await client.list(V2, "default")
        assert [o["spec"]["host"] for o in found.items[:4]] == ["h0", "h1", "h2", "h0"]
        assert [len(r["objects"]) for r in hook.requests["/convert"]] == [30]
        selected = await client.list(V2, "default", field_selector="spec.host=h1")
        assert len(selected.items) == 10 and len(hook.requests["/convert"]) == 1
        assert (await _refused(client.list(V2, "default", field_selector="spec.hostPort=h1:1"))).code == 400
        # A part of an earlier state is converted from the store.
        first = await client.list(V2, "default", limit=20)
        await client.delete(V1, "d25", "default")
        rest = await client.list(V2, "default", limit=20, continue_token=first.continue_token)
        assert [o["metadata"]["name"] for o in rest.items] == [f"d{n}" for n in range(20, 30)]
        assert all("host" in o["spec"] for o in rest.items)
        assert first.resource_version == rest.resource_version


async def test_a_webhook_that_knows_one_object_at_a_time_is_asked_so(tmp_path: Path) -> None:
    async with _doors(tmp_path, "/single") as (server, hook):
        whole = convert(_change)

        def single(request: dict[str, Any]) -> Any:
            return whole({**request, "objects": request["objects"][:1]})

        hook.answers["/single"] = single
        for name in ("a", "b", "c"):
            await server.client.create(V1, _door(name, hostPort=f"{name}:1"), "default")
        found = await server.client.list(V2, "default")
        assert [o["spec"]["host"] for o in found.items] == ["a", "b", "c"]


async def test_watches_tell_changes_in_order_and_converted(tmp_path: Path) -> None:
    async with _doors(tmp_path, "/slow") as (server, hook):
        client, release, whole = server.client, asyncio.Event(), convert(_change)

        async def slow(request: dict[str, Any]) -> Any:
            if any(o["metadata"]["name"] == "late" for o in request["objects"]):
                await release.wait()
            return whole(request)

        hook.answers["/slow"] = slow
        before = await client.create(V1, _door("first", hostPort="a:1"), "default")
        await client.create(V1, _door("late", hostPort="b:2"), "default")
        await client.patch(V1, "first", {"spec": {"hostPort": "c:3"}}, "default")
        await client.delete(V1, "first", "default")
        seen: list[tuple[str, str, str]] = []

        async def follow() -> None:
            # From a state before anybody has asked for this version at all.
            async for event in client.watch(V2, "default", resource_version=before["metadata"]["resourceVersion"]):
                seen.append((event.type, event.object["metadata"]["name"], event.object["spec"]["host"]))
                if event.type == "DELETED":
                    return

        task = asyncio.create_task(follow())
        while not hook.requests.get("/slow"):
            await asyncio.sleep(0.01)
        assert not seen
        release.set()
        await asyncio.wait_for(task, 10)
        assert seen == [("ADDED", "late", "b"), ("MODIFIED", "first", "c"), ("DELETED", "first", "c")]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda _: {"result": {"status": "Failure", "message": "no way"}}, " failed: no way"),
        (lambda _: {"result": {"status": "Success"}, "convertedObjects": []}, " returned 0 objects, expected 1"),
        (lambda _: Response(500, b"boom", "text/plain"), ' failed: an error on the server ("boom") has prevented the '
         "request from succeeding"),
    ],
)  # fmt: skip
async def test_failures_are_told_and_harm_nobody_else(tmp_path: Path, answer: Any, message: str) -> None:
    async with _doors(tmp_path, "/bad") as (server, hook):
        client = server.client
        hook.answers["/bad"] = answer
        await client.create(V1, _door("a", hostPort="h:1"), "default")
        for asked in (client.get(V2, "a", "default"), client.list(V2, "default"), client.delete(V2, "a", "default")):
            error = await _refused(asked)
            assert (error.code, error.reason) == (500, "")
            assert error.message == f"conversion webhook for shapes.kumo.dev/v1, Kind=Door{message}"
        error = await _refused(client.create(V2, _door("b", host="h", port="1"), "default"))
        assert error.message == f"conversion webhook for shapes.kumo.dev/v2, Kind=Door{message}"
        assert [o["metadata"]["name"] for o in (await client.list(V1, "default")).items] == ["a"]
        # It recovers without anything being written anew.
        hook.answers["/bad"] = convert(_change)
        assert [o["spec"]["host"] for o in (await client.list(V2, "default")).items] == ["h"]
        reply = await client.transport.request("GET", "/metrics", query="", headers={}, body=b"")
        assert b"apiserver_conversion_webhook_request_total{" in reply.body
        # The definition goes, whatever its webhook says.
        hook.answers["/bad"] = answer
        await client.delete(CRDS, "doors.shapes.kumo.dev")
        async with asyncio.timeout(10):
            while [e for e in (await client.list(CRDS)).items if e["metadata"]["name"].startswith("doors.")]:
                await asyncio.sleep(0.02)


async def test_an_update_without_a_change_brings_an_object_into_the_new_storage_version(tmp_path: Path) -> None:
    async with _doors(tmp_path) as (server, _):
        client = server.client
        old = await client.create(V1, _door("a", hostPort="h:1"), "default")
        same = await client.update(V1, old)
        assert same["metadata"]["resourceVersion"] == old["metadata"]["resourceVersion"]

        def to_v2(definition: dict[str, Any]) -> None:
            for version in definition["spec"]["versions"]:
                version["storage"] = version["name"] == "v2"

        def without_v1(definition: dict[str, Any]) -> None:
            definition["spec"]["versions"] = definition["spec"]["versions"][1:]

        changed = await _change_definition(server, to_v2)
        assert changed["status"]["storedVersions"] == ["v1", "v2"]
        assert "v1 was previously a storage version" in (await _refused(_change_definition(server, without_v1))).message
        assert (await client.get(V2, "a", "default"))["spec"]["host"] == "h"
        moved = await client.update(V2, await client.get(V2, "a", "default"))
        assert moved["metadata"]["resourceVersion"] != old["metadata"]["resourceVersion"]
        assert moved["metadata"]["generation"] == 1
        still = await client.update(V2, moved)
        assert still["metadata"]["resourceVersion"] == moved["metadata"]["resourceVersion"]
        definition = await client.get(CRDS, "doors.shapes.kumo.dev")
        definition["status"]["storedVersions"] = ["v2"]
        await client.update_status(CRDS, definition)
        await _change_definition(server, without_v1)
        assert (await client.get(V2, "a", "default"))["spec"]["port"] == "1"
        assert (await _refused(client.get(V1, "a", "default"))).code == 404


async def test_admission_sees_the_version_that_it_asks_for(tmp_path: Path) -> None:
    async with _doors(tmp_path) as (server, hook):
        client = server.client
        hook.answers["/mutate"] = patch({"op": "add", "path": "/spec/host", "value": "mutated"})
        hook.answers["/look"] = allow()
        meant = rule("doors", groups=("shapes.kumo.dev",), versions=("v3",), operations=("CREATE", "UPDATE"))
        exact = rule("doors", groups=("shapes.kumo.dev",), versions=("v2",))
        await client.create(
            MUTATING, configuration("Mutating", "m", webhook("m.example.com", hook.client_config("/mutate"), meant))
        )
        looking = [
            webhook("l.example.com", hook.client_config("/look"), meant),
            webhook("e.example.com", hook.client_config("/exact"), exact, matchPolicy="Exact"),
        ]
        await client.create(VALIDATING, configuration("Validating", "v", *looking))
        made = await client.create(V1, _door("a", hostPort="h:1"), "default")
        assert made["spec"]["hostPort"] == "mutated:1"
        (seen,) = hook.requests["/look"]
        assert seen["resource"]["version"] == seen["kind"]["version"] == "v3" and seen["requestKind"]["version"] == "v1"
        assert seen["object"]["apiVersion"] == "shapes.kumo.dev/v3" and seen["object"]["spec"]["host"] == "mutated"
        assert "/exact" not in hook.requests


async def test_another_webhook_or_authority_counts_at_once(tmp_path: Path) -> None:
    async with _doors(tmp_path, "/none") as (server, hook):
        client = server.client
        await client.create(V1, _door("a", hostPort="h:1"), "default")
        assert (await _refused(client.get(V2, "a", "default"))).code == 500

        def no_authority(definition: dict[str, Any]) -> None:
            definition["spec"]["conversion"]["webhook"]["clientConfig"] = {"url": hook.client_config("/convert")["url"]}

        def right(definition: dict[str, Any]) -> None:
            definition["spec"]["conversion"]["webhook"]["clientConfig"] = hook.client_config("/convert")

        await _change_definition(server, no_authority)
        assert "certificate signed by unknown authority" in (await _refused(client.list(V2, "default"))).message
        await _change_definition(server, right)
        assert [o["spec"]["host"] for o in (await client.list(V2, "default")).items] == ["h"]
        scale = await client.patch(V2, "a", {"spec": {"replicas": 3}}, "default", subresource="scale")
        assert scale["spec"] == {"replicas": 3}
        status = await client.patch(V2, "a", {"status": {"replicas": 2}}, "default", subresource="status")
        assert status["status"] == {"replicas": 2} and status["spec"]["replicas"] == 3
        dry = await client.request(
            "POST", V2.path("default"), query={"dryRun": "All"}, body=_door("dry", host="x", port="y")
        )
        assert dry["spec"]["host"] == "x"
        assert (await _refused(client.get(V1, "dry", "default"))).code == 404


async def test_a_definition_goes_with_its_objects_though_no_version_is_served(tmp_path: Path) -> None:
    async with _doors(tmp_path, "/none") as (server, _):
        client = server.client
        await client.create(V1, _door("a", hostPort="h:1"), "default")
        held = _door("held", hostPort="h:1")
        held["metadata"]["finalizers"] = ["example.dev/held"]
        await client.create(V1, held, "default")

        def hidden(definition: dict[str, Any]) -> None:
            for version in definition["spec"]["versions"]:
                version["served"], version["storage"] = False, version["name"] == "v2"

        def shown(definition: dict[str, Any]) -> None:
            definition["spec"]["versions"][0]["served"] = True

        await _change_definition(server, hidden)
        assert (await _refused(client.get(V1, "a", "default"))).code == 404
        await client.delete(CRDS, "doors.shapes.kumo.dev")
        await _change_definition(server, shown)
        async with asyncio.timeout(10):
            while len(found := (await client.list(V1, "default")).items) > 1 or not found[0]["metadata"].get(
                "deletionTimestamp"
            ):
                await asyncio.sleep(0.02)
        assert found[0]["metadata"]["name"] == "held" and found[0]["spec"]["hostPort"] == "h:1"


async def test_what_nobody_needs_is_not_kept_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "_TIDY", 0.02)
    monkeypatch.setattr(views, "UNUSED", 0.0)
    async with _doors(tmp_path) as (server, hook):
        client = server.client
        await client.create(V1, _door("a", hostPort="h:1"), "default")
        assert len((await client.list(V2, "default")).items) == 1
        conversion = server.server._conversions._by_name["doors.shapes.kumo.dev"]
        async with asyncio.timeout(10):
            while conversion._views:
                await asyncio.sleep(0.01)
        calls = len(hook.requests["/convert"])
        await client.create(V1, _door("b", hostPort="h:2"), "default")
        assert len(hook.requests["/convert"]) == calls
        assert len((await client.list(V2, "default")).items) == 2


async def test_a_webhook_that_does_not_answer_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(converter, "TIMEOUT", 0.3)
    async with _doors(tmp_path, "/never") as (server, hook):
        client, over = server.client, asyncio.Event()

        async def never(request: dict[str, Any]) -> Any:
            await over.wait()
            return {}

        hook.answers["/never"] = never
        await client.create(V1, _door("a", hostPort="h:1"), "default")
        asked = asyncio.create_task(_refused(client.get(V2, "a", "default")))
        await asyncio.sleep(0)
        assert (await client.get(V1, "a", "default"))["spec"]["hostPort"] == "h:1" and not asked.done()
        error = await asked
        url = hook.client_config("/never")["url"]
        assert error.message == (
            f'conversion webhook for shapes.kumo.dev/v1, Kind=Door failed: Post "{url}?timeout=1s": '
            "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        )
        over.set()


async def test_a_webhook_behind_a_service_is_looked_up_among_its_endpoints(tmp_path: Path) -> None:
    async with running_apiserver(tmp_path) as server:
        client = server.client
        where = {"service": {"namespace": "default", "name": "converter", "path": "/doors"}}
        await client.create(CRDS, _definition(where))
        await client.create(V1, _door("a", hostPort="h:1"), "default")
        told = 'failed: Post "https://converter.default.svc:443/doors?timeout=30s": '
        assert told + 'service "converter" not found' in (await _refused(client.get(V2, "a", "default"))).message
        ports = {"ports": [{"name": "https", "port": 443}]}
        await client.create(SERVICES, {"metadata": {"name": "converter"}, "spec": ports}, "default")
        message = (await _refused(client.get(V2, "a", "default"))).message
        assert told + 'no endpoints available for service "converter"' in message
