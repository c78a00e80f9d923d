"""Custom resources: served as soon as defined, by their schema, gone with their definition."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kumo.api.conditions import is_true
from kumo.api.errors import StatusError
from kumo.api.objects import Object
from kumo.api.resources import CRDS, GVR
from kumo.machinery.client import APPLY_PATCH, STRATEGIC_MERGE_PATCH, Client
from support.apiserver import RunningApiServer, running_apiserver

pytestmark = pytest.mark.component
WIDGETS = GVR("example.dev", "v1", "widgets")
OLD_WIDGETS = GVR("example.dev", "v1alpha1", "widgets")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RunningApiServer]:
    async with running_apiserver(tmp_path) as running:
        yield running


@pytest.fixture
def client(server: RunningApiServer) -> Client:
    return server.client


def definition(**names: str) -> Object:
    schema = {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "required": ["size"],
                "properties": {
                    "size": {"type": "integer", "minimum": 1},
                    "color": {"type": "string", "default": "red", "enum": ["red", "blue"]},
                    "replicas": {"type": "integer"},
                },
            },
            "status": {"type": "object", "properties": {"ready": {"type": "boolean"}, "replicas": {"type": "integer"}}},
        },
    }
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {
            "status": {},
            "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
        },
        "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
        "selectableFields": [{"jsonPath": ".spec.color"}],
    }
    old = {**version, "name": "v1alpha1", "storage": False}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names.get('plural', 'widgets')}.example.dev"},
        "spec": {
            "group": "example.dev",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"], "categories": ["all"], **names},
            "versions": [version, old],
        },
    }


def widget(name: str, **spec: Any) -> Object:
    return {"apiVersion": "example.dev/v1", "kind": "Widget", "metadata": {"name": name}, "spec": {"size": 1, **spec}}


async def refused(awaitable: Any) -> StatusError:
    with pytest.raises(StatusError) as found:
        await awaitable
    return found.value


async def until(client: Client, name: str, check: Any) -> Object | None:
    """Watch the definition until `check` says yes; None once it is gone."""
    async with asyncio.timeout(5):
        async for event in client.watch(CRDS, field_selector=f"metadata.name={name}"):
            if event.type == "DELETED":
                return None
            if event.type != "BOOKMARK" and check(event.object):
                return event.object
    raise AssertionError("the watch ended")


async def test_served_at_once(client: Client) -> None:
    assert (await refused(client.list(WIDGETS))).code == 404
    await client.create(CRDS, definition())
    made = await client.create(WIDGETS, widget("a"), "default")
    assert made["spec"] == {"size": 1, "color": "red"} and made["metadata"]["generation"] == 1
    found = await until(client, "widgets.example.dev", lambda o: is_true(o, "Established"))
    assert found is not None and is_true(found, "NamesAccepted")
    assert found["status"]["acceptedNames"]["singular"] == "widget"
    assert found["status"]["storedVersions"] == ["v1"]


async def test_the_schema_rules(client: Client) -> None:
    await client.create(CRDS, definition())
    error = await refused(client.create(WIDGETS, widget("a", size=0), "default"))
    assert (
        error.code == 422
        and "spec.size" in error.message
        and error.message.startswith('Widget.example.dev "a" is invalid')
    )
    error = await refused(client.create(WIDGETS, widget("a", color="green"), "default"))
    assert 'Unsupported value: "green"' in error.message
    made = await client.create(WIDGETS, widget("a", bogus=1), "default")
    assert "bogus" not in made["spec"]
    query = {"fieldValidation": "Strict"}
    path = WIDGETS.path("default")
    error = await refused(client.request("POST", path, query=query, body=widget("b", bogus=1)))
    assert error.message == (
        'Widget in version "v1" cannot be handled as a Widget: strict decoding error: unknown field "spec.bogus"'
    )
    error = await refused(client.patch(WIDGETS, "a", {}, "default", kind=STRATEGIC_MERGE_PATCH))
    assert error.code == 415


async def test_nulls_are_dropped_but_not_from_what_is_applied(client: Client) -> None:
    await client.create(CRDS, definition())
    made = await client.create(WIDGETS, widget("a", replicas=None, color=None), "default")
    assert made["spec"] == {"size": 1, "color": "red"}
    error = await refused(
        client.patch(WIDGETS, "b", widget("b", replicas=None), "default", kind=APPLY_PATCH, field_manager="me")
    )
    assert error.message == (
        'Widget.example.dev "b" is invalid: spec.replicas: Invalid value: "null": '
        'spec.replicas in body must be of type integer: "null"'
    )
    applied = await client.patch(WIDGETS, "b", widget("b", color=None), "default", kind=APPLY_PATCH, field_manager="me")
    assert applied["spec"] == {"size": 1, "color": "red"}


async def test_status_and_scale(client: Client) -> None:
    await client.create(CRDS, definition())
    made = await client.create(WIDGETS, {**widget("a", replicas=2), "status": {"ready": True}}, "default")
    assert "status" not in made
    made["status"] = {"ready": True, "replicas": 1}
    made["spec"]["size"] = 99
    changed = await client.update_status(WIDGETS, made)
    assert changed["status"]["ready"] is True and changed["spec"]["size"] == 1
    scale = await client.get(WIDGETS, "a", "default", "scale")
    assert scale["spec"]["replicas"] == 2 and scale["status"]["replicas"] == 1
    await client.patch(WIDGETS, "a", {"spec": {"replicas": 7}}, "default", subresource="scale")
    assert (await client.get(WIDGETS, "a", "default"))["spec"]["replicas"] == 7


async def test_no_update_of_whatever_there_is(client: Client) -> None:
    await client.create(CRDS, definition())
    missing = await refused(client.update(WIDGETS, widget("a") | {"metadata": {"name": "a", "namespace": "default"}}))
    assert (missing.code, missing.message) == (404, 'widgets.example.dev "a" not found')
    made = await client.create(WIDGETS, widget("a"), "default")
    del made["metadata"]["resourceVersion"]
    error = await refused(client.update(WIDGETS, made))
    assert (error.code, error.message) == (
        422,
        'widgets.example.dev "a" is invalid: metadata.resourceVersion: '
        "Invalid value: 0: must be specified for an update",
    )


async def test_two_versions(client: Client) -> None:
    await client.create(CRDS, definition())
    await client.create(WIDGETS, widget("a"), "default")
    old = await client.get(OLD_WIDGETS, "a", "default")
    assert old["apiVersion"] == "example.dev/v1alpha1"
    old["spec"]["size"] = 5
    assert (await client.update(OLD_WIDGETS, old))["apiVersion"] == "example.dev/v1alpha1"
    new = await client.get(WIDGETS, "a", "default")
    assert new["apiVersion"] == "example.dev/v1" and new["spec"]["size"] == 5
    async with asyncio.timeout(5):
        async for event in client.watch(OLD_WIDGETS, "default"):
            assert event.object["apiVersion"] == "example.dev/v1alpha1"
            break


async def test_discovery_and_tables(server: RunningApiServer) -> None:
    client = server.client
    await client.create(CRDS, definition())
    found = await client.request("GET", "/apis/example.dev/v1")
    entry = next(r for r in found["resources"] if r["name"] == "widgets")
    assert entry["shortNames"] == ["wd"] and entry["kind"] == "Widget" and entry["categories"] == ["all"]
    assert {r["name"] for r in found["resources"]} == {"widgets", "widgets/status", "widgets/scale"}
    await client.create(WIDGETS, widget("a", color="blue"), "default")
    headers = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    reply = await client.transport.request("GET", WIDGETS.path("default"), headers=headers)
    table = msgspec.json.decode(reply.body)
    assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "Size"]
    assert table["rows"][0]["cells"] == ["a", 1]
    listed = await client.list(WIDGETS, field_selector="spec.color=blue")
    assert [o["metadata"]["name"] for o in listed.items] == ["a"]
    assert not (await client.list(WIDGETS, field_selector="spec.color=red")).items


async def test_a_definition_may_change(client: Client) -> None:
    made = await client.create(CRDS, definition())
    made = await client.get(CRDS, "widgets.example.dev")
    for version in made["spec"]["versions"]:
        properties = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
        properties["weight"] = {"type": "integer"}
    await client.patch(CRDS, "widgets.example.dev", {"spec": made["spec"]})
    kept = await client.create(WIDGETS, widget("a", weight=3), "default")
    assert kept["spec"]["weight"] == 3


async def test_names_that_are_taken(client: Client) -> None:
    await client.create(CRDS, definition())
    await client.create(CRDS, definition(plural="gadgets", singular="widget", kind="Gadget"))
    found = await until(client, "gadgets.example.dev", lambda o: (o.get("status") or {}).get("conditions"))
    assert found is not None
    conditions = {c["type"]: (c["status"], c["reason"]) for c in found["status"]["conditions"]}
    assert conditions["NamesAccepted"] == ("False", "ShortNamesConflict")
    assert conditions["Established"][0] == "False"
    assert (await refused(client.list(GVR("example.dev", "v1", "gadgets")))).code == 404


async def test_deletion_takes_the_instances(client: Client) -> None:
    await client.create(CRDS, definition())
    for i in range(5):
        await client.create(WIDGETS, widget(f"w{i}"), "default")
    held = {**widget("held"), "metadata": {"name": "held", "finalizers": ["example.dev/hold"]}}
    await client.create(WIDGETS, held, "default")
    await client.delete(CRDS, "widgets.example.dev")
    await until(client, "widgets.example.dev", lambda o: is_true(o, "Terminating"))
    async with asyncio.timeout(5):
        while len((await client.list(WIDGETS)).items) > 1:
            await asyncio.sleep(0.01)
    await client.patch(WIDGETS, "held", {"metadata": {"finalizers": None}}, "default")
    assert await until(client, "widgets.example.dev", lambda o: False) is None
    assert (await refused(client.list(WIDGETS))).code == 404
    await client.create(CRDS, definition())
    assert not (await client.list(WIDGETS)).items


async def test_served_again_after_a_restart(tmp_path: Path) -> None:
    async with running_apiserver(tmp_path) as server:
        await server.client.create(CRDS, definition())
        made = await server.client.create(WIDGETS, widget("a"), "default")
    async with running_apiserver(tmp_path) as server:
        assert await server.client.get(WIDGETS, "a", "default") == made
